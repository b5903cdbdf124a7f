#include "escape.h"

#include "json.h"
#include "status.h"
#include "words.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *tex_escape(char c)
{
    switch (c) {
    case '\\':
        return "\\textbackslash{}";
    case '~':
        return "\\textasciitilde{}";
    case '^':
        return "\\textasciicircum{}";
    case '<':
        return "\\textless{}";
    case '>':
        return "\\textgreater{}";
    case '|':
        return "\\textbar{}";
    case '"':
        return "\\textquotedbl{}";
    case '`':
        return "\\textasciigrave{}";
    case '[': /* behind a row's end it would be that end's option */
        return "{[}";
    default:
        return NULL;
    }
}

static const char *html_escape(char c)
{
    return c == '<'    ? "&lt;"
           : c == '>'  ? "&gt;"
           : c == '&'  ? "&amp;"
           : c == '"'  ? "&quot;"
           : c == '\'' ? "&#39;"
                       : NULL;
}

/* next: the character after c. In Markdown a ] matters only where it could end a link's text or name. */
static void add_ascii(struct ptq_buffer *out, enum ptq_table_format format, char c, char next)
{
    const char *replaced = format == PTQ_TABLE_TEX ? tex_escape(c) : format == PTQ_TABLE_HTML ? html_escape(c) : NULL;
    const char *special = format == PTQ_TABLE_TEX ? "&%$#_{}" : format == PTQ_TABLE_MD ? "\\`*_#|~$" : "";
    if (format == PTQ_TABLE_MD && c == ']' && next && strchr("([:", next)) special = "]";
    if (format == PTQ_TABLE_MD && (c == '<' || c == '>' || c == '&'))
        replaced = c == '<' ? "&lt;" : c == '>' ? "&gt;" : "&amp;";
    if (strchr(special, c)) ptq_buffer_bytes(out, "\\", 1);
    ptq_buffer_bytes(out, replaced ? replaced : &c, replaced ? strlen(replaced) : 1);
}

/* Nothing but digits, signs, a point and an exponent: strtod takes words ("-inf") and hexadecimal digits, too. */
static int is_plain_number(const char *text)
{
    char *end;
    return text[strspn(text, "0123456789+-.eE")] == '\0' && isfinite(strtod(text, &end)) && end > text && !*end;
}

/* What a spreadsheet would compute. A number is none, and has to stay one for whoever reads the column. */
static int is_formula(const char *text)
{
    if (!*text || is_plain_number(text)) return 0;
    /* control characters are gone by now; the wide forms are in UTF-8 EF BC and 9D, 8B, 8D, A0 */
    return strchr("=+-@", *text) ||
           (strncmp(text, "\xef\xbc", 2) == 0 && text[2] && strchr("\x9d\x8b\x8d\xa0", text[2]));
}

static const char *csv_field(struct ptq_arena *arena, const char *text)
{
    int formula = is_formula(text);
    if (!formula && !strpbrk(text, ",;\"") && *text != ' ') return text;
    struct ptq_buffer out = {0};
    ptq_buffer_add(&out, "\"%s", formula ? "'" : "");
    for (; *text; text++) ptq_buffer_add(&out, *text == '"' ? "\"\"" : "%c", *text);
    ptq_buffer_add(&out, "\"");
    const char *field = ptq_strdup(arena, out.data);
    free(out.data);
    return field;
}

const char *ptq_escape(struct ptq_arena *arena, enum ptq_table_format format, const char *text)
{
    struct ptq_buffer out = {0};
    ptq_buffer_bytes(&out, "", 0);
    for (size_t n; *text; text += n ? n : 1) {
        n = ptq_printable(text);
        if (n > 1)
            ptq_buffer_bytes(&out, text, n);
        else
            add_ascii(&out, format, n ? *text : '?', text[1]);
    }
    const char *escaped = ptq_strdup(arena, out.data);
    free(out.data);
    return format == PTQ_TABLE_CSV ? csv_field(arena, escaped) : escaped;
}

const char *ptq_escape_lines(struct ptq_arena *arena, const char *text)
{
    struct ptq_buffer out = {0};
    ptq_buffer_bytes(&out, "", 0);
    for (; *text; text++) ptq_buffer_add(&out, *text == '\n' ? "\\n" : *text == '\\' ? "\\\\" : "%c", *text);
    const char *line = ptq_escape(arena, PTQ_TABLE_CSV, out.data);
    free(out.data);
    return line;
}

const char *ptq_worded(struct ptq_arena *arena, const char *protocol)
{
    static const char count[] = " 1 ";
    char *out = ptq_strdup(arena, protocol), *word = out;
    while ((word = strstr(word, count))) {
        word += strlen(count);
        char *end = word + strcspn(word, " ,;");
        if (end[-1] == 's') memmove(end - 1, end, strlen(end) + 1);
    }
    return out;
}

/* ---- numbers ---- */

const char *ptq_counted(struct ptq_arena *arena, long long n, const char *what)
{
    return ptq_format(arena, "%lld %s%s", n, what, n == 1 ? "" : "s");
}

int ptq_json_show(const json_t *root, size_t flags, FILE *out)
{
    char *text = ptq_json_dump(root, JSON_ENSURE_ASCII | flags);
    int bad = !text || fputs(text, out) == EOF || putc('\n', out) == EOF;
    free(text);
    return -bad;
}

int ptq_decimals(double value)
{
    double size = fabs(value);
    return size < 10 ? 3 : size < 100 ? 2 : size < 1000 ? 1 : 0;
}

const char *ptq_number(struct ptq_arena *arena, double value, int decimals, int sign)
{
    if (isnan(value)) return "";
    if (isinf(value)) return value < 0 ? "-inf" : sign ? "+inf" : "inf";
    if (fabs(value) >= 1e5) return ptq_format(arena, sign ? "%+.3e" : "%.3e", value);
    return ptq_format(arena, sign ? "%+.*f" : "%.*f", decimals, value);
}

const char *ptq_interval_text(struct ptq_arena *arena, double low, double high, int decimals, int sign)
{
    if (isnan(low) || isnan(high)) return "";
    return ptq_format(arena, "[%s, %s]", ptq_number(arena, low, decimals, sign),
                      ptq_number(arena, high, decimals, sign));
}
