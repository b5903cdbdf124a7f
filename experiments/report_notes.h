/* The footnotes of a report: what a reader must know before believing a number. */
#ifndef PTQ_REPORT_NOTES_H
#define PTQ_REPORT_NOTES_H

#include "report.h"

/* One more, of ptq_report_against. */
void ptq_report_note_versus(struct ptq_arena *arena, struct ptq_report *report);
/* Fills report->note. missing: why there are no published numbers, or NULL. */
void ptq_report_notes(struct ptq_arena *arena, struct ptq_report *report, const char *missing);

#endif
