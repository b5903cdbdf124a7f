/* gpt2    's|'t|'re|'ve|'m|'ll|'d | ?L+ | ?N+ | ?O+ | S+(?!\S) | S+
 * llama3  (?i:'s|'t|'re|'ve|'m|'ll|'d) | [^\r\nLN]?L+ | N{1,3} | ?O+[\r\n]* | S*[\r\n]+ | S+(?!\S) | S+
 * qwen2   the same with N for N{1,3}
 * bloom   " ?X+", X: no white space, no bracket ( or ), no | and none of eleven marks of punctuation
 *
 * L letters, N numbers, S white space, O none of these. In all but bloom some alternative matches at every place, so
 * there are no gaps. */
#include "scanner.h"

#include "unicode.h"

#include <string.h>

enum { OTHER = 0x100, CLASSES = PTQ_LETTER | PTQ_NUMBER | PTQ_SPACE };

/* The character at text[at]: its code point, its length (0 at the end) and its classes with OTHER for none of L, N, S.
 */
struct character {
    uint32_t code;
    int length, flags;
};

static struct character character_at(const char *text, size_t size, size_t at)
{
    struct character c = {0};
    if (at >= size) return c;
    c.code = ptq_utf8_decode(text + at, &c.length);
    c.flags = ptq_char_flags(c.code);
    if (!(c.flags & CLASSES)) c.flags |= OTHER;
    return c;
}

/* The end of the run of at most limit characters of a class that begins at text[at]. */
static size_t run_end(const char *text, size_t size, size_t at, int flags, size_t limit)
{
    for (size_t n = 0; n < limit; n++) {
        struct character c = character_at(text, size, at);
        if (!(c.flags & flags)) break;
        at += (size_t)c.length;
    }
    return at;
}

/* S+(?!\S) | S+ : a run of white space leaves its last character to what follows, unless it is alone or at the end. */
static size_t spaces(const char *text, size_t size)
{
    size_t end = run_end(text, size, 0, PTQ_SPACE, SIZE_MAX);
    if (end == size) return end;
    size_t last = ptq_utf8_last(text, end);
    return last > 0 ? last : end;
}

/* Bytes of one of 's 't 'm 'd 're 've 'll at text, or 0. */
static size_t contraction(const char *text, size_t size)
{
    if (size < 2 || text[0] != '\'') return 0;
    if (strchr("stmd", text[1]) && text[1]) return 2;
    if (size < 3) return 0;
    if ((text[1] == 'r' || text[1] == 'v') && text[2] == 'e') return 3;
    return text[1] == 'l' && text[2] == 'l' ? 3 : 0;
}

/* The same in any case; U+017F folds to s. */
static size_t contraction_any_case(const char *text, size_t size)
{
    if (size < 2 || text[0] != '\'') return 0;
    if (size >= 3 && memcmp(text + 1, "\xc5\xbf", 2) == 0) return 3;
    char lower[3] = {'\''};
    size_t n = size < 3 ? size : 3;
    for (size_t i = 1; i < n; i++) lower[i] = (char)(text[i] >= 'A' && text[i] <= 'Z' ? text[i] + 32 : text[i]);
    return contraction(lower, n);
}

size_t ptq_scan_gpt2(const char *text, size_t size, int *matched)
{
    *matched = 1;
    size_t n = contraction(text, size);
    if (n) return n;
    size_t start = text[0] == ' ';
    struct character c = character_at(text, size, start);
    if (c.flags & PTQ_LETTER) return run_end(text, size, start, PTQ_LETTER, SIZE_MAX);
    if (c.flags & PTQ_NUMBER) return run_end(text, size, start, PTQ_NUMBER, SIZE_MAX);
    if (c.flags & OTHER) return run_end(text, size, start, OTHER, SIZE_MAX);
    return spaces(text, size);
}

static int is_newline(char c)
{
    return c == '\r' || c == '\n';
}

/* S*[\r\n]+ : up to the last line end of the run of white space, or 0. */
static size_t lines(const char *text, size_t size)
{
    size_t end = run_end(text, size, 0, PTQ_SPACE, SIZE_MAX);
    while (end > 0 && !is_newline(text[end - 1])) end--;
    return end;
}

static size_t scan_llama3(const char *text, size_t size, size_t digits)
{
    size_t n = contraction_any_case(text, size);
    if (n) return n;
    struct character c = character_at(text, size, 0);
    if (c.flags & PTQ_NUMBER) return run_end(text, size, 0, PTQ_NUMBER, digits);
    size_t letters = c.flags & PTQ_LETTER || is_newline(text[0]) ? 0 : (size_t)c.length;
    n = run_end(text, size, letters, PTQ_LETTER, SIZE_MAX);
    if (n > letters) return n;
    size_t start = text[0] == ' ';
    n = run_end(text, size, start, OTHER, SIZE_MAX);
    if (n > start) {
        while (n < size && is_newline(text[n])) n++;
        return n;
    }
    n = lines(text, size);
    return n ? n : spaces(text, size);
}

size_t ptq_scan_llama3(const char *text, size_t size, int *matched)
{
    *matched = 1;
    return scan_llama3(text, size, 3);
}

size_t ptq_scan_qwen2(const char *text, size_t size, int *matched)
{
    *matched = 1;
    return scan_llama3(text, size, 1);
}

/* Length of the character at text[at] where bloom's class takes it, else 0. */
static size_t bloom_character(const char *text, size_t size, size_t at)
{
    static const uint32_t excluded[] = {'(',    ')',    '|',    '.',    ',',    '!',    '?',
                                        0x2026, 0x3002, 0xff0c, 0x3001, 0x0964, 0x06d4, 0x060c};
    struct character c = character_at(text, size, at);
    if (c.flags & PTQ_SPACE) return 0;
    for (size_t i = 0; i < sizeof excluded / sizeof *excluded; i++)
        if (c.code == excluded[i]) return 0;
    return (size_t)c.length;
}

size_t ptq_scan_bloom(const char *text, size_t size, int *matched)
{
    size_t at = 0, n;
    *matched = 0;
    while (at < size) {
        size_t start = at + (text[at] == ' ');
        if (start < size && bloom_character(text, size, start)) {
            if (at > 0) return at; /* the gap ends where a match begins */
            *matched = 1;
            for (at = start; (n = bloom_character(text, size, at)) > 0;) at += n;
            return at;
        }
        at += (size_t)character_at(text, size, at).length;
    }
    return at;
}

static const struct {
    const char *regex;
    ptq_scan *scan;
} known[] = {
    {"'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+", ptq_scan_gpt2},
    {"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|"
     "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
     ptq_scan_llama3},
    {"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|"
     "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
     ptq_scan_qwen2},
    {" ?[^(\\s|[.,!?\u2026\u3002\uff0c\u3001\u0964\u06d4\u060c])]+", ptq_scan_bloom},
};
enum { N_KNOWN = sizeof known / sizeof *known };

ptq_scan *ptq_scanner_find(const char *regex)
{
    for (size_t i = 0; i < N_KNOWN; i++)
        if (strcmp(known[i].regex, regex) == 0) return known[i].scan;
    return NULL;
}

const char *ptq_scanner_regex(ptq_scan *scan)
{
    for (size_t i = 0; i < N_KNOWN; i++)
        if (known[i].scan == scan) return known[i].regex;
    return NULL;
}
