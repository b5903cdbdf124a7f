#include "tokenize.h"

#include "checkpoint.h"
#include "documents.h"
#include "locate.h"
#include "mapped.h"
#include "tokenizer.h"

#include <stdio.h>
#include <string.h>

static int ends_with(const char *text, const char *end)
{
    size_t length = strlen(text), tail = strlen(end);
    return length >= tail && strcmp(text + length - tail, end) == 0;
}

/* A tokenizer.json and a folder are opened as they are; anything else is a checkpoint that carries its tokenizer. */
static enum ptq_status open_tokenizer(struct ptq_arena *arena, const char *name, struct ptq_checkpoint *file,
                                      struct ptq_tokenizer **out, struct ptq_error *err)
{
    if (ends_with(name, ".json")) return ptq_tokenizer_open(arena, name, out, err);
    const char *path;
    enum ptq_kind kind;
    PTQ_TRY(ptq_locate_model(arena, name, &path, err));
    PTQ_TRY(ptq_look(path, &kind, err));
    if (kind == PTQ_FOLDER) return ptq_tokenizer_open(arena, path, out, err);
    PTQ_TRY(ptq_checkpoint_open(arena, path, file, err));
    if (!file->gguf)
        return ptq_fail(err, PTQ_EINPUT, "%s: a safetensors file carries no tokenizer; give its folder", path);
    return ptq_tokenizer_from_gguf(arena, file->gguf, path, out, err);
}

static void print_ids(const int32_t *id, size_t n)
{
    for (size_t i = 0; i < n; i++) printf("%s%d", i ? " " : "", id[i]);
    putchar('\n');
}

static enum ptq_status run(const struct ptq_options *o, struct ptq_arena *arena, struct ptq_checkpoint *file,
                           struct ptq_tokenizer **tokenizer, struct ptq_error *err)
{
    char *text;
    size_t size, n;
    int32_t *id;
    const char *path = o->n_operands > 1 ? o->operand[1] : "-";
    PTQ_TRY(open_tokenizer(arena, o->operand[0], file, tokenizer, err));
    PTQ_TRY(ptq_text_read(arena, path, 0, &text, &size, err));
    if (ptq_tokenizer_encode(*tokenizer, text, size, o->special, arena, &id, &n, err))
        return ptq_within(err, "%s", path);
    print_ids(id, n);
    return PTQ_OK;
}

enum ptq_status ptq_tokenize(const struct ptq_options *options, struct ptq_error *err)
{
    if (options->n_operands < 1 || options->n_operands > 2)
        return ptq_fail(err, PTQ_EUSAGE, "tokenize needs MODEL or tokenizer.json, and at most one FILE");
    struct ptq_arena *arena = ptq_arena_make("tokenize");
    struct ptq_checkpoint file = {0};
    struct ptq_tokenizer *tokenizer = NULL;
    enum ptq_status status = run(options, arena, &file, &tokenizer, err);
    ptq_tokenizer_close(tokenizer);
    ptq_checkpoint_close(&file);
    ptq_arena_free(arena);
    return status;
}
