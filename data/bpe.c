#include "bpe.h"

#include "progress.h"
#include "unicode.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Words are remembered up to MAX_WORD bytes, in at most MAX_WORDS slots. */
enum { MAX_WORD = 64, MAX_WORDS = 1 << 16, MAX_PIECE = 1 << 30, NONE = -1 };

/* A symbol of the piece in hand, in a linked list; rank is that of the pair that it forms with the next one. */
struct ptq_bpe_symbol {
    int32_t id, previous, next, rank;
    uint32_t end; /* where in the piece it ends */
};

/* A piece that was encoded before: its ids are run->id[first..first + n). */
struct ptq_bpe_word {
    const char *text; /* NULL: an empty slot */
    uint32_t size, first, n;
};

int ptq_byte_character(unsigned char byte, char out[4])
{
    int visible = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
    if (visible) return ptq_utf8_encode(byte, out);
    /* the other 68 in order: 0..20, 7f..a0, ad */
    uint32_t order = byte <= 0x20 ? byte : byte <= 0xa0 ? 0x21u + byte - 0x7fu : 0x43;
    return ptq_utf8_encode(0x100 + order, out);
}

void ptq_bpe_ready(struct ptq_bpe *bpe, struct ptq_arena *arena, size_t n_merges)
{
    ptq_pairs_make(&bpe->ranks, arena, n_merges);
    ptq_pairs_make(&bpe->joints, arena, n_merges);
    bpe->merged = ptq_new(arena, int32_t, n_merges);
    bpe->n_ranks = n_merges;
    bpe->may_cut = !bpe->ignore_merges;
    for (int byte = 0; byte < 256; byte++) {
        char text[8];
        int length = bpe->byte_level ? ptq_byte_character((unsigned char)byte, text) : 1;
        if (!bpe->byte_level) text[0] = (char)byte;
        bpe->symbol[byte] = bpe->byte_level || byte < 128 ? ptq_vocab_id(&bpe->vocab, text, (size_t)length) : NONE;
        snprintf(text, sizeof text, "<0x%02X>", (unsigned)byte);
        bpe->fallback[byte] = bpe->byte_fallback ? ptq_vocab_id(&bpe->vocab, text, 6) : NONE;
        if (bpe->byte_fallback && bpe->fallback[byte] == NONE) bpe->may_cut = 0;
    }
    for (size_t i = 0; i <= bpe->vocab.mask; i++)
        if (bpe->vocab.slot[i].size > bpe->longest) bpe->longest = bpe->vocab.slot[i].size;
}

/* A token that may be a symbol without being a character. */
static int is_stand_in(const struct ptq_bpe *bpe, int32_t id)
{
    if (id == bpe->unk) return 1;
    for (int byte = 0; bpe->byte_fallback && byte < 256; byte++)
        if (bpe->fallback[byte] == id) return 1;
    return 0;
}

static void add_joint(struct ptq_bpe *bpe, const char *left, size_t left_size, const char *right)
{
    int length;
    size_t last = ptq_utf8_last(left, left_size);
    ptq_utf8_decode(right, &length);
    int32_t a = ptq_vocab_id(&bpe->vocab, left + last, left_size - last);
    int32_t b = ptq_vocab_id(&bpe->vocab, right, (size_t)length);
    if (a != NONE && b != NONE) ptq_pairs_put(&bpe->joints, a, b, 1);
}

int ptq_bpe_add_merge(struct ptq_bpe *bpe, const char *left, size_t left_size, const char *right, size_t right_size,
                      size_t rank)
{
    char shorter[256], *both = shorter;
    size_t size = left_size + right_size;
    if (!left_size || !right_size || size > bpe->longest) return 0;
    if (size > sizeof shorter) both = ptq_realloc(NULL, size, 1, "a merge");
    memcpy(both, left, left_size);
    memcpy(both + left_size, right, right_size);
    int32_t a = ptq_vocab_id(&bpe->vocab, left, left_size), b = ptq_vocab_id(&bpe->vocab, right, right_size);
    int32_t merged = ptq_vocab_id(&bpe->vocab, both, size);
    if (both != shorter) free(both);
    if (a == NONE || b == NONE || merged == NONE) return 0;
    assert(rank < bpe->n_ranks);
    bpe->merged[rank] = merged;
    ptq_pairs_put(&bpe->ranks, a, b, (uint32_t)rank);
    bpe->n_merges++;
    if (bpe->may_cut && (is_stand_in(bpe, a) || is_stand_in(bpe, b))) bpe->may_cut = 0;
    if (bpe->may_cut) add_joint(bpe, left, left_size, right);
    return 1;
}

