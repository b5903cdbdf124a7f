/* What model.c, model_check.c and model_codes.c share: how tensors are found. */
#ifndef PTQ_MODEL_PARTS_H
#define PTQ_MODEL_PARTS_H

#include "model.h"

/* The tensor's name: prefix, pattern with the block in place of %d, suffix. */
void ptq_tensor_name(char out[PTQ_NAME_SIZE], const char *prefix, const char *pattern, int64_t block,
                     const char *suffix);

/* A matrix [n][k], or a vector [n] where k < 0. needed: missing is an error, else *out is NULL. */
enum ptq_status ptq_find_tensor(const struct ptq_model *m, const char *name, int64_t n, int64_t k, int needed,
                                const struct ptq_tensor **out, struct ptq_error *err);
/* Why a tensor that is needed is missing. */
enum ptq_status ptq_tensor_missing(const struct ptq_model *m, const char *name, struct ptq_error *err);
/* A linear's .weight or .bias, likewise. */
enum ptq_status ptq_find_linear(const struct ptq_model *m, int64_t block, enum ptq_role role, const char *suffix,
                                int needed, const struct ptq_tensor **out, struct ptq_error *err);
/* The tensors of a linear that is there as codes; *found 0 where it is not. */
enum ptq_status ptq_find_quantized(const struct ptq_model *m, int64_t block, enum ptq_role role,
                                   struct ptq_quantized_linear *out, int *found, struct ptq_error *err);

/* A linear that is there as codes: l's weights in their place, or by model->packed its image; *done 0 where it is not.
 */
enum ptq_status ptq_load_codes(const struct ptq_model *m, int64_t block, enum ptq_role role, struct ptq_arena *arena,
                               struct ptq_linear *l, int *done, struct ptq_error *err);

/* What down's input is divided by in a block of images or of AWQ's codes, or NULL, in arena. Numbers that are not above
 * 0: PTQ_EINPUT. */
enum ptq_status ptq_read_activation_scale(const struct ptq_model *m, int64_t block, struct ptq_arena *arena,
                                          const float **out, struct ptq_error *err);

/* By the family and config.json; in a GGUF whoever has a tensor. */
int ptq_may_have_bias(const struct ptq_model *m, enum ptq_role role);

/* Every tensor of every block is there, and fits, before anything is computed. */
enum ptq_status ptq_model_check(const struct ptq_model *m, struct ptq_arena *arena, struct ptq_error *err);

#endif
