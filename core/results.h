/* Results: what a finished cell is, and the files that hold cells.
 *
 *   FILE.h5
 *     /                      attributes: format "ptq-results", schema 1, experiment, experiment_yaml
 *     /about                 an attribute a scalar of a cell, by its name: "UNIT; what it is"
 *     /cells/ID/             one group a cell; ID is the SHA-256 of the cell's canonical configuration
 *         attributes         one for each line of PTQ_CELL_FIELDS, of PTQ_PEAK_FIELDS where it is known, and of
 *                            PTQ_AGAINST_FIELDS where there is kl
 *         nll                [windows][scored] float32, -ln p of each scored token (natural log)
 *         kl                 [windows][scored] float32, D(p_FP || p) of each, in nats; not of FP16, nor in older files
 *         linears/           name, and one column for each line of PTQ_LINEAR_FIELDS; one row a quantised linear
 *         inputs/            where the cell read statistics: name, one column for each line of PTQ_INPUT_FIELDS, and
 *                            ranked [inputs][PTQ_INPUT_RANKS] float32; one row an input of a block
 *   Datasets have the attributes unit and about.
 *   FILE.h5.cells/ID.h5      cells that are finished but not merged yet (same layout, one cell): what a killed run
 *                            leaves and the next one starts from
 *   FILE.h5.cells/ID.part/   what is finished of a cell under way (methods/part.h)
 *
 * A file appears under its name only when it is whole: temporary, flush, fsync, rename. */
#ifndef PTQ_RESULTS_H
#define PTQ_RESULTS_H

#include "arena.h"
#include "path.h"
#include "sha256.h"
#include "status.h"

#include <stdint.h>

struct ptq_reference;
struct ptq_prefix;

enum { PTQ_RESULTS_SCHEMA = 1 };

/* The one table of a cell's scalars: kind, name, unit, what it is. Attribute names in HDF5, struct members and the flat
 * keys of tables are all this. A TEXT is never NULL in a stored cell ("" where it does not apply). */
#define PTQ_CELL_FIELDS(X)                                                                                             \
    X(TEXT, experiment, "text", "name of the experiment, or eval")                                                     \
    X(TEXT, spec, "text", "the cell's method, canonical SPEC")                                                         \
    X(TEXT, method, "text", "the method's name")                                                                       \
    X(TEXT, model, "text", "the model as it was named")                                                                \
    X(TEXT, model_sha256, "text", "SHA-256 of the weights; that of config.json is the line model_config= of config")   \
    X(TEXT, family, "text", "model family")                                                                            \
    X(TEXT, source_dtype, "text",                                                                                      \
      "element type of the checkpoint's linears; Q4_1 says that it was 4-bit before, gptq 4 bits, g32 that it is")     \
    X(TEXT, text, "text", "evaluation text as it was named")                                                           \
    X(TEXT, text_sha256, "text", "SHA-256 of the evaluation text")                                                     \
    X(TEXT, tokens_sha256, "text", "SHA-256 of the evaluated ids, little-endian int32")                                \
    X(TEXT, calib, "text", "calibration text as it was named, or empty")                                               \
    X(TEXT, calib_sha256, "text", "SHA-256 of the calibration ids, little-endian int32")                               \
    X(TEXT, protocol, "text", "how perplexity was measured; a table never mixes two")                                  \
    X(TEXT, calib_protocol, "text", "how calibration windows were taken")                                              \
    X(TEXT, path, "text", PTQ_PATH_WORDS)                                                                              \
    X(TEXT, device, "text", "where forward passes ran: cpu or the GPU's name")                                         \
    X(TEXT, config, "text", "canonical configuration; its SHA-256 is the cell's id")                                   \
    X(TEXT, version, "text", "ptq's version")                                                                          \
    X(TEXT, commit, "text", "git commit compiled in, + and digits of the program's SHA-256 where the tree was dirty")  \
    X(TEXT, compiler, "text", "compiler and flags")                                                                    \
    X(TEXT, host, "text", "host name")                                                                                 \
    X(TEXT, cpu, "text", "CPU model")                                                                                  \
    X(TEXT, kernels, "text", "kernels chosen at run time")                                                             \
    X(TEXT, blas, "text", "BLAS library and core type")                                                                \
    X(TEXT, started, "text", "UTC, ISO 8601")                                                                          \
    X(INT, w_bit, "bit", "bits of a code; 16 where nothing is quantised")                                              \
    X(INT, group_size, "1", "inputs that share a scale; -1 is the row; 0 where nothing is quantised")                  \
    X(INT, window, "token", "tokens in a window")                                                                      \
    X(INT, windows, "window", "windows evaluated")                                                                     \
    X(INT, tokens, "token", "tokens scored")                                                                           \
    X(INT, calib_windows, "window", "calibration windows")                                                             \
    X(INT, calib_window, "token", "tokens in a calibration window")                                                    \
    X(INT, seed, "1", "the run's seed")                                                                                \
    X(INT, threads, "thread", "CPU threads")                                                                           \
    X(INT, saturated_groups, "group",                                                                                  \
      "groups with a code at an end that the value overshoots by more than half a step")                               \
    X(INT, peak_rss_bytes, "byte",                                                                                     \
      "peak resident memory of the process while the cell was loaded and ran; where /proc/self/clear_refs cannot be "  \
      "written, and of files before 2026-11-28, up to its end")                                                        \
    X(REAL, ppl, "1", "perplexity, exp(nll_mean)")                                                                     \
    X(REAL, nll_mean, "nat", "mean -ln p over scored tokens")                                                          \
    X(REAL, effective_bits, "bit",                                                                                     \
      "stored bits per weight of the quantised linears: codes, scales, zeros, kept channels")                          \
    X(REAL, fraction, "1", "fraction of input channels kept in FP16; 0 where none")                                    \
    X(REAL, seconds_load, "s", "wall seconds: mapping, tokenizing, hashing")                                           \
    X(REAL, seconds_calibrate, "s", "wall seconds: statistics (0 when cached)")                                        \
    X(REAL, seconds_quantize, "s", "wall seconds: the method")                                                         \
    X(REAL, seconds_eval, "s", "wall seconds: perplexity")                                                             \
    X(REAL, tokens_per_second, "token/s", "evaluated tokens per second of seconds_eval")

