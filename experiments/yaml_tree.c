#include "yaml_tree.h"

#include "mapped.h"

#include <stdio.h>
#include <string.h>
#include <yaml.h>

enum { MAX_BYTES = 1 << 20, MAX_DEPTH = 16, MAX_NODES = 100000, MAX_KEYS = 1000 };

/* One mapping or sequence that is open. */
struct level {
    struct ptq_yaml *node;
    struct ptq_yaml **tail; /* where its next child goes */
    const char *key;        /* a mapping's key that waits for its value */
    int key_line;
};

struct reader {
    struct ptq_arena *arena;
    const char *file;
    struct level level[MAX_DEPTH];
    int depth, nodes;
    struct ptq_yaml *root;
    struct ptq_error *err;
};

static enum ptq_status fail_at(struct reader *r, int line, const char *sentence)
{
    struct ptq_yaml place = {.file = r->file, .line = line};
    return ptq_yaml_fail(&place, r->err, "%s", sentence);
}

/* A list on the command line ("--set w_bit") has no lines. */
static int line_of(const struct reader *r, const yaml_event_t *event)
{
    return strncmp(r->file, "--", 2) == 0 ? 0 : (int)event->start_mark.line + 1;
}

/* A key that opens an entry: kept until its value comes. */
static enum ptq_status take_key(struct reader *r, struct level *level, const char *key, int line)
{
    if (level->node->n >= MAX_KEYS) return fail_at(r, line, "a mapping has more than 1000 keys");
    for (const struct ptq_yaml *child = level->node->child; child; child = child->next)
        if (strcmp(child->key, key) == 0)
            return ptq_fail(r->err, PTQ_EINPUT, "%s:%d: key '%s' is there already, in line %d; keep one of them",
                            r->file, line, key, child->line);
    level->key = key;
    level->key_line = line;
    return PTQ_OK;
}

/* Hangs a node below the open level, under the key that waits for it. */
static enum ptq_status add_node(struct reader *r, struct ptq_yaml *node)
{
    if (++r->nodes > MAX_NODES) return fail_at(r, node->line, "more than 100000 values");
    if (r->depth == 0) {
        r->root = node;
        return PTQ_OK;
    }
    struct level *level = &r->level[r->depth - 1];
    if (level->node->kind == PTQ_YAML_MAPPING) {
        if (!level->key) return fail_at(r, node->line, "a key is a list or a mapping; it must be a word");
        node->key = level->key;
        node->line = level->key_line;
        level->key = NULL;
    }
    *level->tail = node;
    level->tail = &node->next;
    level->node->n++;
    return PTQ_OK;
}

static struct ptq_yaml *make_node(struct reader *r, const yaml_event_t *event, enum ptq_yaml_kind kind)
{
    struct ptq_yaml *node = ptq_new(r->arena, struct ptq_yaml, 1);
    *node = (struct ptq_yaml){.kind = kind, .file = r->file, .line = line_of(r, event)};
    return node;
}

static enum ptq_status open_level(struct reader *r, const yaml_event_t *event, enum ptq_yaml_kind kind)
{
    struct ptq_yaml *node = make_node(r, event, kind);
    PTQ_TRY(add_node(r, node));
    if (r->depth == MAX_DEPTH) return fail_at(r, node->line, "lists and mappings are nested more than 16 deep");
    r->level[r->depth++] = (struct level){.node = node, .tail = &node->child};
    return PTQ_OK;
}

static enum ptq_status take_scalar(struct reader *r, const yaml_event_t *event)
{
    size_t length = event->data.scalar.length;
    const char *bytes = (const char *)event->data.scalar.value;
    for (size_t i = 0; i < length; i++)
        if ((unsigned char)bytes[i] < 0x20 && bytes[i] != '\n')
            return fail_at(r, line_of(r, event), "a text holds a control character; leave it out");
    const char *text = ptq_strndup(r->arena, bytes, length);
    struct level *level = r->depth ? &r->level[r->depth - 1] : NULL;
    if (level && level->node->kind == PTQ_YAML_MAPPING && !level->key)
        return take_key(r, level, text, line_of(r, event));
    struct ptq_yaml *node = make_node(r, event, PTQ_YAML_SCALAR);
    node->text = text;
    return add_node(r, node);
}

/* What YAML can do and an experiment must not. */
static enum ptq_status refuse_extras(struct reader *r, const yaml_event_t *event)
{
    const yaml_char_t *anchor = NULL, *tag = NULL;
    switch (event->type) {
    case YAML_ALIAS_EVENT:
        return fail_at(r, line_of(r, event), "an alias (*name); write the value out");
    case YAML_SCALAR_EVENT:
        anchor = event->data.scalar.anchor, tag = event->data.scalar.tag;
        break;
    case YAML_SEQUENCE_START_EVENT:
        anchor = event->data.sequence_start.anchor, tag = event->data.sequence_start.tag;
        break;
    case YAML_MAPPING_START_EVENT:
        anchor = event->data.mapping_start.anchor, tag = event->data.mapping_start.tag;
        break;
    case YAML_DOCUMENT_START_EVENT:
        if (r->root) return fail_at(r, line_of(r, event), "a second document (---); one file is one experiment");
        break;
    default:
        break;
    }
    if (anchor) return fail_at(r, line_of(r, event), "an anchor (&name); write the value out where it is needed");
    if (tag) return fail_at(r, line_of(r, event), "a tag (!name); keys give values their types, leave it out");
    return PTQ_OK;
}

