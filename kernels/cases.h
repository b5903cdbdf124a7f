/* The shapes that both the tests and the benchmarks run: whole vectors, tails, single rows, more than one tile. */
#ifndef PTQ_CASES_H
#define PTQ_CASES_H

#include <stdint.h>

/* x[M][K] w[N][K]^T, norms over K, activations over N. */
static const struct ptq_matrix_case {
    int64_t m, n, k;
} ptq_matrix_cases[] = {{1, 1, 1},     {1, 7, 5},      {3, 16, 8},     {5, 33, 31},    {8, 64, 64},
                        {17, 100, 96}, {64, 128, 128}, {129, 65, 200}, {512, 960, 576}};

/* Causal attention of query rows [first, first + m); window keys are seen (0: all); alibi: with slopes. */
static const struct ptq_attention_case {
    int64_t heads, kv_heads, d, first, m, window;
    int alibi;
} ptq_attention_cases[] = {
    {1, 1, 4, 0, 1, 0, 0},     {2, 2, 8, 0, 7, 0, 0},     {4, 2, 16, 5, 9, 0, 0},     {9, 3, 64, 0, 130, 0, 0},
    {9, 3, 64, 200, 56, 0, 0}, {4, 1, 32, 127, 3, 0, 0},  {2, 1, 10, 0, 257, 0, 0},   {1, 1, 4, 0, 5, 1, 0},
    {2, 2, 8, 3, 9, 4, 0},     {4, 2, 16, 0, 300, 48, 0}, {4, 2, 16, 250, 60, 48, 0}, {2, 1, 8, 0, 20, 20, 0},
    {2, 1, 8, 0, 20, 1000, 0}, {3, 3, 12, 0, 150, 0, 1},  {4, 4, 16, 130, 9, 0, 1},   {3, 1, 8, 17, 140, 33, 1}};

/* Quantised linears: rows, inputs, bits, group (-1: the row), salient columns, act_order, divided
 * columns. */
static const struct ptq_qmat_case {
    int64_t n, k;
    int w_bit;
    int64_t group_size, n_keep;
    int permuted;
    int64_t n_divided;
} ptq_qmat_cases[] = {{1, 1, 2, -1, 0, 0, 0},       {3, 32, 3, 32, 0, 0, 0},   {5, 50, 4, 24, 0, 0, 3},
                      {7, 96, 3, 64, 2, 0, 0},      {4, 128, 8, 128, 1, 0, 1}, {6, 72, 4, 16, 0, 1, 5},
                      {9, 576, 3, 64, 6, 0, 6},     {2, 40, 5, 100, 1, 1, 0},  {33, 200, 4, 128, 3, 1, 2},
                      {48, 320, 2, -1, 0, 0, 0},    {20, 352, 3, 96, 5, 0, 0}, {40, 300, 7, 100, 0, 1, 1},
                      {64, 1056, 4, 128, 10, 0, 0}, {96, 512, 8, 32, 0, 0, 0}};

/* Tokens for each of them: few, around a block, more than one block. */
static const int64_t ptq_token_cases[] = {1, 2, 3, 4, 5, 12, 31, 197};

#define PTQ_N_CASES(cases) ((int)(sizeof(cases) / sizeof *(cases)))

#endif
