/* What a method is. Adding one is a file with a `const struct ptq_method` and its word in PTQ_METHODS (registry.h);
 * docs/add-a-method.md goes through it. */
#ifndef PTQ_METHOD_H
#define PTQ_METHOD_H

#include "arena.h"
#include "forward.h"
#include "preset.h"
#include "qmat.h"
#include "results.h"
#include "stats.h"
#include "status.h"

#include <stdint.h>

enum { PTQ_MAX_PARAM = 16, PTQ_MAX_ONLY = 120 };

/* One parameter: the SPEC key, its help, its check, its default. words != NULL: one of "a|b|c", the value is its index.
 * A number is an integer where default, min and max are whole numbers, unless real is set; else it may be a fraction.
 */
struct ptq_param {
    const char *name;
    double fallback, min, max;
    const char *words;
    const char *doc;
    int real;   /* 1: fractions are taken though default, min and max are whole numbers */
    int text;   /* 1: the value is no number but a text, only= (only.h) */
    int always; /* 1: part of the canonical SPEC even where it has its default */
};

/* Of every method that sums over the calibration windows; the pipeline puts them into that order. */
#define PTQ_ORDER_PARAM                                                                                                \
    {                                                                                                                  \
        .name = "order", .max = 1 << 20, .doc = "0: calibration summed as it comes; n: in the n-th shuffled order"     \
    }

struct ptq_method;

/* A cell's method with everything chosen: the parsed SPEC. */
struct ptq_spec {
    const struct ptq_method *method;
    struct ptq_grid grid;
    char only[PTQ_MAX_ONLY];         /* which linears' codes are put in place (only.h); empty: all */
    double value[PTQ_MAX_PARAM];     /* of method->param, in its order */
    const struct ptq_preset *preset; /* what was asked for by name, or NULL; its switches are in the above */
    /* Bit i: the text (or its preset) names the i-th parameter of the grid, of the method. */
    unsigned given_grid, given_own;
};

/* One linear to quantise. */
struct ptq_layer {
    const char *name; /* unique in the model; seeds what is drawn at random */
    const float *w;   /* [N][K] */
    int64_t n, k;
    const struct ptq_stats *stats;    /* of the linear's input; NULL where the method needs none */
    uint64_t seed;                    /* the run's */
    struct ptq_linear_report *report; /* the method fills what only it knows (saturated) */
};

/* What a method needs: means, or means and moments, of each linear's input in full precision (core/stats.h); whether it
 * draws at random (only then is the seed part of what a cell is); the calibration windows themselves, travelling from
 * block to block. */
enum {
    PTQ_NEED_NOTHING = 0,
    PTQ_NEED_ABSMEAN = 1,
    PTQ_NEED_SEED = 2,
    PTQ_NEED_WINDOWS = 4,
    PTQ_NEED_MOMENTS = 8,
    PTQ_NEED_GRAM_ANYWHERE = 16 /* with MOMENTS: Gram matrices may lie on the device (struct ptq_moments) */
};

/* One block for a method that looks at all of it (GPTQ, AWQ). */
struct ptq_block_task {
    const struct ptq_spec *spec;
    const struct ptq_model *model;
    int64_t index;
    uint64_t seed;
    /* float32 weights. block_method may transform them (AWQ's scales), function kept: what it leaves here is what
     * errors are measured against. It does not round them. */
    struct ptq_block *block;
    /* NULL without PTQ_NEED_WINDOWS. All calibration windows at this block's input, [windows * length][C] in memory.
     * block_method leaves them at its output, in full precision (AWQ) or as the quantised block gives it (GPTQ); after
     * the last block they are not read. */
    struct ptq_forward *calib;
    const struct ptq_moments *moments; /* [PTQ_N_INPUT] of the original block; NULL without PTQ_NEED_MOMENTS */
    struct ptq_arena *moments_memory;  /* theirs, for who has done with them before it wants much itself; else rewound
                                        * after the block */
    /* [PTQ_N_INPUT] of the original block, or NULL. A method that rescales inputs puts its own (in scratch) in place:
     * the reported output errors are measured on them. */
    const struct ptq_stats *stats;
    struct ptq_arena *arena;          /* keeps codes */
    struct ptq_arena *scratch;        /* another one, rewound after the block */
    struct ptq_qmat *q;               /* [PTQ_N_ROLE], to fill (ptq_qmat_make with arena) */
    struct ptq_linear_report *report; /* [PTQ_N_ROLE], by role: what only the method knows */
};

