/* BPE against the plain search over random models, and the two things that make it fast: cutting long pieces, and a
 * heap where the plain search is quadratic. */
#include "tokenizers.h"

#include "progress.h"
#include "words.h"

#include <signal.h>
#include <time.h>

/* A model of LETTERS letters and random merges, some of them twice: token i is text[i]; merge m makes token LETTERS +
 * m. */
enum { LETTERS = 4, MERGES = 60, TOKENS = LETTERS + MERGES, WORD = 40, WORDS = 2000 };
struct toy {
    char text[TOKENS][64];
    int n_tokens;
    int left[2 * MERGES], right[2 * MERGES], n_merges;
};

static unsigned draw(unsigned *seed, unsigned bound)
{
    *seed = *seed * 1664525u + 1013904223u;
    return (*seed >> 10) % bound;
}

static int find_token(const struct toy *toy, const char *text)
{
    for (int i = 0; i < toy->n_tokens; i++)
        if (strcmp(toy->text[i], text) == 0) return i;
    return -1;
}

static void make_toy(struct toy *toy, unsigned *seed)
{
    *toy = (struct toy){.n_tokens = LETTERS};
    for (int i = 0; i < LETTERS; i++) toy->text[i][0] = (char)('a' + i);
    while (toy->n_tokens < TOKENS && toy->n_merges < 2 * MERGES) {
        char both[128];
        int a = (int)draw(seed, (unsigned)toy->n_tokens), b = (int)draw(seed, (unsigned)toy->n_tokens);
        snprintf(both, sizeof both, "%s%s", toy->text[a], toy->text[b]);
        if (strlen(both) > 8) continue;
        if (find_token(toy, both) < 0) snprintf(toy->text[toy->n_tokens++], sizeof *toy->text, "%.60s", both);
        toy->left[toy->n_merges] = a;
        toy->right[toy->n_merges++] = b;
    }
}

static struct opened open_toy(const struct toy *toy)
{
    char folder[64];
    struct ptq_buffer json = {0};
    ptq_buffer_add(&json, "{\"model\": {\"vocab\": {");
    for (int i = 0; i < toy->n_tokens; i++) ptq_buffer_add(&json, "%s\"%s\": %d", i ? ", " : "", toy->text[i], i);
    ptq_buffer_add(&json, "}, \"merges\": [");
    for (int i = 0; i < toy->n_merges; i++)
        ptq_buffer_add(&json, "%s\"%s %s\"", i ? ", " : "", toy->text[toy->left[i]], toy->text[toy->right[i]]);
    ptq_buffer_add(&json, "]}}");
    make_test_folder(folder);
    write_test_text(folder, "tokenizer.json", json.data);
    struct opened o = open_json(folder);
    remove_test_folder(folder);
    free(json.data);
    return o;
}

/* The last place of a pair in the list of merges, or -1. */
static int rank_of(const struct toy *toy, int a, int b)
{
    for (int m = toy->n_merges - 1; m >= 0; m--)
        if (toy->left[m] == a && toy->right[m] == b) return m;
    return -1;
}

/* Again and again the pair of the lowest rank, the leftmost of equals. */
static size_t merge_plainly(const struct toy *toy, int32_t *id, size_t n)
{
    for (;;) {
        int best = -1;
        size_t at = 0;
        for (size_t i = 0; i + 1 < n; i++) {
            int rank = rank_of(toy, id[i], id[i + 1]);
            if (rank >= 0 && (best < 0 || rank < best)) {
                best = rank;
                at = i;
            }
        }
        if (best < 0) return n;
        char both[128];
        snprintf(both, sizeof both, "%s%s", toy->text[id[at]], toy->text[id[at + 1]]);
        id[at] = find_token(toy, both);
        memmove(id + at + 1, id + at + 2, (--n - at - 1) * sizeof *id);
    }
}