void ptq_bpe_start(struct ptq_bpe_run *run, const struct ptq_bpe *bpe, size_t text_size)
{
    size_t words = 64;
    while (words < MAX_WORDS && words < text_size / 4) words *= 2;
    *run = (struct ptq_bpe_run){.bpe = bpe, .word_mask = words - 1};
    run->word = calloc(words, sizeof *run->word);
    if (!run->word) ptq_out_of_memory(words * sizeof *run->word, "the tokenizer", "words");
    if (bpe->ignore_merges) run->visible = ptq_realloc(NULL, bpe->longest + 4, 2, "a piece");
}

void ptq_bpe_stop(struct ptq_bpe_run *run)
{
    free(run->id);
    free(run->symbol);
    free(run->heap);
    free(run->word);
    free(run->visible);
    *run = (struct ptq_bpe_run){0};
}

static void make_room(struct ptq_bpe_run *run, size_t more)
{
    if (run->room - run->n >= more) return;
    run->room = 2 * run->room + more + 256;
    run->id = ptq_realloc(run->id, run->room, sizeof *run->id, "token ids");
}

void ptq_bpe_add_id(struct ptq_bpe_run *run, int32_t id)
{
    make_room(run, 1);
    run->id[run->n++] = id;
}

static void add_symbol(struct ptq_bpe_run *run, int32_t id, size_t end)
{
    if (run->n_symbols == run->symbol_room) {
        run->symbol_room = 2 * run->symbol_room + 64;
        run->symbol = ptq_realloc(run->symbol, run->symbol_room, sizeof *run->symbol, "symbols");
    }
    run->symbol[run->n_symbols++] = (struct ptq_bpe_symbol){.id = id, .end = (uint32_t)end};
}

/* The bytes of a character as fallback tokens; 0 where one of them is missing. */
static int add_fallback(struct ptq_bpe_run *run, const char *text, size_t length, size_t at)
{
    if (!run->bpe->byte_fallback) return 0;
    for (size_t i = 0; i < length; i++)
        if (run->bpe->fallback[(unsigned char)text[i]] == NONE) return 0;
    for (size_t i = 0; i < length; i++) add_symbol(run, run->bpe->fallback[(unsigned char)text[i]], at + i + 1);
    return 1;
}

static enum ptq_status no_token(const struct ptq_bpe *bpe, const char *text, struct ptq_error *err)
{
    int length;
    if (bpe->byte_level)
        return ptq_fail(err, PTQ_EINPUT,
                        "the vocabulary has no token for the byte 0x%02X and no unknown token; take it out of the text",
                        (unsigned)(unsigned char)*text);
    return ptq_fail(
        err, PTQ_EINPUT,
        "the vocabulary has no token for the character U+%04X and no unknown token; take it out of the text",
        (unsigned)ptq_utf8_decode(text, &length));
}

/* The piece as symbols. An unknown token waits for the next known character, past fallback bytes, as in Hugging Face's
 * model. */
