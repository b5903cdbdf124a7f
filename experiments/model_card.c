#include "model_card.h"

#include "escape.h"
#include "loaders.h"
#include "locate.h"
#include "words.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

static const char *md(struct ptq_arena *arena, const char *text)
{
    return ptq_escape(arena, PTQ_TABLE_MD, text);
}

/* What Hugging Face's own pages read. Their base_model is an id of the hub, which a folder of this machine has not. */
static void front_matter(struct ptq_arena *arena, const struct ptq_model_card *card, struct ptq_buffer *out)
{
    const char *base = ptq_hub_id(arena, card->made->model);
    int gguf = strcmp(card->x->format->name, "gguf") == 0;
    ptq_buffer_add(out, "---\n");
    if (base) ptq_buffer_add(out, "base_model: %s\nbase_model_relation: quantized\n", base);
    ptq_buffer_add(out, "library_name: %s\ntags:\n- ptq\n- %s\n---\n\n",
                   gguf                        ? "gguf"
                   : card->x->format->lossless ? "ptq"
                                               : "transformers",
                   card->x->format->name);
}

static void origin(struct ptq_arena *arena, const struct ptq_model_card *card, struct ptq_buffer *out)
{
    const struct ptq_cell *c = card->made;
    ptq_buffer_add(out, "| | |\n|:---|:---|\n");
    ptq_buffer_add(out, "| method | `%s` |\n| format | %s: %s |\n", c->spec, card->x->format->name,
                   card->x->format->summary);
    ptq_buffer_add(out, "| bits a weight | %.3f, of the linears in %s |\n", c->effective_bits,
                   ptq_counted(arena, card->x->model->config.blocks, "block"));
    ptq_buffer_add(out, "| made of | %s: %s, weights %s, SHA-256 `%s` |\n", md(arena, c->model), c->family,
                   md(arena, c->source_dtype), c->model_sha256);
    ptq_buffer_add(out, "| these weights | SHA-256 `%s` |\n", card->weights_sha256);
    if (c->calib[0])
        ptq_buffer_add(out, "| calibration | %s: %s; ids SHA-256 `%s`%s |\n", md(arena, c->calib),
                       md(arena, ptq_worded(arena, c->calib_protocol)), c->calib_sha256,
                       ptq_spec_text_needs_calib(c->spec) ? "" : "; no code depends on it");
    else
        ptq_buffer_add(out, "| calibration | none |\n");
    ptq_buffer_add(out, "| made by | ptq %s, commit `%s`, %s; %s, %s; seed %lld; %s |\n\n", c->version, c->commit,
                   c->compiler, c->kernels, c->blas, (long long)c->seed, c->started);
}

const char *ptq_card_before(const struct ptq_export_format *format)
{
    return format->lossless ? "the codes as the method made them" : "the codes before scales and weights became FP16";
}

static const char *how_read(const struct ptq_export_format *format)
{
    if (format->lossless)
        return "Nothing is rounded: the linears are what `--path packed` computes with, and what they stand for in "
               "float32 without it.";
    return format->exact ? "A weight is d code + m in float32, as llama.cpp has it: `ptq eval --method "
                           "exact`. Activations are not rounded, as llama.cpp's own kernels round them."
                         : "A weight is read as scale (code - zero), rounded once to FP16, as other "
                           "readers do: `ptq eval`.";
}

/* How far the codes with their own scales are from the files, in which scales are FP16. */
static void perplexity(struct ptq_arena *arena, const struct ptq_model_card *card, struct ptq_buffer *out)
{
    const struct ptq_cell *made = card->made, *measured = card->measured;
    ptq_buffer_add(out, "## Perplexity\n\n");
    if (!measured->tokens) {
        ptq_buffer_add(out, "Not measured: `ptq quantize` was given no `--text`.\n\n");
        return;
    }
    ptq_buffer_add(out, "| | perplexity |\n|:---|---:|\n| these files, read back | %.4f |\n", measured->ppl);
    ptq_buffer_add(out, "| %s | %.4f |\n\n", ptq_card_before(card->x->format), made->ppl);
    ptq_buffer_add(out, "On %s: %s; %s scored, ids SHA-256 `%s`. %s\n\n", md(arena, measured->text),
                   md(arena, ptq_worded(arena, measured->protocol)), ptq_counted(arena, measured->tokens, "token"),
                   measured->tokens_sha256, how_read(card->x->format));
}

/* Which programs are known to take it; docs/compat.md has what was tried. */
static void loading(struct ptq_arena *arena, const struct ptq_model_card *card, struct ptq_buffer *out)
{
    const char *format = card->x->format->name, *loaders = ptq_loaders(arena, card->x);
    ptq_buffer_add(out, "## Loading\n\n");
    if (card->x->format->lossless) {
        ptq_buffer_add(out, "`ptq eval` and `ptq generate` take it as a model, `--path packed` as it is.\n");
        return;
    }
    if (strcmp(format, "gguf") == 0)
        ptq_buffer_add(out, "llama.cpp and what is built on it: `model.gguf`.\n");
    else if (strcmp(format, "fp16") == 0)
        ptq_buffer_add(out, "Everything that reads a Hugging Face folder.\n");
    else
        ptq_buffer_add(out, "%c%s.\n", toupper(*loaders), loaders + 1);
    ptq_buffer_add(out, "`ptq eval` takes it as a model.\n");
}

const char *ptq_model_card(struct ptq_arena *arena, const struct ptq_model_card *card)
{
    struct ptq_buffer out = {0};
    front_matter(arena, card, &out);
    ptq_buffer_add(&out, "# %s, %s\n\n", md(arena, card->made->model), card->made->spec);
    origin(arena, card, &out);
    perplexity(arena, card, &out);
    loading(arena, card, &out);
    const char *text = ptq_strdup(arena, out.data);
    free(out.data);
    return text;
}
