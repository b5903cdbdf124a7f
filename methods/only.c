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

int ptq_only_is_one(const char *only, int64_t *block, enum ptq_role *role)
{
    char *end;
    *block = strtoll(only, &end, 10);
    if (end == only || *end != '.' || only[0] < '0' || only[0] > '9') return 0;
    for (int r = 0; r < PTQ_N_ROLE; r++)
        if (strcmp(end + 1, ptq_role_word[r]) == 0) {
            *role = (enum ptq_role)r;
            return 1;
        }
    return 0;
}

/* ---- braces ---- */

struct list {
    struct ptq_arena *arena;
    const char **text;
    int n, limit;
};

static enum ptq_status expand(struct list *list, const char *done, const char *text, struct ptq_error *err);

static enum ptq_status expand_range(struct list *list, const char *done, int64_t low, int64_t high, const char *rest,
                                    struct ptq_error *err)
{
    for (int64_t i = low; i <= high; i++)
        PTQ_TRY(expand(list, ptq_format(list->arena, "%s%lld", done, (long long)i), rest, err));
    return PTQ_OK;
}

/* The inside of a pair of braces: "0..29", or "q|k|down". */
static enum ptq_status expand_inside(struct list *list, const char *done, const char *inside, const char *rest,
                                     struct ptq_error *err)
{
    const char *dots = strstr(inside, "..");
    int64_t low, high;
    if (dots && ptq_parse_int(ptq_strndup(list->arena, inside, (size_t)(dots - inside)), 0, 1 << 20, &low) &&
        ptq_parse_int(dots + 2, low, 1 << 20, &high))
        return expand_range(list, done, low, high, rest, err);
    if (dots)
        return ptq_fail(err, PTQ_EUSAGE, "only: {%s} is no range of rising whole numbers from 0 to %d", inside,
                        1 << 20);
    for (const char *word = inside;; word++) {
        size_t length = strcspn(word, "|");
        PTQ_TRY(expand(list, ptq_format(list->arena, "%s%.*s", done, (int)length, word), rest, err));
        word += length;
        if (!*word) return PTQ_OK;
    }
}

static enum ptq_status expand(struct list *list, const char *done, const char *text, struct ptq_error *err)
{
    const char *open = strchr(text, '{'), *close = open ? strchr(open, '}') : NULL;
    if (open && !close) return ptq_fail(err, PTQ_EUSAGE, "only: a { without its } in '%s'", text);
    if (open)
        return expand_inside(list, ptq_format(list->arena, "%s%.*s", done, (int)(open - text), text),
                             ptq_strndup(list->arena, open + 1, (size_t)(close - open - 1)), close + 1, err);
    if (list->n == list->limit) return ptq_fail(err, PTQ_EUSAGE, "only: stands for more than %d", list->limit);
    list->text[list->n++] = ptq_format(list->arena, "%s%s", done, text);
    return PTQ_OK;
}

enum ptq_status ptq_only_expand(struct ptq_arena *arena, const char *text, int limit, const char ***out, int *n,
                                struct ptq_error *err)
{
    struct list list = {.arena = arena, .text = ptq_new(arena, const char *, limit), .limit = limit};
    PTQ_TRY(expand(&list, "", text, err));
    *out = list.text;
    *n = list.n;
    return PTQ_OK;
}
