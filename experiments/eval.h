/* `ptq eval`: one cell from the command line. */
#ifndef PTQ_EVAL_H
#define PTQ_EVAL_H

#include "options.h"
#include "results.h"

enum ptq_status ptq_eval(const struct ptq_options *options, struct ptq_error *err);

/* The cell as the one JSON object of --json (DESIGN section 3); malloc memory. NULL where a name is not UTF-8. */
char *ptq_eval_json(const struct ptq_cell *cell);
/* The same on standard output. */
enum ptq_status ptq_eval_print_json(const struct ptq_cell *cell, struct ptq_error *err);

#endif
