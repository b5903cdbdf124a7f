#include "oniguruma.h"

#include "unicode.h"
#include "unicode_tables.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_REGEX = 16384, MAX_DEPTH = 100 };

/* What stands before in a class, which is what a '-' there depends on. */
enum place { OUTSIDE, AT_START, BEHIND_CHARACTER, BEHIND_DASH, BEHIND_RANGE, BEHIND_CLASS };

enum { IGNORES_CASE = 1, LOOKS_AROUND = 2, LOOKS_BEHIND = 4 };

/* One pass over the expression. */
struct translation {
    const char *regex, *where;
    size_t at;
    enum place place;
    int depth, group[MAX_DEPTH + 1]; /* flags of the groups that are open */
    int folded;                      /* the character before, small, where case does not matter; else 0 */
    const char *once;                /* what stands before, where it cannot be repeated */
    struct ptq_buffer *out;
};

static __attribute__((format(printf, 3, 4))) enum ptq_status refuse(const struct translation *t, struct ptq_error *err,
                                                                    const char *format, ...)
{
    char what[100];
    va_list words;
    va_start(words, format);
    vsnprintf(what, sizeof what, format, words);
    va_end(words);
    return ptq_fail(err, PTQ_EINPUT,
                    "%s: the expression uses %s at byte %zu, which means different things to different engines; ptq "
                    "does not guess",
                    t->where, what, t->at);
}

static int ignores_case(const struct translation *t)
{
    return t->group[t->depth] & IGNORES_CASE;
}

/* Writes length bytes of the expression as they are. */
static void keep(struct translation *t, size_t length)
{
    ptq_buffer_bytes(t->out, t->regex + t->at, length);
    t->at += length;
}

/* ^, $ and the like: a place. */
static void add_edge(struct translation *t, size_t length)
{
    keep(t, length);
    t->once = "a quantifier of a place";
}

/* ---- classes of characters ---- */

/* known: what PCRE2 has of it; the ranges whose flags hold all of more are added. whole: the flag that a character
 * outside lacks, 0 where none says that. */
static const struct kind {
    char name[4];
    const char *known;
    int more, whole;
} kinds[] = {
    {"L", "\\p{L}", PTQ_LETTER | PTQ_RECENT, PTQ_LETTER},
    {"N", "\\p{N}", PTQ_NUMBER | PTQ_RECENT, PTQ_NUMBER},
    {"Nd", "\\p{Nd}", PTQ_NUMBER | PTQ_WORD | PTQ_RECENT, 0},
    {"s", "", PTQ_SPACE, PTQ_SPACE},
    /* with the circled letters */
    {"w",
     "\\p{L}\\p{M}\\p{Nd}\\p{Nl}\\p{Pc}\\x{24b6}-\\x{24e9}\\x{1f130}-\\x{1f149}\\x{1f150}-\\x{1f169}\\x{1f170}-\\x{"
     "1f189}",
     PTQ_WORD | PTQ_RECENT, 0},
};

/* What \w has beside [\w]: superscripts and fractions of Latin-1. */
#define ALONE "\\x{b2}\\x{b3}\\x{b9}\\x{bc}-\\x{be}"

static int is_named(const char *known, const char *name, size_t length)
{
    return strlen(known) == length && !memcmp(known, name, length);
}

static const struct kind *kind_of(const char *name, size_t length)
{
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (is_named(kinds[i].name, name, length)) return &kinds[i];
    return NULL;
}

static void add_ranges(struct ptq_buffer *out, int mask)
{
    for (int i = 0; i < ptq_n_char_ranges; i++)
        if ((ptq_char_ranges[i].flags & mask) == mask)
            ptq_buffer_add(out, "\\x{%x}-\\x{%x}", (unsigned)ptq_char_ranges[i].first,
                           (unsigned)ptq_char_ranges[i].last);
}

