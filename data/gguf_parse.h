/* The inside of struct ptq_gguf, and the reader that fills it; what others ask is in gguf.h.
 *
 *   "GGUF" | u32 version | u64 n_tensors | u64 n_kv | kv ... | info ... | pad to alignment | data
 *   kv   = string key | u32 type | value          string = u64 length | bytes
 *   info = string name | u32 rank | u64 dims[rank], fastest first | u32 type | u64 offset from the start of data
 *
 * All numbers are little-endian. Values stay where they are in the map; nothing is copied but keys and names. */
#ifndef PTQ_GGUF_PARSE_H
#define PTQ_GGUF_PARSE_H

#include "gguf.h"

enum ptq_gguf_type {
    PTQ_GGUF_U8,
    PTQ_GGUF_I8,
    PTQ_GGUF_U16,
    PTQ_GGUF_I16,
    PTQ_GGUF_U32,
    PTQ_GGUF_I32,
    PTQ_GGUF_F32,
    PTQ_GGUF_BOOL,
    PTQ_GGUF_STRING,
    PTQ_GGUF_ARRAY,
    PTQ_GGUF_U64,
    PTQ_GGUF_I64,
    PTQ_GGUF_F64,
    PTQ_N_GGUF_TYPE
};

struct ptq_gguf_type_info {
    const char *name;
    unsigned size; /* bytes of a value; 0: counted by the value itself */
};

extern const struct ptq_gguf_type_info ptq_gguf_types[PTQ_N_GGUF_TYPE];

struct ptq_gguf_value {
    const char *key;           /* NUL-ended, in the arena */
    uint32_t type, element;    /* enum ptq_gguf_type; element: of an array's items */
    uint64_t n;                /* bytes of a string, items of an array, else 1 */
    const unsigned char *data; /* of a string its first byte, of an array its first item */
};

struct ptq_gguf {
    const char *path;
    uint32_t version, alignment;
    struct ptq_gguf_value *kv; /* sorted by key, keys are unique */
    size_t n_kv;
};

/* Little-endian numbers from anywhere. */
uint32_t ptq_gguf_u32(const unsigned char *p);
uint64_t ptq_gguf_u64(const unsigned char *p);

#endif
