/* JSON as text: jansson's, with real numbers as somebody would write them. jansson prints 17 digits, 1e-05 as
 * 1.0000000000000001e-5, which reads back the same and looks like another number. */
#include "json.h"

#include "words.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_DIGITS = 17, REAL_SIZE = 40 };

/* The fewest digits that read back as value; with an exponent below 1e-4 and from 1e16 on, as Python has it. */
static void print_real(double value, char out[REAL_SIZE])
{
    int digits = 0;
    do snprintf(out, REAL_SIZE, "%.*e", digits++, value);
    while (digits < MOST_DIGITS && strtod(out, NULL) != value);
    int exponent = (int)strtol(strchr(out, 'e') + 1, NULL, 10), decimals = digits - 1 - exponent;
    if (exponent < -4 || exponent >= 16) return;
    snprintf(out, REAL_SIZE, "%.*f", decimals < 1 ? 1 : decimals, value);
}

/* The bytes of the string that text begins with, its quotes among them. */
static size_t string_length(const char *text)
{
    size_t i = 1;
    while (text[i] != '"') i += text[i] == '\\' ? 2 : 1;
    return i + 1;
}

/* The bytes up to the next string or number, of a string, of a number; *is_real: one with a point or an exponent. */
static size_t next_piece(const char *text, int *is_real)
{
    size_t other = strcspn(text, "\"-0123456789");
    *is_real = 0;
    if (other) return other;
    if (*text == '"') return string_length(text);
    size_t length = strspn(text, "+-.0123456789e");
    *is_real = strcspn(text, ".e") < length;
    return length;
}

char *ptq_json_dump(const json_t *root, size_t flags)
{
    char *text = json_dumps(root, flags), real[REAL_SIZE];
    struct ptq_buffer out = {0};
    int is_real;
    if (!text) return NULL;
    for (size_t at = 0, length; text[at]; at += length) {
        length = next_piece(text + at, &is_real);
        if (is_real) print_real(strtod(text + at, NULL), real);
        ptq_buffer_bytes(&out, is_real ? real : text + at, is_real ? strlen(real) : length);
    }
    free(text);
    return out.data;
}