/* Everything that has not the flag. */
static void add_other_ranges(struct ptq_buffer *out, int flag)
{
    unsigned next = 0;
    for (int i = 0; i < ptq_n_char_ranges; i++) {
        if (!(ptq_char_ranges[i].flags & flag)) continue;
        if (ptq_char_ranges[i].first > next)
            ptq_buffer_add(out, "\\x{%x}-\\x{%x}", next, (unsigned)ptq_char_ranges[i].first - 1);
        next = ptq_char_ranges[i].last + 1;
    }
    ptq_buffer_add(out, "\\x{%x}-\\x{10ffff}", next);
}

/* A member that is itself a class comes next; alone it is one, too. */
static enum ptq_status begin_member(struct translation *t, int is_caseless, struct ptq_error *err)
{
    if (t->place == BEHIND_DASH) return refuse(t, err, "a range that ends in a class");
    if (ignores_case(t) && !is_caseless) return refuse(t, err, "a class where case does not matter");
    if (t->place) t->place = BEHIND_CLASS;
    t->folded = 0;
    t->once = NULL;
    return PTQ_OK;
}

static enum ptq_status add_kind(struct translation *t, const struct kind *kind, int negated, struct ptq_error *err)
{
    PTQ_TRY(begin_member(t, kind->more == PTQ_SPACE, err));
    if (t->place && negated) {
        if (!kind->whole) return refuse(t, err, "the negative of \\d or \\w in a class");
        add_other_ranges(t->out, kind->whole);
        return PTQ_OK;
    }
    if (!t->place) ptq_buffer_add(t->out, negated ? "[^" : "[");
    ptq_buffer_add(t->out, "%s", kind->known);
    add_ranges(t->out, kind->more);
    if (!t->place) ptq_buffer_add(t->out, *kind->name == 'w' ? ALONE "]" : "]");
    return PTQ_OK;
}

/* Other categories, and scripts, whose names mean more to PCRE2 without sc: */
static const char *const categories[] = {"Lu", "Ll", "Lt", "Lm", "Lo", "M",  "Mn", "Mc", "Me", "Nl", "No", "P",
                                         "Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po", "S",  "Sm", "Sc", "Sk", "So",
                                         "Z",  "Zs", "Zl", "Zp", "C",  "Cc", "Cf", "Co", "Cn", NULL};
static const char *const scripts[] = {"Arabic", "Bengali",  "Cyrillic", "Devanagari", "Greek", "Han", "Hangul",
                                      "Hebrew", "Hiragana", "Katakana", "Latin",      "Thai",  NULL};

static int is_listed(const char *const *list, const char *name, size_t length)
{
    while (*list && !is_named(*list, name, length)) list++;
    return *list != NULL;
}

/* \p{name}, \p{^name}, \P{name}; name is followed by the closing brace. */
static enum ptq_status add_named_property(struct translation *t, const char *name, size_t length, int negated,
                                          struct ptq_error *err)
{
    const struct kind *kind = length && isupper((unsigned char)*name) ? kind_of(name, length) : NULL;
    int is_script = is_listed(scripts, name, length);
    if (kind) return add_kind(t, kind, negated, err);
    if (!is_script && !is_listed(categories, name, length))
        return refuse(t, err, "a property that is no category, \\p{Lu}, or well-known script, \\p{Han},");
    PTQ_TRY(begin_member(t, 0, err));
    ptq_buffer_add(t->out, "\\%c{%s%.*s}", negated ? 'P' : 'p', is_script ? "sc:" : "", (int)length, name);
    return PTQ_OK;
}

static enum ptq_status add_property(struct translation *t, struct ptq_error *err)
{
    const char *from = t->regex + t->at;
    if (from[2] != '{') return refuse(t, err, "\\%c without braces", from[1]);
    int inverted = from[3] == '^';
    const char *name = from + 3 + inverted, *end = strchr(name, '}');
    if (!end) return refuse(t, err, "\\%c without a closing brace", from[1]);
    PTQ_TRY(add_named_property(t, name, (size_t)(end - name), (from[1] == 'P') != inverted, err));
    t->at += (size_t)(end - from) + 1;
    return PTQ_OK;
}

