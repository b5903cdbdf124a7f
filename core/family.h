/* Model families as data: what differs between decoders, in one table a family. The forward pass, calibration and the
 * methods ask these fields and never a family's name. Adding a family is one file, core/family_NAME.c, and one word in
 * families.h: docs/add-a-model.md goes through it. */
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
enum ptq_position { PTQ_ROPE, PTQ_LEARNED, PTQ_ALIBI, PTQ_N_POSITION };
enum ptq_activation { PTQ_SILU_GATED, PTQ_RELU, PTQ_GELU_TANH, PTQ_GELU_ERF, PTQ_N_ACTIVATION };

/* For `ptq models` and for errors. */
extern const char *const ptq_position_name[PTQ_N_POSITION];
extern const char *const ptq_activation_name[PTQ_N_ACTIVATION];

/* In which order a container has the output rows of q and k, or of fused q, k, v; ours is head after head, q before k
 * before v. With D rows a head:
 *
 *   PLAIN     as ours
 *   PAIRS     each head's halves interleaved (llama.cpp's LLaMA): row 2 j + i of a head is our row i D / 2 + j
 *   BY_HEAD   fused, (q, k, v) of the first head, then of the second, ... (BLOOM) */
enum ptq_row_order { PTQ_ROWS_PLAIN, PTQ_ROWS_PAIRS, PTQ_ROWS_BY_HEAD };

/* How tensors are called, and laid out, in one container. %d is the block. NULL: not there. Where q, k and v are one
 * fused tensor its name is q's, and k's and v's are NULL. */
struct ptq_names {
    const char *prefix[3]; /* tried in turn before everything but the head: "model.", "" */
    const char *embed, *embed_norm, *positions, *final_norm, *head, *project_in, *project_out, *rope_factors;
    const char *norm1, *norm2; /* of a block, without .weight and .bias */
    const char *linear[PTQ_N_ROLE];
    const char *activation; /* before down, where programs that load AWQ's containers look for NAME.scales, by which
                             * what it gives is divided; NULL: nowhere */
    enum ptq_row_order order;
    int transposed; /* linears are [K][N] (GPT-2's Conv1D) */
};

struct ptq_config;

enum { PTQ_N_BIAS_KEY = 2 };

/* Keys of config.json; "a|b" is the first of them that is there. */
struct ptq_config_keys {
    const char *width, *blocks, *heads, *ff;
    const char *kv_heads;  /* NULL: as many as heads */
    const char *positions; /* NULL: without a limit */
    const char *eps;       /* NULL: the norm's default */
    int64_t ff_times;      /* where ff is missing or null: so many widths; 0: it must be there */
};

/* A switch of config.json: whether these linears have a bias. */
struct ptq_bias_key {
    const char *key;
    unsigned roles;
};

struct ptq_family {
    const char *model_type; /* config.json */
    const char *gguf;       /* general.architecture, or NULL. Of two families with one, the first is taken */
    enum ptq_norm norm;
    enum ptq_position position;
    int64_t position_offset; /* rows before the first position in the table (OPT: 2) */
    enum ptq_activation activation;
    unsigned biased; /* PTQ_BIAS(role) | ...: linears that have a bias where no key says otherwise */
    struct ptq_bias_key bias_keys[PTQ_N_BIAS_KEY];
    struct ptq_names hf, ggml;
    struct ptq_config_keys keys;
    /* What is peculiar to the family's config.json, after the common fields. */
    enum ptq_status (*read_json)(struct ptq_arena *arena, const json_t *json, const char *what,
                                 struct ptq_config *config, struct ptq_error *err);
    /* Says in its config.json that every block sees so many keys, as a GGUF may; NULL: it cannot say that. */
    void (*write_window)(json_t *json, int64_t window);
};

#define PTQ_BIAS(role) (1u << (role))
#define PTQ_BIAS_ATTENTION (PTQ_BIAS(PTQ_Q) | PTQ_BIAS(PTQ_K) | PTQ_BIAS(PTQ_V) | PTQ_BIAS(PTQ_O))
#define PTQ_BIAS_MLP (PTQ_BIAS(PTQ_GATE) | PTQ_BIAS(PTQ_UP) | PTQ_BIAS(PTQ_DOWN))
#define PTQ_BIAS_ALL (PTQ_BIAS_ATTENTION | PTQ_BIAS_MLP)

extern const struct ptq_family *const ptq_families[];
extern const int ptq_n_families;

/* 1 where q, k and v are one linear, in the place of q: one set of salient channels, one loss, one name. */
static inline int ptq_fused_qkv(const struct ptq_family *family)
{
    return !family->hf.linear[PTQ_K];
}

/* The key of config.json that says whether the linear has a bias; NULL where the family alone does. */
const char *ptq_bias_key(const struct ptq_family *family, enum ptq_role role);

/* A model's sizes and switches, whatever file they came from. */
struct ptq_config {
    const struct ptq_family *family;
    int64_t blocks, width /* C */, heads /* H */, kv_heads, head_size /* D */, ff /* F */, vocab /* V */;
    int64_t positions;   /* longest window that the model was made for; INT32_MAX where nothing limits it */
    int64_t embed_width; /* of the embedding table; != width where OPT projects */
    double norm_eps;
    double rope_theta;
    /* rope scaling: "default", "linear" (factor) or "llama3" (all four) */
    const char *rope_type;
    double rope_factor, rope_low, rope_high, rope_original;
    enum ptq_activation activation;
    unsigned biased;             /* linears that have a bias: PTQ_BIAS(role) | ...; of a GGUF others may, too */
    int64_t sliding;             /* keys that a query sees in a block that slides; 0: no block does */
    const unsigned char *slides; /* [blocks] 1: the block slides; NULL: all do */
    int tied;                    /* the head is the embedding */
    int post_norm;               /* norms after attention and MLP (OPT-350m), not before */
    int final_norm;              /* a norm before the head */
};

/* Reads and checks config.json of a Hugging Face folder; texts are kept in arena. Unknown model_type: PTQ_EINPUT with
 * the list of known ones. */
enum ptq_status ptq_config_from_json(struct ptq_arena *arena, const char *path, struct ptq_config *out,
                                     struct ptq_error *err);
enum ptq_status ptq_config_from_gguf(const struct ptq_gguf *gguf, const char *path, struct ptq_config *out,
                                     struct ptq_error *err);

#endif
