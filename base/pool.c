#include "pool.h"

#include "arena.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

enum { BUSY_ROUNDS = 2000 };

static struct {
    int n_threads;
    pthread_t *thread; /* [n_threads - 1] */
    pthread_mutex_t lock;
    pthread_cond_t start, done;
    atomic_uint_fast64_t generation; /* one more for each loop */
    atomic_int running;              /* threads still in the current loop */
    int ready;                       /* threads that have begun */
    int stopping;
    atomic_int busily;
    int64_t n_tasks;
    void (*task)(void *, int64_t, int);
    void *context;
    atomic_int_fast64_t next;
} pool = {.n_threads = 1,
          .lock = PTHREAD_MUTEX_INITIALIZER,
          .start = PTHREAD_COND_INITIALIZER,
          .done = PTHREAD_COND_INITIALIZER};

static void take_tasks(int worker)
{
    for (;;) {
        int64_t i = atomic_fetch_add(&pool.next, 1);
        if (i >= pool.n_tasks) return;
        pool.task(pool.context, i, worker);
    }
}

void ptq_pool_wait_busily(int busily)
{
    atomic_store(&pool.busily, busily);
}

static void breathe(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

/* Some tens of microseconds, as long as a small loop: a thread that slept would take as long to wake. */
static void look_for_work(uint64_t seen)
{
    for (int i = 0; i < BUSY_ROUNDS && atomic_load(&pool.busily) && atomic_load(&pool.generation) == seen; i++)
        breathe();
}

static void look_for_end(void)
{
    for (int i = 0; i < BUSY_ROUNDS && atomic_load(&pool.busily) && atomic_load(&pool.running); i++) breathe();
}

static void *work(void *argument)
{
    int worker = (int)(intptr_t)argument;
    uint64_t seen = 0;
    pthread_mutex_lock(&pool.lock);
    pool.ready++;
    pthread_cond_signal(&pool.done);
    pthread_mutex_unlock(&pool.lock);
    for (;;) {
        look_for_work(seen);
        pthread_mutex_lock(&pool.lock);
        while (!pool.stopping && pool.generation == seen) pthread_cond_wait(&pool.start, &pool.lock);
        if (pool.stopping) break;
        seen = pool.generation;
        pthread_mutex_unlock(&pool.lock);
        take_tasks(worker);
        pthread_mutex_lock(&pool.lock);
        if (--pool.running == 0) pthread_cond_signal(&pool.done);
        pthread_mutex_unlock(&pool.lock);
    }
    pthread_mutex_unlock(&pool.lock);
    return NULL;
}

void ptq_pool_start(int n_threads)
{
    assert(n_threads >= 1);
    ptq_pool_stop();
    pool.thread = ptq_realloc(NULL, (size_t)n_threads, sizeof *pool.thread, "threads");
    pool.generation = 0;
    pool.n_threads = 1;
    pool.ready = 0;
    for (int i = 1; i < n_threads; i++) {
        /* Fewer threads than asked for change the time only, never a result. */
        if (pthread_create(&pool.thread[i - 1], NULL, work, (void *)(intptr_t)i)) break;
        pool.n_threads++;
    }
    /* A thread that begins allocates, and whoever forks meanwhile may copy a lock that is held: AddressSanitizer's
     * allocator does not see forks, and a child that reads HDF5 waited for ever. */
    pthread_mutex_lock(&pool.lock);
    while (pool.ready < pool.n_threads - 1) pthread_cond_wait(&pool.done, &pool.lock);
    pthread_mutex_unlock(&pool.lock);
}

void ptq_pool_stop(void)
{
    pthread_mutex_lock(&pool.lock);
    pool.stopping = 1;
    pthread_cond_broadcast(&pool.start);
    pthread_mutex_unlock(&pool.lock);
    for (int i = 1; i < pool.n_threads; i++) pthread_join(pool.thread[i - 1], NULL);
    free(pool.thread);
    pool.thread = NULL;
    pool.stopping = 0;
    pool.n_threads = 1;
}

int ptq_pool_size(void)
{
    return pool.n_threads;
}

static _Thread_local int left;

void ptq_pool_leave(void)
{
    left = 1;
}

void ptq_parallel_for(int64_t n_tasks, void (*task)(void *context, int64_t i, int worker), void *context)
{
    if (n_tasks <= 1 || pool.n_threads == 1 || left) {
        for (int64_t i = 0; i < n_tasks; i++) task(context, i, 0);
        return;
    }
    pthread_mutex_lock(&pool.lock);
    pool.n_tasks = n_tasks;
    pool.task = task;
    pool.context = context;
    atomic_store(&pool.next, 0);
    pool.running = pool.n_threads - 1;
    pool.generation++;
    pthread_cond_broadcast(&pool.start);
    pthread_mutex_unlock(&pool.lock);
    take_tasks(0);
    look_for_end();
    pthread_mutex_lock(&pool.lock);
    while (pool.running) pthread_cond_wait(&pool.done, &pool.lock);
    pthread_mutex_unlock(&pool.lock);
}
