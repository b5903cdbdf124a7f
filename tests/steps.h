/* Steps that fail, one at a time: what stopped a run is what it says, and everything that it took is given back (the
 * sanitized build sees what is not). The steps are functions of other files, which the linker lets fail (--wrap, see
 * CMakeLists.txt, which has the same names).
 *
 * Before this header: #define STEPS(X) X(name, parameters, words) ..., each with a last parameter `err`. */
#ifndef PTQ_TESTS_STEPS_H
#define PTQ_TESTS_STEPS_H

#include "files.h"

#define FAULT "the fault of the test"

enum step {
#define X(name, ...) STEP_##name,
    STEPS(X) N_STEPS
#undef X
};
static const char *const step_name[] = {
#define X(name, ...) #name,
    STEPS(X)
#undef X
};
enum { ALL_STEPS = (1 << N_STEPS) - 1 };

static int64_t fail_at[N_STEPS];      /* the call that fails, from 1; 0: none */
static _Atomic int64_t seen[N_STEPS]; /* by any thread */
static int tried;

static int fails(enum step step)
{
    return ++seen[step] == fail_at[step];
}

#define X(name, parameters, words)                                                                                     \
    enum ptq_status __real_##name parameters;                                                                          \
    enum ptq_status __wrap_##name parameters;                                                                          \
    enum ptq_status __wrap_##name parameters                                                                           \
    {                                                                                                                  \
        return fails(STEP_##name) ? ptq_fail(err, PTQ_EIO, FAULT) : __real_##name words;                               \
    }
STEPS(X)
#undef X

typedef enum ptq_status run_once(void *context, struct ptq_error *err);

static enum ptq_status run_counted(run_once *once, void *context, struct ptq_error *err)
{
    for (int step = 0; step < N_STEPS; step++) seen[step] = 0;
    return once(context, err);
}

/* Every step fails at its first calls, at some of the following, and at its last; the steps that were made, as a set.
 */
static unsigned each_step_fails(const char *what, run_once *once, void *context)
{
    int64_t calls[N_STEPS];
    unsigned made = 0;
    struct ptq_error err;
    for (int run = 0; run < 2; run++) /* caches are full the second time */
        if (run_counted(once, context, &err)) fail_msg("%s: %s", what, err.text);
    for (int step = 0; step < N_STEPS; step++) calls[step] = seen[step];
    for (int step = 0; step < N_STEPS; step++) {
        made |= (unsigned)(calls[step] > 0) << step;
        int64_t stride = calls[step] / 12 + 1;
        for (int64_t n = 1; n <= calls[step]; n += n < 16 || n == calls[step] ? 1 : stride) {
            if (n + stride > calls[step] && n >= 16) n = calls[step];
            fail_at[step] = n;
            tried++;
            enum ptq_status status = run_counted(once, context, &err);
            fail_at[step] = 0;
            /* What adds its own place to the sentence may change the status. */
            int kept = status == PTQ_EIO || (status && strcmp(err.text, FAULT) != 0);
            if (!kept || !strstr(err.text, FAULT))
                fail_msg("%s, call %lld of %s: status %d: %s", what, (long long)n, step_name[step], (int)status,
                         status ? err.text : "its failure was not noticed");
        }
    }
    return made;
}

#endif
