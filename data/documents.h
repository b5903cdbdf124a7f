/* A text as documents: of a JSON-lines file (*.jsonl, *.json) the "text" of each line, of any other file its
 * paragraphs, the lines between blank ones. */
#ifndef PTQ_DOCUMENTS_H
#define PTQ_DOCUMENTS_H

#include "arena.h"
#include "status.h"

#include <stddef.h>
#include <stdint.h>

struct ptq_document {
    const char *text; /* UTF-8, not ended by a NUL */
    size_t size;
};

struct ptq_documents {
    struct ptq_document *document;
    int32_t n;
    int paragraphs; /* 1: of a plain text */
};

/* Whether a file of this name is read as JSON lines. */
int ptq_is_json_lines(const char *path);

/* The content of a text file, "-" for standard input, with a NUL behind it. Refuses, before it takes memory for it,
 * what is compressed and, where it is to be read as documents, JSON lines of more than 32 MB. */
enum ptq_status ptq_text_read(struct ptq_arena *arena, const char *path, int as_documents, char **text, size_t *size,
                              struct ptq_error *err);

/* The documents of text[0..size), the content of path. They point into text or into arena. Empty lines are passed over.
 * Fails with PTQ_EINPUT where a line is no JSON object with a "text" (names the line), or there is no document. */
enum ptq_status ptq_documents_read(struct ptq_arena *arena, const char *path, const char *text, size_t size,
                                   struct ptq_documents *out, struct ptq_error *err);

/* Without the white space around it, as Python's str.strip() takes it: Unicode's, and U+001C to U+001F. */
struct ptq_document ptq_document_strip(struct ptq_document document);

#endif
