/* Cells of several draws, made up for the tests of claims. */
#ifndef PTQ_TESTS_DRAWN_CELLS_H
#define PTQ_TESTS_DRAWN_CELLS_H

#include "cells.h"
#include "claims.h"

/* Two draws of 2 calibration windows, two of 8, and two of those with other groups. */
static inline struct ptq_claim_cells drawn_cells(struct ptq_arena *arena)
{
    struct ptq_cell *cell = ptq_new(arena, struct ptq_cell, 6);
    for (int i = 0; i < 6; i++) {
        cell[i] = make_cell(arena, "m", i < 4 ? "gptq:w3,g64,act_order=0" : "gptq:w3,g128,act_order=0", 0.1 * i);
        cell[i].seed = i;
        cell[i].calib = "a/b";
        cell[i].calib_windows = i < 2 ? 2 : 8;
        cell[i].calib_protocol = i < 2 ? "first 2 windows" : "first 8 windows";
    }
    return (struct ptq_claim_cells){.experiment = "e", .cell = cell, .n = 6};
}

#endif
