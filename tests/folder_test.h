/* For tests that share an arena and a folder of their own: set_up and tear_down of the group. */
#ifndef PTQ_FOLDER_TEST_H
#define PTQ_FOLDER_TEST_H

#include "arena.h"
#include "files.h"

static struct ptq_arena *arena;
static char folder[64];

static int set_up(void **state)
{
    (void)state;
    arena = ptq_arena_make("test");
    make_test_folder(folder);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    ptq_arena_free(arena);
    remove_test_folder(folder);
    return 0;
}

#endif
