#include "bench.h"

#include "cases.h"
#include "escape.h"
#include "ops.h"
#include "pool.h"
#include "progress.h"
#include "rng.h"
#include "words.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SAMPLES = 5, TILES_A_TASK = 8 };
static const double least = 0.02; /* seconds of one sample */

/* One shape of one operation, ready to run. */
struct work {
    struct ptq_arena *arena;
    int64_t m, n, k;
    float *x, *y, *w;
    uint16_t *half;
    struct ptq_packed packed;
    struct ptq_qmat q;
    struct ptq_acts acts;
    int act_bits;
    struct ptq_attention shape;
    int64_t first; /* attention: query rows [first, first + m) */
    double bytes, flops;
};

struct operation {
    const char *name;
    int n_cases;
    void (*make)(struct work *w, int number);
    void (*run)(struct work *w);
    int act_bits; /* of packed linears */
};

/* ---- contents ---- */

static float *floats(struct work *w, int64_t n)
{
    float *x = ptq_new(w->arena, float, n);
    uint32_t state = 1;
    for (int64_t i = 0; i < n; i++) {
        state = state * 1664525 + 1013904223;
        x[i] = (float)(state >> 8) * 0x1p-23f - 1;
    }
    return x;
}

static void make_matrix(struct work *w, int number)
{
    const struct ptq_matrix_case *c = &ptq_matrix_cases[number];
    w->m = c->m, w->n = c->n, w->k = c->k;
    w->x = floats(w, w->m * (w->k > w->n ? w->k : 2 * w->n));
    w->y = floats(w, w->m * (w->k > w->n ? w->k : w->n));
    w->w = floats(w, w->n * w->k);
    w->half = ptq_new(w->arena, uint16_t, w->n * w->k);
    for (int64_t i = 0; i < w->n * w->k; i++) w->half[i] = (uint16_t)(0x3000 + i % 1024);
}

static void make_linear(struct work *w, int number)
{
    make_matrix(w, number);
    w->flops = 2.0 * (double)(w->m * w->n * w->k);
    w->bytes = 4.0 * (double)(w->m * w->k + w->n * w->k + w->m * w->n);
}

static void make_half(struct work *w, int number)
{
    make_linear(w, number);
    w->bytes -= 2.0 * (double)(w->n * w->k);
}

static void make_norm(struct work *w, int number)
{
    make_matrix(w, number);
    w->flops = 4.0 * (double)(w->m * w->k);
    w->bytes = 8.0 * (double)(w->m * w->k);
}

static void make_silu(struct work *w, int number)
{
    make_matrix(w, number);
    w->flops = 4.0 * (double)(w->m * w->n);
    w->bytes = 12.0 * (double)(w->m * w->n);
}

static void make_attention(struct work *w, int number)
{
    const struct ptq_attention_case *c = &ptq_attention_cases[number];
    int64_t t = c->first + c->m;
    w->shape = (struct ptq_attention){.heads = c->heads, .kv_heads = c->kv_heads, .head_size = c->d, .scale = 0.1f};
    w->m = c->m, w->first = c->first;
    w->n = c->heads * c->d;
    w->k = (c->heads + 2 * c->kv_heads) * c->d;
    w->x = floats(w, t * w->k);
    w->y = floats(w, w->m * w->n);
    w->w = floats(w, (int64_t)ptq_attention_scratch(t, c->d));
    w->flops = 4.0 * (double)(w->n * w->m) * (double)(c->first + (c->m + 1) / 2);
    w->bytes = 4.0 * (double)(t * w->k + w->m * w->n);
}

