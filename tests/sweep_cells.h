/* A made-up sweep with all that a report draws: widths, group sizes, methods, sizes of calibration, linears of several
 * blocks, inputs. Plausible, and the same at each run. */
#ifndef PTQ_TESTS_SWEEP_CELLS_H
#define PTQ_TESTS_SWEEP_CELLS_H

#include "cells.h"

#include <stdio.h>

enum { SWEEP_BLOCKS = 12, SWEEP_ROLES = 7, SWEEP_INPUTS = 4 };

/* Errors that grow with depth and peak at the last down_proj; alphas between 0 and 0.8. */
static inline void sweep_linears(struct ptq_cell *c, struct ptq_arena *arena, double scale)
{
    static const char *const role[SWEEP_ROLES] = {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj",
                                                  "self_attn.o_proj", "mlp.gate_proj",    "mlp.up_proj",
                                                  "mlp.down_proj"};
    static const int input[SWEEP_ROLES] = {0, 0, 0, 1, 2, 2, 3};
    struct ptq_rng rng = ptq_rng_make(3, c->spec);
    int is_awq = strncmp(c->spec, "awq", 3) == 0;
    double alpha[SWEEP_INPUTS] = {0};
    c->n_linears = SWEEP_BLOCKS * SWEEP_ROLES;
    c->linear = ptq_new(arena, struct ptq_linear_report, c->n_linears);
    for (int i = 0; i < c->n_linears; i++) {
        int block = i / SWEEP_ROLES, r = i % SWEEP_ROLES;
        if (r == 0)
            for (int j = 0; j < SWEEP_INPUTS; j++) alpha[j] = (int)(17 * ptq_rng_uniform(&rng)) * 0.05;
        double error = scale * (0.004 + 0.002 * block) * (r == 6 ? 4 : 1) * (1 + ptq_rng_uniform(&rng));
        c->linear[i] = (struct ptq_linear_report){.name = ptq_format(arena, "model.layers.%d.%s", block, role[r]),
                                                  .weight_error = 2 * error,
                                                  .output_error = c->calib[0] ? error : -1,
                                                  .groups = 100,
                                                  .alpha = is_awq ? alpha[input[r]] : 0,
                                                  .clip = 0.9};
    }
}

static inline void sweep_inputs(struct ptq_cell *c, struct ptq_arena *arena)
{
    static const char *const name[SWEEP_INPUTS] = {"attn_in", "attn_out", "mlp_in", "mlp_out"};
    c->n_inputs = SWEEP_BLOCKS * SWEEP_INPUTS;
    c->input = ptq_new(arena, struct ptq_input_report, c->n_inputs);
    for (int i = 0; i < c->n_inputs; i++) {
        int block = i / SWEEP_INPUTS, which = i % SWEEP_INPUTS;
        struct ptq_input_report *r = &c->input[i];
        *r = (struct ptq_input_report){.name = ptq_format(arena, "%d.%s", block, name[which]),
                                       .channels = which == 3 ? 1536 : 576,
                                       .top1 = 17 + which,
                                       .top2 = 100 + block,
                                       .top3 = 3,
                                       .median = 0.3 + 0.01 * block};
        for (int k = 0; k < PTQ_INPUT_RANKS; k++) {
            double rank = fmin(pow(2, k), (double)r->channels);
            r->ranked[k] = (float)(r->median * pow((double)r->channels / rank, 0.3) * (k == 0 ? 2 + block : 1) / 4);
        }
    }
}

static inline struct ptq_cell sweep_cell(struct ptq_arena *arena, const char *model, const char *spec, double nats_lost,
                                         int64_t calib_windows, int64_t seed)
{
    struct ptq_cell c = make_cell(arena, model, spec, nats_lost);
    const char *g = strstr(spec, ",g");
    c.experiment = "sweep";
    c.seed = seed;
    c.seconds_quantize *= strncmp(spec, "gptq", 4) ? 1 : 30;
    if (g && c.group_size > 0) c.effective_bits = (double)c.w_bit + (16.0 + (double)c.w_bit) / (double)c.group_size;
    if (g && c.group_size < 0) c.effective_bits = (double)c.w_bit + 0.03;
    if (strncmp(spec, "fp16", 4)) {
        c.calib = "a calibration text";
        c.calib_sha256 = "2222222222222222222222222222222222222222222222222222222222222222";
        c.calib_windows = calib_windows;
        c.calib_window = 512;
        c.calib_protocol =
            ptq_format(arena, "random %lld windows of 512, bos stream, text c606d78b6cd9", (long long)calib_windows);
        sweep_linears(&c, arena, nats_lost);
        if (strncmp(spec, "gptq", 4)) sweep_inputs(&c, arena);
    }
    c.config = ptq_format(arena, "schema=1\nspec=%s\nmodel=%s\nn=%lld\nseed=%lld\n", spec, model,
                          (long long)calib_windows, (long long)seed);
    ptq_cell_identify(&c);
    return c;
}

/* *n cells: FP16; RTN, AWQ and 1 % of the channels at 3 and 4 bits and four group sizes; GPTQ at one. */
static inline struct ptq_cell *make_sweep(struct ptq_arena *arena, const char *model, int *n)
{
    static const char *const method[] = {"rtn:w%d,g%d", "awq:w%d,g%d,loss=gram",
                                         "salient:w%d,g%d,select=activation,fraction=0.01"};
    static const int group[] = {32, 64, 128, -1};
    static const double lost[] = {1.0, 0.45, 0.6};
    struct ptq_cell *cell = ptq_new(arena, struct ptq_cell, 32);
    *n = 0;
    cell[(*n)++] = sweep_cell(arena, model, "fp16", 0, 0, 0);
    for (int w = 3; w <= 4; w++)
        for (int g = 0; g < 4; g++)
            for (int m = 0; m < 3; m++) {
                char spec[96];
                snprintf(spec, sizeof spec, method[m], w, group[g]); /* NOLINT: the formats are above */
                cell[(*n)++] = sweep_cell(arena, model, ptq_strdup(arena, spec),
                                          lost[m] * (1 + 0.3 * g) * (w == 3 ? 1 : 0.12), 64, 0);
            }
    cell[(*n)++] = sweep_cell(arena, model, "gptq:w3,g64,act_order=1", 0.5, 64, 0);
    cell[(*n)++] = sweep_cell(arena, model, "gptq:w4,g64,act_order=1", 0.09, 64, 0);
    return cell;
}

/* *n cells: AWQ and 1 % of the channels, three sizes of calibration, three seeds. */
static inline struct ptq_cell *make_data_efficiency(struct ptq_arena *arena, const char *model, int *n)
{
    struct ptq_cell *cell = ptq_new(arena, struct ptq_cell, 32);
    *n = 0;
    cell[(*n)++] = sweep_cell(arena, model, "fp16", 0, 0, 0);
    for (int size = 4; size <= 64; size *= 4)
        for (int seed = 0; seed < 3; seed++) {
            double noise = 0.3 * ((seed * 7 + size) % 5) / size;
            cell[(*n)++] = sweep_cell(arena, model, "awq:w3,g64,loss=gram", 0.45 + noise, size, seed);
            cell[(*n)++] =
                sweep_cell(arena, model, "salient:w3,g64,select=activation,fraction=0.01", 0.6 + noise, size, seed);
        }
    return cell;
}

#endif
