/* Steps are run depth first: a piece goes through all of them to the sink before the next piece is looked for, so a
 * text of any length needs no list of pieces. The depth is that of the steps, at most PTQ_MAX_STEPS. */
#include "pretokenizer.h"

#include "unicode.h"

#include <string.h>

struct run {
    const struct ptq_pretokenizer *pretokenizer;
    struct ptq_pattern_budget *budget;
    struct ptq_arena *scratch;
    ptq_piece_sink *sink;
    void *context;
};

/* A stretch of a text: a match, or what lies between two. */
struct stretch {
    size_t start, end;
    int matched;
};

/* Where in a text a step is; next_* hold a match that was found while its gap is given out. */
struct search {
    const struct ptq_pre_step *step;
    struct ptq_pattern_budget *budget;
    const char *text;
    size_t size, at;
    size_t next_start, next_end, from;
    int has_next;
};

static enum ptq_status run_step(const struct run *run, int index, const char *text, size_t size, int at_start,
                                struct ptq_error *err);

size_t ptq_scan_digits(const char *text, size_t size, int *matched)
{
    int length;
    *matched = (ptq_char_flags(ptq_utf8_decode(text, &length)) & PTQ_NUMERIC) != 0;
    size_t at = (size_t)length;
    if (*matched) return at;
    while (at < size && !(ptq_char_flags(ptq_utf8_decode(text + at, &length)) & PTQ_NUMERIC)) at += (size_t)length;
    return at;
}

static void find_string(struct search *s)
{
    size_t length = strlen(s->step->string);
    const char *hit = memmem(s->text + s->from, s->size - s->from, s->step->string, length);
    s->next_start = hit ? (size_t)(hit - s->text) : s->size + 1;
    s->next_end = s->next_start + length;
}

/* Fills next_start and next_end from `from` on, which is at most one character behind s->at and so within the text; an
 * empty match lets the search go on one character later. */
static enum ptq_status find_next(struct search *s, struct ptq_error *err)
{
    const struct ptq_pattern *pattern = s->step->pattern;
    if (pattern) {
        PTQ_TRY(ptq_pattern_check(pattern, s->budget, err));
        PTQ_TRY(ptq_pattern_find(pattern, s->budget, s->text, s->size, s->from, &s->next_start, &s->next_end, err));
    } else {
        find_string(s);
    }
    s->from = s->next_end;
    if (s->next_end == s->next_start) {
        int length = 1;
        if (s->next_end < s->size) ptq_utf8_decode(s->text + s->next_end, &length);
        s->from += (size_t)length;
    }
    s->has_next = 1;
    return PTQ_OK;
}

/* The next stretch at s->at < s->size. */
static enum ptq_status next_stretch(struct search *s, struct stretch *out, struct ptq_error *err)
{
    *out = (struct stretch){.start = s->at, .end = s->size};
    if (s->step->scan) {
        out->end = s->at + s->step->scan(s->text + s->at, s->size - s->at, &out->matched);
    } else if (s->step->pattern || s->step->string) {
        if (!s->has_next) PTQ_TRY(find_next(s, err));
        if (s->next_start > s->at) {
            out->end = s->next_start < s->size ? s->next_start : s->size;
        } else {
            out->end = s->next_end;
            out->matched = 1;
            s->has_next = 0;
        }
    }
    s->at = out->end;
    out->matched ^= s->step->invert;
    return PTQ_OK;
}

/* Whether b goes into one piece with what came before it, a being the stretch before it and joined whether a itself
 * was joined to something. */
static int joins(enum ptq_split_behaviour behaviour, const struct stretch *a, const struct stretch *b)
{
    if (behaviour == PTQ_SPLIT_PREVIOUS) return b->matched && !a->matched;
    if (behaviour == PTQ_SPLIT_NEXT) return a->matched && !b->matched;
    if (behaviour == PTQ_SPLIT_CONTIGUOUS) return a->matched == b->matched;
    return 0;
}

static enum ptq_status split(const struct run *run, int index, const char *text, size_t size, int at_start,
                             struct ptq_error *err)
{
    struct search s = {.step = &run->pretokenizer->step[index], .budget = run->budget, .text = text, .size = size};
    enum ptq_split_behaviour behaviour = s.step->behaviour;
    struct stretch last = {0}, next;
    size_t start = 0;
    while (s.at < size) {
        PTQ_TRY(next_stretch(&s, &next, err));
        if (last.end > start && !joins(behaviour, &last, &next)) {
            if (!(behaviour == PTQ_SPLIT_REMOVED && last.matched))
                PTQ_TRY(run_step(run, index + 1, text + start, last.end - start, at_start && start == 0, err));
            start = last.end;
        }
        last = next;
    }
    if (behaviour == PTQ_SPLIT_REMOVED && last.matched) return PTQ_OK;
    return run_step(run, index + 1, text + start, last.end - start, at_start && start == 0, err);
}

static const char *replace_spaces(const char *text, size_t *size, const char *space, struct ptq_arena *scratch)
{
    size_t n = 0, length = strlen(space), used = 0;
    for (size_t i = 0; i < *size; i++) n += text[i] == ' ';
    if (n == 0) return text;
    char *out = ptq_alloc(scratch, *size - n + n * length, "a text with other spaces");
    for (size_t i = 0; i < *size; i++) {
        if (text[i] == ' ') {
            memcpy(out + used, space, length);
            used += length;
        } else {
            out[used++] = text[i];
        }
    }
    *size = used;
    return out;
}

static const char *add_prefix(const char *text, size_t *size, const char *prefix, struct ptq_arena *scratch)
{
    size_t length = strlen(prefix);
    if (*size >= length && memcmp(text, prefix, length) == 0) return text;
    char *out = ptq_alloc(scratch, *size + length, "a text with a prefix");
    memcpy(out, prefix, length);
    memcpy(out + length, text, *size);
    *size += length;
    return out;
}

static enum ptq_status run_step(const struct run *run, int index, const char *text, size_t size, int at_start,
                                struct ptq_error *err)
{
    if (size == 0) return PTQ_OK;
    if (index == run->pretokenizer->n) return run->sink(run->context, text, size, err);
    const struct ptq_pre_step *step = &run->pretokenizer->step[index];
    if (step->space) text = replace_spaces(text, &size, step->space, run->scratch);
    if (step->prefix && (at_start || !step->prefix_only_at_start))
        text = add_prefix(text, &size, step->prefix, run->scratch);
    return split(run, index, text, size, at_start, err);
}

enum ptq_status ptq_pretokenize(const struct ptq_pretokenizer *pretokenizer, const char *text, size_t size,
                                int at_start, struct ptq_pattern_budget *budget, struct ptq_arena *scratch,
                                ptq_piece_sink *sink, void *context, struct ptq_error *err)
{
    struct run run = {
        .pretokenizer = pretokenizer, .budget = budget, .scratch = scratch, .sink = sink, .context = context};
    ptq_pattern_allow(budget, size);
    return run_step(&run, 0, text, size, at_start, err);
}

void ptq_pretokenizer_free(struct ptq_pretokenizer *pretokenizer)
{
    for (int i = 0; i < pretokenizer->n; i++) ptq_pattern_free(pretokenizer->step[i].pattern);
}
