#include "sheet.h"

#include "words.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The sheet with everything escaped and the columns chosen. */
struct page {
    struct ptq_arena *arena;
    enum ptq_table_format format;
    const struct ptq_sheet *sheet;
    int shown[PTQ_SHEET_COLUMNS], n; /* columns of the sheet */
    int width[PTQ_SHEET_COLUMNS];    /* of shown ones, in characters */
    FILE *out;
};

static const char *cell_text(const struct page *page, int row, int column)
{
    const char *text = page->sheet->row[row][page->shown[column]];
    return ptq_escape(page->arena, page->format, text ? text : "");
}

/* A column's head: its group's name before it where the format has no second line of heads. */
static const char *head_text(const struct page *page, int column)
{
    const struct ptq_sheet_column *c = &page->sheet->column[page->shown[column]];
    const char *head = ptq_escape(page->arena, page->format, c->head);
    if (!c->group || page->format == PTQ_TABLE_TEX || page->format == PTQ_TABLE_HTML) return head;
    return ptq_format(page->arena, "%s %s", ptq_escape(page->arena, page->format, c->group), head);
}

/* Characters, not bytes: those that go on a character begin with 10. */
static int characters(const char *text)
{
    int n = 0;
    for (; *text; text++) n += (*text & 0xc0) != 0x80;
    return n;
}

static int is_empty(const struct ptq_sheet *sheet, int column)
{
    for (int r = 0; r < sheet->n_rows; r++)
        if (sheet->row[r][column] && *sheet->row[r][column]) return 0;
    return 1;
}

static void lay_out(struct page *page)
{
    const struct ptq_sheet *sheet = page->sheet;
    for (int c = 0; c < sheet->n_columns; c++)
        if (!is_empty(sheet, c) && !(sheet->column[c].not_in_text && page->format == PTQ_TABLE_TEXT))
            page->shown[page->n++] = c;
    for (int c = 0; c < page->n; c++) {
        page->width[c] = characters(head_text(page, c));
        for (int r = 0; r < sheet->n_rows; r++)
            if (characters(cell_text(page, r, c)) > page->width[c]) page->width[c] = characters(cell_text(page, r, c));
    }
}

static int is_left(const struct page *page, int column)
{
    return page->sheet->column[page->shown[column]].left;
}

static void print_padded(const struct page *page, int column, const char *text, const char *end)
{
    int pad = page->width[column] - characters(text);
    if (is_left(page, column))
        fprintf(page->out, "%s%*s%s", text, *end == '\n' ? 0 : pad, "", end);
    else
        fprintf(page->out, "%*s%s%s", pad, "", text, end);
}

/* ---- terminal ---- */

static void print_text(const struct page *page)
{
    fprintf(page->out, "%s\n\n", ptq_escape(page->arena, page->format, page->sheet->title));
    for (int r = -1; r < page->sheet->n_rows; r++)
        for (int c = 0; c < page->n; c++)
            print_padded(page, c, r < 0 ? head_text(page, c) : cell_text(page, r, c), c + 1 < page->n ? "  " : "\n");
}

/* ---- Markdown ---- */

static void print_markdown(const struct page *page)
{
    fprintf(page->out, "**%s**\n\n", ptq_escape(page->arena, page->format, page->sheet->title));
    for (int r = -1; r < page->sheet->n_rows; r++) {
        fputs("| ", page->out);
        for (int c = 0; c < page->n; c++)
            print_padded(page, c, r < 0 ? head_text(page, c) : cell_text(page, r, c), c + 1 < page->n ? " | " : " |\n");
        for (int c = 0; r < 0 && c < page->n; c++)
            fprintf(page->out, "%s%s%s", c ? "" : "|",
                    is_left(page, c) ? ":---" : "---:", c + 1 < page->n ? "|" : "|\n");
    }
}

/* ---- LaTeX ---- */

static int same_group(const struct page *page, int a, int b)
{
    const char *x = page->sheet->column[page->shown[a]].group, *y = page->sheet->column[page->shown[b]].group;
    return x && y && strcmp(x, y) == 0;
}

