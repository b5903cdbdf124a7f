/* bench_gpu_decode: tokens per second of a whole model on the device, LLaMA-7B's shape, weights as FP16 and packed to 4
 * and 3 bits (groups of 128, FP16 head everywhere), in one run, turn about.
 *
 *   bench_gpu_decode [BLOCKS WIDTH HEADS FF VOCAB]
 *
 * One block's weights are made, and sent as many times as there are blocks: each block reads memory of its own. One
 * line a measurement, separated by tabs: weights, bits a weight of the linears, prompt tokens/s, decoded tokens/s
 * (medians), milliseconds a token, GB that a token reads (weights and head), GB/s, times FP16. The path is that of `ptq
 * generate` with greedy choice: the id comes to the host, its embedding goes back. "steps": each kernel is launched by
 * the host instead of by the recorded graph. */
#include "decode.h"
#include "device.h"
#include "families.h"
#include "grid.h"
#include "pool.h"
#include "progress.h"
#include "resident.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef PTQ_BENCH_DEVICE
#define PTQ_BENCH_DEVICE ptq_cuda_device(why, sizeof why)
#endif

enum { GROUP = 128, PROMPT = 128, TOKENS = 96, RUNS = 5, STEP_TOKENS = 32, N_FORMS = 3, PART = 1 << 16, THREADS = 16 };

static const struct form {
    const char *name;
    int bits; /* 16: not quantised */
} forms[N_FORMS] = {{"FP16", 16}, {"W4 g128", 4}, {"W3 g128", 3}};

/* What all forms share. */
struct shape {
    struct ptq_arena *arena;
    struct ptq_model model;
    struct ptq_tensor embed, head;
    float *norm;
    struct ptq_linear linear[PTQ_N_ROLE]; /* float32 of FP16 values */
};

struct run {
    struct ptq_decoder decoder;
    double bits, bytes; /* of a weight; that a token reads */
    double prompt[RUNS], decode[RUNS], steps;
};

static void die(const char *what)
{
    fprintf(stderr, "bench_gpu_decode: %s\n", what);
    exit(1);
}

/* ---- weights ---- */

struct fill_task {
    float *w;
    uint16_t *half;
    uint8_t *code;
    int64_t n;
    unsigned mask;
};

/* FP16 values in [-1/64, 1/64), or codes. */
static void fill_part(void *context, int64_t part, int worker)
{
    struct fill_task *t = context;
    struct ptq_rng rng = ptq_rng_make((uint64_t)part, "bench_gpu_decode");
    int64_t end = (part + 1) * PART < t->n ? (part + 1) * PART : t->n;
    (void)worker;
    for (int64_t i = part * PART; i < end; i += 4) {
        uint64_t draw = ptq_rng_next(&rng);
        for (int64_t j = i; j < end && j < i + 4; j++, draw >>= 16) {
            float value = (float)((int)(draw & 2047) - 1024) / 65536;
            if (t->w) t->w[j] = value;
            if (t->half) t->half[j] = ptq_f16_encode(value);
            if (t->code) t->code[j] = (uint8_t)(draw & t->mask);
        }
    }
}

static void fill(struct fill_task task)
{
    ptq_parallel_for((task.n + PART - 1) / PART, fill_part, &task);
}

static void make_linears(struct shape *s)
{
    for (int input = 0; input < PTQ_N_INPUT; input++) {
        int64_t all = 0, n, k = 0;
        for (int role = 0; role < PTQ_N_ROLE; role++) {
            if ((int)ptq_role_input[role] != input) continue;
            ptq_linear_size(&s->model.config, (enum ptq_role)role, &n, &k);
            s->linear[role].n = n;
            s->linear[role].k = k;
            all += n * k;
        }
        float *w = ptq_new(s->arena, float, all);
        fill((struct fill_task){.w = w, .n = all});
        for (int role = 0; role < PTQ_N_ROLE; role++) {
            if ((int)ptq_role_input[role] != input) continue;
            s->linear[role].w = w;
            w += s->linear[role].n * s->linear[role].k;
        }
    }
}

static struct ptq_tensor make_rows(struct shape *s, const char *name, uint16_t *half)
{
    const struct ptq_config *c = &s->model.config;
    struct ptq_tensor t = {.name = name, .dtype = PTQ_F16, .rank = 2, .shape = {c->vocab, c->width}};
    t.count = c->vocab * c->width;
    t.bytes = sizeof *half * (size_t)t.count;
    t.data = half;
    return t;
}

