/* Regular expressions of tokenizer.json that have no scanner of their own, by PCRE2 within limits. A file's expression
 * is a stranger's program: it can cost no more than the limits allow, and what Oniguruma (whose dialect these
 * expressions are in) reads otherwise than PCRE2 is refused by name. */
#ifndef PTQ_PATTERN_H
#define PTQ_PATTERN_H

#include "arena.h"
#include "status.h"

#include <stddef.h>

struct ptq_pattern;

/* where: file and JSON path, for errors. The pattern lives in arena and holds memory of PCRE2 until it is freed. */
enum ptq_status ptq_pattern_compile(struct ptq_arena *arena, const char *regex, const char *where,
                                    struct ptq_pattern **out, struct ptq_error *err);
void ptq_pattern_free(struct ptq_pattern *pattern); /* NULL is fine */

/* Each search has its limits, but an expression that is cheap in one can look through all that is left of the text in
 * each: so the searches of one text have a limit together, in processor time of the thread. */
struct ptq_pattern_budget {
    double until;
    unsigned searches;
};
void ptq_pattern_begin(struct ptq_pattern_budget *budget);
void ptq_pattern_allow(struct ptq_pattern_budget *budget, size_t size); /* what size bytes more may take */
/* Before a search: fails with PTQ_EINPUT where the time is over, with PTQ_EINTERRUPT where a signal was seen. */
enum ptq_status ptq_pattern_check(const struct ptq_pattern *pattern, struct ptq_pattern_budget *budget,
                                  struct ptq_error *err);

/* The first match in text[from..size) of well-formed UTF-8: *start and *end, or *start = size + 1 where there is none.
 * Fails with PTQ_EINPUT when the expression goes beyond its limits, and as ptq_pattern_check does. */
enum ptq_status ptq_pattern_find(const struct ptq_pattern *pattern, const struct ptq_pattern_budget *budget,
                                 const char *text, size_t size, size_t from, size_t *start, size_t *end,
                                 struct ptq_error *err);

#endif
