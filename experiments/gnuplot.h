/* gnuplot as a child: no shell, no start-up files, and nothing of a result read as a command. */
#ifndef PTQ_GNUPLOT_H
#define PTQ_GNUPLOT_H

#include "arena.h"
#include "status.h"

/* text as an expression of gnuplot: in single quotes, where gnuplot knows neither backquotes nor escapes; control
 * characters as '?', and ]]> with a space before its end. In arena. */
const char *ptq_gnuplot_quote(struct ptq_arena *arena, const char *text);

/* path so that gnuplot takes it for a file's name: a leading < or | would be a command, a leading - standard input. In
 * arena. A path with control characters is PTQ_EINPUT. */
enum ptq_status ptq_gnuplot_path(struct ptq_arena *arena, const char *path, const char **out, struct ptq_error *err);

/* Runs the script in the file at path, which must be safe as above. PTQ_EIO with gnuplot's own last line where it
 * fails, and with the package's name where it is not installed. */
enum ptq_status ptq_gnuplot_run(const char *path, struct ptq_error *err);

#endif
