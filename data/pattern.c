#include "pattern.h"

#include "oniguruma.h"
#include "progress.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Backtracking steps from one start, nested groups, and KiB of memory in one search; pieces of text need far less. */
enum { MATCH_LIMIT = 1000000, DEPTH_LIMIT = 10000, HEAP_LIMIT = 65536 };

/* What all searches of a text may take, in processor time, with what is done of each piece: ten to thirty times what
 * the expressions of well-known tokenizers take of prose, four to eight times what they take of lone digits
 * (docs/decisions.md); four times as much in a build that is not for speed. It is looked at now and then, since that is
 * a call of the kernel. */
#define TEXT_SECONDS 0.25
#ifdef PTQ_RELEASE
#define BYTE_SECONDS 5e-6
#else
#define BYTE_SECONDS 20e-6
#endif
enum { SEARCHES_A_LOOK = 8, STARTS_A_LOOK = 1024 };

struct ptq_pattern {
    pcre2_code *code;
    pcre2_match_context *limits;
    const char *where;
};

/* Oniguruma's ^ and $ are always those of lines. What makes a quantifier possessive by itself is wrong before one that
 * is possessive and caseless (PCRE2 10.42): '=*(?i:a)?+=' does not find '='. */
static enum ptq_status compile(const struct ptq_buffer *regex, const char *where, pcre2_code **code,
                               struct ptq_error *err)
{
    int number;
    size_t offset;
    pcre2_compile_context *context = pcre2_compile_context_create(NULL);
    if (!context) ptq_out_of_memory(0, "PCRE2", "a compile context");
    pcre2_set_newline(context, PCRE2_NEWLINE_LF);
    pcre2_set_parens_nest_limit(context, 100);
    *code = pcre2_compile((PCRE2_SPTR)regex->data, regex->size,
                          PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C | PCRE2_MULTILINE | PCRE2_USE_OFFSET_LIMIT |
                              PCRE2_NO_AUTO_POSSESS,
                          &number, &offset, context);
    pcre2_compile_context_free(context);
    if (*code) return PTQ_OK;
    char why[160];
    pcre2_get_error_message(number, (PCRE2_UCHAR *)why, sizeof why);
    return ptq_fail(err, PTQ_EINPUT, "%s: not a regular expression that PCRE2 can compile: %s", where, why);
}

enum ptq_status ptq_pattern_compile(struct ptq_arena *arena, const char *regex, const char *where,
                                    struct ptq_pattern **out, struct ptq_error *err)
{
    struct ptq_buffer translated = {0};
    pcre2_code *code = NULL;
    enum ptq_status status = ptq_translate_regex(regex, where, &translated, err);
    if (status == PTQ_OK) status = compile(&translated, where, &code, err);
    free(translated.data);
    if (status != PTQ_OK) return status;
    struct ptq_pattern *pattern = ptq_new(arena, struct ptq_pattern, 1);
    pattern->where = ptq_strdup(arena, where);
    pattern->code = code;
    pattern->limits = pcre2_match_context_create(NULL);
    if (!pattern->limits) ptq_out_of_memory(0, "PCRE2", "a match context");
    pcre2_set_match_limit(pattern->limits, MATCH_LIMIT);
    pcre2_set_depth_limit(pattern->limits, DEPTH_LIMIT);
    pcre2_set_heap_limit(pattern->limits, HEAP_LIMIT);
    *out = pattern;
    return PTQ_OK;
}

void ptq_pattern_free(struct ptq_pattern *pattern)
{
    if (!pattern) return;
    pcre2_match_context_free(pattern->limits);
    pcre2_code_free(pattern->code);
}

/* ---- what all searches of a text take ---- */

static double thread_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

void ptq_pattern_begin(struct ptq_pattern_budget *budget)
{
    *budget = (struct ptq_pattern_budget){.until = thread_seconds() + TEXT_SECONDS};
}

void ptq_pattern_allow(struct ptq_pattern_budget *budget, size_t size)
{
    budget->until += BYTE_SECONDS * (double)size;
}

static enum ptq_status look(const struct ptq_pattern *pattern, const struct ptq_pattern_budget *budget,
                            struct ptq_error *err)
{
    PTQ_TRY(ptq_interrupted(err));
    if (thread_seconds() < budget->until) return PTQ_OK;
    return ptq_fail(err, PTQ_EINPUT,
                    "%s: the expression took more processor time than %g s and %g us for each byte; it looks through "
                    "too much of the text at each match to be a tokenizer's",
                    pattern->where, TEXT_SECONDS, 1e6 * BYTE_SECONDS);
}

enum ptq_status ptq_pattern_check(const struct ptq_pattern *pattern, struct ptq_pattern_budget *budget,
                                  struct ptq_error *err)
{
    return ++budget->searches % SEARCHES_A_LOOK ? PTQ_OK : look(pattern, budget, err);
}

/* ---- one search ---- */

/* The place behind text[at] where a character begins; at least a whole one is there. */
static size_t next_character(const char *text, size_t at)
{
    do at++;
    while ((text[at] & 0xc0) == 0x80);
    return at;
}

/* PCRE2's result. A search in vain tries every place to the end of the text, each within the limits of one: after some
 * of them the time is looked at. */
static enum ptq_status search(const struct ptq_pattern *pattern, const struct ptq_pattern_budget *budget,
                              const char *text, size_t size, size_t from, pcre2_match_data *data, int *result,
                              struct ptq_error *err)
{
    enum { LONGEST = 4 };
    for (size_t first = from;;) {
        int is_last = size - first <= STARTS_A_LOOK + LONGEST;
        size_t last = first + STARTS_A_LOOK;
        pcre2_set_offset_limit(pattern->limits, is_last ? PCRE2_UNSET : last);
        *result = pcre2_match(pattern->code, (PCRE2_SPTR)text, size, first, PCRE2_NO_UTF_CHECK, data, pattern->limits);
        if (is_last || *result != PCRE2_ERROR_NOMATCH) return PTQ_OK;
        PTQ_TRY(look(pattern, budget, err));
        first = next_character(text, last);
    }
}

enum ptq_status ptq_pattern_find(const struct ptq_pattern *pattern, const struct ptq_pattern_budget *budget,
                                 const char *text, size_t size, size_t from, size_t *start, size_t *end,
                                 struct ptq_error *err)
{
    int result;
    pcre2_match_data *data = pcre2_match_data_create(1, NULL);
    if (!data) ptq_out_of_memory(0, "PCRE2", "match data");
    enum ptq_status status = search(pattern, budget, text, size, from, data, &result, err);
    if (!status && result >= 0) {
        *start = pcre2_get_ovector_pointer(data)[0];
        *end = pcre2_get_ovector_pointer(data)[1];
    }
    pcre2_match_data_free(data);
    PTQ_TRY(status);
    if (result >= 0 && *start <= *end) return PTQ_OK; /* no test: only \K, which is refused, has it otherwise */
    *start = *end = size + 1;
    if (result >= 0 || result == PCRE2_ERROR_NOMATCH) return PTQ_OK; /* no test: as above */
    char why[160];
    pcre2_get_error_message(result, (PCRE2_UCHAR *)why, sizeof why);
    return ptq_fail(err, PTQ_EINPUT,
                    "%s: the expression fails at byte %zu of a text of %zu bytes (%s); it backtracks too much to be a "
                    "tokenizer's",
                    pattern->where, from, size, why);
}
