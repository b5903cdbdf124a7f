/* Pre-tokenizers: a text cut into the pieces within which BPE merges. */
#ifndef PTQ_PRETOKENIZER_H
#define PTQ_PRETOKENIZER_H

#include "arena.h"
#include "normalizer.h"
#include "pattern.h"
#include "scanner.h"
#include "status.h"

#include <stddef.h>

/* What becomes of a match and of the text between two matches. */
enum ptq_split_behaviour {
    PTQ_SPLIT_ISOLATED,   /* both are pieces */
    PTQ_SPLIT_REMOVED,    /* matches are dropped */
    PTQ_SPLIT_PREVIOUS,   /* a match belongs to the piece before it */
    PTQ_SPLIT_NEXT,       /* a match belongs to the piece after it */
    PTQ_SPLIT_CONTIGUOUS, /* neighbouring matches are one piece */
    PTQ_N_SPLITS
};

/* One step. What it splits by is the first that is set of scan, pattern and string; all unset: nothing is split. */
struct ptq_pre_step {
    ptq_scan *scan;
    struct ptq_pattern *pattern;
    const char *string;
    enum ptq_split_behaviour behaviour;
    int invert;               /* matches and what is between them change places */
    const char *space;        /* written for each ' ' before splitting, or NULL */
    const char *prefix;       /* put before a text that does not begin with it, or NULL */
    int prefix_only_at_start; /* ... and only where the whole input begins */
};

struct ptq_pretokenizer {
    struct ptq_pre_step step[PTQ_MAX_STEPS];
    int n;
    int byte_level; /* pieces go to BPE as bytes, each of them a symbol */
};

/* Digits: each number character a match, or runs of them with PTQ_SPLIT_CONTIGUOUS. */
size_t ptq_scan_digits(const char *text, size_t size, int *matched);

/* Takes the pieces in order, none of them empty. piece lives as long as text and scratch do. */
typedef enum ptq_status ptq_piece_sink(void *context, const char *piece, size_t size, struct ptq_error *err);

/* text[0..size): well-formed UTF-8. at_start: the text begins where the whole input does. budget: of the whole input,
 * begun by the caller. */
enum ptq_status ptq_pretokenize(const struct ptq_pretokenizer *pretokenizer, const char *text, size_t size,
                                int at_start, struct ptq_pattern_budget *budget, struct ptq_arena *scratch,
                                ptq_piece_sink *sink, void *context, struct ptq_error *err);

void ptq_pretokenizer_free(struct ptq_pretokenizer *pretokenizer); /* what the patterns hold */

#endif
