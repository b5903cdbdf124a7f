/* Words that people typed: the nearest known one, and strict numbers. */
#ifndef PTQ_WORDS_H
#define PTQ_WORDS_H

#include <stddef.h>
#include <stdint.h>

/* The name of names[0..n) with the smallest edit distance to word, or NULL where even that shares too little. */
const char *ptq_nearest(const char *word, const char *const *names, size_t n);

/* The whole of text is one number in range; 1 on success, 0 else (*value untouched). No white space, no hex, no nan. */
int ptq_parse_int(const char *text, int64_t min, int64_t max, int64_t *value);
/* A number of bytes with K, M, G or T (of 1024) behind it, or nothing: "800M", "8G". At least min. */
int ptq_parse_size(const char *text, int64_t min, int64_t *value);
int ptq_parse_double(const char *text, double min, double max, double *value);

/* A growing text in malloc memory; data is always NUL-ended once anything was added. free(data) gives it back. */
struct ptq_buffer {
    char *data;
    size_t size, room;
};
void ptq_buffer_add(struct ptq_buffer *buffer, const char *format, ...) __attribute__((format(printf, 2, 3)));
void ptq_buffer_bytes(struct ptq_buffer *buffer, const void *bytes, size_t n);

#endif
