#include "normalizer.h"

#include "unicode.h"
#include "words.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

/* The steps of a normalizer may make this many times a text and SLACK bytes of it. Longer runs of combining marks than
 * MAX_MARKS occur in no language, and utf8proc sorts them in quadratic time. */
enum { MAX_GROWTH = 32, SLACK = 4096, MAX_MARKS = 1024 };

size_t ptq_normal_room(size_t size)
{
    return (size + SLACK) * MAX_GROWTH;
}

static enum ptq_status take_room(size_t *room, size_t bytes, struct ptq_error *err)
{
    if (bytes > *room)
        return ptq_fail(err, PTQ_EINPUT,
                        "the normalizer makes the text more than %d times longer; use another tokenizer", MAX_GROWTH);
    *room -= bytes;
    return PTQ_OK;
}

int ptq_normal_form(const char *name)
{
    static const struct {
        const char *name;
        int options;
    } forms[] = {
        {"NFC", UTF8PROC_STABLE | UTF8PROC_COMPOSE},
        {"NFD", UTF8PROC_STABLE | UTF8PROC_DECOMPOSE},
        {"NFKC", UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_COMPAT},
        {"NFKD", UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT},
    };
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++)
        if (strcmp(forms[i].name, name) == 0) return forms[i].options;
    return 0;
}

static int is_ascii(const char *text, size_t size)
{
    unsigned char any = 0;
    for (size_t i = 0; i < size; i++) any |= (unsigned char)text[i];
    return any < 0x80;
}

static enum ptq_status check_marks(const char *text, size_t size, struct ptq_error *err)
{
    int run = 0, length;
    for (size_t at = 0; at < size; at += (size_t)length) {
        uint32_t code = ptq_utf8_decode(text + at, &length);
        int is_mark = code >= 0x300 && utf8proc_get_property((utf8proc_int32_t)code)->combining_class != 0;
        run = is_mark ? run + 1 : 0;
        if (run > MAX_MARKS)
            return ptq_fail(err, PTQ_EINPUT,
                            "more than %d combining marks in a row end at byte %zu of the text; take them out",
                            MAX_MARKS, at);
    }
    return PTQ_OK;
}

static enum ptq_status map_stretch(int form, const char *text, size_t size, struct ptq_buffer *out,
                                   struct ptq_error *err)
{
    utf8proc_uint8_t *mapped = NULL;
    utf8proc_ssize_t n =
        utf8proc_map((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)size, &mapped, (utf8proc_option_t)form);
    if (n < 0)
        return ptq_fail(err, PTQ_EINPUT, "the text of %zu bytes cannot be normalised: %s", size, utf8proc_errmsg(n));
    ptq_buffer_bytes(out, mapped, (size_t)n);
    free(mapped);
    return PTQ_OK;
}

/* Where the stretch that begins at `at` ends, before a character that stays as it is or after one. */
static size_t stretch_end(const char *text, size_t size, size_t at, int *inert)
{
    int length;
    *inert = (ptq_char_flags(ptq_utf8_decode(text + at, &length)) & PTQ_INERT) != 0;
    for (at += (size_t)length; !*inert && at < size; at += (size_t)length)
        if (ptq_char_flags(ptq_utf8_decode(text + at, &length)) & PTQ_INERT) break;
    return at;
}

static enum ptq_status apply_form(int form, const char **text, size_t *size, size_t *room, struct ptq_arena *scratch,
                                  struct ptq_error *err)
{
    struct ptq_buffer out = {0};
    enum ptq_status status = PTQ_OK;
    if (is_ascii(*text, *size)) return PTQ_OK;
    PTQ_TRY(check_marks(*text, *size, err));
    for (size_t at = 0, end; at < *size && status == PTQ_OK; at = end) {
        int inert;
        end = stretch_end(*text, *size, at, &inert);
        if (inert)
            ptq_buffer_bytes(&out, *text + at, end - at);
        else
            status = map_stretch(form, *text + at, end - at, &out, err);
    }
    if (status == PTQ_OK) status = take_room(room, out.size, err);
    if (status == PTQ_OK) {
        *text = ptq_strndup(scratch, out.data, out.size);
        *size = out.size;
    }
    free(out.data);
    return status;
}

static enum ptq_status prepend(const char *content, const char **text, size_t *size, size_t *room,
                               struct ptq_arena *scratch, struct ptq_error *err)
{
    if (*size == 0) return PTQ_OK;
    size_t n = strlen(content);
    PTQ_TRY(take_room(room, n + *size, err));
    char *out = ptq_alloc(scratch, n + *size, "a prefixed text");
    memcpy(out, content, n);
    memcpy(out + n, *text, *size);
    *text = out;
    *size += n;
    return PTQ_OK;
}

/* How often pattern occurs, from left to right without overlap. */
static size_t count(const char *text, size_t size, const char *pattern)
{
    size_t n = 0, length = strlen(pattern);
    const char *end = text + size;
    while ((text = memmem(text, (size_t)(end - text), pattern, length)) != NULL) {
        text += length;
        n++;
    }
    return n;
}

static enum ptq_status replace(const struct ptq_normal_step *step, const char **text, size_t *size, size_t *room,
                               struct ptq_arena *scratch, struct ptq_error *err)
{
    size_t n = *size ? count(*text, *size, step->pattern) : 0;
    if (n == 0) return PTQ_OK;
    size_t old = strlen(step->pattern), put = strlen(step->content);
    size_t made = *size - n * old + n * put;
    PTQ_TRY(take_room(room, made, err));
    char *out = ptq_alloc(scratch, made, "a text with replacements"), *to = out;
    const char *from = *text, *end = *text + *size, *hit;
    while ((hit = memmem(from, (size_t)(end - from), step->pattern, old)) != NULL) {
        memcpy(to, from, (size_t)(hit - from));
        to += hit - from;
        memcpy(to, step->content, put);
        to += put;
        from = hit + old;
    }
    memcpy(to, from, (size_t)(end - from));
    *text = out;
    *size = made;
    return PTQ_OK;
}

enum ptq_status ptq_normalize(const struct ptq_normalizer *normalizer, const char *text, size_t size, size_t *room,
                              struct ptq_arena *scratch, const char **out, size_t *out_size, struct ptq_error *err)
{
    for (int i = 0; i < normalizer->n; i++) {
        const struct ptq_normal_step *step = &normalizer->step[i];
        if (step->kind == PTQ_NORMAL_FORM) PTQ_TRY(apply_form(step->form, &text, &size, room, scratch, err));
        if (step->kind == PTQ_NORMAL_PREPEND) PTQ_TRY(prepend(step->content, &text, &size, room, scratch, err));
        if (step->kind == PTQ_NORMAL_REPLACE) PTQ_TRY(replace(step, &text, &size, room, scratch, err));
    }
    *out = text;
    *out_size = size;
    return PTQ_OK;
}
