#include "documents.h"

#include "json.h"
#include "mapped.h"

#include <string.h>

enum { MAX_WHAT = 600, MAX_LINE = 32 << 20, MAX_TEXT = 1 << 30 };

static int ends_in(const char *path, const char *suffix)
{
    size_t length = strlen(path), end = strlen(suffix);
    return length > end && strcmp(path + length - end, suffix) == 0;
}

int ptq_is_json_lines(const char *path)
{
    return ends_in(path, ".jsonl") || ends_in(path, ".json");
}

/* ---- white space ---- */

/* Every code point that str.isspace() is true of. */
static const struct range {
    uint32_t first, last;
} spaces[] = {{0x09, 0x0d},     {0x1c, 0x20},     {0x85, 0x85},     {0xa0, 0xa0},     {0x1680, 0x1680},
              {0x2000, 0x200a}, {0x2028, 0x2029}, {0x202f, 0x202f}, {0x205f, 0x205f}, {0x3000, 0x3000}};

/* The UTF-8 length of the space that text[0..size) begins with, or ends with where at_end is 1; 0 where it has none. */
static size_t space_at(const char *text, size_t size, int at_end)
{
    for (size_t length = 1; length <= 3 && length <= size; length++) {
        const unsigned char *c = (const unsigned char *)text + (at_end ? size - length : 0);
        uint32_t code = length == 1       ? c[0] < 0x80 ? c[0] : 0
                        : length == 2     ? c[0] >> 5 == 6 ? (c[0] & 31u) << 6 | (c[1] & 63u) : 0
                        : c[0] >> 4 == 14 ? (c[0] & 15u) << 12 | (c[1] & 63u) << 6 | (c[2] & 63u)
                                          : 0;
        for (size_t i = 0; i < sizeof spaces / sizeof *spaces; i++)
            if (code >= spaces[i].first && code <= spaces[i].last) return length;
    }
    return 0;
}

struct ptq_document ptq_document_strip(struct ptq_document d)
{
    size_t n;
    while ((n = space_at(d.text, d.size, 0))) d.text += n, d.size -= n;
    while ((n = space_at(d.text, d.size, 1))) d.size -= n;
    return d;
}

/* ---- the two forms ---- */

static size_t line_length(const char *text, size_t size)
{
    const char *end = memchr(text, '\n', size);
    return end ? (size_t)(end - text) : size;
}

static int is_blank(const char *line, size_t length)
{
    return ptq_document_strip((struct ptq_document){line, length}).size == 0;
}

static enum ptq_status json_text(struct ptq_arena *arena, const char *line, size_t length, const char *what,
                                 struct ptq_document *out, struct ptq_error *err)
{
    json_t *root;
    const char *text;
    struct ptq_json_bounds bounds = {
        .memory = ptq_json_usual.memory + 2 * length, .string = MAX_LINE, .size = MAX_LINE};
    PTQ_TRY(ptq_json_parse_within(&bounds, line, length, what, &root, err));
    enum ptq_status status = PTQ_OK;
    if (!ptq_json_is(root, JSON_OBJECT))
        status = ptq_fail(err, PTQ_EINPUT, "%s: must be an object with a \"text\"", what);
    else
        status = ptq_json_text(root, "text", what, &text, err);
    if (!status) {
        out->size = json_string_length(json_object_get(root, "text"));
        out->text = ptq_strndup(arena, text, out->size);
    }
    json_decref(root);
    return status;
}

static enum ptq_status add_line(struct ptq_arena *arena, const char *path, int64_t number, const char *line,
                                size_t length, struct ptq_documents *out, struct ptq_error *err)
{
    char what[MAX_WHAT];
    if (is_blank(line, length)) return PTQ_OK;
    snprintf(what, sizeof what, "%s: line %lld of the file", path, (long long)number);
    return json_text(arena, line, length, what, &out->document[out->n++], err);
}

/* A paragraph goes from its first line to the end of its last one. */
static void add_to_paragraph(const char *line, size_t length, int *open, struct ptq_documents *out)
{
    int blank = is_blank(line, length);
    if (!blank && !*open) out->document[out->n++].text = line;
    if (!blank) {
        struct ptq_document *d = &out->document[out->n - 1];
        d->size = (size_t)(line + length - d->text);
    }
    *open = !blank;
}

static int64_t count_lines(const char *text, size_t size)
{
    int64_t lines = 1;
    for (size_t i = 0; i < size; i++) lines += text[i] == '\n';
    return lines;
}

enum ptq_status ptq_documents_read(struct ptq_arena *arena, const char *path, const char *text, size_t size,
                                   struct ptq_documents *out, struct ptq_error *err)
{
    int64_t lines = count_lines(text, size), number = 0;
    int open = 0;
    *out = (struct ptq_documents){.paragraphs = !ptq_is_json_lines(path)};
    if (lines > INT32_MAX) /* no test: MAX_TEXT has fewer bytes */
        return ptq_fail(err, PTQ_EINPUT, "%s: has more than 2^31 lines; take a part of it", path);
    out->document = ptq_new(arena, struct ptq_document, lines);
    for (size_t at = 0, length; at < size; at += length + 1) {
        length = line_length(text + at, size - at);
        number++;
        if (out->paragraphs)
            add_to_paragraph(text + at, length, &open, out);
        else
            PTQ_TRY(add_line(arena, path, number, text + at, length, out, err));
    }
    if (out->n) return PTQ_OK;
    return ptq_fail(err, PTQ_EINPUT, "%s: holds no %s; take another text", path,
                    out->paragraphs ? "paragraph" : "line of JSON with a \"text\"");
}

/* ---- files ---- */

/* The number of the first line above MAX_LINE, or 0. */
static int64_t long_line(const char *text, size_t size)
{
    int64_t number = 1;
    for (size_t at = 0; at < size; number++) {
        size_t rest = size - at, length = line_length(text + at, rest < MAX_LINE + 1 ? rest : MAX_LINE + 1);
        if (length > MAX_LINE) return number;
        at += length + 1;
    }
    return 0;
}

/* What can be told before the file is read into memory. */
static enum ptq_status check_text(const struct ptq_mapped *file, int as_lines, struct ptq_error *err)
{
    if (file->size >= 2 && memcmp(file->data, "\x1f\x8b", 2) == 0)
        return ptq_fail(err, PTQ_EINPUT, "%s: is compressed with gzip; unpack it and give the text", file->path);
    int64_t line = as_lines && file->size ? long_line((const char *)file->data, file->size) : 0;
    if (!line) return PTQ_OK;
    return ptq_fail(err, PTQ_EINPUT, "%s: line %lld of the file has more than %d MB; one document is one line",
                    file->path, (long long)line, MAX_LINE >> 20);
}

enum ptq_status ptq_text_read(struct ptq_arena *arena, const char *path, int as_documents, char **text, size_t *size,
                              struct ptq_error *err)
{
    if (strcmp(path, "-")) {
        struct ptq_mapped file;
        PTQ_TRY(ptq_map(arena, path, &file, err));
        enum ptq_status status = check_text(&file, as_documents && ptq_is_json_lines(path), err);
        ptq_unmap(&file);
        PTQ_TRY(status);
    }
    return ptq_read_file(arena, path, MAX_TEXT, text, size, err);
}