/* "[" in a class. */
static enum ptq_status add_posix_class(struct translation *t, struct ptq_error *err)
{
    static const struct {
        const char *name, *kind; /* NULL: the same in both */
    } classes[] = {{"ascii", NULL}, {"cntrl", NULL}, {"xdigit", NULL}, {"digit", "Nd"}, {"space", "s"}, {"word", "w"}};
    const char *name = t->regex + t->at + 2, *end = name[-1] == ':' ? strstr(name, ":]") : NULL;
    if (!end) return refuse(t, err, "a class within a class");
    size_t i = 0, n = sizeof classes / sizeof *classes, length = (size_t)(end - name);
    while (i < n && !is_named(classes[i].name, name, length)) i++;
    if (i == n) return refuse(t, err, "a class in [: :] other than ascii, cntrl, digit, space, word, xdigit");
    const char *kind = classes[i].kind;
    if (kind) {
        PTQ_TRY(add_kind(t, kind_of(kind, strlen(kind)), 0, err));
        t->at += length + 4;
        return PTQ_OK;
    }
    PTQ_TRY(begin_member(t, 0, err));
    keep(t, length + 4);
    return PTQ_OK;
}

/* ---- characters ---- */

/* Two letters that are folded to one character, too: those that ss, ff, fi, fl and st are parts of. */
static int fold_together(int first, int second)
{
    return (first == 's' && (second == 's' || second == 't')) ||
           (first == 'f' && (second == 'f' || second == 'i' || second == 'l'));
}

/* Something of one character is about to be written; folded as in the translation. */
static void pass_character(struct translation *t, int folded)
{
    t->folded = folded;
    t->once = NULL;
    if (t->place) t->place = t->place == BEHIND_DASH ? BEHIND_RANGE : BEHIND_CHARACTER;
}

/* The same, c being the character or its first byte. */
static enum ptq_status begin_character(struct translation *t, int c, struct ptq_error *err)
{
    int small = c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c;
    if (ignores_case(t) && c >= 0x80) return refuse(t, err, "text beyond ASCII where case does not matter");
    if (fold_together(t->folded, small))
        return refuse(t, err, "ss, st, ff, fi or fl where case does not matter, which one character may be, too,");
    pass_character(t, ignores_case(t) && !t->place ? small : 0);
    return PTQ_OK;
}

/* A character of the expression that stands for itself; a backslash before it is written, too. */
static enum ptq_status add_itself(struct translation *t, int is_escaped, struct ptq_error *err)
{
    const unsigned char *c = (const unsigned char *)t->regex + t->at + is_escaped;
    size_t length = *c != 0;
    while (length && (c[length] & 0xc0) == 0x80) length++;
    PTQ_TRY(begin_character(t, is_escaped && isalnum(*c) ? 0 : *c, err));
    keep(t, length + (size_t)is_escaped);
    return PTQ_OK;
}

/* \xHH of ASCII, for Oniguruma's others are bytes, and \x{H}. */
static enum ptq_status add_hex(struct translation *t, struct ptq_error *err)
{
    const char *from = t->regex + t->at;
    int has_brace = from[2] == '{';
    const char *digits = from + 2 + has_brace;
    size_t n = strspn(digits, "0123456789abcdefABCDEF");
    if (has_brace ? n < 1 || n > 6 || digits[n] != '}' : n < 2 || *digits > '7')
        return refuse(t, err, "\\x other than \\x00 to \\x7F and \\x{H} of up to six digits");
    char number[8];
    snprintf(number, sizeof number, "%.*s", has_brace ? (int)n : 2, digits);
    PTQ_TRY(begin_character(t, (int)strtol(number, NULL, 16), err));
    keep(t, has_brace ? n + 4 : 4);
    return PTQ_OK;
}