static void merging_is_what_the_plain_search_gives(void **state)
{
    (void)state;
    unsigned seed = 1;
    for (int round = 0; round < 8; round++) {
        struct toy toy;
        make_toy(&toy, &seed);
        struct opened o = open_toy(&toy);
        for (int w = 0; w < WORDS / 8; w++) {
            char word[WORD];
            int32_t want[WORD], *id;
            size_t n = 1 + draw(&seed, WORD - 1), got;
            for (size_t i = 0; i < n; i++) word[i] = (char)('a' + (want[i] = (int32_t)draw(&seed, LETTERS)));
            struct ptq_error err;
            if (ptq_tokenizer_encode(o.tokenizer, word, n, 0, o.arena, &id, &got, &err)) fail_msg("%s", err.text);
            n = merge_plainly(&toy, want, n);
            assert_int_equal(got, n);
            assert_memory_equal(id, want, n * sizeof *id);
        }
        close_opened(&o);
    }
}

/* Pseudo-random text of a few letters, spaces and one foreign character: many merges, all of them ambiguous. */
static char *babble(size_t size, unsigned seed)
{
    static const char alphabet[] = "thetheaon  erins\n.";
    char *text = malloc(size + 1);
    assert_non_null(text);
    for (size_t i = 0; i < size; i++) {
        seed = seed * 1664525u + 1013904223u;
        text[i] = alphabet[(seed >> 16) % (sizeof alphabet - 1)];
    }
    text[size] = 0;
    return text;
}

static void cutting_long_pieces_changes_nothing(void **state)
{
    static const char *const cut_kinds[] = {"llama2", "gpt2", "metaspace"};
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        char path[256];
        snprintf(path, sizeof path, FIXTURE "%s.tokenizer.json", cut_kinds[i]);
        struct opened o = open_json(path);
        char *text = babble(60000, (unsigned)i);
        int32_t *cut, *whole;
        size_t n_cut, n_whole;
        assert_true(o.tokenizer->bpe.may_cut);
        encode_plain(&o, text, 60000, &cut, &n_cut);
        o.tokenizer->bpe.may_cut = 0;
        encode_plain(&o, text, 60000, &whole, &n_whole);
        assert_int_equal(n_cut, n_whole);
        assert_memory_equal(cut, whole, n_cut * sizeof *cut);
        free(text);
        close_opened(&o);
    }
}

/* One word of 2 MB: a quadratic loop would take hours. */
static void a_text_of_one_word_takes_no_quadratic_time(void **state)
{
    (void)state;
    enum { SIZE = 2000000 };
    struct opened o = open_json(FIXTURE "llama2.tokenizer.json");
    char *text = babble(SIZE, 7);
    int32_t *id;
    size_t n;
    o.tokenizer->bpe.may_cut = 0;
    double start = ptq_seconds();
    encode_plain(&o, text, SIZE, &id, &n);
    assert_true(ptq_seconds() - start < 30);
    assert_true(n > SIZE / 8 && n < SIZE);
    free(text);
    close_opened(&o);
}

/* ---- vocabularies that no trainer makes, by hand ---- */

#define A50 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define A200 A50 A50 A50 A50

