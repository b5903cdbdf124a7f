/* Normalizers: what a tokenizer does to a text before it looks at words. */
#ifndef PTQ_NORMALIZER_H
#define PTQ_NORMALIZER_H

#include "arena.h"
#include "status.h"

#include <stddef.h>

enum ptq_normal_kind {
    PTQ_NORMAL_FORM,    /* a Unicode normal form, by utf8proc */
    PTQ_NORMAL_PREPEND, /* content before a text that is not empty */
    PTQ_NORMAL_REPLACE  /* content for each occurrence of pattern */
};

struct ptq_normal_step {
    enum ptq_normal_kind kind;
    int form; /* utf8proc options, from ptq_normal_form */
    const char *pattern, *content;
};

/* Steps of one tokenizer's normalizer, and of its pre-tokenizer; bytes of a text that a step looks for or puts in. */
enum { PTQ_MAX_STEPS = 16, PTQ_MAX_STEP_BYTES = 1024 };

struct ptq_normalizer {
    struct ptq_normal_step step[PTQ_MAX_STEPS];
    int n;
};

/* utf8proc options of "NFC", "NFD", "NFKC" or "NFKD"; 0 for another name. */
int ptq_normal_form(const char *name);

/* The bytes that all steps together may make of a text of size bytes, in whatever parts it comes. */
size_t ptq_normal_room(size_t size);

/* *out of *out_size bytes: text[0..size) (well-formed UTF-8) through all steps; text itself where nothing changes it,
 * else in scratch. What the steps make is taken from *room; fails with PTQ_EINPUT where that is not enough. */
enum ptq_status ptq_normalize(const struct ptq_normalizer *normalizer, const char *text, size_t size, size_t *room,
                              struct ptq_arena *scratch, const char **out, size_t *out_size, struct ptq_error *err);

#endif