/* The one table of peaks by stage, which are measured in the seconds of the same name: kind, name, unit, what it is.
 * What is there is that of the process, so a stage counts what others hold beside it, and peak_rss_bytes is no less
 * than any. One that is not known has no attribute, and is 0 here: the cell had no such stage (another one loaded or
 * measured for it, statistics were cached), or /proc/self/clear_refs cannot be written, or the file is older. */
#define PTQ_PEAK_FIELDS(X)                                                                                             \
    X(INT, peak_rss_bytes_load, "byte", "peak resident memory in seconds_load, of the cell that loaded model or text") \
    X(INT, peak_rss_bytes_calibrate, "byte",                                                                           \
      "peak resident memory in seconds_calibrate, of the cell that measured the statistics")                           \
    X(INT, peak_rss_bytes_quantize, "byte",                                                                            \
      "peak resident memory in seconds_quantize; of a resumed cell, in the blocks that it still had to quantise")      \
    X(INT, peak_rss_bytes_eval, "byte", "peak resident memory in seconds_eval")

#define PTQ_FIELD_TYPE_TEXT const char *
#define PTQ_FIELD_TYPE_INT int64_t
#define PTQ_FIELD_TYPE_REAL double

/* The one table of what is measured of a quantised cell against the full-precision model on the same tokens: kind,
 * name, unit, what it is. It is there where the cell has kl, that is where the run compared (eval.reference) and the
 * file is not older than that. Percentiles are over scored tokens, between the two nearest. delta p is the probability
 * of the true token here less that in full precision; llama.cpp prints it times 100. */