static void make_codes(struct work *w, const struct ptq_grid *grid)
{
    int64_t groups = ptq_n_groups(w->k, grid->group_size);
    struct ptq_error err;
    w->q = (struct ptq_qmat){.n = w->n, .k = w->k, .n_groups = groups, .grid = *grid};
    w->q.code = ptq_new(w->arena, uint8_t, w->n * w->k);
    w->q.scale = ptq_new(w->arena, float, w->n *groups);
    w->q.zero = ptq_new(w->arena, float, w->n *groups);
    uint32_t state = 1;
    for (int64_t i = 0; i < w->n * w->k; i++) {
        state = state * 1664525 + 1013904223;
        w->q.code[i] = (uint8_t)(state >> (32 - grid->w_bit));
    }
    for (int64_t i = 0; i < w->n * groups; i++) {
        w->q.scale[i] = 0.0078125f * (float)(1 + i % 7); /* FP16 holds it */
        w->q.zero[i] = (float)(i % 3);
    }
    enum ptq_status status = ptq_pack(w->arena, &w->q, &w->packed, &err);
    if (status) abort(); /* these codes have a packed form */
    size_t bytes = ptq_acts_bytes(&w->packed, w->m, w->act_bits);
    ptq_acts_make(&w->acts, &w->packed, w->m, w->act_bits, ptq_alloc(w->arena, bytes, "activations"));
    w->x = floats(w, w->m * w->k);
    w->y = floats(w, w->m * w->n);
    w->w = floats(w, w->n * w->k);
    w->flops = 2.0 * (double)(w->m * w->n * w->k);
    w->bytes = (double)w->packed.bytes + w->act_bits / 8.0 * (double)(w->m * w->k) + 4.0 * (double)(w->m * w->n);
    ptq_ops()->acts(&w->acts, &w->packed, w->x, w->k);
}

static void make_qmat(struct work *w, int number)
{
    const struct ptq_qmat_case *c = &ptq_qmat_cases[number / PTQ_N_CASES(ptq_token_cases)];
    struct ptq_grid grid = {.w_bit = c->w_bit, .group_size = c->group_size};
    w->m = ptq_token_cases[number % PTQ_N_CASES(ptq_token_cases)], w->n = c->n, w->k = c->k;
    make_codes(w, &grid);
}

static void make_acts(struct work *w, int number)
{
    make_qmat(w, number);
    w->flops = 2.0 * (double)(w->m * w->k);
    w->bytes = (4 + w->act_bits / 8.0) * (double)(w->m * w->k);
}

static void make_dequantize(struct work *w, int number)
{
    make_qmat(w, number * PTQ_N_CASES(ptq_token_cases));
    w->flops = 2.0 * (double)(w->n * w->k);
    w->bytes = 5.0 * (double)(w->n * w->k);
}

static void make_speed(struct work *w, int number)
{
    const struct ptq_speed_case *c = &ptq_speed_cases[number];
    struct ptq_grid grid = {.w_bit = c->w_bit, .group_size = c->group_size};
    w->m = c->m, w->n = c->n, w->k = c->k;
    make_codes(w, &grid);
}

/* ---- running ---- */

static void run_linear(struct work *w)
{
    ptq_ops()->linear(w->y, w->n, w->x, w->k, w->w, NULL, 0, w->m, w->n, w->k);
}

static void run_half(struct work *w)
{
    ptq_ops()->linear_f16(w->y, w->n, w->x, w->k, w->half, w->m, w->n, w->k);
}

static void run_norm(struct work *w)
{
    ptq_ops()->rmsnorm(w->y, w->x, w->w, 1e-5f, w->m, w->k);
}

static void run_silu(struct work *w)
{
    ptq_ops()->silu_mul(w->y, w->n, w->x, w->x + w->n, 2 * w->n, w->m, w->n);
}

static void run_attention(struct work *w)
{
    const float *k = w->x + w->n, *v = k + w->shape.kv_heads * w->shape.head_size;
    ptq_ops()->attention(w->y, w->n, w->x + w->first * w->k, k, v, w->k, &w->shape, w->first, w->m, w->w);
}

static void run_acts(struct work *w)
{
    ptq_ops()->acts(&w->acts, &w->packed, w->x, w->k);
}

static void run_dequantize(struct work *w)
{
    ptq_ops()->dequantize(w->w, &w->q, 0, w->n);
}

static void run_packed(struct work *w)
{
    ptq_ops()->packed(w->y, w->n, &w->acts, &w->packed, NULL, 0, 0, w->packed.tiles);
}

static void packed_task(void *context, int64_t i, int worker)
{
    struct work *w = context;
    int64_t first = i * TILES_A_TASK, left = w->packed.tiles - first;
    (void)worker;
    ptq_ops()->packed(w->y, w->n, &w->acts, &w->packed, NULL, 0, first, left < TILES_A_TASK ? left : TILES_A_TASK);
}

/* The one that threads share, as decoding does it. */
static void run_shared(struct work *w)
{
    ptq_parallel_for((w->packed.tiles + TILES_A_TASK - 1) / TILES_A_TASK, packed_task, w);
}