static enum ptq_status take_event(struct reader *r, const yaml_event_t *event)
{
    PTQ_TRY(refuse_extras(r, event));
    switch (event->type) {
    case YAML_SCALAR_EVENT:
        return take_scalar(r, event);
    case YAML_SEQUENCE_START_EVENT:
        return open_level(r, event, PTQ_YAML_SEQUENCE);
    case YAML_MAPPING_START_EVENT:
        return open_level(r, event, PTQ_YAML_MAPPING);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        r->depth--;
        return PTQ_OK;
    default:
        return PTQ_OK;
    }
}

static enum ptq_status not_yaml(struct reader *r, const yaml_parser_t *parser)
{
    const char *problem = parser->problem ? parser->problem : "unknown"; /* no test: libyaml always names it */
    if (parser->error == YAML_MEMORY_ERROR) ptq_out_of_memory(MAX_BYTES, "libyaml", r->file);
    if (parser->error == YAML_READER_ERROR)
        return ptq_fail(r->err, PTQ_EINPUT, "%s: byte %zu: %s; the file must be UTF-8 text", r->file,
                        parser->problem_offset, problem);
    struct ptq_yaml place = {.file = r->file, .line = (int)parser->problem_mark.line + 1};
    if (strncmp(r->file, "--", 2) == 0) place.line = 0;
    return ptq_yaml_fail(&place, r->err, "not YAML: %s%s%s; look at the indentation, colons, quotes and brackets",
                         problem, parser->context ? ", " : "", parser->context ? parser->context : "");
}

static enum ptq_status take_events(struct reader *r, yaml_parser_t *parser)
{
    for (int end = 0; !end;) {
        yaml_event_t event;
        if (!yaml_parser_parse(parser, &event)) return not_yaml(r, parser);
        enum ptq_status status = take_event(r, &event);
        end = event.type == YAML_STREAM_END_EVENT;
        yaml_event_delete(&event);
        PTQ_TRY(status);
    }
    return r->root ? PTQ_OK : ptq_fail(r->err, PTQ_EINPUT, "%s: the file is empty", r->file);
}

/* libyaml has no good sentence for the commonest slip. */
static enum ptq_status refuse_tabs(struct reader *r, const char *text, size_t size)
{
    int line = 1, indenting = 1;
    for (size_t i = 0; i < size; i++) {
        if (indenting && text[i] == '\t') return fail_at(r, line, "a tab in the indentation; use spaces");
        if (text[i] == '\n')
            line++, indenting = 1;
        else if (text[i] != ' ')
            indenting = 0;
    }
    return PTQ_OK;
}

enum ptq_status ptq_yaml_parse(struct ptq_arena *arena, const char *file, const char *text, size_t size,
                               struct ptq_yaml **out, struct ptq_error *err)
{
    struct reader r = {.arena = arena, .file = file, .err = err};
    if (size > MAX_BYTES)
        return ptq_fail(err, PTQ_EINPUT, "%s: %zu bytes; an experiment has at most %d", file, size, MAX_BYTES);
    PTQ_TRY(refuse_tabs(&r, text, size));
    yaml_parser_t parser;
    if (!yaml_parser_initialize(&parser)) ptq_out_of_memory(sizeof parser, "libyaml", file);
    yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, size);
    enum ptq_status status = take_events(&r, &parser);
    yaml_parser_delete(&parser);
    if (status == PTQ_OK) *out = r.root;
    return status;
}

enum ptq_status ptq_yaml_read(struct ptq_arena *arena, const char *path, struct ptq_yaml **out, const char **text,
                              struct ptq_error *err)
{
    char *bytes;
    size_t size;
    PTQ_TRY(ptq_read_file(arena, path, MAX_BYTES, &bytes, &size, err));
    if (strncmp(bytes, "\xef\xbb\xbf", 3) == 0)
        bytes += 3, size -= 3; /* the mark that Windows' editors begin UTF-8 with */
    if (text) *text = bytes;
    return ptq_yaml_parse(arena, ptq_strdup(arena, path), bytes, size, out, err);
}

struct ptq_yaml *ptq_yaml_scalar(struct ptq_arena *arena, const char *file, const char *text)
{
    struct ptq_yaml *node = ptq_new(arena, struct ptq_yaml, 1);
    *node = (struct ptq_yaml){.kind = PTQ_YAML_SCALAR, .file = file, .text = text};
    return node;
}

const struct ptq_yaml *ptq_yaml_get(const struct ptq_yaml *mapping, const char *key)
{
    if (!mapping || mapping->kind != PTQ_YAML_MAPPING) return NULL;
    for (const struct ptq_yaml *child = mapping->child; child; child = child->next)
        if (strcmp(child->key, key) == 0) return child;
    return NULL;
}

const char *ptq_yaml_kind_name(const struct ptq_yaml *node)
{
    static const char *const names[] = {"a text", "a list", "a mapping"};
    return names[node->kind];
}

/* What came from the command line is a wrong use of it. */
static enum ptq_status status_of(const char *file)
{
    return strncmp(file, "--", 2) == 0 ? PTQ_EUSAGE : PTQ_EINPUT;
}

enum ptq_status ptq_yaml_within(const struct ptq_yaml *node, struct ptq_error *err)
{
    err->status = status_of(node->file);
    return node->line ? ptq_within(err, "%s:%d", node->file, node->line) : ptq_within(err, "%s", node->file);
}

enum ptq_status ptq_yaml_fail(const struct ptq_yaml *node, struct ptq_error *err, const char *format, ...)
{
    char sentence[sizeof err->text];
    va_list args;
    va_start(args, format);
    vsnprintf(sentence, sizeof sentence, format, args);
    va_end(args);
    ptq_fail(err, PTQ_EINPUT, "%s", sentence);
    return ptq_yaml_within(node, err);
}
