/* What was made by another program (gnuplot, weasyprint) says at its end of what: a comment with a SHA-256, so that a
 * second call makes only what would come out otherwise. What was cut since has no such end. */
#ifndef PTQ_DRAWN_H
#define PTQ_DRAWN_H

#include "arena.h"
#include "sha256.h"
#include "status.h"

/* Where path ends in the comment of this format ("svg", "pdf") and SHA-256. */
int ptq_drawn_of(const char *path, const char *format, const char *sha256);

/* ptq_write_file, where path does not hold these bytes already: a page of thirty figures waits for no disk. */
enum ptq_status ptq_write_changed(struct ptq_arena *arena, const char *path, const char *text, size_t size,
                                  struct ptq_error *err);

/* The comment with its newline, and appending it. */
const char *ptq_drawn_comment(struct ptq_arena *arena, const char *format, const char *sha256);
enum ptq_status ptq_drawn_mark(const char *path, const char *format, const char *sha256, struct ptq_error *err);

#endif
