/* bench_gpu_quantize: the seconds that quantising a model takes on the device, block by block, nothing evaluated and
 * nothing written.
 *
 *   bench_gpu_quantize MODEL SPEC CALIB WINDOWS WINDOW
 *
 * One line a block: its number and the seconds since the block before was done (calibration, statistics, codes and
 * their reports; reading the weights, too), then one line `all SECONDS`. PTQ_DEVICE_TIMES=1 in the environment says
 * where they go, and waits for each stage: then nothing overlaps. */
#include "pipeline.h"
#include "pool.h"
#include "progress.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static double last;

static enum ptq_status take(void *context, int64_t index, const struct ptq_block *block, const struct ptq_qmat *q,
                            struct ptq_error *err)
{
    double now = ptq_seconds();
    (void)context, (void)block, (void)q, (void)err;
    printf("block %lld %.3f\n", (long long)index, now - last);
    fflush(stdout);
    last = now;
    return PTQ_OK;
}

static int fail(const struct ptq_error *err)
{
    fprintf(stderr, "bench_gpu_quantize: %s\n", err->text);
    return 1;
}

int main(int n, char **word)
{
    struct ptq_block_sink sink = {.take = take};
    struct ptq_cell cell = {0};
    struct ptq_error err;
    if (n != 6) {
        fprintf(stderr, "bench_gpu_quantize MODEL SPEC CALIB WINDOWS WINDOW\n");
        return 2;
    }
    struct ptq_job job = {.model = word[1],
                          .spec = word[2],
                          .calib = word[3],
                          .calib_windows = strtol(word[4], NULL, 10),
                          .calib_window = strtol(word[5], NULL, 10),
                          .device = "cuda",
                          .sink = &sink};
    ptq_progress_quiet(PTQ_NOTES_ONLY);
    ptq_pool_start((int)sysconf(_SC_NPROCESSORS_ONLN));
    struct ptq_arena *arena = ptq_arena_make("bench");
    struct ptq_session *session = ptq_session_make();
    if (ptq_cell_plan(session, &job, arena, &cell, &err)) return fail(&err);
    double started = last = ptq_seconds();
    if (ptq_cell_run(session, &job, arena, &cell, &err)) return fail(&err);
    printf("all %.3f\n", ptq_seconds() - started);
    ptq_session_free(session);
    ptq_arena_free(arena);
    ptq_pool_stop();
    return 0;
}
