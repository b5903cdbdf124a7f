/* Made-up cells for tests: plausible, and the same at each run. */
#ifndef PTQ_TESTS_CELLS_H
#define PTQ_TESTS_CELLS_H

#include "cell_texts.h"
#include "results.h"
#include "rng.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { CELL_WINDOWS = 4, CELL_SCORED = 2047 };

/* One text for one model: nll of a token is a base that all cells share, plus what the method costs. */
static inline void cell_fill(struct ptq_cell *c, struct ptq_arena *arena, double nats_lost)
{
    struct ptq_rng shared = ptq_rng_make(1, "text"), own = ptq_rng_make(2, c->spec);
    double sum = 0;
    c->windows = CELL_WINDOWS;
    c->window = CELL_SCORED + 1;
    c->tokens = CELL_WINDOWS * CELL_SCORED;
    c->nll = ptq_new(arena, float, c->tokens);
    for (int64_t i = 0; i < c->tokens; i++) {
        double base = -2.9 * log(1 - ptq_rng_uniform(&shared)), lost = nats_lost * 2 * ptq_rng_uniform(&own);
        c->nll[i] = (float)(base + lost);
        sum += c->nll[i];
    }
    c->nll_mean = sum / (double)c->tokens;
    c->ppl = exp(c->nll_mean);
}

/* As if it had been compared with full precision: every field another value, so that none can stand for another. */
static inline void cell_compare(struct ptq_cell *c, struct ptq_arena *arena, double kl)
{
    struct ptq_rng rng = ptq_rng_make(3, c->spec);
    double next = fmod(kl, 0.5); /* differences of probabilities are at most 1 */
    c->kl = ptq_new(arena, float, c->tokens);
    for (int64_t i = 0; i < c->tokens; i++) c->kl[i] = (float)(2 * kl * ptq_rng_uniform(&rng));
#define X(kind, name, ...) c->name = (next += 0.001);
    PTQ_AGAINST_FIELDS(X)
#undef X
    c->kl_mean = kl;
    c->same_top = 0.875;
}

static inline void cell_linears(struct ptq_cell *c, struct ptq_arena *arena)
{
    c->n_linears = c->w_bit == 16 ? 0 : 3;
    c->linear = ptq_new(arena, struct ptq_linear_report, c->n_linears);
    for (int i = 0; i < c->n_linears; i++)
        c->linear[i] = (struct ptq_linear_report){.name = ptq_format(arena, "model.layers.%d.mlp.up_proj", i),
                                                  .weight_error = 0.01 * (i + 1),
                                                  .output_error = c->calib[0] ? 0.02 * (i + 1) : -1,
                                                  .saturated = i,
                                                  .groups = 64 * (i + 1),
                                                  .damp = 0.01,
                                                  .loss = 5.0 * i,
                                                  .alpha = 0.05 * i,
                                                  .clip = 1 - 0.1 * i};
}