#define PTQ_AGAINST_FIELDS(X)                                                                                          \
    X(REAL, kl_mean, "nat", "mean over tokens of D(p_FP || p), natural log")                                           \
    X(REAL, kl_median, "nat", "median of D(p_FP || p)")                                                                \
    X(REAL, kl_p95, "nat", "95th percentile of D(p_FP || p)")                                                          \
    X(REAL, kl_p99, "nat", "99th percentile of D(p_FP || p)")                                                          \
    X(REAL, kl_max, "nat", "largest D(p_FP || p)")                                                                     \
    X(REAL, same_top, "1", "share of tokens whose most probable next token is that of full precision")                 \
    X(REAL, delta_p_mean, "1", "mean of delta p")                                                                      \
    X(REAL, delta_p_rms, "1", "root of the mean square of delta p")                                                    \
    X(REAL, delta_p_p01, "1", "1st percentile of delta p")                                                             \
    X(REAL, delta_p_p05, "1", "5th percentile of delta p")                                                             \
    X(REAL, delta_p_p10, "1", "10th percentile of delta p")                                                            \
    X(REAL, delta_p_p25, "1", "25th percentile of delta p")                                                            \
    X(REAL, delta_p_p50, "1", "50th percentile of delta p")                                                            \
    X(REAL, delta_p_p75, "1", "75th percentile of delta p")                                                            \
    X(REAL, delta_p_p90, "1", "90th percentile of delta p")                                                            \
    X(REAL, delta_p_p95, "1", "95th percentile of delta p")                                                            \
    X(REAL, delta_p_p99, "1", "99th percentile of delta p")                                                            \
    X(REAL, seconds_reference, "s", "wall seconds: the full-precision pass to compare with (0 where it was kept)")

/* The one table of what is reported of a quantised linear, beside its name: kind, name, unit, what it is. A column that
 * does not apply, or that a file is older than, holds zeros. */
#define PTQ_LINEAR_FIELDS(X)                                                                                           \
    X(REAL, weight_error, "1", "||W' - W||^2 / ||W||^2")                                                               \
    X(REAL, output_error, "1",                                                                                         \
      "||X (W' - W)^T||^2 / ||X W^T||^2 on sampled calibration tokens; -1 without calibration")                        \
    X(INT, saturated, "group", "groups, see saturated_groups")                                                         \
    X(INT, groups, "group", "groups of all rows: what means over linears weigh by")                                    \
    X(INT, code_digest, "1",                                                                                           \
      "52 bits of the SHA-256 of codes, scales, zeros, order and kept columns: the same number, the same codes")       \
    X(REAL, damp, "1", "GPTQ: percdamp that was used in the end")                                                      \
    X(REAL, loss, "1", "GPTQ, OBQ: the method's own loss")                                                             \
    X(REAL, alpha, "1",                                                                                                \
      "AWQ: the ratio that was chosen for the linear's input; 0 leaves it as it is, -1: not searched")                 \
    X(REAL, clip, "1", "AWQ: mean over the groups of bound / largest weight; 1 clips nothing")                         \
    X(REAL, salient_groups, "1", "scale: share of the groups that hold a salient channel")                             \
    X(REAL, delta_changed, "1", "scale: share of all groups whose scale s changed")                                    \
    X(REAL, delta_ratio, "1", "scale: mean over all groups of their scale with s / without")                           \
    X(REAL, delta_over_s, "1", "scale: delta_ratio / s, the error left to a salient weight")

/* One quantised linear's report. */
struct ptq_linear_report {
    const char *name; /* "model.layers.3.self_attn.q_proj" or the GGUF name's equivalent */
#define X(kind, name, ...) PTQ_FIELD_TYPE_##kind name;
    PTQ_LINEAR_FIELDS(X)
#undef X
};

/* The one table of what calibration saw at an input of a block, beside its name and ranked: kind, name, unit, what
 * it is. */
#define PTQ_INPUT_FIELDS(X)                                                                                            \
    X(INT, channels, "1", "K, input channels")                                                                         \
    X(INT, top1, "1", "the channel with the largest mean |x| over the calibration tokens, from 0")                     \
    X(INT, top2, "1", "the one with the next")                                                                         \
    X(INT, top3, "1", "and the next; -1 where there are fewer channels")                                               \
    X(REAL, median, "1", "median over the channels of mean |x|")

/* One input's report. */
enum { PTQ_INPUT_RANKS = 16 };
struct ptq_input_report {
    const char *name; /* "3.mlp_in": block and input */
#define X(kind, name, ...) PTQ_FIELD_TYPE_##kind name;
    PTQ_INPUT_FIELDS(X)
#undef X
    float ranked[PTQ_INPUT_RANKS]; /* mean |x| of the channel of rank min(2^i, K), rank 1 being the largest */
};