/* The line of groups, each over its columns with a rule under it. */
static void print_groups(const struct page *page)
{
    int any = 0;
    for (int c = 0; c < page->n; c++) any |= page->sheet->column[page->shown[c]].group != NULL;
    if (!any) return;
    for (int c = 0, end; c < page->n; c = end) {
        const char *group = page->sheet->column[page->shown[c]].group;
        for (end = c + 1; end < page->n && same_group(page, c, end);) end++;
        fputs(c ? " & " : "", page->out);
        if (group)
            fprintf(page->out, "\\multicolumn{%d}{c}{%s}", end - c, ptq_escape(page->arena, page->format, group));
    }
    fputs(" \\\\\n", page->out);
    for (int c = 0, end; c < page->n; c = end) {
        for (end = c + 1; end < page->n && same_group(page, c, end);) end++;
        if (page->sheet->column[page->shown[c]].group) fprintf(page->out, "\\cmidrule(lr){%d-%d}", c + 1, end);
    }
    fputs("\n", page->out);
}

static void print_latex(const struct page *page)
{
    fprintf(page->out, "\\begin{table}\n\\centering\n\\caption{%s}\n\\begin{tabular}{",
            ptq_escape(page->arena, page->format, page->sheet->title));
    for (int c = 0; c < page->n; c++) fputs(is_left(page, c) ? "l" : "r", page->out);
    fputs("}\n\\toprule\n", page->out);
    print_groups(page);
    for (int r = -1; r < page->sheet->n_rows; r++) {
        for (int c = 0; c < page->n; c++)
            fprintf(page->out, "%s%s", r < 0 ? head_text(page, c) : cell_text(page, r, c),
                    c + 1 < page->n ? " & " : " \\\\\n");
        if (r < 0) fputs("\\midrule\n", page->out);
    }
    fputs("\\bottomrule\n\\end{tabular}\n\\end{table}\n", page->out);
}

/* ---- HTML ---- */

/* Whether this space lies within an interval, "[+0.9, +1.5]", or within what runs came to, "(0.9 .. 1.5)". */
static int in_interval(const char *text, const char *space)
{
    int inside = 0;
    for (const char *c = text; c < space; c++)
        inside = inside ? !strchr("])", *c) : strchr("[(", *c) && (isdigit((unsigned char)c[1]) || strchr("+-", c[1]));
    return inside;
}

/* Whether this space lies within what may follow an interval, "[+0.9, +1.5] t, n = 3". */
static int in_seeds(const char *text, const char *space)
{
    static const char seeds[] = "] t, n = ";
    for (const char *c = strstr(text, seeds); c && c < space; c = strstr(c + 1, seeds))
        if (space > c + 1 && space < c + strlen(seeds)) return 1;
    return 0;
}

/* Whether a line may end at this space: not within an interval nor what may follow it, nor before a %. In a column of
 * numbers a number and its interval are one piece, "+1.2 [+0.9, +1.5]", behind which may come "t, n = 3"; a spread and
 * a range are two, "0.47, 50.9..51.7 (3)". */
static int may_break(const char *text, const char *space, int is_number)
{
    if (space[1] == '%' || in_interval(text, space) || in_seeds(text, space)) return 0;
    if (!is_number || space == text || space[-1] == ']') return 1;
    return space[-1] == ',' && space - text > 1 && isdigit((unsigned char)space[-2]);
}

/* The text with spaces that bind where a line must not end. */
static const char *bound(const struct page *page, const char *text, int is_number)
{
    struct ptq_buffer out = {0};
    for (const char *c = text; *c; c++)
        ptq_buffer_add(&out, *c == ' ' && !may_break(text, c, is_number) ? "&#160;" : "%c", *c);
    const char *all = ptq_strdup(page->arena, out.data ? out.data : "");
    free(out.data);
    return all;
}

/* The line of groups, each over its columns; heads without one reach down to the line below. */
static int print_html_groups(const struct page *page)
{
    int any = 0;
    for (int c = 0; c < page->n; c++) any |= page->sheet->column[page->shown[c]].group != NULL;
    if (!any) return 0;
    fputs("<tr>", page->out);
    for (int c = 0, end; c < page->n; c = end) {
        const char *group = page->sheet->column[page->shown[c]].group;
        for (end = c + 1; end < page->n && same_group(page, c, end);) end++;
        if (group)
            fprintf(page->out, "<th scope=\"colgroup\" colspan=\"%d\">%s</th>", end - c,
                    ptq_escape(page->arena, page->format, group));
        else
            fprintf(page->out, "<th scope=\"col\" rowspan=\"2\"%s>%s</th>", is_left(page, c) ? "" : " class=\"n\"",
                    bound(page, head_text(page, c), 0));
    }
    fputs("</tr>\n", page->out);
    return 1;
}

