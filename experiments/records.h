/* Cells as records: every scalar by its name, for other programs to read. */
#ifndef PTQ_RECORDS_H
#define PTQ_RECORDS_H

#include "report.h"

#include <stdio.h>

/* RFC 4180, but lines end in a newline alone; first a line of names; numbers in full; what does not apply is empty. */
void ptq_records_csv(struct ptq_arena *arena, const struct ptq_report *report, FILE *out);
/* One object: title, cells (a record each, numbers that are not finite are null), notes. */
void ptq_records_json(const struct ptq_report *report, FILE *out);

#endif
