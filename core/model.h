/* A model: its configuration, and its weights block by block as float32 from the read-only map. File quirks die here:
 * above this, every linear is [N][K], a tied head is a head, and q and k have their own row order. */
#ifndef PTQ_MODEL_H
#define PTQ_MODEL_H

#include "checkpoint.h"
#include "family.h"
#include "packed.h"
#include "path.h"
#include "quantized.h"
#include "rows.h"

struct ptq_device;

struct ptq_model {
    const char *name; /* as it was asked for */
    struct ptq_checkpoint checkpoint;
    struct ptq_config config;
    const struct ptq_names *names;
    const char *prefix; /* of the names' prefixes, the one that this file uses */
    int gguf;
    int exact;          /* ptq_model_exact */
    enum ptq_path path; /* of linears that are codes: by PTQ_PATH_FP32 they are loaded as float32 weights, else as
                         * images; who runs a cell of a model that ptq_model_packs says so */
    /* looked up and shape-checked at opening; norms and biases read when needed */
    const struct ptq_tensor *embed, *head, *positions, *project_in, *project_out;
    float *embed_norm_w, *embed_norm_b; /* of the embedding (BLOOM), NULL where there is none */
    float *final_norm_w, *final_norm_b;
    float *rope_frequency;                 /* [D / 2] radians per position */
    float *alibi_slope;                    /* [H] */
    const char *source_dtype;              /* of the first block's linears; "gptq 4 bits, g32" where they are codes */
    double source_bits;                    /* stored bits a weight of its linears where they are codes; else 16 */
    struct ptq_quantization *quantization; /* of a checkpoint that is quantised already, or NULL */
    unsigned char *used;                   /* [tensors of the checkpoint] 1: the model has asked for it */
    const struct ptq_device *device;       /* where its forward passes are computed; NULL: on the CPU */
};

enum { PTQ_NAME_SIZE = 160 };

/* Behind down's name, beside images: the tensor [F] of struct ptq_block's activation_scale. */
#define PTQ_ACTIVATION_SCALE ".activation_scale"

/* One linear of a block, float32. */
struct ptq_linear {
    char name[PTQ_NAME_SIZE]; /* "model.layers.3.self_attn.q_proj", whatever the container */
    float *w; /* [N][K]; q, k, v lie one behind the other, and so do gate and up: each group is one product. NULL where
               * the model is loaded packed */
    float *b; /* [N] or NULL, stacked likewise */
    int64_t n, k;
    const struct ptq_packed *packed; /* what is computed with instead of w, or NULL (ptq_block_pack, model->path) */
};

/* One decoder block. Roles that the family has not got have n = 0; where q, k and v are fused, q is all three. */
struct ptq_block {
    struct ptq_linear linear[PTQ_N_ROLE];
    int64_t window;                               /* keys that a query sees, its own among them; 0: all before it */
    float *norm1_w, *norm1_b, *norm2_w, *norm2_b; /* b NULL for RMSNorm */
    const float *activation_scale; /* [F] down reads the activation divided by this (AWQ's ScaledActivation), or NULL */
    void **acts;                   /* [threads], where linears are packed: room for a tile's activations */
    int act_bits;                  /* of those: 16 or 8 */
};

/* Opens a folder or a file (path), checks that every tensor is there in its shape. run arena; ptq_model_close. */
enum ptq_status ptq_model_open(struct ptq_arena *arena, const char *path, const char *name, struct ptq_model *out,
                               struct ptq_error *err);
void ptq_model_close(struct ptq_model *model);

/* From here on weights are what the file's types define, scale (code - zero) or d code + m in float32, as a program
 * computes that runs the file as it is; not the FP16 checkpoint that it stands for. Changes nothing in files without
 * codes. */
void ptq_model_exact(struct ptq_model *model);

/* 1 where its linears are images of kernels/packed.h. */
int ptq_model_has_images(const struct ptq_model *model);
/* 1 where all its linears are codes that it can be computed with: images, or AWQ's and GPTQ's, packed on the way in. */
int ptq_model_packs(const struct ptq_model *model);

/* Block i as float32 in arena (or, by model->path, its linears as images in the file or in arena), read by all
 * threads. NaN or infinite weights: PTQ_ENUMERIC; codes without a packed form: PTQ_EINPUT. */
enum ptq_status ptq_block_load(const struct ptq_model *model, int64_t i, struct ptq_arena *arena, struct ptq_block *out,
                               struct ptq_error *err);

/* What a linear has in every block; n = 0 where the family has no such role. */
void ptq_linear_size(const struct ptq_config *config, enum ptq_role role, int64_t *n, int64_t *k);
/* Whether the checkpoint has a bias for it. */
int ptq_model_has_bias(const struct ptq_model *model, int64_t block, enum ptq_role role);
/* *out: the bias of the checkpoint's that is not all zeros, whether the model is to have one or not; or NULL. */
enum ptq_status ptq_model_find_bias(const struct ptq_model *model, int64_t block, enum ptq_role role,
                                    struct ptq_arena *arena, const struct ptq_tensor **out, struct ptq_error *err);

/* A tensor's Hugging Face name, whatever the container: prefix, pattern (of family->hf) with the block put in, suffix.
 * The head has no prefix. */
void ptq_hf_name(const struct ptq_config *config, const char *pattern, int64_t block, const char *suffix,
                 char out[PTQ_NAME_SIZE]);
/* How a container of these names has a linear's rows. */
struct ptq_row_layout ptq_layout_in(const struct ptq_config *config, const struct ptq_names *names, enum ptq_role role);
/* How the model's container has a linear's rows: what undoes it on the way in redoes it on the way out. */
struct ptq_row_layout ptq_linear_layout(const struct ptq_model *model, enum ptq_role role);

/* A linear's name; 0 where the family has no such role. */
int ptq_linear_name(const struct ptq_model *model, int64_t block, enum ptq_role role, char out[PTQ_NAME_SIZE]);

/* Rows of the embedding, of the head: [rows][embed_width] as float32. */
enum ptq_status ptq_model_rows(const struct ptq_tensor *tensor, int64_t first, int64_t rows, float *out,
                               struct ptq_error *err);

#endif
