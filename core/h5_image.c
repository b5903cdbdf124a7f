#include "h5_image.h"

#include "sha256.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* Superblock of version 2 and 3, with offsets of 8 bytes:
 *   |signature 8|version 1|offset size 1|length size 1|flags 1|base 8|extension 8|end of file 8|root 8|checksum 4| */
enum { VERSION = 8, OFFSET_SIZE = 9, FLAGS = 11, CHECKED = 44, CHECKED_WORDS = CHECKED / 4 };

static uint32_t rotate(uint32_t x, int k)
{
    return x << k | x >> (32 - k);
}

static uint32_t read_word(const unsigned char *at)
{
    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

/* Bob Jenkins' lookup3 of CHECKED bytes, which HDF5 takes for all its metadata. */
static uint32_t checksum(const unsigned char *data)
{
    static const int mix[6] = {4, 6, 8, 16, 19, 4}, last[7] = {14, 11, 25, 16, 4, 14, 24};
    uint32_t v[3];
    for (int i = 0; i < 3; i++) v[i] = 0xdeadbeef + CHECKED;
    int word = 0;
    for (; CHECKED_WORDS - word > 3; word += 3) {
        for (int i = 0; i < 3; i++) v[i] += read_word(data + 4 * (word + i));
        for (int i = 0; i < 6; i++) {
            uint32_t *x = &v[i % 3], *y = &v[(i + 2) % 3], *z = &v[(i + 1) % 3];
            *x = (*x - *y) ^ rotate(*y, mix[i]);
            *y += *z;
        }
    }
    for (int i = 0; word + i < CHECKED_WORDS; i++) v[i] += read_word(data + 4 * (word + i));
    for (int i = 0; i < 7; i++) {
        uint32_t *x = &v[(i + 2) % 3], *y = &v[(i + 1) % 3];
        *x = (*x ^ *y) - rotate(*y, last[i]);
    }
    return v[2];
}

void ptq_h5_mend(unsigned char *image, size_t size)
{
    if (size < CHECKED + 4 || image[VERSION] < 2 || image[VERSION] > 3 || image[OFFSET_SIZE] != 8) return;
    uint32_t sum = checksum(image);
    for (int i = 0; i < 4; i++) image[CHECKED + i] = (unsigned char)(sum >> 8 * i);
}

int ptq_h5_left_open(const unsigned char *file, size_t size)
{
    return size > FLAGS && file[VERSION] >= 2 && file[FLAGS] != 0;
}

static const char word[] = "\nptq-sha256 ";

static void make_seal(const unsigned char *data, size_t size, char line[PTQ_H5_SEAL + 1])
{
    char hex[PTQ_SHA256_HEX];
    ptq_sha256(data, size, hex);
    snprintf(line, PTQ_H5_SEAL + 1, "%s%s\n", word, hex);
}

void ptq_h5_seal(unsigned char *image, size_t size)
{
    char line[PTQ_H5_SEAL + 1];
    make_seal(image, size, line);
    memcpy(image + size, line, PTQ_H5_SEAL);
}

int ptq_h5_check_seal(const unsigned char *file, size_t size)
{
    char line[PTQ_H5_SEAL + 1];
    if (size < PTQ_H5_SEAL || memcmp(file + size - PTQ_H5_SEAL, word, sizeof word - 1)) return -1;
    make_seal(file, size - PTQ_H5_SEAL, line);
    return memcmp(file + size - PTQ_H5_SEAL, line, PTQ_H5_SEAL) == 0;
}
