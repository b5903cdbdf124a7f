/* The commands that only hand their options to the module that does the work. */
#ifndef PTQ_COMMANDS_H
#define PTQ_COMMANDS_H

#include "options.h"

enum ptq_status ptq_command_run(const struct ptq_options *options, struct ptq_error *err);
enum ptq_status ptq_command_experiments(const struct ptq_options *options, struct ptq_error *err);
enum ptq_status ptq_command_table(const struct ptq_options *options, struct ptq_error *err);
enum ptq_status ptq_command_claims(const struct ptq_options *options, struct ptq_error *err);
enum ptq_status ptq_command_plot(const struct ptq_options *options, struct ptq_error *err);
enum ptq_status ptq_command_diff(const struct ptq_options *options, struct ptq_error *err);
enum ptq_status ptq_command_inspect(const struct ptq_options *options, struct ptq_error *err);
enum ptq_status ptq_command_methods(const struct ptq_options *options, struct ptq_error *err);
enum ptq_status ptq_command_models(const struct ptq_options *options, struct ptq_error *err);

#endif
