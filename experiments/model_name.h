/* What a model is called among others. */
#ifndef PTQ_MODEL_NAME_H
#define PTQ_MODEL_NAME_H

#include "arena.h"
#include "results.h"

/* What tells the cell's model from others of cells[n] that have its short name, as is put behind it: " (01ecf94f)", a
 * piece of model_sha256, where weights differ; " (config 2c26b46b)" where config.json does, of the same weights; both
 * where it takes both. "" where there is no other. In arena. */
const char *ptq_model_apart(struct ptq_arena *arena, const struct ptq_cell *cells, int n, const struct ptq_cell *cell);
/* The short name and that. In arena. */
const char *ptq_model_name(struct ptq_arena *arena, const struct ptq_cell *cells, int n, const struct ptq_cell *cell);
/* "s1/model (config 2c26b46b) and s2/model (config fcde2b2e) have the same weights and differ in config.json." In
 * arena.
 */
const char *ptq_model_note(struct ptq_arena *arena, const struct ptq_cell *a, const struct ptq_cell *b);

#endif
