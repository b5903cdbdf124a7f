/* Results: what a finished cell is, and the files that hold cells.
 *
 *   FILE.h5
 *     /                      attributes: format "ptq-results", schema 1, experiment, experiment_yaml
 *     /cells/ID/             one group a cell; ID is the SHA-256 of the cell's canonical configuration
 *         attributes         one for each line of PTQ_CELL_FIELDS, by that name
 *         nll                [windows][scored] float32, -ln p of each scored token (natural log)
 *         linears/           name, and one column for each line of PTQ_LINEAR_FIELDS; one row a quantised linear
 *         inputs/            where the cell read statistics: name, one column for each line of PTQ_INPUT_FIELDS, and
 *                            ranked [inputs][PTQ_INPUT_RANKS] float32; one row an input of a block
 *   FILE.h5.cells/ID.h5      cells that are finished but not merged yet (same layout, one cell): what a killed run
 *                            leaves and the next one starts from
 *   FILE.h5.cells/ID.part/   what is finished of a cell under way (methods/part.h)
 *
 * A file appears under its name only when it is whole: temporary, flush, fsync, rename. */
#ifndef PTQ_RESULTS_H
#define PTQ_RESULTS_H

#include "arena.h"
#include "sha256.h"
#include "status.h"

#include <stdint.h>

enum { PTQ_RESULTS_SCHEMA = 1 };

/* The one table of a cell's scalars: kind, name, what it is. Attribute names in HDF5, struct members and the flat keys
 * of tables are all this. A TEXT is never NULL in a stored cell ("" where it does not apply). */
#define PTQ_CELL_FIELDS(X)                                                                                             \
    X(TEXT, experiment, "name of the experiment, or eval")                                                             \
    X(TEXT, spec, "the cell's method, canonical SPEC")                                                                 \
    X(TEXT, method, "the method's name")                                                                               \
    X(TEXT, model, "the model as it was named")                                                                        \
    X(TEXT, model_sha256, "SHA-256 of the model's files")                                                              \
    X(TEXT, family, "model family")                                                                                    \
    X(TEXT, source_dtype, "element type of the checkpoint's linears; Q4_1 says that it was 4-bit before")              \
    X(TEXT, text, "evaluation text as it was named")                                                                   \
    X(TEXT, text_sha256, "SHA-256 of the evaluation text")                                                             \
    X(TEXT, tokens_sha256, "SHA-256 of the evaluated ids, little-endian int32")                                        \
    X(TEXT, calib, "calibration text as it was named, or empty")                                                       \
    X(TEXT, calib_sha256, "SHA-256 of the calibration ids, little-endian int32")                                       \
    X(TEXT, protocol, "how perplexity was measured; a table never mixes two")                                          \
    X(TEXT, calib_protocol, "how calibration windows were taken")                                                      \
    X(TEXT, path, "fp32 or packed")                                                                                    \
    X(TEXT, device, "cpu or the GPU's name")                                                                           \
    X(TEXT, config, "canonical configuration; its SHA-256 is the cell's id")                                           \
    X(TEXT, version, "ptq's version")                                                                                  \
    X(TEXT, commit, "git commit compiled in, + where the tree was dirty")                                              \
    X(TEXT, compiler, "compiler and flags")                                                                            \
    X(TEXT, host, "host name")                                                                                         \
    X(TEXT, cpu, "CPU model")                                                                                          \
    X(TEXT, kernels, "kernels chosen at run time")                                                                     \
    X(TEXT, blas, "BLAS library and core type")                                                                        \
    X(TEXT, started, "UTC, ISO 8601")                                                                                  \
    X(INT, w_bit, "bits of a code; 16 where nothing is quantised")                                                     \
    X(INT, group_size, "inputs that share a scale; -1 is the row; 0 where nothing is quantised")                       \
    X(INT, window, "tokens in a window")                                                                               \
    X(INT, windows, "windows evaluated")                                                                               \
    X(INT, tokens, "tokens scored")                                                                                    \
    X(INT, calib_windows, "calibration windows")                                                                       \
    X(INT, calib_window, "tokens in a calibration window")                                                             \
    X(INT, seed, "the run's seed")                                                                                     \
    X(INT, threads, "CPU threads")                                                                                     \
    X(INT, saturated_groups, "groups with a code at an end that the value overshoots by more than half a step")        \
    X(INT, peak_rss_bytes, "peak resident memory of the process up to this cell's end")                                \
    X(REAL, ppl, "perplexity, exp(nll_mean)")                                                                          \
    X(REAL, nll_mean, "mean -ln p over scored tokens")                                                                 \
    X(REAL, effective_bits, "stored bits per weight of the quantised linears: codes, scales, zeros, kept channels")    \
    X(REAL, fraction, "fraction of input channels kept in FP16; 0 where none")                                         \
    X(REAL, seconds_load, "wall seconds: mapping, tokenizing, hashing")                                                \
    X(REAL, seconds_calibrate, "wall seconds: statistics (0 when cached)")                                             \
    X(REAL, seconds_quantize, "wall seconds: the method")                                                              \
    X(REAL, seconds_eval, "wall seconds: perplexity")                                                                  \
    X(REAL, tokens_per_second, "evaluated tokens per second of seconds_eval")

