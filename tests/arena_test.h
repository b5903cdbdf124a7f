/* For tests that each want an arena of their own: TEST(name) runs test_name with a fresh one. */
#ifndef PTQ_ARENA_TEST_H
#define PTQ_ARENA_TEST_H

#include "arena.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static struct ptq_arena *arena;

static int set_up(void **state)
{
    (void)state;
    arena = ptq_arena_make("test");
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    ptq_arena_free(arena);
    return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, set_up, tear_down)

#endif
