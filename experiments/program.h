/* Other programs, run without a shell. */
#ifndef PTQ_PROGRAM_H
#define PTQ_PROGRAM_H

#include "arena.h"
#include "status.h"

#include <sys/types.h>

/* Starts argv[0], found by PATH; standard input is /dev/null, standard output and error go to the files behind out and
 * error (file descriptors). hint says what to install where there is no such program. own_group: a terminal's Ctrl-C
 * does not reach it, so who started it passes on what it wants. PTQ_EIO. */
enum ptq_status ptq_program_start(char *const *argv, int out, int error, int own_group, const char *hint, pid_t *child,
                                  struct ptq_error *err);
/* Waits for it; 1 where it exited with 0. */
int ptq_program_wait(pid_t child);

/* What SIGINT and SIGTERM to this process, and a terminal's Ctrl-C, do with a program that it waits for: a picture is
 * begun again and a question asked again, but a job that was submitted is not. */
enum ptq_program_end { PTQ_PROGRAM_COMPLETES, PTQ_PROGRAM_IS_KILLED };

/* Runs argv to its end, with what it wrote to standard output in *said (in arena). Where it fails, PTQ_EIO with the
 * last line that it wrote to standard error; so, too, where it wrote more than 16 MiB, of which nothing is kept. It
 * writes to pipes: no full disk and no limit on files cuts an answer short.
 * PTQ_EINTERRUPT where it was killed. */
enum ptq_status ptq_program_run(struct ptq_arena *arena, char *const *argv, enum ptq_program_end end, const char *hint,
                                char **said, struct ptq_error *err);

#endif