/* What follows "model" in tokenizer.json; the ids of the text, or the words of its refusal. */
static const struct odd {
    const char *model, *text;
    int n;
    int32_t id[4];
    const char *refused;
} odd[] = {
    /* unknown characters in a row are one token or several, and tokens like others where merges name them */
    {"'unk_token': '?', 'fuse_unk': false, 'vocab': {'?': 0, 'a': 1, '?a': 2}, 'merges': ['? a']",
     "xya",
     2,
     {0, 2},
     NULL},
    {"'unk_token': '?', 'fuse_unk': true, 'vocab': {'?': 0, 'a': 1, '?a': 2}, 'merges': ['? a']", "xya", 1, {2}, NULL},
    {"'unk_token': '?', 'vocab': {'?': 0, 'a': 1, 'a?': 2}, 'merges': ['a ?']", "ax", 1, {2}, NULL},
    {"'vocab': {'a': 0}, 'merges': []", "a\xc3\xa9", 0, {0}, "no token for the character U+00E9"},
    /* merges of tokens whose characters are no tokens */
    {"'vocab': {'x': 0, 'xq': 1, 'y': 2, 'xqy': 3}, 'merges': ['xq y']", "xy", 2, {0, 2}, NULL},
    {"'vocab': {'y': 0, 'qx': 1, 'x': 2, 'yqx': 3}, 'merges': ['y qx']", "yx", 2, {0, 2}, NULL},
    {"'vocab': {'a': 0, 'b': 1, '" A200 "': 2, 'b" A200 "': 3}, 'merges': ['b " A200 "']", "ab", 2, {0, 1}, NULL},
    /* a piece that is a token, whatever the merges */
    {"'ignore_merges': true, 'vocab': {'a': 0, 'b': 1, 'ab': 2}, 'merges': []", "ab", 1, {2}, NULL},
    {"'ignore_merges': true, 'vocab': {'a': 0, 'b': 1, 'ab': 2}, 'merges': []", "bab", 3, {1, 0, 1}, NULL},
};

static void try_odd(const struct odd *row)
{
    char folder[64], *json, *c;
    struct ptq_error err;
    int32_t *id;
    size_t n;
    assert_true(asprintf(&json, "{'model': {%s}}", row->model) > 0);
    for (c = json; *c; c++)
        if (*c == '\'') *c = '"';
    make_test_folder(folder);
    write_test_text(folder, "tokenizer.json", json);
    struct ptq_arena *names = ptq_arena_make("test");
    struct opened o = open_json(ptq_join(names, folder, "tokenizer.json"));
    enum ptq_status status = ptq_tokenizer_encode(o.tokenizer, row->text, strlen(row->text), 0, o.arena, &id, &n, &err);
    if (row->refused) {
        assert_refused(row->model, status, &err, row->refused);
    } else {
        if (status) fail_msg("%s: %s", row->model, err.text);
        assert_int_equal(n, row->n);
        assert_memory_equal(id, row->id, n * sizeof *id);
    }
    close_opened(&o);
    ptq_arena_free(names);
    remove_test_folder(folder);
    free(json);
}

static void vocabularies_that_no_trainer_makes(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) try_odd(&odd[i]);
}

/* All 256 bytes are tokens, and merges name some of them: U+00E9 is the bytes C3 A9. */
static void merges_of_fallback_bytes(void **state)
{
    (void)state;
    static const struct {
        const char *more, *merge;
        const char *text;
        int n;
        int32_t id[2];
    } rows[] = {{"'<0xC3><0xA9>': 256", "<0xC3> <0xA9>", "\xc3\xa9", 1, {256}},
                {"'a': 256, 'a<0xC3>': 257", "a <0xC3>", "a\xc3\xa9", 2, {257, 0xa9}}};
    for (int i = 0; i < 2; i++) {
        char model[8192];
        int used = snprintf(model, sizeof model, "'byte_fallback': true, 'merges': ['%s'], 'vocab': {%s", rows[i].merge,
                            rows[i].more);
        for (int byte = 0; byte < 256; byte++)
            used += snprintf(model + used, sizeof model - (size_t)used, ", '<0x%02X>': %d", (unsigned)byte, byte);
        snprintf(model + used, sizeof model - (size_t)used, "}");
        struct odd row = {.model = model, .text = rows[i].text, .n = rows[i].n};
        memcpy(row.id, rows[i].id, sizeof rows[i].id);
        try_odd(&row);
    }
}

/* What ptq's first hash, which had no key, made of a word is made of again. */
static uint64_t unmix(uint64_t x)
{
    x = (x ^ x >> 29 ^ x >> 58) * 0xf1de83e19937733du;
    return x ^ x >> 32;
}