static void make_model(struct shape *s, const struct ptq_device *device, int64_t blocks, int64_t width, int64_t heads,
                       int64_t ff, int64_t vocab)
{
    struct ptq_config *c = &s->model.config;
    s->model = (struct ptq_model){.name = "synthetic", .device = device};
    for (int i = 0; i < ptq_n_families; i++)
        if (strcmp(ptq_families[i]->model_type, "llama") == 0) c->family = ptq_families[i];
    c->blocks = blocks, c->width = c->embed_width = width, c->heads = c->kv_heads = heads, c->ff = ff, c->vocab = vocab;
    c->head_size = width / heads;
    c->positions = PROMPT + TOKENS, c->norm_eps = 1e-5, c->activation = PTQ_SILU_GATED, c->final_norm = 1;
    uint16_t *half = ptq_new(s->arena, uint16_t, vocab * width);
    fill((struct fill_task){.half = half, .n = vocab * width});
    s->embed = make_rows(s, "embed", half);
    s->head = make_rows(s, "head", half);
    s->model.embed = &s->embed;
    s->model.head = &s->head;
    s->norm = ptq_new(s->arena, float, width);
    for (int64_t i = 0; i < width; i++) s->norm[i] = 1;
    s->model.final_norm_w = s->norm;
    s->model.rope_frequency = ptq_new(s->arena, float, c->head_size / 2);
    for (int64_t i = 0; i < c->head_size / 2; i++) s->model.rope_frequency[i] = 1 / (float)(1 + i * i);
    make_linears(s);
}

/* A linear of random codes whose values are as large as the FP16 ones. */
static struct ptq_packed *pack(struct ptq_arena *arena, int64_t n, int64_t k, int bits)
{
    struct ptq_arena *scratch = ptq_arena_make("codes");
    struct ptq_packed *out = ptq_new(arena, struct ptq_packed, 1);
    struct ptq_grid grid = {.w_bit = bits, .group_size = GROUP};
    struct ptq_qmat q;
    struct ptq_error err;
    ptq_qmat_make(scratch, &grid, n, k, &q);
    fill((struct fill_task){.code = q.code, .n = n * k, .mask = (1U << bits) - 1});
    for (int64_t i = 0; i < n * q.n_groups; i++) {
        q.scale[i] = (float)(16 + i % 32) / (float)(2048 << bits); /* FP16 values */
        q.zero[i] = (float)((1 << bits) / 2 - i % 2);
    }
    if (ptq_pack(arena, &q, out, &err)) die(err.text);
    ptq_arena_free(scratch);
    return out;
}

/* ---- a form on the device ---- */

static void make_run(const struct shape *s, const struct form *form, struct run *r)
{
    const struct ptq_config *c = &s->model.config;
    struct ptq_arena *weights = ptq_arena_make("a block");
    struct ptq_block *block = ptq_new(s->arena, struct ptq_block, c->blocks);
    struct ptq_error err;
    double linears = 0, bytes = 0;
    block[0] = (struct ptq_block){.norm1_w = s->norm, .norm2_w = s->norm};
    for (int role = 0; role < PTQ_N_ROLE; role++) {
        struct ptq_linear *l = &block[0].linear[role];
        *l = s->linear[role];
        if (form->bits < 16) l->packed = pack(weights, l->n, l->k, form->bits);
        linears += (double)(l->n * l->k);
        bytes += l->packed ? (double)l->packed->bytes : 2 * (double)(l->n * l->k);
    }
    for (int64_t b = 1; b < c->blocks; b++) block[b] = block[0];
    double started = ptq_seconds();
    if (ptq_decoder_make(s->arena, &s->model, block, PROMPT + TOKENS, &r->decoder, &err)) die(err.text);
    r->bits = 8 * bytes / linears;
    r->bytes = (double)c->blocks * bytes + 2 * (double)(c->vocab * c->width);
    printf("# %s: %.2f bits a weight, sent in %.1f s\n", form->name, r->bits, ptq_seconds() - started);
    fflush(stdout);
    ptq_arena_free(weights);
}