#define PTQ_FIELD_TYPE_TEXT const char *
#define PTQ_FIELD_TYPE_INT int64_t
#define PTQ_FIELD_TYPE_REAL double

/* The one table of what is reported of a quantised linear, beside its name: kind, name, what it is. A column that does
 * not apply, or that a file is older than, holds zeros. */
#define PTQ_LINEAR_FIELDS(X)                                                                                           \
    X(REAL, weight_error, "||W' - W||^2 / ||W||^2")                                                                    \
    X(REAL, output_error, "||X (W' - W)^T||^2 / ||X W^T||^2 on sampled calibration tokens; -1 without calibration")    \
    X(INT, saturated, "groups, see saturated_groups")                                                                  \
    X(INT, groups, "groups of all rows: what means over linears weigh by")                                             \
    X(REAL, damp, "GPTQ: percdamp that was used in the end")                                                           \
    X(REAL, loss, "GPTQ, OBQ: the method's own loss")                                                                  \
    X(REAL, alpha, "AWQ: the ratio that was chosen for the linear's input; 0 leaves it as it is")                      \
    X(REAL, clip, "AWQ: mean over the groups of bound / largest weight; 1 clips nothing")                              \
    X(REAL, salient_groups, "scale: share of the groups that hold a salient channel")                                  \
    X(REAL, delta_changed, "scale: share of all groups whose scale s changed")                                         \
    X(REAL, delta_ratio, "scale: mean over all groups of their scale with s / without")                                \
    X(REAL, delta_over_s, "scale: delta_ratio / s, the error left to a salient weight")

/* One quantised linear's report. */
struct ptq_linear_report {
    const char *name; /* "model.layers.3.self_attn.q_proj" or the GGUF name's equivalent */
#define X(kind, name, doc) PTQ_FIELD_TYPE_##kind name;
    PTQ_LINEAR_FIELDS(X)
#undef X
};

/* The one table of what calibration saw at an input of a block, beside its name and ranked: kind, name, what it is. */
#define PTQ_INPUT_FIELDS(X)                                                                                            \
    X(INT, channels, "K, input channels")                                                                              \
    X(INT, top1, "the channel with the largest mean |x| over the calibration tokens, from 0")                          \
    X(INT, top2, "the one with the next")                                                                              \
    X(INT, top3, "and the next; -1 where there are fewer channels")                                                    \
    X(REAL, median, "median over the channels of mean |x|")

