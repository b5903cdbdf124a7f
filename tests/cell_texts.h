/* The fields of a cell that are texts, out of the one table of all its fields. */
#ifndef PTQ_TESTS_CELL_TEXTS_H
#define PTQ_TESTS_CELL_TEXTS_H

#include "results.h"

#define CELL_TEXT_OF_TEXT(name) CELL_TEXT(name)
#define CELL_TEXT_OF_INT(name)
#define CELL_TEXT_OF_REAL(name)
#define CELL_TEXT_OF(kind, name, ...) CELL_TEXT_OF_##kind(name)
/* CELL_TEXT(name), which the user defines, for each of them. */
#define CELL_TEXTS PTQ_CELL_FIELDS(CELL_TEXT_OF)

#endif
