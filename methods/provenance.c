#include "provenance.h"

#include "ops.h"
#include "pool.h"
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

void ptq_provenance(struct ptq_arena *arena, struct ptq_cell *cell)
{
    char host[256] = "unknown", now[32];
    gethostname(host, sizeof host - 1);
    time_t seconds = time(NULL);
    struct tm utc;
    strftime(now, sizeof now, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&seconds, &utc));
    cell->version = ptq_version;
    cell->commit = ptq_commit;
    cell->compiler = ptq_compiler;
    cell->host = ptq_strdup(arena, host);
    cell->cpu = cpu_name(arena);
    cell->kernels = ptq_ops()->name;
    cell->blas = ptq_blas_name();
    cell->threads = ptq_pool_size();
    cell->started = ptq_strdup(arena, now);
}
