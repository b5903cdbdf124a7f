/* `ptq report`: results files as one HTML page that needs nothing beside it, and as a PDF. */
#ifndef PTQ_PAGE_H
#define PTQ_PAGE_H

#include "options.h"
#include "status.h"

/* claims: the file of those that are judged; NULL: the articles', where experiments that they need are among files.
 * Writes FOLDER/report.html, the figures with their numbers in FOLDER/figures/, and, where pdf is set, FOLDER/
 * report.pdf by weasyprint. Each file appears whole or not at all. Without weasyprint the page is written all the same
 * and the failure, PTQ_EIO, says so and how to install it. *n_figures may be NULL. */
enum ptq_status ptq_page_write(const char *const *files, int n_files, const char *claims, const char *folder, int pdf,
                               int *n_figures, struct ptq_error *err);

enum ptq_status ptq_command_report(const struct ptq_options *options, struct ptq_error *err);

#endif
