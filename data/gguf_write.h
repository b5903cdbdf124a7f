/* Writing GGUF v3: metadata, then planned tensors (tensor_writer.h). The layout is drawn in gguf_parse.h. */
#ifndef PTQ_GGUF_WRITE_H
#define PTQ_GGUF_WRITE_H

#include "gguf.h"
#include "tensor_writer.h"
#include "words.h"

/* Metadata as it will stand in the file. data in malloc memory: free(keys.bytes.data). */
struct ptq_gguf_keys {
    struct ptq_buffer bytes;
    uint64_t n;
};

void ptq_gguf_put_int(struct ptq_gguf_keys *keys, const char *key, int64_t value); /* as u32 */
void ptq_gguf_put_real(struct ptq_gguf_keys *keys, const char *key, double value); /* as f32 */
void ptq_gguf_put_bool(struct ptq_gguf_keys *keys, const char *key, int value);
void ptq_gguf_put_text(struct ptq_gguf_keys *keys, const char *key, const char *text);
void ptq_gguf_put_texts(struct ptq_gguf_keys *keys, const char *key, const struct ptq_span *text, size_t n);
void ptq_gguf_put_ints(struct ptq_gguf_keys *keys, const char *key, const int32_t *value, size_t n);
void ptq_gguf_put_reals(struct ptq_gguf_keys *keys, const char *key, const float *value, size_t n);
/* Every key of a file but the one named, and general.alignment. */
void ptq_gguf_put_all(struct ptq_gguf_keys *keys, const struct ptq_gguf *from, const char *but);

/* Makes path of the keys and of writer's planned tensors, whose space is taken; they keep their order. */
enum ptq_status ptq_gguf_open(struct ptq_tensor_writer *writer, const char *path, const struct ptq_gguf_keys *keys,
                              struct ptq_error *err);

#endif
