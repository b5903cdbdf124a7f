/* gnuplot's SVG as a part of a page. Three things are changed on the way:
 *   - ids get a prefix, since all pictures of a page share one name space;
 *   - currentColor becomes the colour that it stands for, because weasyprint 57 stops at it: the shapes of points,
 * which are defined once and used in many colours, are defined once a colour;
 *   - groups with nothing in them, a third of the file, are left out. */
#include "page_parts.h"

#include <string.h>

enum { MOST_COLOURS = 32 };

struct colour {
    const char *text;
    size_t size;
};

struct picture {
    const struct ptq_page *page;
    const char *prefix, *at, *end;
    struct colour colour[MOST_COLOURS]; /* of `use`d shapes */
    int n_colours;
};

static const char *find(const char *from, const char *end, const char *text)
{
    return from < end ? memmem(from, (size_t)(end - from), text, strlen(text)) : NULL;
}

/* The value of color= in a tag; size 0 where it has none. */
static struct colour colour_of(const char *tag, const char *end)
{
    const char *at = find(tag, end, " color=");
    if (!at || at + 8 >= end) return (struct colour){"", 0};
    const char *value = at + 8, *close = memchr(value, at[7], (size_t)(end - value));
    return close ? (struct colour){value, (size_t)(close - value)} : (struct colour){"", 0};
}

static int is_use(const char *tag)
{
    return strncmp(tag, "<use ", 5) == 0;
}

static int colour_number(const struct picture *p, struct colour c)
{
    for (int i = 0; i < p->n_colours; i++)
        if (p->colour[i].size == c.size && memcmp(p->colour[i].text, c.text, c.size) == 0) return i;
    return -1;
}

static void find_colours(struct picture *p)
{
    for (const char *tag = p->at; (tag = find(tag, p->end, "<use ")); tag++) {
        const char *close = memchr(tag, '>', (size_t)(p->end - tag));
        struct colour c = colour_of(tag, close ? close : p->end);
        if (c.size && colour_number(p, c) < 0 && p->n_colours < MOST_COLOURS) p->colour[p->n_colours++] = c;
    }
}

/* Copies a tag. number: which colour's shapes it is of or refers to, -1 for none. */
static void print_tag(const struct picture *p, const char *tag, const char *end, struct colour c, int number)
{
    static const char *const before_id[] = {" id='", " id=\"", "href='#", "href=\"#", "url(#"};
    FILE *out = p->page->out;
    while (tag < end) {
        size_t length = 0;
        if (c.size && strncmp(tag, "currentColor", 12) == 0) {
            fwrite(c.text, 1, c.size, out);
            tag += 12;
            continue;
        }
        for (size_t b = 0; b < sizeof before_id / sizeof *before_id && !length; b++)
            if (strncmp(tag, before_id[b], strlen(before_id[b])) == 0) length = strlen(before_id[b]);
        if (length) {
            size_t id = strcspn(tag + length, "'\")");
            fprintf(out, "%.*s%s%.*s", (int)length, tag, p->prefix, (int)id, tag + length);
            if (number >= 0) fprintf(out, "-%d", number);
            tag += length + id;
        } else {
            fputc(*tag++, out);
        }
    }
}

/* The shapes of points, once a colour; at stands at <defs>, and goes behind </defs>. */
static void print_shapes(struct picture *p)
{
    const char *close = find(p->at, p->end, "</defs>");
    if (!close) return;
    fputs("<defs>", p->page->out);
    for (int i = 0; i < p->n_colours; i++)
        for (const char *tag = p->at + 1; (tag = memchr(tag, '<', (size_t)(close - tag)));) {
            const char *end = memchr(tag, '>', (size_t)(close - tag));
            if (!end) break;
            if (find(tag, end, "id='gp")) print_tag(p, tag, end + 1, p->colour[i], i);
            tag = end + 1;
        }
    fputs("</defs>", p->page->out);
    p->at = close + strlen("</defs>");
}

/* 1, and at behind it, where at stands at a group without content. */
static int skip_empty_group(struct picture *p, const char *end)
{
    const char *next = end + strspn(end, " \t\r\n");
    if (strncmp(p->at, "<g ", 3) || next > p->end || strncmp(next, "</g>", 4)) return 0;
    p->at = next + 4;
    return 1;
}

static void print_rest(struct picture *p)
{
    while (p->at < p->end) {
        const char *tag = memchr(p->at, '<', (size_t)(p->end - p->at));
        if (!tag) tag = p->end;
        /* Text between tags is escaped by gnuplot. */
        fwrite(p->at, 1, (size_t)(tag - p->at), p->page->out);
        p->at = tag;
        const char *close = tag < p->end ? memchr(tag, '>', (size_t)(p->end - tag)) : NULL;
        const char *end = close ? close + 1 : p->end;
        if (tag == p->end || skip_empty_group(p, end)) continue;
        if (strncmp(tag, "<defs>", 6) == 0) {
            print_shapes(p);
            continue;
        }
        struct colour c = colour_of(tag, end);
        print_tag(p, tag, end, c, is_use(tag) ? colour_number(p, c) : -1);
        p->at = end;
    }
}

static const char *view_box(const char *svg, const char *end, size_t *size)
{
    static const char name[] = "viewBox=\"";
    const char *at = find(svg, end, name);
    if (!at) return NULL;
    *size = strspn(at + sizeof name - 1, "0123456789. ");
    return at + sizeof name - 1;
}

/* The root's tag is made anew; so is the title, which would be the tooltip of the whole picture. */
enum ptq_status ptq_page_svg(const struct ptq_page *page, const char *svg, size_t size, const char *prefix,
                             const char *alt, struct ptq_error *err)
{
    const char *end = svg + size, *body = find(svg, end, "</desc>");
    size_t box_size = 0;
    const char *box = body ? view_box(svg, body, &box_size) : NULL, *close = body ? find(body, end, "</svg>") : NULL;
    if (!box || !close) return ptq_fail(err, PTQ_EINPUT, "a figure is no SVG as gnuplot 5.4 writes it");
    struct picture p = {
        .page = page, .prefix = prefix, .at = body + strlen("</desc>"), .end = close + strlen("</svg>")};
    find_colours(&p);
    fprintf(page->out,
            "<svg viewBox=\"%.*s\" role=\"img\" aria-label=\"%s\" xmlns=\"http://www.w3.org/2000/svg\" "
            "xmlns:xlink=\"http://www.w3.org/1999/xlink\">",
            (int)box_size, box, ptq_page_text(page, alt));
    print_rest(&p);
    return PTQ_OK;
}
