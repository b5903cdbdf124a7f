#include "words.h"

#include "arena.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LONGEST_WORD = 64 };

/* Levenshtein distance by one row of the table. */
static size_t edit_distance(const char *a, const char *b)
{
    size_t row[LONGEST_WORD + 1], nb = strlen(b);
    if (nb > LONGEST_WORD || strlen(a) > LONGEST_WORD) return SIZE_MAX;
    for (size_t j = 0; j <= nb; j++) row[j] = j;
    for (size_t i = 1; *a; a++, i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= nb; j++) {
            size_t above = row[j], best = diagonal + (*a != b[j - 1]);
            if (above + 1 < best) best = above + 1;
            if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
            diagonal = above;
            row[j] = best;
        }
    }
    return row[nb];
}

const char *ptq_nearest(const char *word, const char *const *names, size_t n)
{
    const char *best = NULL;
    size_t least = SIZE_MAX;
    for (size_t i = 0; i < n; i++) {
        size_t distance = edit_distance(word, names[i]);
        if (distance < least) least = distance, best = names[i];
    }
    /* More than half of the word changed is no misspelling. */
    return best && least <= (strlen(word) + 1) / 2 ? best : NULL;
}

int ptq_parse_int(const char *text, int64_t min, int64_t max, int64_t *value)
{
    const char *digits = text + (*text == '-');
    if (!*digits || strspn(digits, "0123456789") != strlen(digits)) return 0;
    errno = 0;
    long long parsed = strtoll(text, NULL, 10);
    if (errno || parsed < min || parsed > max) return 0;
    *value = parsed;
    return 1;
}

int ptq_parse_size(const char *text, int64_t min, int64_t *value)
{
    static const char units[] = "KMGT";
    char digits[32];
    size_t length = strlen(text);
    int64_t number;
    if (length == 0 || length >= sizeof digits) return 0;
    const char *unit = strchr(units, text[length - 1]);
    memcpy(digits, text, length + 1);
    if (unit) digits[length - 1] = 0;
    if (!ptq_parse_int(digits, 0, INT64_MAX, &number)) return 0;
    for (const char *u = units; unit && u <= unit; u++)
        if (__builtin_mul_overflow(number, 1024, &number)) return 0;
    if (number < min) return 0;
    *value = number;
    return 1;
}

int ptq_parse_double(const char *text, double min, double max, double *value)
{
    if (!*text || strspn(text, "+-.0123456789eE") != strlen(text)) return 0;
    char *end;
    double parsed = strtod(text, &end);
    if (*end || !isfinite(parsed) || parsed < min || parsed > max) return 0;
    *value = parsed;
    return 1;
}

static void make_room(struct ptq_buffer *buffer, size_t more)
{
    if (buffer->room - buffer->size > more) return;
    buffer->room = 2 * buffer->room + more + 64;
    buffer->data = ptq_realloc(buffer->data, buffer->room, 1, "a growing text");
}

void ptq_buffer_bytes(struct ptq_buffer *buffer, const void *bytes, size_t n)
{
    make_room(buffer, n);
    if (n) memcpy(buffer->data + buffer->size, bytes, n);
    buffer->size += n;
    buffer->data[buffer->size] = 0;
}

void ptq_buffer_add(struct ptq_buffer *buffer, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int length = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (length >= 0) {
        make_room(buffer, (size_t)length);
        vsnprintf(buffer->data + buffer->size, (size_t)length + 1, format, again);
        buffer->size += (size_t)length;
    }
    va_end(again);
}
