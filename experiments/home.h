/* Where the files lie that are read at run time and are no results: published numbers, gnuplot's scripts. */
#ifndef PTQ_HOME_H
#define PTQ_HOME_H

#include "arena.h"

/* $PTQ_HOME/name; without that variable, name in the tree that this was built from. In arena. */
const char *ptq_home_path(struct ptq_arena *arena, const char *name);

#endif
