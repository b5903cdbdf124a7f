/* BPE against the plain search over random models, and the two things that make it fast: cutting long pieces, and a
 * heap where the plain search is quadratic. */
#include "tokenizers.h"

#include "progress.h"
#include "words.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(merging_is_what_the_plain_search_gives),
        cmocka_unit_test(cutting_long_pieces_changes_nothing),
        cmocka_unit_test(a_text_of_one_word_takes_no_quadratic_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
