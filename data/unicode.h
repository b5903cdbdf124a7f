/* UTF-8, and the classes of characters on which tokenizers split, as Hugging Face's regular expressions see them
 * (Unicode 16, whatever this machine's libraries know). */
#ifndef PTQ_UNICODE_H
#define PTQ_UNICODE_H

#include <stddef.h>
#include <stdint.h>

enum ptq_char_class {
    PTQ_LETTER = 1,  /* \p{L} */
    PTQ_NUMBER = 2,  /* \p{N} */
    PTQ_SPACE = 4,   /* \s: White_Space, so U+0085 and U+3000 but neither U+200B nor U+001C */
    PTQ_NUMERIC = 8, /* what the Digits step isolates: \p{N} of a newer Unicode */
    PTQ_WORD = 16,   /* \w, for added tokens that stand only between words */
    PTQ_RECENT = 32, /* a letter, number or word character that PCRE2 10.42 (Unicode 14) does not know */
    PTQ_INERT = 64   /* has normal forms that Hugging Face's normalizers do not know */
};

/* The classes of a code point, 0 for none. */
int ptq_char_flags(uint32_t code);

/* The first byte of text[0..size) that is not part of well-formed UTF-8 (no surrogates, no overlong forms), or size. */
size_t ptq_utf8_check(const char *text, size_t size);

/* Code point at text, which must be well-formed there; *length (1..4) is how many bytes it takes. */
uint32_t ptq_utf8_decode(const char *text, int *length);
/* Where the character that ends at text + size begins; size > 0. */
size_t ptq_utf8_last(const char *text, size_t size);
/* Writes code as UTF-8 and returns its length. */
int ptq_utf8_encode(uint32_t code, char out[4]);

#endif
