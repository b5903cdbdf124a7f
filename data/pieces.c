#include "pieces.h"

#include "tokenizer_parts.h"
#include "unicode.h"

#include <string.h>

static const char replacement[] = "\xef\xbf\xbd"; /* U+FFFD */

static void note(struct ptq_pieces *p, int32_t id, const char *text, size_t size, int added)
{
    p->text[id] = text;
    p->length[id] = (uint32_t)size;
    p->added[id] = (unsigned char)added;
}

static void note_added(struct ptq_pieces *p, const struct ptq_added *added)
{
    for (int i = 0; i < added->n; i++) note(p, added->token[i].id, added->token[i].text, added->token[i].size, 1);
}

void ptq_pieces_make(struct ptq_arena *arena, const struct ptq_tokenizer *t, struct ptq_pieces *out)
{
    *out = (struct ptq_pieces){.tokenizer = t};
    out->text = ptq_new(arena, const char *, t->size);
    out->length = ptq_new(arena, uint32_t, t->size);
    out->added = ptq_new(arena, unsigned char, t->size);
    for (size_t i = 0; i <= t->bpe.vocab.mask; i++) {
        const struct ptq_token *slot = &t->bpe.vocab.slot[i];
        if (slot->text) note(out, slot->id, slot->text, slot->size, 0);
    }
    note_added(out, &t->raw);
    note_added(out, &t->normal);
    memset(out->byte, -1, sizeof out->byte);
    for (int byte = 0; byte < 256; byte++) {
        char c[4];
        int length = ptq_byte_character((unsigned char)byte, c);
        int point = length == 1 ? c[0] : (c[0] & 0x1f) << 6 | (c[1] & 0x3f);
        out->byte[point] = (int16_t)byte;
    }
}

/* Visible characters to the bytes that they stand for. A token with any other character is its own text, as it is to
 * tokenizers' decoder. */
static size_t from_byte_level(const struct ptq_pieces *p, const char *text, size_t size, char *out)
{
    size_t n = 0;
    int length;
    for (size_t i = 0; i < size; i += (size_t)length) {
        uint32_t point = ptq_utf8_decode(text + i, &length);
        if (point >= sizeof p->byte / sizeof *p->byte || p->byte[point] < 0) {
            memcpy(out, text, size);
            return size;
        }
        out[n++] = (char)p->byte[point];
    }
    return n;
}

/* "<0x0A>" is a byte, U+2581 a space. */
static size_t from_characters(const struct ptq_bpe *bpe, int32_t id, const char *text, size_t size, char *out)
{
    size_t n = 0;
    for (int byte = 0; bpe->byte_fallback && byte < 256; byte++)
        if (bpe->fallback[byte] == id) {
            out[0] = (char)byte;
            return 1;
        }
    for (size_t i = 0; i < size; i++) {
        int space = i + 3 <= size && memcmp(text + i, "\xe2\x96\x81", 3) == 0;
        out[n++] = space ? ' ' : text[i];
        i += space ? 2 : 0;
    }
    return n;
}

const char *ptq_piece(const struct ptq_pieces *p, int32_t id, struct ptq_arena *arena, size_t *size)
{
    *size = 0;
    if (id < 0 || id >= p->tokenizer->size || !p->text[id]) return "";
    char *out = ptq_alloc(arena, p->length[id] + 1u, "a token");
    if (p->added[id])
        memcpy(out, p->text[id], *size = p->length[id]);
    else if (p->tokenizer->bpe.byte_level)
        *size = from_byte_level(p, p->text[id], p->length[id], out);
    else
        *size = from_characters(&p->tokenizer->bpe, id, p->text[id], p->length[id], out);
    return out;
}

/* ---- whole characters ---- */

/* Bytes that a character with this first byte takes; 0: none begins so. */
static int takes(unsigned char first)
{
    return first < 0x80 ? 1 : first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0;
}

/* Whether n bytes are the beginning of a character (Unicode's table of well-formed sequences). */
static int begins(const unsigned char *c, int n)
{
    static const struct {
        unsigned char first, low, high;
    } odd[] = {{0xe0, 0xa0, 0xbf}, {0xed, 0x80, 0x9f}, {0xf0, 0x90, 0xbf}, {0xf4, 0x80, 0x8f}};
    if (n > takes(c[0])) return 0;
    for (int i = 1; i < n; i++)
        if ((c[i] & 0xc0) != 0x80) return 0;
    for (int i = 0; n > 1 && i < 4; i++)
        if (c[0] == odd[i].first && (c[1] < odd[i].low || c[1] > odd[i].high)) return 0;
    return 1;
}

static size_t put(char *out, size_t n, const void *bytes, size_t size)
{
    memcpy(out + n, bytes, size);
    return n + size;
}

size_t ptq_utf8_push(struct ptq_utf8_stream *s, const char *bytes, size_t size, char *out)
{
    size_t n = 0;
    for (size_t i = 0; i < size; i++) {
        s->held[s->n++] = (unsigned char)bytes[i];
        if (!begins(s->held, s->n)) {
            int again = s->n > 1; /* this byte may begin another one */
            n = put(out, n, replacement, 3);
            s->n = 0;
            if (!again || !begins((const unsigned char *)bytes + i, 1)) {
                if (again) n = put(out, n, replacement, 3);
                continue;
            }
            s->held[s->n++] = (unsigned char)bytes[i];
        }
        if (s->n == takes(s->held[0])) {
            n = put(out, n, s->held, (size_t)s->n);
            s->n = 0;
        }
    }
    return n;
}

size_t ptq_utf8_finish(struct ptq_utf8_stream *s, char out[4])
{
    size_t n = s->n ? put(out, 0, replacement, 3) : 0;
    s->n = 0;
    return n;
}
