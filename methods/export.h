/* Export: a quantised model as a checkpoint that other programs load, or that ptq does, to the bit. A format is one
 * `const struct ptq_export_format` in one file and its word in PTQ_EXPORT_FORMATS.
 *
 *   check -> begin -> block 0, 1, ... (as the pipeline hands them over) -> finish        nothing but one block is held
 *
 * Codes are written as the method made them, never derived again. Scales become FP16 in every container of others:
 * where that would move a weight by more than half a step of its grid the linear is refused by name, else what the
 * rounding costs is in the perplexity of the model card, which is measured on the written files. */
#ifndef PTQ_EXPORT_H
#define PTQ_EXPORT_H

#include "method.h"
#include "model.h"

struct ptq_export_format;

/* An export under way. Who makes it fills the first part, and owns both arenas. */
struct ptq_export {
    const struct ptq_export_format *format;
    const struct ptq_model *model;
    const struct ptq_spec *spec;
    const char *folder;        /* to be filled; exists */
    uint64_t shard_bytes;      /* no file is larger, where it is not one tensor */
    struct ptq_arena *arena;   /* as long as the export */
    struct ptq_arena *scratch; /* rewound after every call */
    void *state;               /* the format's own */
};

struct ptq_export_format {
    const char *name, *summary;
    int exact;    /* 1: programs compute with its codes in float32, which the method `exact` measures; 0: as FP16 */
    int lossless; /* 1: nothing is rounded: ptq reads the cell's own numbers, to the last bit */
    /* What the spec and the model's shapes say against it, before anything is computed. */
    enum ptq_status (*check)(const struct ptq_export *x, struct ptq_error *err);
    enum ptq_status (*begin)(struct ptq_export *x, struct ptq_error *err);
    /* As struct ptq_block_sink has it. */
    enum ptq_status (*block)(struct ptq_export *x, int64_t index, const struct ptq_block *block,
                             const struct ptq_qmat *q, struct ptq_error *err);
    enum ptq_status (*finish)(struct ptq_export *x, struct ptq_error *err);
    void (*abandon)(struct ptq_export *x); /* closes what is open, after begin, whether it failed or not */
};

/* Their words, for usage and help. */
#define PTQ_EXPORT_WORD(word) " " #word
#define PTQ_EXPORT_WORDS "one of" PTQ_EXPORT_FORMATS(PTQ_EXPORT_WORD)

#define PTQ_EXPORT_FORMATS(X) X(fp16) X(awq) X(gptq) X(gptq_v2) X(gguf) X(packed)

extern const struct ptq_export_format *const ptq_export_formats[];
extern const int ptq_n_export_formats;

/* By name; an unknown one is answered with the list. */
enum ptq_status ptq_export_find(const char *name, const struct ptq_export_format **out, struct ptq_error *err);

enum ptq_status ptq_export_check(const struct ptq_export *x, struct ptq_error *err);
enum ptq_status ptq_export_begin(struct ptq_export *x, struct ptq_error *err);
enum ptq_status ptq_export_block(struct ptq_export *x, int64_t index, const struct ptq_block *block,
                                 const struct ptq_qmat *q, struct ptq_error *err);
enum ptq_status ptq_export_finish(struct ptq_export *x, struct ptq_error *err);
void ptq_export_abandon(struct ptq_export *x);

/* ---- for formats ---- */

/* Columns in groups that are not consecutive ones. */
int ptq_export_reorders(const struct ptq_spec *spec);
/* Refuses a spec that makes no codes. */
enum ptq_status ptq_export_quantizes(const struct ptq_export *x, struct ptq_error *err);
/* Refuses what containers of codes do not hold: a spec that makes no codes, columns kept in FP16 or divided; AWQ's
 * scales behind an activation, where this one does not divide (struct ptq_folder_linears). */
enum ptq_status ptq_export_needs_codes(const struct ptq_export *x, int divides, struct ptq_error *err);
/* Refuses a model that has a linear whose N and K are not multiples of these; instead: what to do then. */
enum ptq_status ptq_export_multiples(const struct ptq_export *x, int64_t n, int64_t k, const char *instead,
                                     struct ptq_error *err);
/* A linear's codes as a container of FP16 scales and whole zeros in [least, 2^w_bit) can have them. */
enum ptq_status ptq_export_check_codes(const struct ptq_export *x, const char *name, const struct ptq_qmat *q,
                                       int least, struct ptq_error *err);
/* That every weight which they stand for is one in FP16: what reads such a container makes those. */
enum ptq_status ptq_export_check_weights(const char *name, const struct ptq_qmat *q, struct ptq_error *err);
/* *has: whether the linear's bias is written. One that a method made where the checkpoint has none (or the zeros that
 * stand for it beside others') must be 0. */
enum ptq_status ptq_export_check_bias(const struct ptq_export *x, int64_t index, enum ptq_role role,
                                      const struct ptq_linear *linear, int *has, struct ptq_error *err);

#endif
