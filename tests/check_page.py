#!/usr/bin/env python3
"""Whether a report is what it promises: tests/check_page.py report.html [FIGURES]

Well-formed, alone (nothing is fetched, no script), every link inside it, every id once, every picture with words for who
cannot see it and a table behind it, every table in a place where it can be scrolled, no line's end between a number and its
interval. FIGURES: how many there must be. Says what does not hold, and fails."""
import re
import sys
import xml.etree.ElementTree as ElementTree

SVG, HTML = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xhtml}"
NAMESPACES = {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xhtml", "http://www.w3.org/1999/xlink"}


def complaints_about(text, n_figures):
    root = ElementTree.fromstring(text)  # fails where it is not well-formed
    elements = list(root.iter())
    ids = [element.get("id") for element in elements if element.get("id")]
    for name in sorted({name for name in ids if ids.count(name) > 1}):
        yield "id %s stands %d times" % (name, ids.count(name))
    for address in re.findall(r"[a-z]+://[^\s\"'<>]*", text):
        if address not in NAMESPACES:
            yield "names an address: " + address
    for element in elements:
        tag = element.tag.replace(HTML, "").replace(SVG, "svg:")
        if tag in ("script", "link", "iframe", "object", "embed", "img", "svg:image", "svg:script"):
            yield "has a <%s>" % tag
        for name, value in element.attrib.items():
            if name.lower().startswith("on"):
                yield "<%s> has %s" % (tag, name)
            if name.split("}")[-1] in ("href", "src") and (not value.startswith("#") or value[1:] not in ids):
                yield "<%s> points to %s, which is not here" % (tag, value)
        if "currentColor" in element.attrib.values():
            yield "<%s> has currentColor, at which weasyprint stops" % tag
    for place in elements:
        for table in place.findall(HTML + "table"):
            if "wide" not in place.get("class", "").split():
                yield "a table without a place to scroll in: " + "".join(table.itertext())[:40]
    for cell in root.iter(HTML + "td"):
        words = "".join(cell.itertext())
        if cell.get("class") == "n" and re.search(r" \[|\[[^\]]* ", words):
            yield "a number and its interval may be parted: " + words
    figures = root.findall(".//%sfigure" % HTML)
    if n_figures is not None and len(figures) != n_figures:
        yield "%d figures, not %d" % (len(figures), n_figures)
    for figure in figures:
        pictures = figure.findall(".//%ssvg" % SVG)
        if len(pictures) != 1 or not pictures[0].get("aria-label") or pictures[0].get("role") != "img":
            yield "%s: not one picture with words" % figure.get("id")
        caption = figure.find(HTML + "figcaption")
        if caption is None or len("".join(caption.itertext())) < 40:
            yield "%s: no caption" % figure.get("id")
        if not figure.findall(".//%stable" % HTML):
            yield "%s: no table" % figure.get("id")
    for section in ("summary", "failed", "provenance"):
        if section not in ids:
            yield "no section " + section


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        text = file.read()
    complaints = list(complaints_about(text, int(sys.argv[2]) if len(sys.argv) > 2 else None))
    for complaint in complaints:
        print("%s: %s" % (sys.argv[1], complaint))
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
