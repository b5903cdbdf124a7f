#include "only.h"

#include "words.h"

#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const ptq_role_word[PTQ_N_ROLE] = {"q", "k", "v", "o", "gate", "up", "down"};

/* ---- which linears ---- */

static int matches(const char *pattern, int64_t block, const char *role, const char *name)
{
    char number[24], both[32];
    snprintf(number, sizeof number, "%lld", (long long)block);
    snprintf(both, sizeof both, "%lld.%s", (long long)block, role);
    if (strcmp(pattern, number) == 0 || strcmp(pattern, role) == 0) return 1;
    return fnmatch(pattern, both, 0) == 0 || fnmatch(pattern, name, 0) == 0;
}

static int takes(const char *only, int64_t block, const char *role, const char *name)
{
    char pattern[PTQ_MAX_ONLY];
    while (*only) {
        size_t length = strcspn(only, "|");
        snprintf(pattern, sizeof pattern, "%.*s", (int)length, only);
        if (matches(pattern, block, role, name)) return 1;
        only += length + (only[length] == '|');
    }
    return 0;
}

unsigned ptq_only_roles(const char *only, const struct ptq_model *model, int64_t block)
{
    unsigned roles = 0;
    for (int role = 0; role < PTQ_N_ROLE; role++) {
        char name[PTQ_NAME_SIZE];
        if (!ptq_linear_name(model, block, role, name)) continue;
        if (!*only || takes(only, block, ptq_role_word[role], name)) roles |= 1u << role;
    }
    return roles;
}

enum ptq_status ptq_only_blocks(const char *only, const struct ptq_model *model, int64_t *first, int64_t *last,
                                struct ptq_error *err)
{
    *first = *last = -1;
    for (int64_t block = 0; block < model->config.blocks; block++) {
        if (!ptq_only_roles(only, model, block)) continue;
        *last = block;
        if (*first < 0) *first = block;
    }
    if (*first >= 0) return PTQ_OK;
    char name[PTQ_NAME_SIZE];
    ptq_linear_name(model, model->config.blocks - 1, PTQ_O, name);
    return ptq_fail(err, PTQ_EUSAGE, "only=%s names no linear of %s; its last block's are %lld.q ... %lld.down (%s)",
                    only, model->name, (long long)model->config.blocks - 1, (long long)model->config.blocks - 1, name);
}

int ptq_only_is_whole(const char *only, const struct ptq_model *model)
{
    unsigned all = ptq_only_roles("", model, 0);
    for (int64_t block = 0; block < model->config.blocks; block++) {
        unsigned roles = ptq_only_roles(only, model, block);
        if (roles && roles != all) return 0;
    }
    return 1;
}

int ptq_only_is_one(const char *only, int64_t *block, enum ptq_role *role)
{
    char *end;
    *block = strtoll(only, &end, 10);
    if (end == only || *end != '.' || only[0] < '0') return 0; /* a number, but none behind a sign or a blank */
    for (int r = 0; r < PTQ_N_ROLE; r++)
        if (strcmp(end + 1, ptq_role_word[r]) == 0) {
            *role = (enum ptq_role)r;
            return 1;
        }
    return 0;
}

/* ---- braces ---- */

enum { MOST_BRACES = 8 };

/* A pair of braces and what stands before it. */
struct braces {
    const char *before, *inside;
    size_t n_before;
    int64_t low; /* of a range; -1: words parted by | */
    int n;       /* values */
};

/* The inside of a pair: "0..29", or "q|k|down". */
static enum ptq_status read_inside(struct ptq_arena *arena, struct braces *b, int limit, struct ptq_error *err)
{
    const char *dots = strstr(b->inside, "..");
    int64_t low, high;
    b->low = -1;
    b->n = 1;
    if (!dots) {
        for (const char *c = b->inside; *c; c++) b->n += *c == '|';
        return PTQ_OK;
    }
    if (!ptq_parse_int(ptq_strndup(arena, b->inside, (size_t)(dots - b->inside)), 0, 1 << 20, &low) ||
        !ptq_parse_int(dots + 2, low, 1 << 20, &high))
        return ptq_fail(err, PTQ_EUSAGE, "only: {%s} is no range of rising whole numbers from 0 to %d", b->inside,
                        1 << 20);
    b->low = low;
    b->n = (int)(high - low + 1 < limit ? high - low + 1 : (int64_t)limit + 1);
    return PTQ_OK;
}

/* A text of fewer than PTQ_MAX_ONLY characters under way. */
struct name {
    char text[PTQ_MAX_ONLY];
    size_t length;
    int too_long;
};

static void put(struct name *name, const char *more, size_t n)
{
    name->too_long |= n >= sizeof name->text - name->length;
    if (name->too_long) return;
    memcpy(name->text + name->length, more, n);
    name->length += n;
}

static void put_value(struct name *name, const struct braces *b, int i)
{
    char number[24];
    const char *word = b->inside;
    if (b->low >= 0) {
        snprintf(number, sizeof number, "%lld", (long long)b->low + i);
        put(name, number, strlen(number));
        return;
    }
    while (i-- > 0) word = strchr(word, '|') + 1;
    put(name, word, strcspn(word, "|"));
}

/* Combination `index` of the pairs, the last one fastest, and what stands behind them; NULL: too long. */
static const char *combine(struct ptq_arena *arena, const struct braces *b, int n_braces, int64_t index,
                           const char *end)
{
    struct name name = {.length = 0};
    int value[MOST_BRACES];
    for (int i = n_braces - 1; i >= 0; index /= b[i--].n) value[i] = (int)(index % b[i].n);
    for (int i = 0; i < n_braces; i++) {
        put(&name, b[i].before, b[i].n_before);
        put_value(&name, &b[i], value[i]);
    }
    put(&name, end, strlen(end));
    return name.too_long ? NULL : ptq_strndup(arena, name.text, name.length);
}

/* All is counted before any of it is made: the text is a stranger's. */
enum ptq_status ptq_only_expand(struct ptq_arena *arena, const char *text, int limit, const char ***out, int *n,
                                struct ptq_error *err)
{
    struct braces b[MOST_BRACES];
    const char *end = text, *open;
    int64_t all = 1;
    int n_braces = 0;
    for (; (open = strchr(end, '{')); n_braces++) {
        const char *close = strchr(open, '}');
        if (!close) return ptq_fail(err, PTQ_EUSAGE, "only: a { without its } in '%s'", end);
        if (n_braces == MOST_BRACES)
            return ptq_fail(err, PTQ_EUSAGE, "only: more than %d pairs of braces in '%.40s...'", MOST_BRACES, text);
        b[n_braces] = (struct braces){.before = end, .n_before = (size_t)(open - end)};
        b[n_braces].inside = ptq_strndup(arena, open + 1, (size_t)(close - open - 1));
        PTQ_TRY(read_inside(arena, &b[n_braces], limit, err));
        if (all <= limit) all *= b[n_braces].n;
        end = close + 1;
    }
    if (all > limit) return ptq_fail(err, PTQ_EUSAGE, "only: stands for more than %d", limit);
    *out = ptq_new(arena, const char *, all);
    for (int64_t i = 0; i < all; i++)
        if (!((*out)[i] = combine(arena, b, n_braces, i, end)))
            return ptq_fail(err, PTQ_EUSAGE, "only: '%.40s...' stands for a text of more than %d characters", text,
                            PTQ_MAX_ONLY - 1);
    *n = (int)all;
    return PTQ_OK;
}
