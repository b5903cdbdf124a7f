/* System calls that fail: the linker puts the functions below before libc's (--wrap, see CMakeLists.txt, which has the
 * same names). A test sets failing, fail_at and cause.
 *
 * Before this header: #define CALLS(X) X(type, what it gives where it fails, name, parameters, words) ..., and
 * MADE_IN_VAIN(call) where a call that fails has its effect all the same. */
#ifndef PTQ_TESTS_CALLS_H
#define PTQ_TESTS_CALLS_H

#include <errno.h>

#ifndef MADE_IN_VAIN
#define MADE_IN_VAIN(call) 0
#endif

enum call {
    NONE,
#define X(type, bad, name, ...) CALL_##name,
    CALLS(X)
#undef X
};

static enum call failing;
enum { ALL = -1 };
static int fail_at, cause; /* the call that fails, from 1, or ALL; its errno */

static int fails(enum call call)
{
    if (call != failing || !fail_at || (fail_at > 0 && --fail_at)) return 0;
    errno = cause;
    return 1;
}

#define X(type, bad, name, parameters, words)                                                                          \
    type __real_##name parameters;                                                                                     \
    type __wrap_##name parameters;                                                                                     \
    type __wrap_##name parameters                                                                                      \
    {                                                                                                                  \
        if (!fails(CALL_##name)) return __real_##name words;                                                           \
        if (MADE_IN_VAIN(CALL_##name)) (void)__real_##name words, errno = cause;                                       \
        return bad;                                                                                                    \
    }
CALLS(X)
#undef X

#endif