struct ptq_cell {
    char id[PTQ_SHA256_HEX];
#define X(kind, name, ...) PTQ_FIELD_TYPE_##kind name;
    PTQ_CELL_FIELDS(X)
    PTQ_PEAK_FIELDS(X)
    PTQ_AGAINST_FIELDS(X)
#undef X
    float *nll; /* [windows][scored], scored = tokens / windows */
    float
        *kl; /* [windows][scored] D(p_FP || p) of each scored token, in nats; NULL: PTQ_AGAINST_FIELDS are not there */
    struct ptq_linear_report *linear;
    int n_linears;
    struct ptq_input_report *input;
    int n_inputs; /* blocks * PTQ_N_INPUT, or 0 where no statistics were read, or the file is older */
    struct ptq_reference *reference; /* what a run compares with (core/reference.h), or NULL; not stored */
    struct ptq_prefix *prefix;       /* where a cell with only= may start (methods/prefix.h), or NULL; not stored */
    const char *part;                /* folder for what is finished while the cell is under way, or NULL; not stored */
};

/* id = SHA-256 of config. */
void ptq_cell_identify(struct ptq_cell *cell);

/* Which model a cell is of (results_model.c): of the weights model_sha256, read as config.json says. The second is the
 * line model_config= of config, as ptq_checkpoint_config_sha256 hashes it: "" where there is no such line, of a GGUF,
 * which carries its own, and in files of the first hours of 2026-11-23. */
void ptq_cell_model_config(const struct ptq_cell *cell, char hex[PTQ_SHA256_HEX]);
/* Both are the same. It is an equivalence, so that cells fall into models: one that lacks the line is of the model of
 * those of its weights that lack it too. */
int ptq_same_model(const struct ptq_cell *a, const struct ptq_cell *b);
/* And so are the tokens that were scored: what may be compared token by token. */
int ptq_same_task(const struct ptq_cell *a, const struct ptq_cell *b);

/* PTQ_ENUMERIC where a number of the cell is none that a results file may hold: whoever reads it would refuse the file
 * for it (the table of ranges in cell_file.c). Before it is stored. */
enum ptq_status ptq_cell_check(const struct ptq_cell *cell, struct ptq_error *err);

/* The name of FILE.cells/ID.part, which need not be there. In arena. */
char *ptq_results_part(struct ptq_arena *arena, const char *file, const char *id);

/* Writes one finished cell to FILE.cells/ID.h5, atomically, and removes its ID.part. */
enum ptq_status ptq_results_put(const char *file, const struct ptq_cell *cell, struct ptq_error *err);

/* The ids that are finished: in FILE and in FILE.cells; where FILE is computed anew, in FILE.cells alone. *ids [*n]
 * sorted, in arena. A FILE that is missing is empty; one of another schema, cut in half, or not HDF5 is PTQ_EINPUT with
 * a sentence that says what to do (--fresh). A single damaged FILE.cells/ID.h5 is no error: it counts as not finished.
 */
enum ptq_status ptq_results_ids(struct ptq_arena *arena, const char *file, char (**ids)[PTQ_SHA256_HEX], int *n,
                                struct ptq_error *err);

/* Joins FILE and FILE.cells into FILE (atomically) and removes FILE.cells, but for the parts of other cells.
 * keep[0..n_keep): ids in table order, those that are not finished are left out; every other finished cell, of the old
 * FILE first, is kept behind them. Where both have a cell, that of FILE.cells is newer and stays. Killed at any moment,
 * the next call completes it; where there is nothing to do, FILE is not touched. */
enum ptq_status ptq_results_merge(const char *file, const char *experiment, const char *yaml,
                                  const char (*keep)[PTQ_SHA256_HEX], int n_keep, struct ptq_error *err);

/* The id in "ID.h5" or "ID.part", names in FILE.cells; 0 where name is something else. */
int ptq_results_id(const char *name, const char *suffix, char id[PTQ_SHA256_HEX]);
/* Whether there is FILE, or FILE.cells, which a run that has not ended leaves. PTQ_EIO where the system cannot say. */
enum ptq_status ptq_results_are_there(struct ptq_arena *arena, const char *file, int *there, struct ptq_error *err);
/* The cells of ptq_results_ids. In arena. */
enum ptq_status ptq_results_finished(struct ptq_arena *arena, const char *file, struct ptq_cell **cells, int *n,
                                     struct ptq_error *err);
