/* For tests of readers: small files, byte by byte, in memory or in a folder of their own. */
#ifndef PTQ_TEST_FILES_H
#define PTQ_TEST_FILES_H

#include "folders.h"
#include "status.h"

#include <assert.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

struct bytes {
    unsigned char *data; /* exactly size bytes in malloc memory, so that the sanitizer sees a step beyond them */
    size_t size;
};

static inline void put(struct bytes *b, const void *data, size_t n)
{
    unsigned char *grown = realloc(b->data, b->size + n + !(b->size + n));
    assert(grown);
    if (n) memcpy(grown + b->size, data, n);
    b->data = grown;
    b->size += n;
}

static inline void put_number(struct bytes *b, uint64_t value, int width)
{
    unsigned char little[8];
    for (int i = 0; i < 8; i++) little[i] = (unsigned char)(value >> 8 * i);
    put(b, little, (size_t)width);
}

static inline void put_zeros(struct bytes *b, size_t n)
{
    void *zeros = calloc(n + 1, 1);
    put(b, zeros, n);
    free(zeros);
}

/* A file from its description, words separated by spaces:
 *   N:W       the number N (decimal, 0x..., or negative) in W bytes, little-endian
 *   'text'    the bytes of text            "text"   its length in 8 bytes, then its bytes
 *   *N        N bytes of 0                 @N       as many bytes of 0 as make the size a multiple of N */
static inline struct bytes assemble(const char *spec)
{
    struct bytes b = {0};
    put(&b, "", 0);
    while (*(spec += strspn(spec, " "))) {
        char kind = *spec, *end;
        if (kind == '\'' || kind == '"') {
            size_t n = strcspn(spec + 1, kind == '"' ? "\"" : "'");
            if (kind == '"') put_number(&b, n, 8);
            put(&b, spec + 1, n);
            spec += n + 2;
            continue;
        }
        int prefixed = kind == '*' || kind == '@';
        uint64_t n = spec[prefixed] == '-' ? (uint64_t)strtoll(spec, &end, 0) : strtoull(spec + prefixed, &end, 0);
        if (kind == '*') put_zeros(&b, n);
        if (kind == '@') put_zeros(&b, (n - b.size % n) % n);
        if (!prefixed) {
            assert(*end == ':');
            put_number(&b, n, end[1] - '0');
            end += 2;
        }
        spec = end;
    }
    return b;
}

/* The call failed as bad input (or the status given), in one line that holds each of words (separated by ';'). */
static inline void assert_refused(const char *row, enum ptq_status status, const struct ptq_error *err,
                                  const char *words)
{
    if (!status) fail_msg("%s: was taken; it must be refused (%s)", row, words);
    if (strchr(err->text, '\n')) fail_msg("%s: more than one line: %s", row, err->text);
    char copy[512], *rest = copy;
    snprintf(copy, sizeof copy, "%s", words);
    for (char *word; (word = strsep(&rest, ";"));)
        if (!strstr(err->text, word)) fail_msg("%s: the message lacks '%s': %s", row, word, err->text);
}

/* ---- folders ---- */

/* Writes folder/name, making the folders that name holds. */
static inline void write_test_file(const char *folder, const char *name, const void *data, size_t size)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    for (char *c = path + strlen(folder) + 1; (c = strchr(c, '/')); c++) {
        *c = 0;
        mkdir(path, 0777);
        *c = '/';
    }
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

static inline void write_test_text(const char *folder, const char *name, const char *text)
{
    write_test_file(folder, name, text, strlen(text));
}

#endif
