#include "status.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

static const int exit_codes[] = {
#define X(name, text, code) [PTQ_##name] = code,
    PTQ_STATUS_MAP(X)
#undef X
};

int ptq_status_exit_code(enum ptq_status status)
{
    return exit_codes[status];
}

/* Bytes of the control character at text, 0 where there is none: C0, DEL, and in UTF-8 C1 (a terminal takes U+009B for
 * ESC [) and what changes the direction of writing. */
static int control_length(const unsigned char *text)
{
    if (text[0] < 0x20 || text[0] == 0x7f) return 1;
    if (text[0] == 0xc2 && text[1] >= 0x80 && text[1] < 0xa0) return 2;
    if (text[0] != 0xe2 || (text[1] != 0x80 && text[1] != 0x81)) return 0;
    return text[1] == 0x80 ? (text[2] >= 0xaa && text[2] <= 0xae ? 3 : 0) : text[2] >= 0xa6 && text[2] <= 0xa9 ? 3 : 0;
}

void ptq_blunt(char *text)
{
    for (; *text; text++)
        for (int n = control_length((const unsigned char *)text); n > 0; n--) text[n - 1] = '?';
}

enum ptq_status ptq_fail_at(struct ptq_error *err, const char *file, int line, enum ptq_status status,
                            const char *format, ...)
{
    assert(status != PTQ_OK);
    err->status = status;
    err->file = file;
    err->line = line;
    va_list args;
    va_start(args, format);
    vsnprintf(err->text, sizeof err->text, format, args);
    va_end(args);
    ptq_blunt(err->text);
    return status;
}

enum ptq_status ptq_within(struct ptq_error *err, const char *format, ...)
{
    char text[sizeof err->text];
    va_list args;
    va_start(args, format);
    int used = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (used >= 0 && (size_t)used < sizeof text)
        snprintf(text + used, sizeof text - (size_t)used, ": %.*s", (int)(sizeof text - (size_t)used), err->text);
    ptq_blunt(text);
    memcpy(err->text, text, sizeof text);
    return err->status;
}