/* Whether one cell is among ptq_results_ids: no other one is read. */
enum ptq_status ptq_results_has(const char *file, const char *id, int *has, struct ptq_error *err);
/* The cell of FILE.cells/ID.h5 by itself; *cell NULL where that is not there, or damaged. In arena. */
enum ptq_status ptq_results_one(struct ptq_arena *arena, const char *file, const char *id, struct ptq_cell **cell,
                                struct ptq_error *err);
/* For who reads: all cells of FILE (and of FILE.cells, where a run is under way, but for one that computes FILE anew)
 * in stored order; none where there is nothing but FILE.cells, and no cell is finished. In arena. */
enum ptq_status ptq_results_read(struct ptq_arena *arena, const char *file, struct ptq_cell **cells, int *n,
                                 struct ptq_error *err);

/* The experiment's name and its YAML, as FILE has them; "" where only FILE.cells is there yet. In arena. */
enum ptq_status ptq_results_experiment(struct ptq_arena *arena, const char *file, const char **experiment,
                                       const char **yaml, struct ptq_error *err);

/* What has its name from FILE's and lies beside it: FILE.cells and FILE.tasks (experiments/launch.h) are folders. */
#define PTQ_CELLS ".cells"
#define PTQ_FRESH "fresh" /* in FILE.cells: results_fresh.c */
#define PTQ_TASKS ".tasks"
#define PTQ_LOCK ".lock"
#define PTQ_FAILED ".failed.json" /* experiments/failures.h */
/* For who will write FILE, before the work: all of these names fit, none of the folders is a link already, and where a
 * file will be written or removed, beside FILE or in FILE.cells, there is no folder. */
enum ptq_status ptq_results_check_beside(const char *file, struct ptq_error *err);

/* Refuses what cannot be a results file's name: nothing, a folder, a FIFO, a device. */
enum ptq_status ptq_results_check_name(const char *file, struct ptq_error *err);

/* Where *file is a symbolic link, the file that it leads to, there or not: FILE.cells and what else has FILE's name is
 * beside that one. Whoever reads does so, here and in experiments/failures.c. In arena. */
enum ptq_status ptq_results_follow(struct ptq_arena *arena, const char **file, struct ptq_error *err);
/* The same of *file as behind -o, checked like that, so that the lock and the rename at the end are of that one, too,
 * and the link stays. */
enum ptq_status ptq_results_resolve(struct ptq_arena *arena, const char **file, struct ptq_error *err);

/* --fresh (results_fresh.c): from here on id[0..n), n > 0, are computed anew, and what was finished before is none of
 * what ptq_results_ids finds. A FILE that is there stays as it is, with what an interrupted run had finished joined to
 * it, and ptq_results_read reads that, until ptq_results_merge replaces it, which is for when none of the ids is
 * awaited any more. What an earlier --fresh had finished goes, and so do all parts. A FILE that is not HDF5 is
 * PTQ_EINPUT. */
enum ptq_status ptq_results_start_over(const char *file, const char (*id)[PTQ_SHA256_HEX], int n,
                                       struct ptq_error *err);
/* The last of that by itself. */
enum ptq_status ptq_results_check_replaceable(const char *file, struct ptq_error *err);
/* Whether that is under way, or was interrupted, and FILE is what was there before. */
enum ptq_status ptq_results_is_fresh(struct ptq_arena *arena, const char *file, int *fresh, struct ptq_error *err);
/* Those of its ids that are not finished, in arena; none where it is not under way. */
enum ptq_status ptq_results_awaited(struct ptq_arena *arena, const char *file, char (**id)[PTQ_SHA256_HEX], int *n,
                                    struct ptq_error *err);

/* One writer at a time (results_lock.c). */
struct ptq_lock {
    int fd;
    char *path;
};

/* Takes FILE.lock for this process, or fails at once with PTQ_EIO and a sentence that names the process that has it.
 * The kernel gives it back when the process and the children that share it have ended, however they end: for those of
 * a process that is dead it waits, a minute at most. Where the file system has no locks (some NFS), none is taken.
 * ptq_results_merge, put and start_over do not take it: who runs them does. */
enum ptq_status ptq_results_lock(const char *file, struct ptq_lock *out, struct ptq_error *err);
extern int ptq_results_patience_ms; /* the minute; tests have less */
/* Programs that are started from here on hold it too, as long as they run. */
void ptq_results_share_lock(const struct ptq_lock *lock);
void ptq_results_unlock(struct ptq_lock *lock);

#endif
