/* Feeds files to the targets, with any compiler: fuzz_replay FOLDER... runs every file of FOLDER/TARGET, for every
 * target; fuzz_replay --list prints the targets with the sizes of their largest inputs. Ends with how many files there
 * were of each; a target without one is a failure, since a test that runs nothing cannot fail. */
#include "fuzz.h"

#include "mapped.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A copy of exactly its size, so that a sanitizer sees a step beyond it. */
static void feed(const struct ptq_fuzz_target *target, const char *path)
{
    struct ptq_arena *arena = ptq_arena_make("a fuzz input");
    struct ptq_error err;
    char *text;
    size_t size;
    if (ptq_read_file(arena, path, 1 << 24, &text, &size, &err)) {
        fprintf(stderr, "%s\n", err.text);
        exit(1);
    }
    uint8_t *data = malloc(size + !size);
    memcpy(data, text, size);
    ptq_arena_free(arena);
    target->run(data, size);
    free(data);
}

static int feed_all(const struct ptq_fuzz_target *target, const char *folder)
{
    char path[4096], last[4096];
    int n = 0;
    snprintf(path, sizeof path, "%s/%s", folder, target->name);
    DIR *dir = opendir(path);
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        if (entry->d_name[0] == '.') continue;
        snprintf(last, sizeof last, "%s/%s/%s", folder, target->name, entry->d_name);
        if (getenv("PTQ_FUZZ_VERBOSE")) fprintf(stderr, "%s\n", last);
        feed(target, last);
        n++;
    }
    if (dir) closedir(dir);
    return n;
}

int main(int argc, char **argv)
{
    int empty = 0, list = argc == 2 && strcmp(argv[1], "--list") == 0;
    for (int i = 0; i < ptq_n_fuzz_targets; i++) {
        const struct ptq_fuzz_target *target = &ptq_fuzz_targets[i];
        int n = 0;
        if (list) {
            printf("%s %zu\n", target->name, target->largest);
            continue;
        }
        printf("%-16s", target->name);
        fflush(stdout); /* where the next line is a sanitizer's, it says of what */
        for (int f = 1; f < argc; f++) n += feed_all(target, argv[f]);
        printf("%5d files\n", n);
        empty += n == 0;
    }
    if (empty) printf("%d targets have no file\n", empty);
    return empty > 0;
}
