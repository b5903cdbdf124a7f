/* Hand-written scanners for the regular expressions that published tokenizers split with. Each gives the stretches that
 * Hugging Face's engine (Oniguruma, Unicode 16) would give, in one pass and without backtracking. */
#ifndef PTQ_SCANNER_H
#define PTQ_SCANNER_H

#include <stddef.h>

/* The length (> 0) of the next stretch of the well-formed UTF-8 text[0..size), size > 0, where text begins at the end
 * of the stretch before. *matched: 1 for a match of the expression, 0 for what lies between two matches. */
typedef size_t ptq_scan(const char *text, size_t size, int *matched);

/* GPT-2's expression, which ByteLevel's use_regex stands for. */
size_t ptq_scan_gpt2(const char *text, size_t size, int *matched);
/* Llama-3's: numbers in groups of at most three. */
size_t ptq_scan_llama3(const char *text, size_t size, int *matched);
/* Qwen2's: Llama-3's with numbers one by one. */
size_t ptq_scan_qwen2(const char *text, size_t size, int *matched);
/* BLOOM's: the class in it is nested, as Oniguruma reads it. */
size_t ptq_scan_bloom(const char *text, size_t size, int *matched);

/* The scanner for exactly this expression, or NULL where there is none. */
ptq_scan *ptq_scanner_find(const char *regex);
/* The expression that a scanner stands for, or NULL. */
const char *ptq_scanner_regex(ptq_scan *scan);

#endif
