/* Inside core/stats: sums on their way, on the CPU (stats.c) and on a device (stats_device.c). */
#ifndef PTQ_STATS_PARTS_H
#define PTQ_STATS_PARTS_H

#include "offload.h"
#include "stats.h"

enum { PTQ_STATS_LEVELS = 4 };

/* One input while rows pass.
 *
 * Sums of |x| are float32 and of four levels, as torch's sum over the first dimension has them, which the published
 * code takes its means from: rows are added to level 0, and after every 2^p rows a level is added to the next one and
 * begins anew, p = max(4, ceil(log2 rows) / 4). AWQ's clip sits on ties, and the last bits of these means decide many
 * of them (docs/decisions.md). The sums do not depend on how rows come in batches. */
struct ptq_watched {
    struct ptq_stats *means;
    struct ptq_moments *moments;    /* or NULL */
    float *level[PTQ_STATS_LEVELS]; /* [K] each */
    int64_t seen;                   /* rows */
};

struct ptq_watch {
    struct ptq_watched input[PTQ_N_INPUT];
    const struct ptq_tap *tap;
};

void ptq_watch_begin(struct ptq_arena *arena, struct ptq_stats means[PTQ_N_INPUT], struct ptq_watch *out);
void ptq_watch_end(struct ptq_watch *watch);
int ptq_stats_level_power(int64_t rows);
/* Every stride'th row is one of the moments'. */
int64_t ptq_moments_stride(int64_t rows);
/* moments [PTQ_N_INPUT] like means, gram and rows in arena; without_gram: rows alone. */
void ptq_moments_make(struct ptq_arena *arena, const struct ptq_stats like[PTQ_N_INPUT], int without_gram,
                      struct ptq_moments out[PTQ_N_INPUT]);
/* out's means, empty. */
void ptq_stats_make(struct ptq_arena *arena, const struct ptq_model *model, int64_t rows, int with_moments,
                    struct ptq_model_stats *out);

/* ---- stats_device.c ---- */

/* A watch's sums on a device. */
struct ptq_far {
    const struct ptq_device *device;
    struct ptq_watch *watch;
    struct {
        float *level, *sample, *row, *gram; /* [LEVELS][K], [n_sample][K], [n_row][K], [K][K]; the last two or NULL */
        int64_t first;                      /* rows seen before */
    } input[PTQ_N_INPUT];
    unsigned char *room;
    size_t bytes;
};
/* The watched block through f on its device; *watch goes on. */
enum ptq_status ptq_far_block(struct ptq_forward *f, const struct ptq_block *block, int64_t index,
                              struct ptq_watch *watch, struct ptq_error *err);
/* Of stats->travel. */
enum ptq_status ptq_travel_moments(const struct ptq_model_stats *stats, int64_t block,
                                   struct ptq_moments out[PTQ_N_INPUT], struct ptq_error *err);

#endif
