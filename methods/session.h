/* Inside the pipeline: what the cells of one run share, and a job with everything looked up. */
#ifndef PTQ_SESSION_H
#define PTQ_SESSION_H

#include "documents.h"
#include "model.h"
#include "pipeline.h"
#include "reference.h"
#include "tokenizer.h"

/* Windows cut from a text one way. */
struct ptq_shared_windows {
    struct ptq_shared_windows *next;
    int64_t length, max, need; /* at most max windows (0: all), need of them at least */
    enum ptq_bos bos;
    enum ptq_sample sample;
    uint64_t seed, order;
    int on_device; /* 1: for cells whose passes run on a device: what is measured of them there is another's */
    struct ptq_windows windows;
    int with_moments;                /* some cell that was planned needs them: one pass gathers both */
    struct ptq_model_stats *stats;   /* of these windows as calibration, once measured */
    struct ptq_reference *reference; /* of these windows as evaluation, once a cell is compared; or NULL */
    struct ptq_prefix *prefix;       /* of these windows as evaluation, while cells have only=; or NULL */
};

/* A text as one model's tokenizer sees it: as a stream, as documents, or both; NULL where nobody asked. */
struct ptq_shared_text {
    struct ptq_shared_text *next;
    const char *name, *path;
    char sha256[PTQ_SHA256_HEX];
    struct ptq_stream_ids *ids;
    struct ptq_documents *documents;
    struct ptq_shared_windows *windows;
};

struct ptq_shared_model {
    struct ptq_shared_model *next;
    struct ptq_model model;
    struct ptq_tokenizer *tokenizer;
    char sha256[PTQ_SHA256_HEX], config_sha256[PTQ_SHA256_HEX];
    int64_t noted; /* the longest window that was said to be beyond the model's positions */
    struct ptq_shared_text *text;
};

struct ptq_session {
    struct ptq_arena *arena; /* run */
    struct ptq_shared_model *model;
    int n_loaded;    /* models that were opened, texts that were read */
    int64_t budget;  /* bytes, or 0 */
    int64_t at_rest; /* bytes in use before the first cell ran under a budget */
    /* Statistics are held of one calibration at a time: of a model of 7B they take 0.2 GB, and the cache has the
     * others'. */
    struct ptq_shared_windows *measured; /* whose stats they are, or NULL */
    struct ptq_arena *statistics;
    /* So are the inputs of blocks that cells with only= start from: of one evaluation, and of no other cells. */
    struct ptq_shared_windows *begun; /* whose prefix it is, or NULL */
    struct ptq_arena *prefixes;
    int64_t prefix_room; /* bytes that the cell at hand has for them */
};

/* A job, checked and looked up. All pointers belong to the session. */
struct ptq_planned {
    struct ptq_spec spec;
    enum ptq_sample sample; /* of the calibration; never auto */
    const char *path; /* what it is computed by: fp32, too, where the job says packed and nothing is there as codes */
    struct ptq_shared_model *model;
    struct ptq_shared_text *text, *calib_text; /* NULL where the cell uses none */
    struct ptq_shared_windows *eval, *calib;
};

/* In the order of planning. Of a job: names that nobody knows, and what is missing: PTQ_EUSAGE. Of a model: codes that
 * a method would make codes of: PTQ_EINPUT. Of only=: PTQ_EUSAGE. */
enum ptq_status ptq_job_check(const struct ptq_job *job, struct ptq_error *err);
enum ptq_status ptq_job_check_source(const struct ptq_model *model, const struct ptq_spec *spec, struct ptq_error *err);
enum ptq_status ptq_job_check_only(const struct ptq_session *session, const struct ptq_job *job,
                                   const struct ptq_planned *plan, struct ptq_error *err);
/* The name of the path that is taken: fp32 where there are no codes. */
const char *ptq_job_path(const struct ptq_job *job, const struct ptq_spec *spec, const struct ptq_model *model);

/* 1 where the job's forward passes run on a device. */
int ptq_on_device(const struct ptq_job *job);
/* model's passes run there from now on, or on the CPU; the cell says where it ran. There is none: PTQ_EDEVICE. Planning
 * asks for none, so that a machine without one can hand cells out to machines that have one. */
enum ptq_status ptq_session_device(const struct ptq_job *job, struct ptq_model *model, struct ptq_arena *arena,
                                   struct ptq_cell *cell, struct ptq_error *err);

/* Of what a full-precision pass gives: another device sums in another order, so what is kept of it is another entry. */
const char *ptq_session_identity(struct ptq_arena *arena, const struct ptq_shared_model *model);

/* Statistics of the cell's calibration, where it reads any: measured by the first cell that asks, and held until
 * another one's are asked for, or until their files are gone. Fills cell->seconds_calibrate, and the peak there, where
 * they were not in the cache. */
enum ptq_status ptq_session_calibrate(struct ptq_session *session, const struct ptq_planned *plan,
                                      struct ptq_cell *cell, struct ptq_error *err);
/* Frees the statistics that are held, if they are not those of keep (NULL: whosever). */
void ptq_session_forget(struct ptq_session *session, const struct ptq_shared_windows *keep);
/* Whether the cell leaves the first blocks alone, so that it may start behind them. AWQ on travelling windows scales
 * those, too: the same function in other last bits, which no other cell is to start from. */
int ptq_session_keeps_prefix(const struct ptq_planned *plan);
/* Frees the inputs of blocks that are held, if they are not those of keep. */
void ptq_session_forget_prefix(struct ptq_session *session, const struct ptq_shared_windows *keep);

enum ptq_status ptq_session_plan(struct ptq_session *session, const struct ptq_job *job, struct ptq_planned *plan,
                                 struct ptq_error *err);

#endif