static enum ptq_status add_escape(struct translation *t, struct ptq_error *err)
{
    unsigned char c = (unsigned char)t->regex[t->at + 1];
    const char name[] = {(char)tolower(c), 0};
    if (c == 'p' || c == 'P') return add_property(t, err);
    if (c == 'x') return add_hex(t, err);
    if (c && strchr("sSdDwW", c)) {
        PTQ_TRY(add_kind(t, *name == 'd' ? kind_of("Nd", 2) : kind_of(name, 1), isupper(c), err));
        t->at += 2;
        return PTQ_OK;
    }
    if (c == 'v') {
        pass_character(t, 0);
        ptq_buffer_add(t->out, "\\x0b");
        t->at += 2;
        return PTQ_OK;
    }
    if (!t->place && c && strchr("AzZ", c)) {
        add_edge(t, 2);
        return PTQ_OK;
    }
    if (isalnum(c) && !strchr(t->place ? "aefnrtb" : "aefnrt", c)) return refuse(t, err, "the escape \\%c", c);
    return add_itself(t, 1, err);
}

/* ---- what is in a class ---- */

/* A range, or itself. Another behind a range stands for itself, but a third is not known. */
static enum ptq_status add_dash(struct translation *t, struct ptq_error *err)
{
    enum place before = t->place;
    int is_last = t->regex[t->at + 1] == ']', is_range = before == BEHIND_CHARACTER && !is_last;
    if (before == BEHIND_CLASS && !is_last) return refuse(t, err, "a dash behind a class");
    pass_character(t, 0);
    if (is_range) t->place = BEHIND_DASH;
    if (before == BEHIND_RANGE) t->place = BEHIND_CLASS;
    ptq_buffer_add(t->out, is_range ? "-" : "\\-");
    t->at++;
    return PTQ_OK;
}

static enum ptq_status add_in_class(struct translation *t, struct ptq_error *err)
{
    const char *from = t->regex + t->at;
    if (*from == '\\') return add_escape(t, err);
    if (*from == '[') return add_posix_class(t, err);
    if (*from == '&' && from[1] == '&') return refuse(t, err, "an intersection of classes");
    if (*from == '-') return add_dash(t, err);
    if (*from != ']') return add_itself(t, 0, err);
    t->place = OUTSIDE;
    keep(t, 1);
    return PTQ_OK;
}

/* "[", with ^ and a leading ], which stands for itself. */
static void begin_class(struct translation *t)
{
    t->folded = 0;
    t->once = NULL;
    t->place = AT_START;
    keep(t, t->regex[t->at + 1] == '^' ? 2 : 1);
    if (t->regex[t->at] != ']') return;
    ptq_buffer_add(t->out, "\\");
    keep(t, 1);
    t->place = BEHIND_CHARACTER;
}

/* ---- groups and quantifiers ---- */

static enum ptq_status begin_group(struct translation *t, struct ptq_error *err)
{
    static const struct {
        const char *opening;
        int on, off;
    } groups[] = {{"(?:", 0, 0},
                  {"(?>", 0, 0},
                  {"(?=", LOOKS_AROUND, 0},
                  {"(?!", LOOKS_AROUND, 0},
                  {"(?<=", LOOKS_AROUND | LOOKS_BEHIND, 0},
                  {"(?<!", LOOKS_AROUND | LOOKS_BEHIND, 0},
                  {"(?i:", IGNORES_CASE, 0},
                  {"(?-i:", 0, IGNORES_CASE}};
    const char *from = t->regex + t->at;
    size_t i = 0, n = sizeof groups / sizeof *groups;
    if (!t->at && !strncmp(from, "(?i)", 4)) {
        *t->group = IGNORES_CASE;
        keep(t, 4);
        return PTQ_OK;
    }
    if (t->depth == MAX_DEPTH) return refuse(t, err, "more than %d groups in each other", MAX_DEPTH);
    while (i < n && strncmp(from, groups[i].opening, strlen(groups[i].opening)) != 0) i++;
    if (i == n && (from[1] == '?' || from[1] == '*')) return refuse(t, err, "a group of a special kind");
    int outer = t->group[t->depth] & (IGNORES_CASE | LOOKS_BEHIND), on = i < n ? groups[i].on : 0;
    if (outer & on & LOOKS_BEHIND) return refuse(t, err, "a lookbehind within a lookbehind");
    t->group[++t->depth] = (outer | on) & (i < n ? ~groups[i].off : ~0);
    t->once = NULL;
    keep(t, i < n ? strlen(groups[i].opening) : 1);
    return PTQ_OK;
}

