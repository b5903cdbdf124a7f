/* compat_logits MODEL IDS OUT [exact] | --version: the logits of one window, for tests/compat/compare_*.py to hold
 * against another program. IDS is a file of ids separated by white space; OUT becomes float32 [T][V]. What is computed
 * is what `ptq eval MODEL` computes, or, with exact, `ptq eval MODEL --method exact`: codes as the container defines
 * them, in float32. */
#include "forward.h"
#include "mapped.h"
#include "pool.h"
#include "progress.h"
#include "version.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static enum ptq_status read_ids(struct ptq_arena *arena, const char *path, int32_t **id, int64_t *n,
                                struct ptq_error *err)
{
    char *text;
    size_t size;
    PTQ_TRY(ptq_read_file(arena, path, 1 << 20, &text, &size, err));
    *id = ptq_new(arena, int32_t, size);
    *n = 0;
    for (char *end; (void)strtol(text, &end, 10), end != text; text = end)
        (*id)[(*n)++] = (int32_t)strtol(text, &end, 10);
    return *n ? PTQ_OK : ptq_fail(err, PTQ_EINPUT, "%s: holds no ids", path);
}

static enum ptq_status run(struct ptq_arena *arena, char **argv, struct ptq_error *err)
{
    struct ptq_model model;
    struct ptq_forward forward;
    int32_t *id;
    int64_t n;
    PTQ_TRY(ptq_model_open(arena, argv[1], argv[1], &model, err));
    if (argv[4]) ptq_model_exact(&model);
    PTQ_TRY(read_ids(arena, argv[2], &id, &n, err));
    ptq_forward_make(arena, &model, id, 1, n, &forward);
    PTQ_TRY(ptq_forward_embed(&forward, err));
    for (int64_t b = 0; b < model.config.blocks; b++) {
        struct ptq_block block;
        struct ptq_mark mark = ptq_arena_mark(arena);
        PTQ_TRY(ptq_block_load(&model, b, arena, &block, err));
        PTQ_TRY(ptq_forward_block(&forward, &block, b, NULL, err));
        ptq_arena_rewind(arena, mark);
    }
    float *logits = ptq_new(arena, float, n *model.config.vocab);
    PTQ_TRY(ptq_forward_logits(&forward, arena, logits, err));
    return ptq_write_file(argv[3], logits, sizeof *logits * (size_t)(n * model.config.vocab), err);
}

int main(int argc, char **argv)
{
    struct ptq_error err;
    if (argc == 2 && strcmp(argv[1], "--version") == 0) {
        printf("ptq %s (%s)\n", ptq_version, ptq_commit); /* as ptq's own first line */
        return 0;
    }
    if (argc != 4 && (argc != 5 || strcmp(argv[4], "exact"))) {
        fprintf(stderr, "compat_logits MODEL IDS OUT [exact] | --version\n");
        return 2;
    }
    struct ptq_arena *arena = ptq_arena_make("logits");
    ptq_progress_quiet(PTQ_QUIET);
    ptq_pool_start(2);
    enum ptq_status status = run(arena, argv, &err);
    if (status) fprintf(stderr, "compat_logits: %s\n", err.text);
    ptq_pool_stop();
    ptq_arena_free(arena);
    return ptq_status_exit_code(status);
}
