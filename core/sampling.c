#include "sampling.h"

#include "cpython_random.h"
#include "numpy_random.h"

#include <assert.h>
#include <string.h>

enum { AWQ_SEED = 42 };

int ptq_samples_documents(enum ptq_sample sample, const char *path)
{
    return sample == PTQ_SAMPLE_AWQ || (sample == PTQ_SAMPLE_GPTQ && ptq_is_json_lines(path));
}

enum ptq_status ptq_sampling_check(enum ptq_sample sample, enum ptq_bos bos, struct ptq_error *err)
{
    if (bos != PTQ_BOS_WINDOW || (sample != PTQ_SAMPLE_GPTQ && sample != PTQ_SAMPLE_AWQ)) return PTQ_OK;
    return ptq_fail(err, PTQ_EUSAGE,
                    "calibration sample %s puts a BOS where the published code has it, not before each window; "
                    "take bos stream or none, or calibration sample first or random",
                    ptq_sample_name(sample));
}

struct sampler {
    const struct ptq_tokenizer *tokenizer;
    const struct ptq_documents *documents;
    const struct ptq_sampling *want;
    const char *what;
    struct ptq_arena *scratch; /* one document's ids */
    struct ptq_windows *out;
};

static const char *noun(const struct sampler *s)
{
    return s->documents->paragraphs ? "paragraphs" : "documents";
}

static enum ptq_status encode(const struct sampler *s, struct ptq_document d, int32_t **id, int64_t *n,
                              struct ptq_error *err)
{
    size_t count;
    int special = s->want->bos != PTQ_BOS_NONE;
    PTQ_TRY(ptq_tokenizer_encode(s->tokenizer, d.text, d.size, special, s->scratch, id, &count, err));
    *n = (int64_t)count;
    return PTQ_OK;
}

/* ---- gptq ---- */

/* A drawn document that is longer than the window: its ids in scratch. is_short [documents] holds what was seen. */
static enum ptq_status draw_document(struct sampler *s, struct ptq_cpython_random *random, unsigned char *is_short,
                                     int32_t *n_short, int32_t **id, int64_t *n, struct ptq_error *err)
{
    const struct ptq_documents *all = s->documents;
    while (*n_short < all->n) {
        struct ptq_mark mark = ptq_arena_mark(s->scratch);
        uint64_t i = ptq_cpython_upto(random, (uint64_t)all->n - 1);
        if (is_short[i]) continue;
        PTQ_TRY(encode(s, all->document[i], id, n, err));
        if (*n > s->want->length) return PTQ_OK;
        ptq_arena_rewind(s->scratch, mark);
        is_short[i] = 1;
        ++*n_short;
    }
    return ptq_fail(err, PTQ_EINPUT,
                    "%s: none of its %d %s is longer than %lld tokens; take a shorter calibration window "
                    "or longer documents",
                    s->what, all->n, noun(s), (long long)s->want->length);
}

static enum ptq_status sample_gptq(struct sampler *s, struct ptq_error *err)
{
    const struct ptq_sampling *want = s->want;
    struct ptq_cpython_random random;
    unsigned char *is_short = ptq_new(s->scratch, unsigned char, s->documents->n);
    int32_t n_short = 0;
    ptq_cpython_seed(&random, want->seed);
    for (; s->out->n < want->n; s->out->n++) {
        struct ptq_mark mark = ptq_arena_mark(s->scratch);
        int32_t *id = NULL;
        int64_t n = 0;
        PTQ_TRY(draw_document(s, &random, is_short, &n_short, &id, &n, err));
        uint64_t start = ptq_cpython_upto(&random, (uint64_t)(n - want->length - 1));
        memcpy(s->out->id + s->out->n * want->length, id + start, sizeof *id * (size_t)want->length);
        ptq_arena_rewind(s->scratch, mark);
    }
    return PTQ_OK;
}

/* ---- awq ---- */

static enum ptq_status check_taken(const struct sampler *s, int64_t taken, int64_t tokens, struct ptq_error *err)
{
    const struct ptq_sampling *want = s->want;
    if (taken < want->n)
        return ptq_fail(
            err, PTQ_EINPUT,
            "%s: %lld of its %d %s hold 1 to %lld tokens, but %lld are asked for; take a longer text, fewer "
            "calibration windows or a longer calibration window",
            s->what, (long long)taken, s->documents->n, noun(s), (long long)want->length, (long long)want->n);
    if (tokens < want->length)
        return ptq_fail(err, PTQ_EINPUT,
                        "%s: %lld %s give %lld tokens, less than one window of %lld; take more calibration windows "
                        "(that many %s are read) or a shorter calibration window",
                        s->what, (long long)taken, noun(s), (long long)tokens, (long long)want->length, noun(s));
    return PTQ_OK;
}

static enum ptq_status sample_awq(struct sampler *s, struct ptq_error *err)
{
    const struct ptq_sampling *want = s->want;
    int32_t n_documents = s->documents->n, *order = ptq_new(s->scratch, int32_t, n_documents);
    int64_t taken = 0, tokens = 0;
    struct ptq_numpy_random random;
    ptq_numpy_seed(&random, AWQ_SEED + want->seed);
    ptq_numpy_permutation(&random, order, n_documents);
    for (int32_t i = 0; i < n_documents && taken < want->n; i++) {
        struct ptq_mark mark = ptq_arena_mark(s->scratch);
        int32_t *id;
        int64_t n;
        PTQ_TRY(encode(s, ptq_document_strip(s->documents->document[order[i]]), &id, &n, err));
        if (n > 0 && n <= want->length) {
            memcpy(s->out->id + tokens, id, sizeof *id * (size_t)n);
            tokens += n;
            taken++;
        }
        ptq_arena_rewind(s->scratch, mark);
    }
    PTQ_TRY(check_taken(s, taken, tokens, err));
    s->out->n = tokens / want->length;
    return PTQ_OK;
}

enum ptq_status ptq_sample_documents(struct ptq_arena *arena, const struct ptq_tokenizer *tokenizer,
                                     const struct ptq_documents *documents, const char *what,
                                     const struct ptq_sampling *want, struct ptq_windows *out, struct ptq_error *err)
{
    struct sampler s = {.tokenizer = tokenizer, .documents = documents, .want = want, .what = what, .out = out};
    assert(want->sample == PTQ_SAMPLE_GPTQ || want->sample == PTQ_SAMPLE_AWQ);
    if (want->sample == PTQ_SAMPLE_AWQ && want->n > documents->n)
        return ptq_fail(err, PTQ_EINPUT, "%s: holds %d %s, but %lld are asked for; take a longer text or fewer windows",
                        what, documents->n, noun(&s), (long long)want->n);
    *out = (struct ptq_windows){.length = want->length};
    out->id = ptq_new(arena, int32_t, want->n * want->length);
    s.scratch = ptq_arena_make("sampling");
    enum ptq_status status = want->sample == PTQ_SAMPLE_GPTQ ? sample_gptq(&s, err) : sample_awq(&s, err);
    ptq_arena_free(s.scratch);
    if (!status) ptq_windows_hash(out);
    return status;
}
