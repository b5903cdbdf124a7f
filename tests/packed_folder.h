/* For tests of ptq's own folders: export by a method, and the scores of a cell and of a folder, to the last bit. */
#ifndef PTQ_TESTS_PACKED_FOLDER_H
#define PTQ_TESTS_PACKED_FOLDER_H

#include "export_fixture.h"

struct scores {
    float nll[512];
    int64_t n;
};

/* calib: 0 for what is quantised already. */
static inline void score_folder(const char *model, const char *spec, const char *path, int calib, struct scores *out)
{
    struct ptq_session *session = ptq_session_make();
    struct ptq_arena *arena = ptq_arena_make("scores");
    struct ptq_job job = {.model = model, .spec = spec, .path = path, .text = MODELS "text.txt", .window = 32};
    struct ptq_cell cell;
    struct ptq_error err;
    job.max_windows = 3;
    if (calib) job.calib = MODELS "calib.txt", job.calib_window = 32, job.calib_windows = 4;
    EXPORT_OK(&err, ptq_cell_plan(session, &job, arena, &cell, &err));
    EXPORT_OK(&err, ptq_cell_run(session, &job, arena, &cell, &err));
    assert_string_equal(cell.path, path);
    out->n = cell.tokens;
    assert_true(out->n > 0 && out->n <= 512);
    memcpy(out->nll, cell.nll, sizeof *cell.nll * (size_t)cell.tokens);
    ptq_arena_free(arena);
    ptq_session_free(session);
}

static inline void same_scores(const char *model, const char *spec, const char *folder)
{
    for (int i = 0; i < PTQ_N_PATHS; i++) {
        struct scores made, read;
        score_folder(model, spec, ptq_paths[i].name, 1, &made);
        score_folder(folder, "fp16", ptq_paths[i].name, 0, &read);
        if (made.n != read.n || memcmp(made.nll, read.nll, sizeof *made.nll * (size_t)made.n))
            fail_msg("%s by %s: other numbers by --path %s", model, spec, ptq_paths[i].name);
    }
}

static inline void export_packed(const char *model, const char *spec, const char *folder)
{
    struct remembered r;
    struct ptq_error err;
    EXPORT_OK(&err, export_into(&r, model, spec, "packed", folder, &err));
    forget(&r);
}

/* A tiny llama, its folder by rtn:w4,g32, and a cache, for all tests of a program. */
static char cache[64], tiny[64], packed[64];

static inline int make_packed(void **state)
{
    (void)state;
    begin_exports(cache, tiny);
    make_test_folder(packed);
    export_packed(tiny, "rtn:w4,g32", packed);
    return 0;
}

static inline int remove_packed(void **state)
{
    (void)state;
    const char *const folder[] = {cache, tiny, packed};
    return end_exports(folder, 3);
}

#endif
