/* GGUF metadata: typed key/value pairs, checked when the file was opened. */
#ifndef PTQ_GGUF_H
#define PTQ_GGUF_H

#include "checkpoint.h"

/* A view of a string in the mapped file; not NUL-ended. */
struct ptq_span {
    const char *data;
    size_t size;
};

/* Each fails with PTQ_EINPUT naming file and key when the key is missing or of another kind; has: whether it is there.
 * Integers of any width and sign are taken where they fit. */
int ptq_gguf_has(const struct ptq_gguf *gguf, const char *key);
enum ptq_status ptq_gguf_int(const struct ptq_gguf *gguf, const char *key, int64_t min, int64_t max, int64_t *out,
                             struct ptq_error *err);
enum ptq_status ptq_gguf_real(const struct ptq_gguf *gguf, const char *key, double *out, struct ptq_error *err);
enum ptq_status ptq_gguf_bool(const struct ptq_gguf *gguf, const char *key, int *out, struct ptq_error *err);
enum ptq_status ptq_gguf_text(const struct ptq_gguf *gguf, const char *key, struct ptq_span *out,
                              struct ptq_error *err);
/* Arrays: of strings, of integers of any width turned to int32, and of floats of either width. In arena. */
enum ptq_status ptq_gguf_texts(const struct ptq_gguf *gguf, const char *key, struct ptq_arena *arena,
                               struct ptq_span **out, size_t *n, struct ptq_error *err);
enum ptq_status ptq_gguf_ints(const struct ptq_gguf *gguf, const char *key, struct ptq_arena *arena, int32_t **out,
                              size_t *n, struct ptq_error *err);
enum ptq_status ptq_gguf_reals(const struct ptq_gguf *gguf, const char *key, struct ptq_arena *arena, float **out,
                               size_t *n, struct ptq_error *err);

/* Whether file begins with GGUF's magic. */
int ptq_gguf_is(const struct ptq_mapped *file);
/* Reads a header in arena: *out the metadata, *tensor the n tensors in file order, all offsets, sizes and counts
 * checked. An element type that ptq does not read is refused by its name. file must outlive both. */
enum ptq_status ptq_gguf_read(struct ptq_arena *arena, const struct ptq_mapped *file, struct ptq_gguf **out,
                              struct ptq_tensor **tensor, size_t *n, struct ptq_error *err);

/* For `ptq inspect` and `ptq diff`: key i of n, the keys sorted, and its value as UTF-8 in at most size bytes, size >=
 * 8 ("[49152 strings]" for an array). */
size_t ptq_gguf_n_keys(const struct ptq_gguf *gguf);
const char *ptq_gguf_key(const struct ptq_gguf *gguf, size_t i, char *value, size_t size);
/* Whether key i of a and key j of b have one value: of one type, the same bytes. */
int ptq_gguf_same(const struct ptq_gguf *a, size_t i, const struct ptq_gguf *b, size_t j);

#endif