/* Texts, and pairs, that were prepared to meet in one slot do not: 100,000 of them took 9 s. */
static void floods_take_no_quadratic_time(void **state)
{
    (void)state;
    enum { N = 100000 };
    static const uint64_t factor = 0xc4ceb9fe1a85ec53u, other = 0xff51afd7ed558ccdu, over = 0x9cb4b2f8129337dbu,
                          over_other = 0x4f74430c22a54005u;
    assert_true(factor * over == 1 && other * over_other == 1);
    struct ptq_arena *arena = ptq_arena_make("test");
    struct ptq_vocab vocab;
    struct ptq_pairs pairs;
    uint64_t *word = ptq_new(arena, uint64_t, N);
    clock_t start = clock();
    ptq_vocab_make(&vocab, arena, N);
    ptq_pairs_make(&pairs, arena, N);
    for (int i = 0; i < N; i++) {
        uint64_t meets = unmix((uint64_t)(i + 1) << 24), key = meets * over_other;
        word[i] = unmix(meets * over * over) ^ 8 * other;
        assert_int_equal(ptq_vocab_add(&vocab, (char *)&word[i], 8, i), 1);
        ptq_pairs_put(&pairs, (int32_t)(uint32_t)((key >> 32) - 1), (int32_t)(uint32_t)(key - 1), (uint32_t)i);
    }
    for (int i = 0; i < N; i++) assert_int_equal(ptq_vocab_id(&vocab, (char *)&word[i], 8), i);
    assert_int_equal(pairs.n, N);
    assert_true((double)(clock() - start) / CLOCKS_PER_SEC < 1);
    ptq_arena_free(arena);
}

static void expect_stopped(const struct ptq_tokenizer *tokenizer, struct ptq_arena *arena, const char *text)
{
    int32_t *id;
    size_t n;
    struct ptq_error err;
    assert_int_equal(ptq_tokenizer_encode(tokenizer, text, strlen(text), 1, arena, &id, &n, &err), PTQ_EINTERRUPT);
    assert_non_null(strstr(err.text, "stopped by a signal"));
}

/* The last test here: a signal that was seen stays seen. A word that is being merged is let go, and so is the search
 * for added tokens, with no word about them. */
static void a_signal_ends_it(void **state)
{
    (void)state;
    struct toy toy;
    unsigned seed = 1;
    struct ptq_added_token token = {.text = "<s>", .size = 3};
    struct ptq_added added = {.token = &token, .n = 1};
    struct ptq_added_match match = {0};
    struct ptq_bpe_run run;
    struct ptq_error err;
    make_toy(&toy, &seed);
    const char pair[2] = {toy.text[toy.left[0]][0], toy.text[toy.right[0]][0]};
    struct opened o = open_toy(&toy);
    ptq_added_ready(&added, o.arena);
    assert_int_equal(ptq_added_next(&added, "a<s>", 4, &match), 1);
    match = (struct ptq_added_match){0};
    ptq_catch_signals();
    assert_int_equal(raise(SIGINT), 0);
    assert_int_equal(ptq_signal_seen(), SIGINT);
    assert_int_equal(ptq_added_next(&added, "a<s>", 4, &match), 0);
    expect_stopped(o.tokenizer, o.arena, "abcd");
    expect_stopped(o.tokenizer, o.arena, "");
    ptq_bpe_start(&run, &o.tokenizer->bpe, 2);
    assert_int_equal(ptq_bpe_piece(&run, pair, 2, &err), PTQ_OK);
    assert_int_equal(run.n, 2); /* not merged */
    ptq_bpe_stop(&run);
    close_opened(&o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(merging_is_what_the_plain_search_gives),
        cmocka_unit_test(cutting_long_pieces_changes_nothing),
        cmocka_unit_test(vocabularies_that_no_trainer_makes),
        cmocka_unit_test(merges_of_fallback_bytes),
        cmocka_unit_test(a_text_of_one_word_takes_no_quadratic_time),
        cmocka_unit_test(floods_take_no_quadratic_time),
        cmocka_unit_test(a_signal_ends_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
