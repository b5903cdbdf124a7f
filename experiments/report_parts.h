/* One report of cells that were measured on several texts: a report a protocol, joined. */
#ifndef PTQ_REPORT_PARTS_H
#define PTQ_REPORT_PARTS_H

#include "table_layout.h"
#include "report.h"

/* As ptq_report_make. Where the layout (or NULL) has the key `text`, cells of several protocols are taken, but of one
 * text only those of one: each protocol's cells are compared among themselves alone, the sections say their text, and
 * the rows stand protocol by protocol. */
enum ptq_status ptq_report_parts(struct ptq_arena *arena, const struct ptq_table_layout *layout,
                                 const struct ptq_cell *cells, int n, struct ptq_report *out, struct ptq_error *err);

#endif
