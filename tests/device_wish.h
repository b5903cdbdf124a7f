/* Which device a test takes: the emulated one; with PTQ_TEST_DEVICE=real in the environment a real one, and no other.
 */
#ifndef PTQ_TEST_DEVICE_WISH_H
#define PTQ_TEST_DEVICE_WISH_H

#include "device.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static inline int real_only(void)
{
    const char *wish = getenv("PTQ_TEST_DEVICE");
    return wish && strcmp(wish, "real") == 0;
}

static inline const struct ptq_device *there(void)
{
    char why[256];
    if (!real_only()) return ptq_cuda_emulated_device();
    const struct ptq_device *real = ptq_cuda_device(why, sizeof why);
    if (!real) fail_msg("%s", why);
    return real;
}

#endif