static inline struct ptq_cell make_cell(struct ptq_arena *arena, const char *model, const char *spec, double nats_lost)
{
    int quantizes = strncmp(spec, "fp16", 4) != 0, salient = strncmp(spec, "salient", 7) == 0;
    const char *w = strstr(spec, ":w"), *g = strstr(spec, ",g"), *f = strstr(spec, "fraction=");
    struct ptq_cell c = {0};
#define CELL_TEXT(field) c.field = "";
    CELL_TEXTS
#undef CELL_TEXT
    c.experiment = "table1";
    c.spec = spec;
    c.method = ptq_strndup(arena, spec, strcspn(spec, ":"));
    c.model = model;
    c.model_sha256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53";
    c.family = "llama";
    c.source_dtype = "F16";
    c.text = "wikitext-2/test.txt";
    c.text_sha256 = "b737b8d1ebaa1ec02e33138f29f168c3f5c9a32a2081a49c1223f836f6f6f63a";
    c.tokens_sha256 = "1111111111111111111111111111111111111111111111111111111111111111";
    c.protocol = "window 2048, first 4 windows, bos stream, first token not scored, tail dropped, text b737b8d1ebaa";
    c.path = "fp32";
    c.device = "cpu";
    c.version = "0.1.0";
    c.commit = "0123456789abcdef0123456789abcdef01234567";
    c.compiler = "GNU 12.2.0, Release";
    c.host = "here";
    c.cpu = "a processor";
    c.kernels = "avx2";
    c.blas = "OpenBLAS 0.3.21 Haswell";
    c.started = "2026-11-23T20:00:00Z";
    c.w_bit = quantizes ? w[2] - '0' : 16;
    c.group_size = quantizes ? strtol(g + 2, NULL, 10) : 0;
    c.threads = 2;
    c.effective_bits = quantizes ? (double)c.w_bit + 0.5 : 16;
    c.fraction = f ? strtod(f + 9, NULL) : 0;
    c.seconds_load = 0.5;
    c.seconds_quantize = quantizes ? 1.25 : 0;
    c.seconds_eval = 20;
    c.tokens_per_second = 409.6;
    c.peak_rss_bytes = 300 << 20;
    c.peak_rss_bytes_load = 120 << 20;
    c.peak_rss_bytes_calibrate = salient ? 250 << 20 : 0;
    c.peak_rss_bytes_quantize = quantizes ? 280 << 20 : 0;
    c.peak_rss_bytes_eval = 300 << 20;
    if (salient) {
        c.calib = "wikitext-2/valid.txt";
        c.calib_sha256 = "2222222222222222222222222222222222222222222222222222222222222222";
        c.calib_protocol = "first 64 windows of 512, bos stream, text c606d78b6cd9";
        c.calib_windows = 64;
        c.calib_window = 512;
    }
    cell_fill(&c, arena, nats_lost);
    cell_linears(&c, arena);
    c.config = ptq_format(arena, "schema=1\nspec=%s\nmodel=%s\n", spec, model);
    ptq_cell_identify(&c);
    return c;
}

/* A small cell with all that a results file can hold of one. */
static inline struct ptq_cell make_whole_cell(struct ptq_arena *arena)
{
    struct ptq_cell c = make_cell(arena, "model", "awq:w4,g32", 0.5);
    c.windows = 2;
    c.tokens = 6;
    c.nll_mean = 0;
    for (int i = 0; i < 6; i++) c.nll_mean += c.nll[i] / 6.0;
    c.ppl = exp(c.nll_mean);
    cell_compare(&c, arena, 0.25);
    c.peak_rss_bytes_calibrate = 250 << 20;
    c.n_inputs = 2;
    c.input = ptq_new(arena, struct ptq_input_report, 2);
    for (int i = 0; i < 2; i++) c.input[i].name = i ? "0.mlp_in" : "0.attn_in";
    return c;
}

/* The eleven cells of Table 1, with costs in nats like those of a small model. */
enum { TABLE1_CELLS = 11 };
static inline struct ptq_cell *make_table1(struct ptq_arena *arena, const char *model)
{
    static const struct {
        const char *spec;
        double nats_lost;
    } made[TABLE1_CELLS] = {
        {"fp16", 0},
        {"rtn:w3,g64", 1.022},
        {"salient:w3,g64,select=activation,fraction=0.001", 0.681},
        {"salient:w3,g64,select=activation,fraction=0.01", 0.521},
        {"salient:w3,g64,select=activation,fraction=0.03", 0.407},
        {"salient:w3,g64,select=weight,fraction=0.001", 1.019},
        {"salient:w3,g64,select=weight,fraction=0.01", 0.981},
        {"salient:w3,g64,select=weight,fraction=0.03", 0.984},
        {"salient:w3,g64,select=random,fraction=0.001", 1.028},
        {"salient:w3,g64,select=random,fraction=0.01", 0.984},
        {"salient:w3,g64,select=random,fraction=0.03", 0.952},
    };
    struct ptq_cell *cell = ptq_new(arena, struct ptq_cell, TABLE1_CELLS);
    for (int i = 0; i < TABLE1_CELLS; i++) cell[i] = make_cell(arena, model, made[i].spec, made[i].nats_lost);
    return cell;
}

#endif
