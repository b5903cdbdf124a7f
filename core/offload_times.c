/* Where the time of a block goes: see ptq_device_lap. */
#include "offload.h"

#include "progress.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STAGES = 16 };
static struct {
    const char *name;
    double seconds;
} stage[STAGES];
static double last;

static int is_on(const struct ptq_device *device)
{
    const char *wish = getenv("PTQ_DEVICE_TIMES");
    return device && wish && strcmp(wish, "1") == 0;
}

void ptq_device_lap(const struct ptq_device *device, const char *name)
{
    if (!is_on(device)) return;
    void *byte = device->take(1);
    char nothing;
    if (byte) device->download(&nothing, byte, 1); /* waits; error() would swallow a failure */
    if (byte) device->give(byte);
    double now = ptq_seconds();
    for (int i = 0; i < STAGES && last > 0; i++) {
        if (stage[i].name && strcmp(stage[i].name, name) != 0) continue;
        stage[i].name = name;
        stage[i].seconds += now - last;
        break;
    }
    last = now;
}

void ptq_device_laps_told(const struct ptq_device *device, int64_t block)
{
    char text[512];
    int used = 0;
    double sum = 0;
    if (!is_on(device)) return;
    for (int i = 0; i < STAGES && stage[i].name && used < (int)sizeof text - 40; i++) {
        used += snprintf(text + used, sizeof text - (size_t)used, ", %s %.3f", stage[i].name, stage[i].seconds);
        sum += stage[i].seconds;
    }
    ptq_progress_note("block %lld: %.3f s%s", (long long)block, sum, used ? text : "");
    memset(stage, 0, sizeof stage);
}
