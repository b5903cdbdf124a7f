/* A thread pool with one call: a counted loop whose tasks any thread may take.
 *
 * Results do not depend on the number of threads, because what a task is never does: callers cut work by fixed tile
 * sizes, a task writes only what is its own, and sums over tasks are made afterwards in task order. */
#ifndef PTQ_POOL_H
#define PTQ_POOL_H

#include <stdint.h>

/* n threads (>= 1), the caller's among them. May be called again to change n. */
void ptq_pool_start(int n_threads);
void ptq_pool_stop(void);
int ptq_pool_size(void); /* 1 before ptq_pool_start */

/* 1: threads look for the next loop for some microseconds before they sleep, for many short loops one after the other
 * (decoding). Changes the time alone. */
void ptq_pool_wait_busily(int busily);

/* Runs task(context, i, worker) for each i in [0, n_tasks), 0 <= worker < ptq_pool_size(), and returns when all are
 * done. Tasks are started in order of i. Not reentrant: a task does not start a loop of its own, and neither does a
 * second thread, but for one that has left the pool. */
void ptq_parallel_for(int64_t n_tasks, void (*task)(void *context, int64_t i, int worker), void *context);

/* For a thread that works beside the pool's caller: from now on it runs the tasks of its loops itself, one by one. */
void ptq_pool_leave(void);

#endif
