/* Model families as data: what differs between decoders, in one table a family. The forward pass, calibration and the
 * methods ask these fields and never a family's name. Adding a family is a row in family.c (docs/DESIGN notes). */
#ifndef PTQ_FAMILY_H
#define PTQ_FAMILY_H

#include "arena.h"
#include "gguf.h"
#include "json.h"
#include "status.h"

#include <stdint.h>

/* The linears of a decoder block, in the order in which they are used. */
enum ptq_role { PTQ_Q, PTQ_K, PTQ_V, PTQ_O, PTQ_GATE, PTQ_UP, PTQ_DOWN, PTQ_N_ROLE };

/* The inputs that linears read: q, k, v read attn_in; o reads attn_out; gate, up read mlp_in; down reads mlp_out. */
enum ptq_input { PTQ_ATTN_IN, PTQ_ATTN_OUT, PTQ_MLP_IN, PTQ_MLP_OUT, PTQ_N_INPUT };

extern const enum ptq_input ptq_role_input[PTQ_N_ROLE];
extern const char *const ptq_input_name[PTQ_N_INPUT];

enum ptq_norm { PTQ_RMSNORM, PTQ_LAYERNORM };
enum ptq_position { PTQ_ROPE, PTQ_LEARNED };
enum ptq_activation { PTQ_SILU_GATED, PTQ_RELU };

/* How tensors are called in one container. %d is the block. NULL: not there. */
struct ptq_names {
    const char *prefix[3]; /* tried in turn before everything but the head: "model.", "" */
    const char *embed, *positions, *final_norm, *head, *project_in, *project_out, *rope_factors;
    const char *norm1, *norm2; /* of a block, without .weight and .bias */
    const char *linear[PTQ_N_ROLE];
};

struct ptq_config;

struct ptq_family {
    const char *model_type; /* config.json */
    const char *gguf;       /* general.architecture, or NULL */
    enum ptq_norm norm;
    enum ptq_position position;
    int64_t position_offset; /* rows before the first position in the table (OPT: 2) */
    enum ptq_activation activation;
    int gguf_rotary_pairs; /* llama.cpp stores q and k with a head's halves interleaved */
    struct ptq_names hf, ggml;
    /* What is peculiar to the family's config.json, after the common fields. */
    enum ptq_status (*read_json)(const json_t *json, const char *what, struct ptq_config *config,
                                 struct ptq_error *err);
    const char *const *json_keys; /* names of: width, blocks, heads, kv_heads, ff, norm eps; NULL for "not there" */
};

extern const struct ptq_family *const ptq_families[];
extern const int ptq_n_families;

/* A model's sizes and switches, whatever file they came from. */
struct ptq_config {
    const struct ptq_family *family;
    int64_t blocks, width /* C */, heads /* H */, kv_heads, head_size /* D */, ff /* F */, vocab /* V */;
    int64_t positions;   /* longest window that the model was made for */
    int64_t embed_width; /* of the embedding table; != width where OPT projects */
    double norm_eps;
    double rope_theta;
    /* rope scaling: "default", "linear" (factor) or "llama3" (all four) */
    const char *rope_type;
    double rope_factor, rope_low, rope_high, rope_original;
    int tied;       /* the head is the embedding */
    int post_norm;  /* norms after attention and MLP (OPT-350m), not before */
    int final_norm; /* a norm before the head */
};

/* Reads and checks config.json of a Hugging Face folder; texts are kept in arena. Unknown model_type: PTQ_EINPUT with
 * the list of known ones. */
enum ptq_status ptq_config_from_json(struct ptq_arena *arena, const char *path, struct ptq_config *out,
                                     struct ptq_error *err);
enum ptq_status ptq_config_from_gguf(const struct ptq_gguf *gguf, const char *path, struct ptq_config *out,
                                     struct ptq_error *err);

#endif