/* Tokens per second of n greedy ones behind what there is. */
static double decode(struct run *r, struct ptq_arena *scratch, int n)
{
    const struct ptq_choice likeliest = {0, 1, 0};
    struct ptq_error err;
    double started = ptq_seconds();
    for (int i = 0; i < n; i++) {
        int32_t id;
        if (ptq_decoder_choose(&r->decoder, &likeliest, NULL, scratch, &id, &err)) die(err.text);
        if (ptq_decoder_push(&r->decoder, &id, 1, &err)) die(err.text);
    }
    return n / (ptq_seconds() - started);
}

static double prompt(struct run *r)
{
    int32_t id[PROMPT];
    struct ptq_error err;
    for (int i = 0; i < PROMPT; i++) id[i] = (int32_t)(i * 7919 % r->decoder.model->config.vocab);
    r->decoder.n = 0;
    double started = ptq_seconds();
    if (ptq_decoder_push(&r->decoder, id, PROMPT, &err)) die(err.text);
    return PROMPT / (ptq_seconds() - started);
}

static void measure(struct run *r, struct ptq_arena *scratch, int round)
{
    r->prompt[round] = prompt(r);
    r->decode[round] = decode(r, scratch, TOKENS);
}

static void measure_steps(struct run *r, struct ptq_arena *scratch)
{
    struct ptq_resident *there = r->decoder.there;
    void *recording = there->recording;
    there->recording = NULL;
    there->no_recording = 1;
    prompt(r);
    r->steps = decode(r, scratch, STEP_TOKENS);
    there->recording = recording;
    there->no_recording = recording == NULL;
}

/* ---- what a step is made of ---- */

/* One kind of work in all blocks, one after the other: what a graph of it takes, a block. */
enum part { NORM, QKV, ATTEND, OUT, GATE_UP, SILU, DOWN, HEAD, LIKELIEST, N_PARTS };
static const char *const part_name[N_PARTS] = {"norm", "q k v", "attention", "output",   "gate, up",
                                               "silu", "down",  "head",      "likeliest"};
enum { PART_RUNS = 20 };

struct part_task {
    struct ptq_resident *r;
    enum part part;
};

static void multiply_all(const struct ptq_resident *r, const struct ptq_resident_product *w, float *y, int accumulate)
{
    if (w->form == PTQ_AS_PACKED && r->device->decoding.row_multiplies(&w->packed))
        r->device->decoding.multiply_row(y, &w->packed, NULL, accumulate, r->scratch);
    else if (w->form == PTQ_AS_PACKED)
        r->device->packed_multiply(y, w->n, &w->packed, NULL, accumulate, 1, r->scratch);
    else
        r->device->decoding.linear_half(y, w->n, r->mlp, w->k, w->w, NULL, accumulate, 1, w->n, w->k, r->scratch);
}

static struct ptq_row row_of(const struct ptq_resident *r, const struct ptq_resident_product *w, float *y)
{
    struct ptq_row row = {y, w->form == PTQ_AS_PACKED ? &w->packed : NULL, r->scratch};
    return row;
}

static void part_of_block(const struct ptq_resident *r, const struct ptq_resident_block *b, enum part part)
{
    const struct ptq_config *c = &r->model->config;
    const struct ptq_resident_product *w[PTQ_N_INPUT];
    struct ptq_attention shape = {.heads = c->heads, .kv_heads = c->kv_heads, .head_size = c->head_size, .scale = 0.1F};
    for (int input = 0; input < PTQ_N_INPUT; input++) w[input] = &b->input[input].product[0];
    struct ptq_row normed = row_of(r, w[PTQ_ATTN_IN], r->normed), mixed = row_of(r, w[PTQ_ATTN_OUT], r->mixed),
                   active = row_of(r, w[PTQ_MLP_OUT], r->wide);
    if (part == NORM) r->device->decoding.norm_row(&normed, r->x, b->norm[0], NULL, 1e-5F, c->width);
    if (part == QKV) multiply_all(r, w[PTQ_ATTN_IN], r->wide, 0);
    if (part == ATTEND)
        r->device->decoding.attend_row(&mixed, r->wide, r->cosine, r->sine, &shape, &b->cache, r->recall_scratch);
    if (part == OUT) multiply_all(r, w[PTQ_ATTN_OUT], r->wide, 1);
    if (part == GATE_UP) multiply_all(r, w[PTQ_MLP_IN], r->mlp, 0);
    if (part == SILU) r->device->decoding.silu_row(&active, r->mlp, r->mlp + c->ff, c->ff);
    if (part == DOWN) multiply_all(r, w[PTQ_MLP_OUT], r->wide, 1);
    if (part == HEAD) multiply_all(r, &r->head, r->logits, 0);
    if (part == LIKELIEST) r->device->decoding.likeliest(r->best, r->logits, c->vocab, r->likeliest_scratch);
}

