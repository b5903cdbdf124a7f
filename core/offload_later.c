/* Queueing on a thread of its own: one at a time, and nobody else asks the device for anything before it is waited for.
 */
#include "offload.h"

#include "pool.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static struct {
    struct ptq_forward *f;
    struct ptq_block block; /* the caller's may go: its weights are there */
    enum ptq_offload_part first, last;
    struct ptq_tap tap;
    int has_tap;
} job;
static pthread_t thread;
static int runs;

static void run(void)
{
    ptq_offload_parts(job.f, &job.block, job.first, job.last, 0, job.has_tap ? &job.tap : NULL);
}

static void *run_apart(void *nothing)
{
    ptq_pool_leave(); /* the caller has loops of its own meanwhile */
    run();
    return nothing;
}

void ptq_offload_settle(void)
{
    if (!runs) return;
    runs = 0;
    pthread_join(thread, NULL);
}

/* Stages are timed one after the other. */
static int is_timed(void)
{
    const char *wish = getenv("PTQ_DEVICE_TIMES");
    return wish && strcmp(wish, "1") == 0;
}

void ptq_offload_parts_later(struct ptq_forward *f, const struct ptq_block *block, enum ptq_offload_part first,
                             enum ptq_offload_part last, const struct ptq_tap *tap)
{
    ptq_offload_settle();
    job.f = f;
    job.block = *block;
    job.first = first;
    job.last = last;
    job.has_tap = tap != NULL;
    if (tap) job.tap = *tap;
    if (is_timed() || pthread_create(&thread, NULL, run_apart, NULL) != 0)
        run();
    else
        runs = 1;
}
