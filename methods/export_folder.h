/* What the formats of Hugging Face folders share: config.json, the tokenizer's files, everything but the linears of
 * blocks in FP16, in safetensors. A format says how a linear is stored. */
#ifndef PTQ_EXPORT_FOLDER_H
#define PTQ_EXPORT_FOLDER_H

#include "export.h"
#include "json.h"
#include "safetensors_write.h"

struct ptq_folder_linears {
    /* The tensors of a linear [N][K], but for its bias. */
    void (*plan)(const struct ptq_export *x, struct ptq_tensor_writer *to, const char *name, int64_t n, int64_t k);
    enum ptq_status (*write)(const struct ptq_export *x, struct ptq_tensor_writer *to, const struct ptq_linear *linear,
                             const struct ptq_qmat *q, struct ptq_error *err);
    /* quantization_config, new; NULL: a plain checkpoint. */
    json_t *(*config)(const struct ptq_export *x);
    const char *config_file; /* where the same object stands once more, or NULL */
    int divides; /* 1: what divides an activation is stored where the family's names have a place, ones where nothing
                  * does; 0: weights are written that do without */
};

enum ptq_status ptq_folder_begin(struct ptq_export *x, const struct ptq_folder_linears *linears, struct ptq_error *err);
/* The functions of struct ptq_export_format. */
enum ptq_status ptq_folder_block(struct ptq_export *x, int64_t index, const struct ptq_block *block,
                                 const struct ptq_qmat *q, struct ptq_error *err);
enum ptq_status ptq_folder_finish(struct ptq_export *x, struct ptq_error *err);
void ptq_folder_abandon(struct ptq_export *x);

/* PTQ_BIAS(role) | ...: the linears that have a bias in every block of the folder, which is what config.json can say.
 * Of a GGUF, whose blocks may differ, all linears of a switch have one where any has; zeros are written where it is
 * not. */
unsigned ptq_folder_biased(const struct ptq_model *model);

/* A tensor beside the linears of blocks: rows of the source's [rows][columns], or a vector x [n]. */
struct ptq_folder_tensor {
    char name[PTQ_NAME_SIZE];
    const struct ptq_tensor *rows; /* or NULL, then */
    const float *x;
    int64_t n;
};
enum { PTQ_FOLDER_OUTER = 9, PTQ_FOLDER_NORMS = 4 };
/* Those outside the blocks, a block's norms: how many there are. */
int ptq_folder_outer(const struct ptq_model *model, struct ptq_folder_tensor out[PTQ_FOLDER_OUTER]);
int ptq_folder_norms(const struct ptq_model *model, int64_t index, const struct ptq_block *block,
                     struct ptq_folder_tensor out[PTQ_FOLDER_NORMS]);
/* All numbers of such a tensor as float32, some rows at a time. */
typedef enum ptq_status ptq_take_rows(void *context, const char *name, const float *x, int64_t n,
                                      struct ptq_error *err);
enum ptq_status ptq_folder_rows(const struct ptq_export *x, const struct ptq_folder_tensor *tensor, ptq_take_rows *take,
                                void *context, struct ptq_error *err);
/* Rows of size bytes, ours in the file's order, in arena; NULL stays NULL. */
void *ptq_folder_order(struct ptq_arena *arena, const struct ptq_row_layout *layout, const void *rows, int64_t size);

/* "model.layers.0.mlp.up_proj.qweight" */
const char *ptq_part_name(const struct ptq_linear *linear, const char *part, char out[PTQ_NAME_SIZE + 16]);

/* A linear's scales as FP16 [groups][N], as all of these containers have them. */
enum ptq_status ptq_folder_scales(const struct ptq_export *x, struct ptq_tensor_writer *to, const char *name,
                                  const struct ptq_qmat *q, struct ptq_error *err);

/* config.json (and quantization_file) of x->folder, with quantization (which is taken over) where it is not NULL: the
 * source's own with that put in, or made from a GGUF's metadata. And the tokenizer, generation and template files, byte
 * for byte, or made from a GGUF. */
enum ptq_status ptq_export_config(const struct ptq_export *x, json_t *quantization, const char *quantization_file,
                                  struct ptq_error *err);
enum ptq_status ptq_export_tokenizer(const struct ptq_export *x, struct ptq_error *err);

#endif
