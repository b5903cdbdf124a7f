/* HDF5 files whose bytes are changed by who knows the format: the checksum of the object header that holds them is
 * renewed, and the SHA-256 behind all, so that nothing but HDF5's own care stands before what they say. */
#ifndef PTQ_TESTS_FORGED_H5_H
#define PTQ_TESTS_FORGED_H5_H

#include "h5_image.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static inline uint32_t forged_word(const uint8_t *at, size_t left)
{
    uint32_t word = 0;
    for (size_t i = 0; i < 4 && i < left; i++) word |= (uint32_t)at[i] << 8 * i;
    return word;
}

static inline uint32_t forged_rotate(uint32_t x, int k)
{
    return x << k | x >> (32 - k);
}

/* lookup3 by Bob Jenkins, of any number of bytes above 0, from 0. */
static inline uint32_t forged_sum(const uint8_t *data, size_t n)
{
    static const int mix[6] = {4, 6, 8, 16, 19, 4}, last[7] = {14, 11, 25, 16, 4, 14, 24};
    uint32_t v[3];
    for (int i = 0; i < 3; i++) v[i] = 0xdeadbeef + (uint32_t)n;
    for (;; data += 12, n -= 12) {
        for (size_t i = 0; i < 3; i++) v[i] += 4 * i < n ? forged_word(data + 4 * i, n - 4 * i) : 0;
        if (n <= 12) break;
        for (int i = 0; i < 6; i++) {
            uint32_t *x = &v[i % 3], *y = &v[(i + 2) % 3], *z = &v[(i + 1) % 3];
            *x = (*x - *y) ^ forged_rotate(*y, mix[i]);
            *y += *z;
        }
    }
    for (int i = 0; i < 7; i++) {
        uint32_t *x = &v[(i + 2) % 3], *y = &v[(i + 1) % 3];
        *x = (*x ^ *y) - forged_rotate(*y, last[i]);
    }
    return v[2];
}

/* An object header of version 2: its bytes, of which those from body on are messages, and the checksum behind them. */
struct forged_header {
    size_t start, body, end;
};

/* The headers of an image without its seal: as many as there are, or `most`. */
static inline int forged_headers(const uint8_t *image, size_t size, struct forged_header *out, int most)
{
    int n = 0;
    for (size_t i = 0; i + 40 < size && n < most; i++) {
        if (memcmp(image + i, "OHDR", 4) != 0) continue;
        uint8_t flags = image[i + 5];
        size_t at = i + 6 + (flags & 0x20 ? 16 : 0) + (flags & 0x10 ? 4 : 0), width = (size_t)1 << (flags & 3);
        size_t end = at + width + forged_word(image + at, width);
        if (end + 4 > size || forged_sum(image + i, end - i) != forged_word(image + end, 4)) continue;
        out[n++] = (struct forged_header){i, at + width, end};
    }
    return n;
}

static inline void forged_renew(uint8_t *image, const struct forged_header *h)
{
    uint32_t sum = forged_sum(image + h->start, h->end - h->start);
    for (int i = 0; i < 4; i++) image[h->end + (size_t)i] = (uint8_t)(sum >> 8 * i);
}

#endif
