/* One cell in an HDF5 file, and the marks of a file that holds cells; the layout is that of results.h. */
#ifndef PTQ_CELL_FILE_H
#define PTQ_CELL_FILE_H

#include "h5.h"
#include "results.h"

/* Writes what makes a file a results file: format, schema, experiment, and the group of the cells. */
enum ptq_status ptq_cell_file_begin(struct ptq_h5 *file, const char *experiment, const char *yaml,
                                    struct ptq_error *err);
/* The results file `path` with cell[n], whole or not at all. */
enum ptq_status ptq_cell_file_write(const char *path, const char *experiment, const char *yaml,
                                    const struct ptq_cell *cell, int n, struct ptq_error *err);
/* Fails with PTQ_EINPUT where the file is no results file, or one of another schema. */
enum ptq_status ptq_cell_file_check(struct ptq_h5 *file, const char *path, struct ptq_error *err);

/* Writes /cells/ID. A text that is NULL is written as empty. */
enum ptq_status ptq_cell_write(struct ptq_h5 *file, const struct ptq_cell *cell, struct ptq_error *err);
/* Reads /cells/ID whole; memory from arena. Fails with PTQ_EINPUT where something is missing, where ID is not the hash
 * of the configuration, where that has another spec, where a number is out of its range, or where the stored nll do not
 * give the stored mean and ppl. */
enum ptq_status ptq_cell_read(struct ptq_h5 *file, const char *path, const char *id, struct ptq_arena *arena,
                              struct ptq_cell *cell, struct ptq_error *err);

/* GROUP/linears of any file: what is reported of linear[n]. */
enum ptq_status ptq_linears_write(struct ptq_h5 *file, const char *group, const struct ptq_linear_report *linear, int n,
                                  struct ptq_error *err);
/* Memory from arena. Fails with PTQ_EINPUT where the columns do not fit each other, or a number is out of its
 * range. */
enum ptq_status ptq_linears_read(struct ptq_h5 *file, const char *path, const char *group, struct ptq_arena *arena,
                                 struct ptq_linear_report **linear, int *n, struct ptq_error *err);

#endif
