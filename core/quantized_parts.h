/* Inside core/quantized*.c: the containers, one struct each. */
#ifndef PTQ_QUANTIZED_PARTS_H
#define PTQ_QUANTIZED_PARTS_H

#include "json.h"
#include "quantized.h"

struct ptq_container {
    const char *name;
    int bits[8];      /* widths that it holds, 0 behind them */
    int zero_is_less; /* zeros are stored less one */
    /* NULL where linears are images. Rows and columns of qweight, columns of qzeros; 0 where words would not be whole
     */
    int (*shape)(int64_t n, int64_t k, int bits, int64_t *rows, int64_t *columns, int64_t *packed);
    /* codes of output n; a group's zeros of all outputs */
    void (*row)(const struct ptq_quantized_linear *linear, int bits, int64_t n, uint8_t *code);
    void (*zeros)(const struct ptq_quantized_linear *linear, int bits, int64_t group, uint8_t *zero);
};

extern const struct ptq_container ptq_container_awq, ptq_container_gptq, ptq_container_gptq_v2, ptq_container_ptq;

/* `dynamic` of a quantization_config, json, into quantization; settings that differ from json's own: PTQ_EINPUT. */
enum ptq_status ptq_dynamic_read(struct ptq_arena *arena, const json_t *json, const char *what,
                                 struct ptq_quantization *quantization, struct ptq_error *err);

int ptq_container_bits(const struct ptq_container *container, int64_t bits);

#endif
