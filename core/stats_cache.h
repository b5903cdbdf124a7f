/* Statistics in files: the means of a model in one, the moments in one a block. Inside core. */
#ifndef PTQ_STATS_CACHE_H
#define PTQ_STATS_CACHE_H

#include "stats.h"

enum ptq_status ptq_means_store(const char *path, const struct ptq_model_stats *stats, struct ptq_error *err);
/* Into arrays that are there already; sizes that differ are PTQ_EINPUT. */
enum ptq_status ptq_means_fetch(const char *path, struct ptq_model_stats *out, struct ptq_error *err);

enum ptq_status ptq_moments_store(const char *folder, int64_t block, const struct ptq_moments moments[PTQ_N_INPUT],
                                  struct ptq_error *err);
/* Sizes are those of `like`, the block's means. */
enum ptq_status ptq_moments_fetch(const char *folder, int64_t block, const struct ptq_stats like[PTQ_N_INPUT],
                                  struct ptq_arena *arena, struct ptq_moments out[PTQ_N_INPUT], struct ptq_error *err);
/* 1 where folder has the block's file. */
int ptq_moments_are_there(const char *folder, int64_t block);

#endif
