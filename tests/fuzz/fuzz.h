/* Fuzz targets: each is one line of this table and one function, ptq_fuzz_NAME, which takes any bytes and returns where
 * all is well, and aborts (or trips a sanitizer) where it is not.
 *
 *   main.c     libFuzzer's door (clang, -DPTQ_FUZZ=ON): the target is the one that PTQ_FUZZ_TARGET names
 *   replay.c   an ordinary program for any compiler that feeds files: what ctest runs
 *
 * docs/fuzzing.md says how to run them and what they have found. */
#ifndef PTQ_FUZZ_H
#define PTQ_FUZZ_H

#include "arena.h"
#include "status.h"

#include <stddef.h>
#include <stdint.h>

/* Name, largest input in bytes, what the bytes are. */
#define PTQ_FUZZ_TARGETS(X)                                                                                            \
    X(safetensors, 65536, "a safetensors file: what is taken lies inside it and can be read")                          \
    X(index, 8192, "model.safetensors.index.json of a folder with two shards")                                         \
    X(config, 8192, "config.json: sizes, family and quantization_config")                                              \
    X(gguf, 65536, "a GGUF file: what is taken lies inside it, every key by every getter, and as a model's sizes")     \
    X(model, 65536,                                                                                                    \
      "a whole checkpoint, GGUF or config.json and safetensors, opened, loaded and scored: numbers or a sentence")     \
    X(tokenizer, 65536, "tokenizer.json; what opens encodes a text of traps, cut or whole alike")                      \
    X(tokenizer_gguf, 65536, "a tokenizer in a GGUF file, likewise")                                                   \
    X(tokenizer_files, 65536, "vocab.json, NUL, merges.txt, NUL, tokenizer_config.json, likewise")                     \
    X(encode, 8192, "a text for one of the committed tokenizers: cut or whole alike, and the same bytes back")         \
    X(experiment, 16384, "an experiment's YAML, as far as its cells")                                                  \
    X(claims, 16384, "a file of claims")                                                                               \
    X(documents, 65536, "a text, as paragraphs or as JSON lines")                                                      \
    X(results, 65536,                                                                                                  \
      "a results file: bytes as they are, or what a forger puts into a sealed one, or changes of its bytes")           \
    X(blocks, 4096, "blocks of every element type: the fast decoders and the plain ones agree")                        \
    X(quantizer, 4096, "any floats through the grid: no NaN, and within half a step unless clipped")                   \
    X(packed, 16384, "a packed linear: an image of strangers, or any codes there and back")                            \
    X(codes, 4096, "words of AWQ's and GPTQ's containers, there and back at every width")                              \
    X(quantized, 16384, "qweight, qzeros, scales and g_idx of a quantised checkpoint")                                 \
    X(export_formats, 4096, "any codes through every export format, and read back")

#define X(name, ...) void ptq_fuzz_##name(const uint8_t *data, size_t size);
PTQ_FUZZ_TARGETS(X)
#undef X

struct ptq_fuzz_target {
    const char *name, *about;
    size_t largest;
    void (*run)(const uint8_t *data, size_t size);
};
extern const struct ptq_fuzz_target ptq_fuzz_targets[];
extern const int ptq_n_fuzz_targets;
/* NULL where there is none of that name. */
const struct ptq_fuzz_target *ptq_fuzz_find(const char *name);

/* ---- for targets ---- */

/* Aborts, with a line that says what did not hold. */
void ptq_fuzz_require(int holds, const char *what);

/* Bytes taken from the front, for inputs with a structure; zeros where none are left. */
struct ptq_fuzz_bytes {
    const uint8_t *data;
    size_t size;
};
void ptq_fuzz_fill(struct ptq_fuzz_bytes *from, void *to, size_t bytes);
uint32_t ptq_fuzz_byte(struct ptq_fuzz_bytes *from);
/* 0 to n - 1 */
uint32_t ptq_fuzz_below(struct ptq_fuzz_bytes *from, uint32_t n);

/* A folder of this process, in memory where there is /dev/shm; removed at exit. */
const char *ptq_fuzz_folder(void);
/* Writes a file in it; its path in arena. */
const char *ptq_fuzz_file(struct ptq_arena *arena, const char *name, const void *data, size_t size);

#endif