static enum ptq_status make_symbols(struct ptq_bpe_run *run, const char *piece, size_t size, struct ptq_error *err)
{
    const struct ptq_bpe *bpe = run->bpe;
    int length = 1, waiting = 0;
    run->n_symbols = 0;
    for (size_t at = 0; at < size; at += (size_t)length) {
        if (!bpe->byte_level) ptq_utf8_decode(piece + at, &length);
        int32_t id =
            length == 1 ? bpe->symbol[(unsigned char)piece[at]] : ptq_vocab_id(&bpe->vocab, piece + at, (size_t)length);
        if (id != NONE) {
            if (waiting) add_symbol(run, bpe->unk, at);
            waiting = 0;
            add_symbol(run, id, at + (size_t)length);
        } else if (!add_fallback(run, piece + at, (size_t)length, at)) {
            if (bpe->unk == NONE) return no_token(bpe, piece + at, err);
            if (waiting && !bpe->fuse_unk) add_symbol(run, bpe->unk, at);
            waiting = 1;
        }
    }
    if (waiting) add_symbol(run, bpe->unk, size);
    return PTQ_OK;
}

/* The heap holds rank << 32 | position, so its order is BPE's. Entries are not taken out when a pair changes: they are
 * stale when the rank at the position is another by the time they come up. */
static void sift_down(uint64_t *heap, size_t n, size_t at)
{
    uint64_t moving = heap[at];
    for (size_t child; (child = 2 * at + 1) < n; at = child) {
        if (child + 1 < n && heap[child + 1] < heap[child]) child++;
        if (heap[child] >= moving) break;
        heap[at] = heap[child];
    }
    heap[at] = moving;
}

static void heap_push(struct ptq_bpe_run *run, int32_t rank, size_t position)
{
    if (run->n_heap == run->heap_room) {
        run->heap_room = 2 * run->heap_room + 64;
        run->heap = ptq_realloc(run->heap, run->heap_room, sizeof *run->heap, "pairs of symbols");
    }
    uint64_t moving = (uint64_t)rank << 32 | position;
    size_t at = run->n_heap++;
    for (; at > 0 && run->heap[(at - 1) / 2] > moving; at = (at - 1) / 2) run->heap[at] = run->heap[(at - 1) / 2];
    run->heap[at] = moving;
}

static uint64_t heap_pop(struct ptq_bpe_run *run)
{
    uint64_t top = run->heap[0];
    run->heap[0] = run->heap[--run->n_heap];
    if (run->n_heap > 1) sift_down(run->heap, run->n_heap, 0);
    return top;
}

/* Looks up the pair that begins at a symbol, and puts it on the heap where it has a rank. */
static void rank_pair(struct ptq_bpe_run *run, int32_t at)
{
    struct ptq_bpe_symbol *symbol = run->symbol;
    if (at == NONE) return;
    int32_t next = symbol[at].next;
    symbol[at].rank = next == NONE ? PTQ_NO_PAIR : ptq_pairs_get(&run->bpe->ranks, symbol[at].id, symbol[next].id);
    if (symbol[at].rank != PTQ_NO_PAIR) heap_push(run, symbol[at].rank, (size_t)at);
}

static void join(struct ptq_bpe_run *run, int32_t at)
{
    struct ptq_bpe_symbol *symbol = run->symbol;
    int32_t gone = symbol[at].next, after = symbol[gone].next;
    symbol[at].id = run->bpe->merged[symbol[at].rank];
    symbol[gone].rank = PTQ_NO_PAIR;
    symbol[at].next = after;
    if (after != NONE) symbol[after].previous = at;
    rank_pair(run, symbol[at].previous);
    rank_pair(run, at);
}

/* Merges symbols [first, last) and appends what is left of them. */
static void merge(struct ptq_bpe_run *run, size_t first, size_t last)
{
    struct ptq_bpe_symbol *symbol = run->symbol;
    run->n_heap = 0;
    for (size_t i = first; i < last; i++) {
        symbol[i].previous = i == first ? NONE : (int32_t)i - 1;
        symbol[i].next = i + 1 == last ? NONE : (int32_t)i + 1;
        rank_pair(run, (int32_t)i);
    }
    while (run->n_heap && !ptq_signal_seen()) {
        uint64_t top = heap_pop(run);
        int32_t at = (int32_t)(top & UINT32_MAX);
        if (symbol[at].rank == (int32_t)(top >> 32)) join(run, at);
    }
    for (int32_t i = (int32_t)first; i != NONE; i = symbol[i].next) ptq_bpe_add_id(run, symbol[i].id);
}

