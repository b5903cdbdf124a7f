/* What a cell will cost, before it is run: from shapes alone, so a guess of size and no promise. Times come from a
 * pace, seconds a floating-point operation, that was measured on cells or is the machine's own. */
#ifndef PTQ_COST_H
#define PTQ_COST_H

#include "pipeline.h"

struct ptq_cost {
    /* floating-point operations */
    double calibrate; /* statistics, which all cells of one model and calibration share; 0 where the cell reads none */
    double quantize, evaluate;
    /* bytes, beside what is there already (ptq_memory_in_use) and the model's file, which is mapped */
    int64_t fixed;          /* whatever the windows are: a block, its scratch, the method's own */
    int64_t codes;          /* of the whole model: kept where the windows go in more than one chunk */
    int64_t window;         /* activations of one evaluation window */
    int64_t windows, batch; /* how many there are; how many go together at least */
    int64_t prefix;         /* inputs of blocks that the next cell with only= starts from: kept where there is room */
};

enum ptq_status ptq_cell_cost(struct ptq_session *session, const struct ptq_job *job, struct ptq_cost *out,
                              struct ptq_error *err);

/* How many windows may go together under a budget of bytes (0: what is usual, ptq_chunk_bytes); 0 where not even the
 * least fits. in_use: bytes that are taken between cells. *peak: what the cell then takes, with those. */
int64_t ptq_cost_chunk(const struct ptq_cost *cost, int64_t in_use, int64_t budget, int64_t *peak);
/* Of cost->prefix, what there is room for: nothing where the windows do not all go together. *peak has it. */
int64_t ptq_cost_prefix(const struct ptq_cost *cost, int64_t in_use, int64_t budget);

/* Anonymous memory of this process now. */
int64_t ptq_memory_in_use(void);
/* Seconds a floating-point operation of a matrix product on all threads: measured on the spot, in 0.2 s. */
double ptq_machine_pace(void);

#endif