enum { PACKED_CASES = PTQ_N_CASES(ptq_qmat_cases) * PTQ_N_CASES(ptq_token_cases) };

static const struct operation operations[] = {
    {"linear", PTQ_N_CASES(ptq_matrix_cases), make_linear, run_linear, 0},
    {"linear_f16", PTQ_N_CASES(ptq_matrix_cases), make_half, run_half, 0},
    {"rmsnorm", PTQ_N_CASES(ptq_matrix_cases), make_norm, run_norm, 0},
    {"silu_mul", PTQ_N_CASES(ptq_matrix_cases), make_silu, run_silu, 0},
    {"attention", PTQ_N_CASES(ptq_attention_cases), make_attention, run_attention, 0},
    {"dequantize", PTQ_N_CASES(ptq_qmat_cases), make_dequantize, run_dequantize, 16},
    {"acts", PACKED_CASES, make_acts, run_acts, 16},
    {"acts-int8", PACKED_CASES, make_acts, run_acts, 8},
    {"packed", PACKED_CASES, make_qmat, run_packed, 16},
    {"packed-int8", PACKED_CASES, make_qmat, run_packed, 8},
    {"packed-shared", PTQ_N_CASES(ptq_speed_cases), make_speed, run_shared, 16},
    {"packed-int8-shared", PTQ_N_CASES(ptq_speed_cases), make_speed, run_shared, 8},
};
enum { N_OPERATIONS = sizeof operations / sizeof *operations };

/* ---- timing ---- */

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Seconds of one call: the median of samples, each of as many calls as take long enough to be measured. */
static double seconds_of(void (*run)(struct work *), struct work *w)
{
    double sample[SAMPLES];
    int64_t calls = 1;
    run(w);
    for (int i = 0; i < SAMPLES;) {
        double started = ptq_seconds();
        for (int64_t c = 0; c < calls; c++) run(w);
        double took = ptq_seconds() - started;
        if (took < least && i == 0)
            calls = took > least / 100 ? (int64_t)((double)calls * least / took * 1.2) + 1 : calls * 20;
        else
            sample[i++] = took / (double)calls;
    }
    qsort(sample, SAMPLES, sizeof *sample, by_value);
    return sample[SAMPLES / 2];
}

/* ---- what this machine can ---- */

enum { READ_BYTES = 1 << 28, READ_PARTS = 64 };

struct machine {
    double read;  /* bytes a second, all threads, from memory */
    double sgemm; /* flop a second of one thread */
};

static void read_part(void *context, int64_t i, int worker)
{
    struct work *w = context;
    int64_t n = READ_BYTES / 8 / READ_PARTS;
    const uint64_t *at = (const uint64_t *)w->x + i * n;
    uint64_t sum[16] = {0};
    (void)worker;
    for (int64_t j = 0; j < n; j += 16)
        for (int l = 0; l < 16; l++) sum[l] ^= at[j + l];
    for (int l = 1; l < 16; l++) sum[0] ^= sum[l];
    w->y[i] = (float)(sum[0] & 1);
}

static void read_all(struct work *w)
{
    ptq_parallel_for(READ_PARTS, read_part, w);
}

static struct machine measure_machine(void)
{
    struct work w = {.arena = ptq_arena_make("bench"), .m = 512, .n = 1536, .k = 576};
    struct machine machine;
    w.x = ptq_alloc(w.arena, READ_BYTES, "memory to read");
    memset(w.x, 1, READ_BYTES);
    w.y = floats(&w, w.m * w.n);
    w.w = floats(&w, w.n * w.k);
    machine.read = READ_BYTES / seconds_of(read_all, &w);
    memset(w.x, 0, sizeof *w.x * (size_t)(w.m * w.k));
    machine.sgemm = 2.0 * (double)(w.m * w.n * w.k) / seconds_of(run_linear, &w);
    ptq_arena_free(w.arena);
    return machine;
}

/* ---- the table ---- */

