/* The dialect of tokenizer.json's expressions, which is Oniguruma's, written in PCRE2's. What is known to mean the same
 * in both is taken, the classes of characters as the library has them (Unicode 16); all else is refused by name. */
#ifndef PTQ_ONIGURUMA_H
#define PTQ_ONIGURUMA_H

#include "status.h"
#include "words.h"

/* Adds regex to *out; where: for errors. Memory of *out is the caller's, also where this fails. */
enum ptq_status ptq_translate_regex(const char *regex, const char *where, struct ptq_buffer *out,
                                    struct ptq_error *err);

#endif
