/* A method applied to one block: every linear quantised, its errors measured, its float32 weights replaced by what the
 * codes stand for. What is evaluated is the codes, never a copy that a method made. */
#ifndef PTQ_APPLY_H
#define PTQ_APPLY_H

#include "method.h"
#include "model.h"

/* stats: the block's [PTQ_N_INPUT], or NULL. q[PTQ_N_ROLE] is filled, in arena; report: one more entry a linear, from
 * *n_reports on. scratch is rewound. */
enum ptq_status ptq_apply(const struct ptq_spec *spec, uint64_t seed, const struct ptq_stats *stats,
                          struct ptq_block *block, struct ptq_arena *arena, struct ptq_arena *scratch,
                          struct ptq_qmat *q, struct ptq_linear_report *report, int *n_reports, struct ptq_error *err);

/* What a block method wrote: its codes checked and measured against block's weights, which they then replace. report as
 * the task's, by role; each is copied behind *n_reports entries of out. */
enum ptq_status ptq_apply_codes(const struct ptq_stats *stats, const struct ptq_qmat *q,
                                const struct ptq_linear_report *report, struct ptq_block *block,
                                struct ptq_arena *scratch, struct ptq_linear_report *out, int *n_reports,
                                struct ptq_error *err);

/* The block's float32 weights from codes that were kept. */
void ptq_reapply(const struct ptq_qmat *q, struct ptq_block *block);

#endif