/* One input's report. */
enum { PTQ_INPUT_RANKS = 16 };
struct ptq_input_report {
    const char *name; /* "3.mlp_in": block and input */
#define X(kind, name, doc) PTQ_FIELD_TYPE_##kind name;
    PTQ_INPUT_FIELDS(X)
#undef X
    float ranked[PTQ_INPUT_RANKS]; /* mean |x| of the channel of rank min(2^i, K), rank 1 being the largest */
};

struct ptq_cell {
    char id[PTQ_SHA256_HEX];
#define X(kind, name, doc) PTQ_FIELD_TYPE_##kind name;
    PTQ_CELL_FIELDS(X)
#undef X
    float *nll; /* [windows][scored], scored = tokens / windows */
    struct ptq_linear_report *linear;
    int n_linears;
    struct ptq_input_report *input;
    int n_inputs;     /* blocks * PTQ_N_INPUT, or 0 where no statistics were read, or the file is older */
    const char *part; /* folder for what is finished while the cell is under way, or NULL; not stored */
};

/* id = SHA-256 of config. */
void ptq_cell_identify(struct ptq_cell *cell);

/* The name of FILE.cells/ID.part, which need not be there. In arena. */
char *ptq_results_part(struct ptq_arena *arena, const char *file, const char *id);

/* Writes one finished cell to FILE.cells/ID.h5, atomically, and removes its ID.part. */
enum ptq_status ptq_results_put(const char *file, const struct ptq_cell *cell, struct ptq_error *err);

/* The ids that are finished: in FILE and in FILE.cells. *ids [*n] sorted, in arena. A FILE that is missing is empty;
 * one of another schema, cut in half, or not HDF5 is PTQ_EINPUT with a sentence that says what to do (--fresh). A
 * single damaged FILE.cells/ID.h5 is no error: it counts as not finished. */
enum ptq_status ptq_results_ids(struct ptq_arena *arena, const char *file, char (**ids)[PTQ_SHA256_HEX], int *n,
                                struct ptq_error *err);

/* Joins FILE and FILE.cells into FILE (atomically) and removes FILE.cells, but for the parts of other cells.
 * keep[0..n_keep): ids in table order, those that are not finished are left out; every other finished cell, of the old
 * FILE first, is kept behind them. Where both have a cell, that of FILE.cells is newer and stays. Killed at any moment,
 * the next call completes it; where there is nothing to do, FILE is not touched. */
enum ptq_status ptq_results_merge(const char *file, const char *experiment, const char *yaml,
                                  const char (*keep)[PTQ_SHA256_HEX], int n_keep, struct ptq_error *err);

/* All cells of FILE (and of FILE.cells, where a run is under way) in stored order. In arena. */
enum ptq_status ptq_results_read(struct ptq_arena *arena, const char *file, struct ptq_cell **cells, int *n,
                                 struct ptq_error *err);

/* The experiment's name and its YAML, as FILE has them; "" where only FILE.cells is there yet. In arena. */
enum ptq_status ptq_results_experiment(struct ptq_arena *arena, const char *file, const char **experiment,
                                       const char **yaml, struct ptq_error *err);

/* Refuses what cannot be a results file's name: nothing, or a folder. */
enum ptq_status ptq_results_check_name(const char *file, struct ptq_error *err);

/* --fresh: removes FILE and FILE.cells with all parts. A FILE that is not HDF5 is PTQ_EINPUT and stays. */
enum ptq_status ptq_results_remove(const char *file, struct ptq_error *err);

/* One writer at a time. */
struct ptq_lock {
    int fd;
    char *path;
};

/* Takes FILE.lock for this process, or fails at once with PTQ_EIO and a sentence that names the process that has it.
 * The kernel gives it back when the process ends, however it ends. Where the file system has no locks (some NFS), none
 * is taken. ptq_results_merge, put and remove do not take it: who runs them does. */
enum ptq_status ptq_results_lock(const char *file, struct ptq_lock *out, struct ptq_error *err);
void ptq_results_unlock(struct ptq_lock *lock);

#endif
