/* What the files of results share, and nobody else sees. */
#ifndef PTQ_RESULTS_PARTS_H
#define PTQ_RESULTS_PARTS_H

#include "results.h"

char *ptq_results_cells(struct ptq_arena *arena, const char *file);
/* Of FILE.cells/fresh, see results_fresh.c: on disk when it returns. */
enum ptq_status ptq_results_remove_mark(struct ptq_arena *arena, const char *file, struct ptq_error *err);
enum ptq_status ptq_results_look_for(const char *path, int *there, struct ptq_error *err);
/* Only what HDF5 wrote, or nobody: a name mistyped behind -o must not cost a text or a model. */
enum ptq_status ptq_results_is_replaceable(const char *file, int *replaceable, struct ptq_error *err);
/* What is finished in FILE.cells into FILE, whose experiment stays; FILE is not touched where nothing is. */
enum ptq_status ptq_results_join(struct ptq_arena *arena, const char *file, struct ptq_error *err);
/* Removes all cells and parts from FILE.cells, and the folder where nothing else is in it. */
enum ptq_status ptq_results_empty_cells(struct ptq_arena *arena, const char *file, struct ptq_error *err);

#endif
