/* The tables of text in the source tree (paper.tsv, noise.tsv): columns parted by tabs, below a line that names them; a
 * line that begins with # says something to the reader. */
#ifndef PTQ_TSV_H
#define PTQ_TSV_H

#include "arena.h"
#include "status.h"

enum { PTQ_TSV_MOST_COLUMNS = 16 };

struct ptq_tsv_row {
    int line; /* of the file, from 1 on */
    char *column[PTQ_TSV_MOST_COLUMNS];
};

struct ptq_tsv {
    struct ptq_tsv_row *row;
    int n;
};

/* header: the names, parted by tabs, as the file must have them. Memory from arena. Other names and a line of another
 * number of columns are PTQ_EINPUT with the line's number. */
enum ptq_status ptq_tsv_read(struct ptq_arena *arena, const char *path, const char *header, struct ptq_tsv *out,
                             struct ptq_error *err);

#endif
