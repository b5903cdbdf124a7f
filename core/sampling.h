/* The published samplings of calibration windows, draw for draw. core/tokens.h has the other ones.
 *
 * gptq: IST-DASLab/gptq datautils.py, with Python's random.seed(seed). Of one stream (its wikitext2) each window begins
 * at randint(0, tokens - length - 1). Of documents (its c4) one is drawn until it is longer than the window, then a
 * window of it as above. The published code also takes a document of exactly the window's length, and then stops with
 * an error; here it is drawn over.
 *
 * awq: llm-awq calib_data.py. Documents in the order of datasets' shuffle(seed=42 + seed), each stripped and encoded by
 * itself; those of no token or of more than a window are dropped, the first n of the others are concatenated and cut
 * into windows: fewer of them than documents. The published limit is 512 whatever the window is; its window is 512,
 * too.
 *
 * Documents are encoded with the tokenizer's template (its BOS), or without where bos is none. */
#ifndef PTQ_SAMPLING_H
#define PTQ_SAMPLING_H

#include "documents.h"
#include "tokens.h"

struct ptq_sampling {
    enum ptq_sample sample;
    enum ptq_bos bos;
    int64_t length, n; /* tokens in a window; windows (gptq) or documents (awq) */
    uint64_t seed;     /* the run's; 0 is the published draw */
};

/* Whether the sampling reads the text at path as documents, not as one stream. */
int ptq_samples_documents(enum ptq_sample sample, const char *path);

/* Fails with PTQ_EUSAGE where bos and sample do not go together. */
enum ptq_status ptq_sampling_check(enum ptq_sample sample, enum ptq_bos bos, struct ptq_error *err);

/* Samples windows of documents; sample is gptq or awq. what names the text in errors. out in arena. Fails with
 * PTQ_EINPUT where the documents do not give what is asked for. */
enum ptq_status ptq_sample_documents(struct ptq_arena *arena, const struct ptq_tokenizer *tokenizer,
                                     const struct ptq_documents *documents, const char *what,
                                     const struct ptq_sampling *sampling, struct ptq_windows *out,
                                     struct ptq_error *err);

#endif