static void print_row(const struct ptq_options *o, json_t *rows, const struct operation *op, const struct work *w,
                      double seconds, const struct machine *machine)
{
    double gb = w->bytes / seconds / 1e9, gf = w->flops / seconds / 1e9;
    double of_read = w->bytes / seconds / machine->read, of_sgemm = w->flops / seconds / machine->sgemm;
    int bits = w->packed.grid.w_bit;
    if (o->json)
        json_array_append_new(rows, json_pack("{s:s, s:I, s:I, s:I, s:i, s:f, s:f, s:f, s:f, s:f}", "op", op->name, "m",
                                              (json_int_t)w->m, "n", (json_int_t)w->n, "k", (json_int_t)w->k, "bits",
                                              bits, "seconds", seconds, "gb", gb, "gflop", gf, "of_read", of_read,
                                              "of_sgemm", of_sgemm));
    else
        printf("%-18s %5lld %6lld %5lld %4d %11.3f %9.2f %9.2f %8.2f %8.2f\n", op->name, (long long)w->m,
               (long long)w->n, (long long)w->k, bits, seconds * 1e6, gb, gf, of_read, of_sgemm);
}

static enum ptq_status time_operation(const struct ptq_options *o, const struct operation *op, json_t *rows,
                                      const struct machine *machine, struct ptq_error *err)
{
    for (int i = 0; i < op->n_cases; i++) {
        PTQ_TRY(ptq_interrupted(err));
        struct work w = {.arena = ptq_arena_make("bench"), .act_bits = op->act_bits};
        op->make(&w, i);
        print_row(o, rows, op, &w, seconds_of(op->run, &w), machine);
        ptq_arena_free(w.arena);
    }
    return PTQ_OK;
}

static enum ptq_status fail_unknown(const char *word, const char *const *names, struct ptq_error *err)
{
    struct ptq_buffer known = {0};
    const char *near = ptq_nearest(word, names, N_OPERATIONS);
    for (int i = 0; i < N_OPERATIONS; i++) ptq_buffer_add(&known, "%s%s", i ? ", " : "", names[i]);
    ptq_fail(err, PTQ_EUSAGE, "operation '%.40s' is not known%s%s%s; known: %s", word, near ? ", did you mean '" : "",
             near ? near : "", near ? "'" : "", known.data);
    free(known.data);
    return err->status;
}

/* Operands to operations: all where there are none. */
static enum ptq_status choose(const struct ptq_options *o, int wanted[N_OPERATIONS], struct ptq_error *err)
{
    const char *names[N_OPERATIONS];
    for (int i = 0; i < N_OPERATIONS; i++) {
        names[i] = operations[i].name;
        wanted[i] = o->n_operands == 0;
    }
    for (int a = 0; a < o->n_operands; a++) {
        int found = 0;
        for (int i = 0; i < N_OPERATIONS; i++)
            if (strcmp(names[i], o->operand[a]) == 0) found = wanted[i] = 1;
        if (!found) return fail_unknown(o->operand[a], names, err);
    }
    return PTQ_OK;
}

static void print_head(const struct machine *m)
{
    struct ptq_arena *arena = ptq_arena_make("a head");
    printf("%s, %s, %s: reads %.1f GB/s (all threads), sgemm %.1f GF/s (one)\n", ptq_ops()->name, ptq_blas_name(),
           ptq_counted(arena, ptq_pool_size(), "thread"), m->read / 1e9, m->sgemm / 1e9);
    ptq_arena_free(arena);
    printf("%-18s %5s %6s %5s %4s %11s %9s %9s %8s %8s\n", "op", "M", "N", "K", "bits", "us", "GB/s", "GF/s", "of read",
           "of sgemm");
}

enum ptq_status ptq_bench(const struct ptq_options *o, struct ptq_error *err)
{
    int wanted[N_OPERATIONS];
    PTQ_TRY(choose(o, wanted, err));
    ptq_pool_wait_busily(1);
    struct machine machine = measure_machine();
    json_t *rows = json_array();
    enum ptq_status status = PTQ_OK;
    if (!o->json) print_head(&machine);
    for (int i = 0; i < N_OPERATIONS && !status; i++)
        if (wanted[i]) status = time_operation(o, &operations[i], rows, &machine, err);
    ptq_pool_wait_busily(0);
    json_t *root =
        json_pack("{s:s, s:s, s:i, s:f, s:f, s:O}", "kernels", ptq_ops()->name, "blas", ptq_blas_name(), "threads",
                  ptq_pool_size(), "read_gb", machine.read / 1e9, "sgemm_gflop", machine.sgemm / 1e9, "rows", rows);
    if (!status && o->json) ptq_json_show(root, JSON_INDENT(1) | JSON_REAL_PRECISION(9), stdout);
    json_decref(rows);
    json_decref(root);
    return status;
}
