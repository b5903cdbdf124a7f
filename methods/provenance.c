#include "provenance.h"

#include "mapped.h"
#include "ops.h"
#include "pool.h"
#include "sha256.h"
#include "version.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char *cpu_name(struct ptq_arena *arena)
{
    char line[512];
    const char *name = "unknown";
    FILE *file = fopen("/proc/cpuinfo", "re");
    if (!file) return name;
    while (fgets(line, sizeof line, file)) {
        char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) || !colon) continue;
        colon[strcspn(colon, "\n")] = 0;
        name = ptq_strdup(arena, colon + 1 + strspn(colon + 1, " "));
        break;
    }
    fclose(file);
    return name;
}

/* Of this process: computed once, since every cell of a plan asks. */
static const char *build_digits(void)
{
    enum { DIGITS = 12 };
    static char digits[DIGITS + 1];
    if (*digits) return digits;
    struct ptq_arena *arena = ptq_arena_make("the program");
    struct ptq_mapped program;
    struct ptq_error ignored;
    if (!ptq_map(arena, "/proc/self/exe", &program, &ignored)) {
        char hex[PTQ_SHA256_HEX];
        ptq_sha256(program.data, program.size, hex);
        memcpy(digits, hex, DIGITS);
        ptq_unmap(&program);
    }
    ptq_arena_free(arena);
    return digits;
}

const char *ptq_build_commit(struct ptq_arena *arena, const char *commit)
{
    return strchr(commit, '+') ? ptq_format(arena, "%s%s", commit, build_digits()) : commit;
}

void ptq_provenance(struct ptq_arena *arena, struct ptq_cell *cell)
{
    char host[256] = "unknown", now[32];
    gethostname(host, sizeof host - 1);
    time_t seconds = time(NULL);
    struct tm utc;
    strftime(now, sizeof now, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&seconds, &utc));
    cell->version = ptq_version;
    cell->commit = ptq_build_commit(arena, ptq_commit);
    cell->compiler = ptq_compiler;
    cell->host = ptq_strdup(arena, host);
    cell->cpu = cpu_name(arena);
    cell->kernels = ptq_ops()->name;
    cell->blas = ptq_blas_name();
    cell->threads = ptq_pool_size();
    cell->started = ptq_strdup(arena, now);
}
