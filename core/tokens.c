#include "tokens.h"

#include "cpython_random.h"
#include "rng.h"

#include <string.h>

static const char *const bos_names[] = {"stream", "none", "window"};
static const char *const sample_names[] = {"auto", "first", "random", "gptq", "awq"};

static int find_name(const char *text, const char *const *names, int n)
{
    for (int i = 0; i < n; i++)
        if (strcmp(text, names[i]) == 0) return i;
    return -1;
}

const char *ptq_bos_name(enum ptq_bos bos)
{
    return bos_names[bos];
}

enum ptq_status ptq_bos_parse(const char *text, enum ptq_bos *out, struct ptq_error *err)
{
    int i = find_name(text, bos_names, 3);
    if (i < 0) return ptq_fail(err, PTQ_EUSAGE, "bos '%.40s' is not known; known: stream, none, window", text);
    *out = (enum ptq_bos)i;
    return PTQ_OK;
}

const char *ptq_sample_name(enum ptq_sample sample)
{
    return sample_names[sample];
}

enum ptq_status ptq_sample_parse(const char *text, enum ptq_sample *out, struct ptq_error *err)
{
    int i = find_name(text, sample_names, 5);
    if (i < 0)
        return ptq_fail(err, PTQ_EUSAGE,
                        "calibration sample '%.40s' is not known; known: auto, first, random, gptq, awq", text);
    *out = (enum ptq_sample)i;
    return PTQ_OK;
}

/* SHA-256 of the ids as little-endian int32, on any machine. */
static void hash_ids(const int32_t *id, int64_t n, char hex[PTQ_SHA256_HEX])
{
    unsigned char bytes[4096];
    struct ptq_sha256 *hash = ptq_sha256_begin();
    size_t used = 0;
    for (int64_t i = 0; i < n; i++) {
        uint32_t v = (uint32_t)id[i];
        for (int b = 0; b < 4; b++) bytes[used++] = (unsigned char)(v >> 8 * b);
        if (used == sizeof bytes || i == n - 1) {
            ptq_sha256_add(hash, bytes, used);
            used = 0;
        }
    }
    ptq_sha256_end(hash, hex);
}

/* The stream's id at place i, with the BOS in front where `lead` is 1. */
static int32_t at(const struct ptq_stream_ids *stream, int lead, int64_t i)
{
    if (lead && i == 0) return stream->bos;
    return stream->id[i - lead];
}

void ptq_windows_hash(struct ptq_windows *w)
{
    hash_ids(w->id, w->n * w->length, w->sha256);
}

/* Where windows of step ids start in a stream of tokens ids. */
struct starts {
    enum ptq_sample sample;
    int64_t tokens, step;
    struct ptq_rng rng;
    struct ptq_cpython_random python;
};

static int64_t next_start(struct starts *s, int64_t window)
{
    switch (s->sample) {
    case PTQ_SAMPLE_RANDOM:
        return (int64_t)ptq_rng_below(&s->rng, (uint64_t)(s->tokens - s->step + 1));
    case PTQ_SAMPLE_GPTQ: /* the published bound leaves out the last start, too */
        return (int64_t)ptq_cpython_upto(&s->python, (uint64_t)(s->tokens - s->step - 1));
    default:
        return window * s->step;
    }
}

/* How many windows the stream gives, or its error. GPTQ's overlap: any number comes of one token more than a window. */
static enum ptq_status count_windows(const struct starts *s, const char *what, int64_t length, int64_t max,
                                     int64_t need, int64_t *out, struct ptq_error *err)
{
    int64_t there = s->tokens / s->step;
    if (s->sample == PTQ_SAMPLE_GPTQ && s->tokens <= s->step)
        return ptq_fail(err, PTQ_EINPUT,
                        "%s: %lld tokens hold no random window of %lld; take a longer text or a shorter window", what,
                        (long long)s->tokens, (long long)length);
    if (s->sample != PTQ_SAMPLE_GPTQ && (there < 1 || there < need))
        return ptq_fail(err, PTQ_EINPUT,
                        "%s: %lld tokens give %lld window%s of %lld, but %lld are asked for; take a longer text, or "
                        "fewer or shorter windows",
                        what, (long long)s->tokens, (long long)there, there == 1 ? "" : "s", (long long)length,
                        (long long)(need < 1 ? 1 : need));
    *out = max > 0 && (max < there || s->sample == PTQ_SAMPLE_GPTQ) ? max : there;
    return PTQ_OK;
}

enum ptq_status ptq_windows_cut(struct ptq_arena *arena, const struct ptq_stream_ids *stream, const char *what,
                                int64_t length, int64_t max, int64_t need, enum ptq_bos bos, enum ptq_sample sample,
                                uint64_t seed, struct ptq_windows *out, struct ptq_error *err)
{
    int lead = bos == PTQ_BOS_STREAM && stream->bos >= 0;     /* one BOS before the stream */
    int64_t each = bos == PTQ_BOS_WINDOW && stream->bos >= 0; /* one before every window */
    struct starts s = {.sample = sample, .tokens = (int64_t)stream->n + lead, .step = length - each};
    if (s.step < 1) return ptq_fail(err, PTQ_EINPUT, "a window of %lld tokens holds no text", (long long)length);
    PTQ_TRY(count_windows(&s, what, length, max, need, &out->n, err));
    out->length = length;
    out->id = ptq_new(arena, int32_t, out->n * length);
    s.rng = ptq_rng_make(seed, "calibration windows");
    ptq_cpython_seed(&s.python, seed);
    for (int64_t w = 0; w < out->n; w++) {
        int64_t start = next_start(&s, w);
        int32_t *window = out->id + w * length;
        if (each) window[0] = stream->bos;
        for (int64_t t = 0; t < s.step; t++) window[each + t] = at(stream, lead, start + t);
    }
    ptq_windows_hash(out);
    return PTQ_OK;
}

void ptq_windows_shuffle(struct ptq_arena *arena, uint64_t order, struct ptq_windows *w)
{
    if (!order) return;
    struct ptq_rng rng = ptq_rng_make(order, "order of windows");
    int32_t *from = ptq_new(arena, int32_t, w->n), *id = ptq_new(arena, int32_t, w->n * w->length);
    ptq_rng_permutation(&rng, from, (int32_t)w->n);
    for (int64_t i = 0; i < w->n; i++)
        memcpy(id + i * w->length, w->id + from[i] * w->length, sizeof *id * (size_t)w->length);
    w->id = id;
    ptq_windows_hash(w);
}