static void end_group(struct translation *t)
{
    int is_place = t->group[t->depth] & LOOKS_AROUND;
    if (t->depth) t->depth--;
    keep(t, 1);
    t->once = is_place ? "a quantifier of a place" : NULL;
}

/* {n}, {n,}, {,m} or {n,m}; else a brace is one. */
static int is_interval(const char *from)
{
    size_t low = strspn(from + 1, "0123456789"), high = 0;
    const char *end = from + 1 + low;
    if (*end == ',') end += 1 + (high = strspn(end + 1, "0123456789"));
    return *end == '}' && low + high > 0;
}

static enum ptq_status add_interval(struct translation *t, struct ptq_error *err)
{
    size_t length = strcspn(t->regex + t->at, "}") + 1;
    const char *from = t->regex + t->at, *comma = memchr(from, ',', length);
    if (from[length] == '+' || (from[length] == '?' && !comma))
        return refuse(t, err, comma ? "{n,m}+" : "{n}%c", from[length]);
    if (comma == from + 1) {
        ptq_buffer_add(t->out, "{0");
        t->at++;
        length--;
    }
    keep(t, length);
    return PTQ_OK;
}

static enum ptq_status add_quantifier(struct translation *t, struct ptq_error *err)
{
    if (t->once) return refuse(t, err, "%s", t->once);
    if (t->regex[t->at] == '{')
        PTQ_TRY(add_interval(t, err));
    else
        keep(t, 1);
    if (t->regex[t->at] == '?' || t->regex[t->at] == '+') keep(t, 1);
    t->once = "a quantifier of a quantifier";
    return PTQ_OK;
}

static enum ptq_status add_outside(struct translation *t, struct ptq_error *err)
{
    const char *from = t->regex + t->at;
    switch (*from) {
    case '\\':
        return add_escape(t, err);
    case '[':
        begin_class(t);
        return PTQ_OK;
    case '(':
        return begin_group(t, err);
    case ')':
        end_group(t);
        return PTQ_OK;
    case '^':
    case '$':
        add_edge(t, 1);
        return PTQ_OK;
    case '|':
        pass_character(t, 0);
        keep(t, 1);
        return PTQ_OK;
    case '{':
    case '*':
    case '+':
    case '?':
        if (*from != '{' || is_interval(from)) return add_quantifier(t, err);
        ptq_buffer_add(t->out, "\\");
        break;
    }
    return add_itself(t, 0, err);
}

enum ptq_status ptq_translate_regex(const char *regex, const char *where, struct ptq_buffer *out, struct ptq_error *err)
{
    struct translation t = {.regex = regex, .where = where, .out = out};
    if (strlen(regex) > MAX_REGEX)
        return ptq_fail(err, PTQ_EINPUT, "%s: the expression is longer than %d bytes", where, MAX_REGEX);
    if (!*regex) return ptq_fail(err, PTQ_EINPUT, "%s: the expression is empty", where);
    while (regex[t.at]) PTQ_TRY(t.place ? add_in_class(&t, err) : add_outside(&t, err));
    return PTQ_OK;
}
