/* Text from results for a table: nothing in a model's name or an option may become markup, a formula or a command. */
#ifndef PTQ_ESCAPE_H
#define PTQ_ESCAPE_H

#include "arena.h"

#include <jansson.h>
#include <stdio.h>

enum ptq_table_format { PTQ_TABLE_TEXT, PTQ_TABLE_MD, PTQ_TABLE_CSV, PTQ_TABLE_TEX, PTQ_TABLE_JSON, PTQ_TABLE_HTML };

/* text on one line, for the format. In all: control characters and bytes that are no UTF-8 become '?'. Markdown and
 * LaTeX: what they would interpret is escaped; so in HTML, for text and for attributes in quotes of either kind. CSV:
 * quoted where it must be, and with ' in front where a spreadsheet would take it for a formula. JSON is left to its
 * writer. In arena. */
const char *ptq_escape(struct ptq_arena *arena, enum ptq_table_format format, const char *text);

/* A CSV field of several lines as one, so that a record stays a line: a newline is \n there and a backslash \\. In
 * arena. */
const char *ptq_escape_lines(struct ptq_arena *arena, const char *text);

/* A protocol or a sampling as it is shown: of one window, where "first 1 windows" is stored, whose words are part of a
 * cell's id. In arena. */
const char *ptq_worded(struct ptq_arena *arena, const char *protocol);

/* "1 window", "3 windows". In arena. */
const char *ptq_counted(struct ptq_arena *arena, long long n, const char *what);

/* JSON and a newline, in ASCII, so that no string in it is obeyed by a terminal; flags are jansson's. 0, or -1 where
 * root is NULL or cannot be written. */
int ptq_json_show(const json_t *root, size_t flags, FILE *out);

/* Decimals that give value four significant digits; 0 from 1000 on. */
int ptq_decimals(double value);
/* "21.73"; "inf"; "" for no number; 1.234e+05 from 100 000 on. sign: with + where it is not negative. In arena. */
const char *ptq_number(struct ptq_arena *arena, double value, int decimals, int sign);
/* "[21.10, 22.35]", or "" where there is none. */
const char *ptq_interval_text(struct ptq_arena *arena, double low, double high, int decimals, int sign);

#endif