static struct ptq_bpe_word *find_word(const struct ptq_bpe_run *run, const char *text, size_t size)
{
    return &run->word[ptq_hash_bytes(&run->bpe->vocab.hash, text, size) & run->word_mask];
}

/* Appends the ids of a word that is remembered. */
static int recall(struct ptq_bpe_run *run, const struct ptq_bpe_word *word, const char *text, size_t size)
{
    if (!word->text || word->size != size || memcmp(word->text, text, size) != 0) return 0;
    make_room(run, word->n);
    memcpy(run->id + run->n, run->id + word->first, word->n * sizeof *run->id);
    run->n += word->n;
    return 1;
}

static void remember(struct ptq_bpe_run *run, struct ptq_bpe_word *word, const char *text, size_t size, size_t first)
{
    if (run->n > UINT32_MAX) return; /* no test: a text of 4 GB */
    *word = (struct ptq_bpe_word){
        .text = text, .size = (uint32_t)size, .first = (uint32_t)first, .n = (uint32_t)(run->n - first)};
}

/* Symbols [first, last) of the piece, which are text[0..size). */
static void encode_part(struct ptq_bpe_run *run, size_t first, size_t last, const char *text, size_t size)
{
    if (size > MAX_WORD) {
        merge(run, first, last);
        return;
    }
    struct ptq_bpe_word *word = find_word(run, text, size);
    if (recall(run, word, text, size)) return;
    size_t start = run->n;
    merge(run, first, last);
    remember(run, word, text, size, start);
}

/* Cuts a long piece where no merge can cross. */
static void encode_parts(struct ptq_bpe_run *run, const char *piece)
{
    const struct ptq_bpe *bpe = run->bpe;
    size_t first = 0, start = 0;
    for (size_t i = 1; i <= run->n_symbols; i++) {
        const struct ptq_bpe_symbol *last = &run->symbol[i - 1];
        if (i < run->n_symbols && ptq_pairs_get(&bpe->joints, last->id, last[1].id) != PTQ_NO_PAIR) continue;
        encode_part(run, first, i, piece + start, last->end - start);
        first = i;
        start = last->end;
    }
}

/* Where the model ignores merges: the id of the whole piece, or NONE. */
static int32_t whole_piece(const struct ptq_bpe_run *run, const char *piece, size_t size)
{
    const struct ptq_bpe *bpe = run->bpe;
    if (!bpe->ignore_merges || size > bpe->longest) return NONE;
    if (!bpe->byte_level) return ptq_vocab_id(&bpe->vocab, piece, size);
    size_t used = 0;
    for (size_t i = 0; i < size; i++) {
        char c[4];
        int length = ptq_byte_character((unsigned char)piece[i], c);
        memcpy(run->visible + used, c, (size_t)length);
        used += (size_t)length;
    }
    return ptq_vocab_id(&bpe->vocab, run->visible, used);
}

enum ptq_status ptq_bpe_piece(struct ptq_bpe_run *run, const char *piece, size_t size, struct ptq_error *err)
{
    if (size > MAX_PIECE) /* no test: a word of 1 GB */
        return ptq_fail(err, PTQ_EINPUT, "a piece of the text has %zu bytes, more than %d; cut the text into files",
                        size, MAX_PIECE);
    struct ptq_bpe_word *word = size <= MAX_WORD ? find_word(run, piece, size) : NULL;
    if (word && recall(run, word, piece, size)) return PTQ_OK;
    size_t first = run->n;
    int32_t whole = whole_piece(run, piece, size);
    if (whole != NONE) {
        ptq_bpe_add_id(run, whole);
    } else {
        PTQ_TRY(make_symbols(run, piece, size, err));
        if (run->bpe->may_cut && !word)
            encode_parts(run, piece);
        else if (run->n_symbols)
            merge(run, 0, run->n_symbols);
    }
    if (word) remember(run, word, piece, size, first);
    return PTQ_OK;
}
