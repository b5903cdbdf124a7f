/* Options that were given, and have no effect on what was asked for. */
#ifndef PTQ_IDLE_OPTIONS_H
#define PTQ_IDLE_OPTIONS_H

#include "options.h"

struct ptq_planned;

/* Of a command's call as it was planned (NULL: of `run`, whose options say all): each option that changes nothing is
 * said in a line; what asks for something that there cannot be is PTQ_EUSAGE. */
enum ptq_status ptq_idle_options(const char *command, const struct ptq_options *options, const struct ptq_planned *plan,
                                 struct ptq_error *err);

#endif
