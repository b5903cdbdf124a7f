/* For tests: folders of their own, and what a results file leaves. */
#ifndef PTQ_TEST_FOLDERS_H
#define PTQ_TEST_FOLDERS_H

#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

/* A new folder; path of at least 64 bytes. */
static inline void make_test_folder(char *path)
{
    snprintf(path, 64, "/tmp/ptq-test-XXXXXX");
    assert_non_null(mkdtemp(path));
}

static inline int remove_one(const char *path, const struct stat *info, int kind, struct FTW *where)
{
    (void)info, (void)kind, (void)where;
    return remove(path);
}

static inline void remove_test_folder(const char *path)
{
    nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* A results file and what lies beside it in FILE.cells. */
static inline void remove_test_results(const char *file)
{
    char cells[4096];
    snprintf(cells, sizeof cells, "%s.cells", file);
    unlink(file);
    remove_test_folder(cells);
}

#endif