static void part_of_all(void *context)
{
    const struct part_task *t = context;
    for (int64_t b = 0; b < t->r->model->config.blocks; b++) part_of_block(t->r, &t->r->block[b], t->part);
}

/* Microseconds a block of each part. */
static void print_parts(const char *name, const struct run *run)
{
    struct ptq_resident *r = run->decoder.there;
    const struct ptq_decoding *d = &r->device->decoding;
    printf("# %s, us a block:", name);
    for (int part = 0; part < N_PARTS; part++) {
        struct part_task task = {r, (enum part)part};
        void *recording = d->record(part_of_all, &task);
        if (!recording) die("a part is not recorded");
        d->replay(recording);
        if (r->device->error()) die("a part fails");
        double started = ptq_seconds();
        for (int i = 0; i < PART_RUNS; i++) d->replay(recording);
        if (r->device->error()) die("a part fails");
        double seconds = (ptq_seconds() - started) / PART_RUNS / (double)r->model->config.blocks;
        printf(" %s %.2f%s", part_name[part], 1e6 * seconds, part + 1 < N_PARTS ? "," : "\n");
        d->forget(recording);
    }
    fflush(stdout);
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *x)
{
    qsort(x, RUNS, sizeof *x, by_size);
    return x[RUNS / 2];
}

static void print_line(const char *name, const char *how, const struct run *r, double prompt_pace, double pace,
                       double half)
{
    printf("%s%s\t%.2f\t%.0f\t%.1f\t%.3f\t%.3f\t%.0f\t%.2f\n", name, how, r->bits, prompt_pace, pace, 1e3 / pace,
           r->bytes / 1e9, r->bytes * pace / 1e9, pace / half);
    fflush(stdout);
}

static int64_t argument(int argc, char **argv, int i, int64_t fallback)
{
    return i < argc ? strtol(argv[i], NULL, 10) : fallback;
}

int main(int argc, char **argv)
{
    char why[256] = "no device";
    static struct shape s;
    static struct run run[N_FORMS];
    const struct ptq_device *device = PTQ_BENCH_DEVICE;
    if (!device) die(why);
    ptq_pool_start(THREADS);
    s.arena = ptq_arena_make("bench_gpu_decode");
    struct ptq_arena *scratch = ptq_arena_make("a token");
    make_model(&s, device, argument(argc, argv, 1, 32), argument(argc, argv, 2, 4096), argument(argc, argv, 3, 32),
               argument(argc, argv, 4, 11008), argument(argc, argv, 5, 32000));
    printf("# %s, prompt %d tokens, %d new, median of %d\n", device->name, PROMPT, TOKENS, RUNS);
    for (int i = 0; i < N_FORMS; i++) make_run(&s, &forms[i], &run[i]);
    printf("# weights\tbits\tprompt tokens/s\ttokens/s\tms\tGB\tGB/s\ttimes FP16\n");
    ptq_pool_wait_busily(1);
    for (int i = 0; i < N_FORMS; i++) measure(&run[i], scratch, 0); /* to warm up */
    for (int round = 0; round < RUNS; round++)
        for (int i = 0; i < N_FORMS; i++) measure(&run[i], scratch, round);
    for (int i = 0; i < N_FORMS; i++) measure_steps(&run[i], scratch);
    ptq_pool_wait_busily(0);
    double half = 0;
    for (int i = 0; i < N_FORMS; i++) {
        double pace = median(run[i].decode), prompts = median(run[i].prompt);
        if (i == 0) half = pace;
        print_line(forms[i].name, "", &run[i], prompts, pace, half);
        print_line(forms[i].name, ", steps", &run[i], prompts, run[i].steps, half);
        if (!run[i].decoder.there->recording) printf("# %s: the step was not recorded\n", forms[i].name);
    }
    for (int i = 0; i < N_FORMS; i++) print_parts(forms[i].name, &run[i]);
    ptq_arena_free(scratch);
    ptq_arena_free(s.arena);
    ptq_pool_stop();
    return 0;
}
