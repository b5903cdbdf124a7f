/* What a row is called: its method, and of what is no part of a SPEC exactly the keys in which the rows differ. */
#ifndef PTQ_LABELS_H
#define PTQ_LABELS_H

#include "report.h"

/* Keys beside the SPEC, as bits. */
enum {
    PTQ_LABEL_CALIB = 1,         /* the calibration text */
    PTQ_LABEL_SAMPLE = 2,        /* how its windows were taken */
    PTQ_LABEL_CALIB_WINDOWS = 4, /* how many */
    PTQ_LABEL_CALIB_WINDOW = 8,  /* how long */
    PTQ_LABEL_SEED = 16,         /* or how many seeds the row is the mean of */
    PTQ_LABEL_DEVICE = 32,
    PTQ_LABEL_PATH = 64
};

/* Sets label and rest of every row, and report->label_keys. What only some rows have (an uncalibrated one has no text)
 * differs where those that have it do. */
void ptq_label_rows(struct ptq_arena *arena, struct ptq_report *report);

/* A row's label without some keys, which the figure around it says itself. In arena. */
const char *ptq_label_without(struct ptq_arena *arena, const struct ptq_report *report,
                              const struct ptq_report_row *row, unsigned keys);

#endif
