/* A program as a child: no shell, nothing to read, nothing printed. */
#ifndef PTQ_PROGRAM_H
#define PTQ_PROGRAM_H

#include "status.h"

/* Runs words[0], found in PATH, with the words behind it, ended by NULL. PTQ_EIO with its own last line where it fails,
 * and with hint ("the Debian package is ...") where it is not installed. */
enum ptq_status ptq_program_run(const char *const *words, const char *hint, struct ptq_error *err);

#endif
