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

/* Characters that a terminal, or what lays text out, would obey: C1's (it takes U+009B for ESC [), marks and changes of
 * the direction of writing, ends of lines. First and last. */
static const unsigned obeyed[][2] = {{0x80, 0x9f},     {0x61c, 0x61c},   {0x200e, 0x200f},
                                     {0x2028, 0x202e}, {0x2066, 0x2069}, {0xd800, 0xdfff}};

size_t ptq_printable(const char *text)
{
    static const unsigned least[] = {0, 0, 0x80, 0x800, 0x10000};
    const unsigned char *at = (const unsigned char *)text;
    if (at[0] < 0x80) return at[0] >= 0x20 && at[0] != 0x7f;
    size_t n = at[0] >= 0xf0 ? 4 : at[0] >= 0xe0 ? 3 : 2;
    if (at[0] < 0xc0 || at[0] > 0xf4) return 0;
    unsigned code = at[0] & (0xff >> (n + 1));
    for (size_t i = 1; i < n; i++) {
        if ((at[i] & 0xc0) != 0x80) return 0;
        code = code << 6 | (at[i] & 0x3f);
    }
    if (code < least[n] || code > 0x10ffff) return 0;
    for (size_t i = 0; i < sizeof obeyed / sizeof *obeyed; i++)
        if (code >= obeyed[i][0] && code <= obeyed[i][1]) return 0;
    return n;
}

void ptq_blunt(char *text)
{
    for (size_t n; *text; text += n ? n : 1)
        if (!(n = ptq_printable(text))) *text = '?';
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
