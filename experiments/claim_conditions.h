/* Under what a claim's numbers were measured, and what the methods in it are worth there: both from the cells that its
 * tests select, whatever the file of claims says of them. */
#ifndef PTQ_CLAIM_CONDITIONS_H
#define PTQ_CLAIM_CONDITIONS_H

#include "claims.h"

/* "w3 g64 and w4 g64; calibrated on 8 windows of 512 tokens of perl-doc; perplexity of 3 windows of 2048 tokens of
 * anarchism": of all cells of test[n], as much as their measures depend on. "" where they have none. In arena. */
const char *ptq_claim_conditions(struct ptq_arena *arena, const struct ptq_claims *claims,
                                 const struct ptq_claim_cells *cells, const struct ptq_claim_test *test, int n);

/* "awq:w3,g64,loss=gram; gptq:w3,g64,act_order=0": of a test's cells. In arena. */
const char *ptq_claim_specs(struct ptq_arena *arena, const struct ptq_claims *claims,
                            const struct ptq_claim_cells *cells, const struct ptq_claim_test *test);

/* Methods of comparisons that are no better than the claims' baseline at the same bits and groups, or were not measured
 * beside it. */
struct ptq_claim_weak;
struct ptq_claim_weak *ptq_claim_weak_make(struct ptq_arena *arena, int n_tests);

/* Adds those of test[n], which compare perplexities of cells of different methods, if they do: a test of a claim, or
 * the sides of a row. Cells of one experiment, of the same tokens, device and path, by the bootstrap of all ratios
 * (contrast.h): a method is better where the whole interval of its perplexity over the baseline's is below 1. Of those
 * that were added and measured: "gptq:w4,g64,act_order=0 over rtn:w4,g64: 1.073 times [1.019, 1.127]", or NULL. */
const char *ptq_claim_weigh(struct ptq_arena *arena, const struct ptq_claims *claims,
                            const struct ptq_claim_cells *cells, const struct ptq_claim_test *test, int n,
                            struct ptq_claim_weak *weak);

/* "GPTQ itself is worse than RTN here: 31.24 against 29.12 (gptq:w4,g64,act_order=0)", NULL where there is none. */
const char *ptq_claim_weak_text(struct ptq_arena *arena, const struct ptq_claims *claims,
                                const struct ptq_claim_weak *weak);
#endif
