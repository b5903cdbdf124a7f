/* Results files of strangers. A file that is not as ptq wrote it is refused by its SHA-256 before anything trusts it;
 * but whoever forges a file can make that too, so a quarter of the inputs are a list of what to put into a good file
 * before it is sealed, and a quarter one of bytes to change in its image before its checksums are renewed. HDF5 does
 * not survive all of these: that it does not matter is what ptq_h5_read is for. */
#include "cell_file.h"
#include "cells.h"
#include "forged_h5.h"
#include "fuzz.h"
#include "mapped.h"

#include <stdio.h>
#include <string.h>

enum { WINDOWS = 2, SCORED = 3, MOST_EDITS = 16, LONGEST = 64, MOST_HEADERS = 128 };

/* Every name that a reader asks for, and one that none does. */
#define X(kind, name, ...) #name,
static const char *const names[] = {PTQ_CELL_FIELDS(X) PTQ_PEAK_FIELDS(X) PTQ_AGAINST_FIELDS(X) PTQ_LINEAR_FIELDS(X)
                                        PTQ_INPUT_FIELDS(X) "nll",
                                    "kl",
                                    "name",
                                    "ranked",
                                    "format",
                                    "schema",
                                    "experiment",
                                    "experiment_yaml",
                                    "linears",
                                    "inputs",
                                    "cells",
                                    "other"};
#undef X
enum { N_NAMES = sizeof names / sizeof *names };

static void check_cell(const struct ptq_cell *c)
{
    double sum = 0;
    for (int64_t i = 0; i < c->tokens; i++) sum += c->nll[i];
    for (int64_t i = 0; c->kl && i < c->tokens; i++) sum += c->kl[i];
    for (int i = 0; i < c->n_linears; i++) sum += (double)strlen(c->linear[i].name) + c->linear[i].weight_error;
    for (int i = 0; i < c->n_inputs; i++) sum += (double)strlen(c->input[i].name) + c->input[i].ranked[0];
    size_t bytes = strlen(c->id);
#define CELL_TEXT(field) bytes += strlen(c->field);
    CELL_TEXTS
#undef CELL_TEXT
    ptq_fuzz_require(bytes >= 64 && (sum == sum || sum != sum), "a cell's arrays can be read");
}

/* A child that dies here dies of our own: what HDF5 itself wrote it can read. */
static int child_may_die;

/* The words are looked for where they stand: a refusal that quotes the file may hold any. */
static void check_words(struct ptq_arena *arena, const char *path, const struct ptq_error *err)
{
    const char *died = ptq_format(arena, "%s: is a damaged HDF5 file: reading it ended by", path);
    ptq_fuzz_require(err->text[0] && !strchr(err->text, '\n'), "a refusal is one sentence");
    ptq_fuzz_require(child_may_die || strncmp(err->text, died, strlen(died)) != 0, "the child lives");
}

/* Everything that reads a results file; returns the cells, or -1 where they are refused. */
static int read_all(struct ptq_arena *arena, const char *path)
{
    struct ptq_error err;
    struct ptq_cell *cell;
    const char *experiment, *yaml;
    char(*id)[PTQ_SHA256_HEX];
    int n, n_ids;
    if (!ptq_results_ids(arena, path, &id, &n_ids, &err))
        for (int i = 1; i < n_ids; i++) ptq_fuzz_require(strcmp(id[i - 1], id[i]) < 0, "ids are sorted, each once");
    if (!ptq_results_experiment(arena, path, &experiment, &yaml, &err))
        ptq_fuzz_require(strlen(experiment) + strlen(yaml) != SIZE_MAX, "texts can be read");
    if (ptq_results_read(arena, path, &cell, &n, &err)) {
        check_words(arena, path, &err);
        return -1;
    }
    for (int i = 0; i < n; i++) check_cell(&cell[i]);
    return n;
}

/* In this process, where the fuzzer sees what is reached and the sanitizers are heard. */
static void read_here(struct ptq_arena *arena, const char *path)
{
    struct ptq_error err;
    struct ptq_h5 *file;
    struct ptq_cell cell;
    const char **id;
    int64_t n;
    if (ptq_h5_open(path, &file, &err)) return;
    if (!ptq_cell_file_check(file, path, &err) && !ptq_h5_groups(file, "/cells", arena, &id, &n, &err))
        for (int64_t i = 0; i < n; i++)
            if (!ptq_cell_read(file, path, id[i], arena, &cell, &err)) check_cell(&cell);
    ptq_h5_close(file);
}

/* ---- a forger's ---- */

static struct ptq_cell good_cell(struct ptq_arena *arena, uint32_t flags)
{
    struct ptq_cell c =
        make_cell(arena, "a model", flags & 2 ? "salient:w3,g64,select=weight,fraction=0.01" : "fp16", 0);
    double sum = 0;
    c.windows = WINDOWS;
    c.window = SCORED + 1;
    c.tokens = (int64_t)WINDOWS * SCORED;
    for (int64_t i = 0; i < c.tokens; i++) sum += c.nll[i];
    c.nll_mean = sum / (double)c.tokens;
    c.ppl = exp(c.nll_mean);
    if (flags & 4) c.n_linears = 0;
    if (flags & 8) cell_compare(&c, arena, 0.1);
    return c;
}

static const char *take_text(struct ptq_arena *arena, struct ptq_fuzz_bytes *in)
{
    uint32_t length = ptq_fuzz_below(in, LONGEST);
    char *text = ptq_new(arena, char, length + 1);
    ptq_fuzz_fill(in, text, length);
    text[length] = 0;
    return text;
}

