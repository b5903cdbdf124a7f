/* For tests of checkpoints: safetensors files of tiny tensors in a folder of the test's own, and how it opens. */
#ifndef PTQ_TESTS_SHARD_FILES_H
#define PTQ_TESTS_SHARD_FILES_H

#include "checkpoint.h"
#include "files.h"

#include <math.h>

#define MAP(text) "{\"metadata\":{\"total_size\":8},\"weight_map\":" text "}"
#define INDEX "model.safetensors.index.json"

struct fixture {
    char folder[64];
    struct ptq_arena *arena;
    struct ptq_checkpoint checkpoint;
    struct ptq_error err;
};

static inline int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    make_test_folder(f->folder);
    f->arena = ptq_arena_make("test");
    *state = f;
    return 0;
}

static inline int teardown(void **state)
{
    struct fixture *f = *state;
    ptq_checkpoint_close(&f->checkpoint);
    ptq_arena_free(f->arena);
    remove_test_folder(f->folder);
    free(f);
    return 0;
}

/* folder/name: a safetensors file with F16 tensors [2], one for each letter of names, all elements half. */
static inline void write_shard(const char *folder, const char *name, const char *names, uint16_t half)
{
    char header[1024] = "{";
    size_t used = 1;
    for (int i = 0; names[i]; i++)
        used += (size_t)snprintf(header + used, sizeof header - used,
                                 "%s\"%c\":{\"dtype\":\"F16\",\"shape\":[2],\"data_offsets\":[%d,%d]}", i ? "," : "",
                                 names[i], 4 * i, 4 * i + 4);
    snprintf(header + used, sizeof header - used, "}");
    struct bytes b = {0};
    put_number(&b, strlen(header), 8);
    put(&b, header, strlen(header));
    for (size_t i = 0; i < 2 * strlen(names); i++) put_number(&b, half, 2);
    write_test_file(folder, name, b.data, b.size);
    free(b.data);
}

static inline enum ptq_status open_in(struct fixture *f, const char *name)
{
    ptq_checkpoint_close(&f->checkpoint);
    const char *path = *name ? ptq_join(f->arena, f->folder, name) : f->folder;
    return ptq_checkpoint_open(f->arena, path, &f->checkpoint, &f->err);
}

static inline void assert_opens(struct fixture *f, const char *name, int n_tensors)
{
    if (open_in(f, name)) fail_msg("%s", f->err.text);
    assert_int_equal(f->checkpoint.n_tensors, n_tensors);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

#endif
