/* Token streams and the windows cut from them (DESIGN section 4). */
#ifndef PTQ_TOKENS_H
#define PTQ_TOKENS_H

#include "arena.h"
#include "sha256.h"
#include "status.h"
#include "tokenizer.h"

/* Where the tokenizer's beginning-of-text id goes, if its template has one: once before the stream, nowhere, or before
 * each window. */
enum ptq_bos { PTQ_BOS_STREAM, PTQ_BOS_NONE, PTQ_BOS_WINDOW };
/* Which calibration windows are taken: left to the method's preset, else the first; the first ones in order; seeded
 * random starts; as GPTQ's or AWQ's published code takes them (sampling.h). */
enum ptq_sample { PTQ_SAMPLE_AUTO, PTQ_SAMPLE_FIRST, PTQ_SAMPLE_RANDOM, PTQ_SAMPLE_GPTQ, PTQ_SAMPLE_AWQ };

/* A text as one stream of ids. */
struct ptq_stream_ids {
    int32_t *id;
    size_t n;
    int32_t bos; /* the template's first id, or -1 */
};

/* Windows of equal length. */
struct ptq_windows {
    int32_t *id; /* [n][length] */
    int64_t n, length;
    char sha256[PTQ_SHA256_HEX]; /* of id as little-endian int32 */
};

/* Cuts floor(N / length) windows that do not overlap, at most max of them (0: all); the tail is dropped. With
 * PTQ_BOS_STREAM the BOS is part of the stream that is cut; with PTQ_BOS_WINDOW each window is BOS and length - 1 ids.
 * PTQ_SAMPLE_RANDOM and PTQ_SAMPLE_GPTQ start windows anywhere, the latter exactly max of them where N > length.
 * what names the text in errors. Fails with PTQ_EINPUT where the text gives no window, or fewer than `need`. */
enum ptq_status ptq_windows_cut(struct ptq_arena *arena, const struct ptq_stream_ids *stream, const char *what,
                                int64_t length, int64_t max, int64_t need, enum ptq_bos bos, enum ptq_sample sample,
                                uint64_t seed, struct ptq_windows *out, struct ptq_error *err);

/* Puts the windows into the order-th shuffled order (0: they stay): the same calibration summed in another order. */
void ptq_windows_shuffle(struct ptq_arena *arena, uint64_t order, struct ptq_windows *windows);

/* Sets sha256 of windows that were filled by hand. */
void ptq_windows_hash(struct ptq_windows *windows);

const char *ptq_bos_name(enum ptq_bos bos);
enum ptq_status ptq_bos_parse(const char *text, enum ptq_bos *out, struct ptq_error *err);
const char *ptq_sample_name(enum ptq_sample sample);
enum ptq_status ptq_sample_parse(const char *text, enum ptq_sample *out, struct ptq_error *err);

#endif
