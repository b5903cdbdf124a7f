/* One family of ../shared/golden/models, opened: the checkpoint, its golden values, the evaluation and the calibration
 * windows that the values were made on. For the three tests that hold methods against published code. */
#ifndef PTQ_TESTS_GOLDEN_FAMILY_H
#define PTQ_TESTS_GOLDEN_FAMILY_H

#include "golden.h"
#include "model.h"

#include <string.h>
#include <unistd.h>

enum { WINDOW = 128 };

struct family {
    struct golden g;
    struct ptq_model model;
    struct ptq_windows eval, calib;
};

#define OK(call) GOLDEN_OK(&f->g, call)

/* A golden matrix of a linear [N][K], its rows in our order (BLOOM's q, k, v are interleaved in the file). */
static inline float *family_matrix(struct family *f, const char *group, const char *name, int role,
                                   const struct ptq_linear *l)
{
    float *stored, *matrix = ptq_new(f->g.arena, float, l->n * l->k);
    int64_t rows, columns;
    struct ptq_row_layout layout = ptq_linear_layout(&f->model, (enum ptq_role)role);
    OK(ptq_h5_floats(f->g.file, group, name, f->g.arena, &stored, &rows, &columns, &f->g.err));
    assert_true(rows == l->n && columns == l->k);
    for (int64_t i = 0; i < rows; i++)
        memcpy(matrix + i * columns, stored + ptq_file_row(&layout, i) * columns, sizeof *matrix * (size_t)columns);
    return matrix;
}

/* Where the golden folder is not there the test is skipped, and says so. */
static inline void family_open(struct family *f, const char *name)
{
    if (access(PTQ_GOLDEN "/models", R_OK)) {
        printf("skipped: %s/models is not there\n", PTQ_GOLDEN);
        skip();
    }
    struct ptq_arena *names = ptq_arena_make("names");
    const char *folder = ptq_format(names, "%s/models/%s", PTQ_GOLDEN, name);
    golden_open(&f->g, name, ptq_join(names, folder, "golden.h5"));
    OK(ptq_model_open(f->g.arena, folder, name, &f->model, &f->g.err));
    ptq_arena_free(names);
    f->eval = golden_windows(&f->g, "tokens", WINDOW, (int64_t)golden_real(&f->g, "/", "windows"));
    f->calib = golden_windows(&f->g, "calib_tokens", WINDOW, 0);
}

static inline void family_close(struct family *f)
{
    ptq_model_close(&f->model);
    golden_close(&f->g);
}

/* The file's test_family on one of them, its state the family's name. */
#define FAMILY_TEST(family)                                                                                            \
    {                                                                                                                  \
#family, test_family, NULL, NULL, #family                                                                      \
    }

#endif