/* What comes of it is of no matter here: what a reader makes of the file is. */
static void edit(struct ptq_arena *arena, struct ptq_fuzz_bytes *in, struct ptq_h5 *file, const char *id)
{
    const char *const groups[] = {"/",
                                  "/cells",
                                  ptq_format(arena, "/cells/%s", id),
                                  ptq_format(arena, "/cells/%s/linears", id),
                                  ptq_format(arena, "/cells/%s/inputs", id),
                                  ptq_format(arena, "/cells/%s", take_text(arena, in))};
    const char *group = groups[ptq_fuzz_below(in, 6)], *name = names[ptq_fuzz_below(in, N_NAMES)];
    uint32_t kind = ptq_fuzz_below(in, 8), rows = ptq_fuzz_below(in, 8), columns = ptq_fuzz_below(in, 20);
    struct ptq_error err;
    double *reals = ptq_new(arena, double, rows *(columns + 1) + 1); /* any kind of array fits */
    const char *texts[8];
    int64_t whole;
    ptq_fuzz_fill(in, kind < 3 ? (void *)&whole : reals, kind < 3 ? sizeof whole : sizeof *reals * rows);
    for (uint32_t i = 0; kind == 7 && i < rows; i++) texts[i] = take_text(arena, in);
    switch (kind) {
    case 0:
        ptq_h5_put_text(file, group, name, take_text(arena, in), &err);
        break;
    case 1:
        ptq_h5_put_int(file, group, name, whole, &err);
        break;
    case 2:
        memcpy(reals, &whole, sizeof whole);
        ptq_h5_put_real(file, group, name, *reals, &err);
        break;
    case 3:
        ptq_h5_put_floats(file, group, name, (float *)(void *)reals, rows, columns, &err);
        break;
    case 4:
        ptq_h5_put_reals(file, group, name, reals, rows, &err);
        break;
    case 5:
        ptq_h5_put_ints(file, group, name, (int64_t *)(void *)reals, rows, &err);
        break;
    case 6:
        ptq_h5_put_bytes(file, group, name, (uint8_t *)reals, rows, columns, &err);
        break;
    default:
        ptq_h5_put_texts(file, group, name, texts, rows, &err);
    }
}

static const char *write_good(struct ptq_arena *arena, struct ptq_fuzz_bytes *in, uint32_t flags, int *edits)
{
    const char *path = ptq_join(arena, ptq_fuzz_folder(), "r.h5");
    struct ptq_cell cell = good_cell(arena, flags);
    struct ptq_h5 *file;
    struct ptq_error err;
    ptq_fuzz_require(!ptq_h5_create(path, &file, &err), "a file can be made");
    ptq_fuzz_require(!ptq_cell_file_begin(file, "fuzz", "", &err) && !ptq_cell_write(file, &cell, &err),
                     "a cell can be written");
    for (*edits = 0; in && in->size && *edits < MOST_EDITS; ++*edits) edit(arena, in, file, cell.id);
    ptq_fuzz_require(!ptq_h5_commit(file, &err), "a file can be written");
    return path;
}

static void forge(struct ptq_arena *arena, struct ptq_fuzz_bytes *in, uint32_t flags)
{
    int edits;
    const char *path = write_good(arena, in, flags, &edits);
    read_here(arena, path);
    int n = read_all(arena, path);
    ptq_fuzz_require(edits || n == 1, "what was written is read");
}

/* Bytes of the image, most of them in the messages of its object headers: where, what. */
static void change_bytes(struct ptq_fuzz_bytes *in, uint8_t *image, size_t size)
{
    struct forged_header header[MOST_HEADERS];
    int n = forged_headers(image, size, header, MOST_HEADERS);
    ptq_fuzz_require(n > 10, "object headers are found");
    while (in->size) {
        uint32_t which = ptq_fuzz_byte(in), at = ptq_fuzz_byte(in) << 8;
        at |= ptq_fuzz_byte(in);
        const struct forged_header *h = &header[which % (uint32_t)n];
        if (which >= 250)
            image[at % size] = (uint8_t)ptq_fuzz_byte(in);
        else
            image[h->body + at % (h->end - h->body)] = (uint8_t)ptq_fuzz_byte(in);
    }
    for (int i = 0; i < n; i++) forged_renew(image, &header[i]);
}

static void mutate(struct ptq_arena *arena, struct ptq_fuzz_bytes *in, uint32_t flags)
{
    int edits;
    struct ptq_mapped file;
    struct ptq_error err;
    const char *path = write_good(arena, NULL, flags, &edits);
    ptq_fuzz_require(!ptq_map(arena, path, &file, &err), "it can be mapped");
    size_t size = file.size - PTQ_H5_SEAL;
    uint8_t *image = ptq_new(arena, uint8_t, file.size);
    memcpy(image, file.data, size);
    ptq_unmap(&file);
    change_bytes(in, image, size);
    ptq_h5_seal(image, size);
    read_all(arena, ptq_fuzz_file(arena, "r.h5", image, size + PTQ_H5_SEAL));
}

void ptq_fuzz_results(const uint8_t *data, size_t size)
{
    struct ptq_fuzz_bytes in = {data, size};
    struct ptq_arena *arena = ptq_arena_make("fuzz");
    uint32_t flags = ptq_fuzz_byte(&in);
    child_may_die = flags & (1 | 16);
    if (flags & 1)
        read_all(arena, ptq_fuzz_file(arena, "r.h5", in.data, in.size));
    else if (flags & 16)
        mutate(arena, &in, flags);
    else
        forge(arena, &in, flags);
    ptq_arena_free(arena);
}