/* The longest piece of it that must stay on one line, in characters. */
static int longest_piece(const char *text, int is_number)
{
    int longest = 0;
    for (const char *c = text, *start = text;; c++) {
        if (*c && (*c != ' ' || !may_break(text, c, is_number))) continue;
        int length = characters(start) - characters(c);
        if (length > longest) longest = length;
        if (!*c) return longest;
        start = c + 1;
    }
}

/* Numbers to the right; what is short ("w3 g64") stays in one line. */
static void print_html_cell(const struct page *page, int row, int column)
{
    int is_number = !is_left(page, column);
    const char *text = row < 0 ? head_text(page, column) : cell_text(page, row, column);
    const char *kind = is_number ? " class=\"n\"" : row >= 0 && characters(text) <= 8 ? " class=\"s\"" : "";
    text = bound(page, text, is_number && row >= 0);
    if (row < 0)
        fprintf(page->out, "<th scope=\"col\"%s>%s</th>", kind, text);
    else
        fprintf(page->out, "<td%s>%s</td>", kind, text);
}

/* How a table is set on paper: letters as large as let its pieces stand side by side, on a page that is turned where
 * they would be too small on an upright one. */
struct setting {
    double points;
    int turned;
};

/* Least width in letters' heights: of a piece in DejaVu Sans, whose digits are 0.64, and of a column's margins. */
static struct setting setting_of(const struct page *page)
{
    static const double upright = 178 / 0.3528, turned = 265 / 0.3528; /* points between the margins of report.css */
    static const double usual = 7.5, least = 5.8, letter = 0.62, margins = 0.9;
    enum { MOST_OF_TEXT = 24 }; /* of a longer word: it may be broken */
    double width = 0;
    for (int c = 0; c < page->n; c++) {
        int longest = longest_piece(head_text(page, c), 0);
        for (int r = 0; r < page->sheet->n_rows; r++) {
            int piece = longest_piece(cell_text(page, r, c), !is_left(page, c));
            if (is_left(page, c) && piece > MOST_OF_TEXT) piece = MOST_OF_TEXT;
            if (piece > longest) longest = piece;
        }
        width += letter * longest + margins;
    }
    if (upright / width >= least) return (struct setting){fmin(usual, upright / width), 0};
    return (struct setting){fmin(usual, turned / width), 1};
}

static void print_html(const struct page *page)
{
    struct setting setting = setting_of(page);
    fprintf(page->out, "<div class=\"wide%s\"><table style=\"--print: %.1fpt\">\n", setting.turned ? " turned" : "",
            floor(10 * setting.points) / 10);
    if (page->sheet->title && *page->sheet->title)
        fprintf(page->out, "<caption>%s</caption>\n", ptq_escape(page->arena, page->format, page->sheet->title));
    fputs("<thead>\n", page->out);
    int grouped = print_html_groups(page);
    for (int r = -1; r < page->sheet->n_rows; r++) {
        fputs("<tr>", page->out);
        for (int c = 0; c < page->n; c++) {
            if (r < 0 && grouped && !page->sheet->column[page->shown[c]].group) continue;
            print_html_cell(page, r, c);
        }
        fputs(r < 0 ? "</tr>\n</thead>\n<tbody>\n" : "</tr>\n", page->out);
    }
    fputs("</tbody>\n</table></div>\n", page->out);
}

void ptq_sheet_print(const struct ptq_sheet *sheet, enum ptq_table_format format, FILE *out)
{
    struct page page = {.arena = ptq_arena_make("a table"), .format = format, .sheet = sheet, .out = out};
    lay_out(&page);
    if (format == PTQ_TABLE_MD)
        print_markdown(&page);
    else if (format == PTQ_TABLE_TEX)
        print_latex(&page);
    else if (format == PTQ_TABLE_HTML)
        print_html(&page);
    else
        print_text(&page);
    ptq_arena_free(page.arena);
}