struct ptq_method {
    const char *name, *summary, *cite;
    const struct ptq_param *param; /* ended by a NULL name; may be NULL */
    struct ptq_grid grid;          /* defaults; w_bit 0: the method does not quantise (fp16) */
    int exact;                     /* of such a one: 1: reads weights without rounding them to FP16 (ptq_model_exact) */
    /* What the model's shape says against this spec, before anything is computed; NULL: nothing. */
    enum ptq_status (*check)(const struct ptq_spec *spec, const struct ptq_config *config, struct ptq_error *err);
    /* Which statistics this spec needs: PTQ_NEED_*. NULL: none. */
    unsigned (*need)(const struct ptq_spec *spec);
    /* Fills q (sizes and grid are set, code, scale and zero are allocated) from layer. Memory from arena, which keeps
     * what q points to. NULL where nothing is quantised. */
    enum ptq_status (*quantize)(const struct ptq_spec *spec, const struct ptq_layer *layer, struct ptq_arena *arena,
                                struct ptq_qmat *q, struct ptq_error *err);
    /* Instead of quantize: the whole block at once, on calibration windows that travel along. */
    enum ptq_status (*block_method)(struct ptq_block_task *task, struct ptq_error *err);
};

/* The registry (registry.c). */
extern const struct ptq_method *const ptq_methods[];
extern const int ptq_n_methods;

/* The method of this name; PTQ_EUSAGE with the nearest and all names where there is none. */
enum ptq_status ptq_method_find(const char *name, const struct ptq_method **out, struct ptq_error *err);

/* "rtn:w3,g128,range=gptq" to a spec; unknown names are answered with the nearest one. preset=NAME sets the preset's
 * keys, whatever its place; keys given beside it win. */
enum ptq_status ptq_spec_parse(const char *text, struct ptq_spec *out, struct ptq_error *err);
/* The canonical text: method, w, g, what is not default, and no preset. In arena. */
const char *ptq_spec_format(const struct ptq_spec *spec, struct ptq_arena *arena);
/* The value of a parameter by name. Asserts that the method has it. */
double ptq_spec_value(const struct ptq_spec *spec, const char *name);
double ptq_spec_value_or(const struct ptq_spec *spec, const char *name, double fallback); /* of a method without it */
/* 1 where the method has such a parameter. */
int ptq_spec_has(const struct ptq_spec *spec, const char *name);
/* The parameters that every quantising method has (w, g, range, ...), ended by a NULL name. */
const struct ptq_param *ptq_grid_params(void);
/* 1 where spec is of pattern's method and has the values that pattern names: of "salient:w3,fraction=0.01" the width
 * and the fraction, and nothing else. */
int ptq_spec_agrees(const struct ptq_spec *pattern, const struct ptq_spec *spec);
/* 1 where the spec quantises something. */
int ptq_spec_quantizes(const struct ptq_spec *spec);
/* PTQ_NEED_* of the spec. */
unsigned ptq_spec_need(const struct ptq_spec *spec);
/* 1 where its codes depend on the calibration text. */
int ptq_spec_needs_calib(const struct ptq_spec *spec);
/* The same of a stored cell's SPEC: 1 also where this build does not know its method. */
int ptq_spec_text_needs_calib(const char *text);
/* 1 where a cell with a calibration text looks at its statistics. A method whose windows travel measures what it needs
 * on the way (GPTQ); all others report errors on the statistics even where they do not read them (RTN). */
int ptq_spec_reads_stats(const struct ptq_spec *spec);

#endif
