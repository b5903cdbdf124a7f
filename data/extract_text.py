#!/usr/bin/env python3
"""Plain text out of documentation: HTML pages or POD manuals in, one UTF-8 text out.

    extract_text.py html|pod [--part all|eval|calib] OUT FILE...

The same files give the same bytes: they are read in the order of their names' bytes, a paragraph becomes one line,
paragraphs are parted by one empty line, and the whole is in Unicode's NFC. What is not prose is left out: navigation,
tables of contents, lists of links, licences, indexes, and paragraphs that stand in many files.

--part parts the files, not the lines: every fourth file (of those that are kept) is for evaluation, the others are for
calibration, so that no page is in both. Paragraphs that two files share are kept in the first of them only.
"""
import argparse
import collections
import html.parser
import os
import re
import sys
import unicodedata

# Files that hold no running English prose, or hold another file's, and why.
LEAVE_OUT = {
    "html": {
        "index": "a table of contents", "links": "links", "alinks": "links", "arlinks": "links",
        "biblio": "a list of books", "book": "where to buy", "contact": "addresses", "pdf": "download links",
        "translations": "links", "supplementary": "links", "new": "a list of changes",
        "sec?con": "a table of contents", "append13*": "an older version of section F",
        "append12": "an older version of append11", "append3*": "repeats section H at length",
        "append4*": "repeats section H at length",
    },
    "pod": {
        "perl": "a table of contents", "perltoc": "a table of contents", "perlfaq": "a table of contents",
        "perl5*delta": "release notes, a third of them lists of versions", "perldelta": "release notes",
        "perluniprops": "tables", "perlrequick": "half of it stands in perlretut", "perlapi": "an index of signatures",
        "perlintern": "an index of signatures", "perlmodlib": "a list of modules", "perlhist": "tables of dates",
        "perlcheat": "a table", "perlartistic": "a licence", "perlgpl": "a licence", "perlcn": "not English",
        "perljp": "not English", "perlko": "not English", "perltw": "not English", "perlebcdic": "tables",
        **{"perl" + system: "building on one system" for system in (
            "aix amiga android bs2000 cygwin freebsd haiku hpux hurd irix linux macosx openbsd os2 os390 os400 plan9 "
            "qnx riscos solaris synology tru64 vms vos win32").split()},
    },
}
# Sections that every manual page repeats, and headings that say nothing by themselves.
LEAVE_OUT_SECTIONS = {
    "name", "version", "see also", "acknowledgements", "acknowledgments", "reporting bugs", "author", "authors",
    "author and copyright", "copyright", "copyright and license", "authors and copyright", "credits", "give thanks",
    "obtaining perl", "history", "last modified", "contributors", "revision", "maintainers", "maintainer", "license",
}
LEAVE_OUT_HEADINGS = {"description", "synopsis", "overview"}
EVAL_EVERY = 4  # of the files that are kept, one in so many is for evaluation
BOILERPLATE_FILES = 3  # a paragraph that stands in so many files is said by none of them
BOILERPLATE_WORDS = 4  # unless it is shorter than this, as "For example:" is
SHARED_WORDS = 8  # a paragraph of so many words stands once in the whole text
FEWEST_WORDS = 150  # a file with fewer is a pointer to another one
CELL_WORDS = 8  # a table's cell with fewer is a figure or a label
LONGEST_VERBATIM = 24  # lines; a longer block is a listing or a table, not an example


class Block:
    """One paragraph. level is a heading's (0: none); links counts the characters that stand in links."""

    def __init__(self, text, kind="p", level=0, links=0):
        self.text = text
        self.kind = kind  # "p", "h" heading, "li" item, "td" cell, "v" verbatim: keeps its lines
        self.level = level
        self.links = links


def squeeze(text):
    """NFC, with every run of white space one space, and nothing that cannot be seen."""
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)
        text = "".join(c for c in text if unicodedata.category(c) not in ("Cc", "Cf", "Co") or c.isspace())
    return " ".join(text.split())


class Page(html.parser.HTMLParser):
    """Cuts a page into blocks. Pages nest badly, so tags only open and close blocks; nothing depends on a pair."""

    BREAKS = frozenset(
        "p div h1 h2 h3 h4 h5 h6 li ul ol dl dt dd blockquote table tbody thead tr td th hr center body pre".split())
    SKIPS = frozenset("head title script style".split())
    KINDS = {"h1": "h", "h2": "h", "h3": "h", "h4": "h", "h5": "h", "h6": "h", "li": "li", "td": "td", "th": "td"}

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.blocks = []
        self.pieces = []
        self.links = 0
        self.tag = "p"  # that opened the block at hand
        self.in_link = False
        self.skip = None  # the tag whose end is waited for
        self.skip_depth = 0
        self.last_was_br = False

    def end_block(self, tag="p"):
        """Closes the block at hand, and opens one that is tag's."""
        text = squeeze("".join(self.pieces))
        if text:
            kind = self.KINDS.get(self.tag, "p")
            self.blocks.append(Block(text, kind, int(self.tag[1]) if kind == "h" else 0, self.links))
        self.pieces, self.links, self.tag = [], 0, tag

    def handle_starttag(self, tag, attrs):
        if self.skip:
            self.skip_depth += tag == self.skip
            return
        classes = (dict(attrs).get("class") or "").split()
        if tag in self.SKIPS or "book-navigation" in classes or "page-links" in classes or "menu" in classes:
            self.end_block()
            self.skip, self.skip_depth = tag, 1
        elif tag == "br":
            if self.last_was_br:
                self.end_block(self.tag)
            self.pieces.append(" ")
            self.last_was_br = True
        elif tag == "a":
            self.in_link = any(name == "href" for name, _ in attrs)
        elif tag in self.BREAKS:
            inside = tag == "p" and self.tag in self.KINDS and not self.pieces
            self.end_block(self.tag if inside else tag)

    def handle_endtag(self, tag):
        if self.skip:
            self.skip_depth -= tag == self.skip
            if self.skip_depth <= 0:
                self.skip = None
        elif tag == "a":
            self.in_link = False
        elif tag in self.BREAKS:
            self.end_block()

    def handle_data(self, data):
        if self.skip:
            return
        self.pieces.append(data)
        seen = len(squeeze(data))
        self.links += seen if self.in_link else 0
        self.last_was_br = self.last_was_br and not seen


def leads_elsewhere(block):
    """A block that is nearly all link, or a table's cell too short to be a sentence; a sentence with a link stays."""
    return block.links * 10 >= len(block.text) * 8 or (block.kind == "td" and len(block.text.split()) < CELL_WORDS)


def html_blocks(text):
    page = Page()
    page.feed(text)
    page.close()
    page.end_block()
    return [block for block in page.blocks if not leads_elsewhere(block)]


POD_ENTITIES = {"lt": "<", "gt": ">", "verbar": "|", "sol": "/", "lchevron": "«", "rchevron": "»", "shy": ""}


def pod_entity(name):
    """What E<name> stands for; an unknown name stands for itself."""
    if name in POD_ENTITIES:
        return POD_ENTITIES[name]
    number = re.fullmatch(r"0[xX]([0-9a-fA-F]+)|0([0-7]+)|([0-9]+)", name)
    if number:
        hexadecimal, octal, decimal = number.groups()
        code = int(hexadecimal, 16) if hexadecimal else int(octal, 8) if octal else int(decimal)
        return chr(code) if 31 < code < 0x110000 and not 0xD800 <= code < 0xE000 else ""
    return html.unescape("&" + name + ";") if html.unescape("&" + name + ";") != "&" + name + ";" else name


def pod_link(content):
    """L<text|target> reads as its text; L<page/section> as `"section" in page`, the way perldoc says it."""
    text, bar, target = content.partition("|")
    if bar:
        return text
    if re.match(r"[a-z]+:[^:\s]", target or text):
        return text
    page, slash, section = text.partition("/")
    section = section.strip().strip('"')
    if not slash or not section:
        return page
    return '"%s" in %s' % (section, page) if page else '"%s"' % section


def pod_render(code, content):
    if code == "E":
        return pod_entity(content.strip())
    if code == "L":
        return pod_link(content)
    return "" if code in "XZ" else content


POD_OPEN = re.compile(r"([A-Z])(<<+\s|<)")


def pod_inline(text):
    """Formatting codes X<...> and X<< ... >> resolved, nested ones too, without recursion."""
    stack = [("", "", [])]  # (code, what ends it, pieces)
    at = 0
    while at < len(text):
        code, end, pieces = stack[-1]
        if end and text.startswith(end, at):
            if len(stack) > 1:
                stack.pop()
                stack[-1][2].append(pod_render(code, "".join(pieces).strip() if len(end) > 1 else "".join(pieces)))
            at += len(end)
            continue
        opened = POD_OPEN.match(text, at)
        if opened:
            brackets = opened.group(2).strip()
            stack.append((opened.group(1), ">" if brackets == "<" else " " + ">" * len(brackets), []))
            at = opened.end()
            continue
        pieces.append(text[at])
        at += 1
    while len(stack) > 1:  # never closed: what it holds is text
        code, _, pieces = stack.pop()
        stack[-1][2].append(pod_render(code, "".join(pieces)))
    return "".join(stack[0][2])


def pod_verbatim(lines):
    """An example as it is, its common indentation made four spaces; listings and tables are too long to stay."""
    lines = [line.expandtabs().rstrip() for line in lines]
    if len(lines) > LONGEST_VERBATIM:
        return None
    margin = min(len(line) - len(line.lstrip()) for line in lines if line)
    return Block(unicodedata.normalize("NFC", "\n".join("    " + line[margin:] if line else "" for line in lines)), "v")


def pod_paragraphs(text):
    """Paragraphs as lists of lines. A line that opens with a command opens a paragraph, empty line before it or not."""
    lines = []
    for line in text.replace("\r\n", "\n").split("\n") + [""]:
        blank = not line.strip()
        if lines and (blank or re.match(r"=[a-zA-Z]", line)):
            yield lines
            lines = []
        if not blank:
            lines.append(line)


class Manual:
    """Walks a POD file's paragraphs and keeps those that are prose or short examples."""

    def __init__(self):
        self.blocks = []
        self.verbatim = []
        self.skip_region = None  # =begin NAME until =end NAME
        self.skip_level = 0  # a left-out section of this level lasts until a heading of it or above
        self.in_pod = False

    def flush(self):
        if self.verbatim:
            block = pod_verbatim(self.verbatim)
            self.verbatim = []
            if block:
                self.blocks.append(block)

    def add(self, text, kind="p", level=0):
        self.flush()
        text = squeeze(pod_inline(text))
        if text:
            self.blocks.append(Block(text, kind, level))

    def heading(self, level, text):
        if self.skip_level and level > self.skip_level:
            return
        name = squeeze(pod_inline(text)).lower()
        self.skip_level = level if name in LEAVE_OUT_SECTIONS else 0
        if not self.skip_level and name not in LEAVE_OUT_HEADINGS:
            self.add(text, "h", level)

    def item(self, text):
        """Bullets and numbers are layout; an item's words are text."""
        text = re.sub(r"^\s*(\*|[0-9]+[.)]?|o|-)(\s+|$)", "", text)
        if text.strip() and not self.skip_level:
            self.add(text, "li")

    def command(self, name, rest):
        if name.startswith("head") and name[4:].isdigit():
            self.flush()
            self.heading(int(name[4:]), rest)
        elif name == "item":
            self.item(rest)
        elif name == "begin":
            self.skip_region = (rest.split() or [""])[0]

    def paragraph(self, lines):
        first = lines[0]
        command = re.match(r"=([a-zA-Z]\w*)\s*(.*)", first)
        if command:
            name, rest = command.group(1), " ".join([command.group(2)] + lines[1:])
            self.in_pod = name != "cut"
            if self.skip_region is not None:
                if name == "end" and (rest.split() or [""])[0] == self.skip_region:
                    self.skip_region = None
            else:
                self.command(name, rest)
        elif self.in_pod and not self.skip_level and self.skip_region is None:
            if first[0] in " \t":
                self.verbatim += ([""] if self.verbatim else []) + lines
            else:
                self.add(" ".join(lines))


def pod_blocks(text):
    manual = Manual()
    for lines in pod_paragraphs(text):
        manual.paragraph(lines)
    manual.flush()
    return manual.blocks


READERS = {"html": html_blocks, "pod": pod_blocks}


def read_source(path):
    with open(path, "rb") as file:
        raw = file.read()
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def left_out(form, stem):
    return any(re.fullmatch(name.replace("?", ".").replace("*", ".*"), stem) for name in LEAVE_OUT[form])


def stem_of(path):
    return os.path.splitext(os.path.basename(path))[0]


def words_of(blocks):
    return sum(len(block.text.split()) for block in blocks)


def without_repeats(files):
    """Leaves out what stands in many files, and of a paragraph that two files share all but the first."""
    places = collections.Counter()
    for _, blocks in files:
        places.update({block.text for block in blocks})
    seen = set()
    kept = []
    for name, blocks in files:
        own = []
        for block in blocks:
            words = len(block.text.split()) if block.kind != "h" else 0
            everywhere = words >= BOILERPLATE_WORDS and places[block.text] >= BOILERPLATE_FILES
            if not everywhere and not (words >= SHARED_WORDS and block.text in seen):
                own.append(block)
                seen.add(block.text)
        kept.append((name, own))
    return kept


def without_bare_headings(blocks):
    """A heading with nothing under it, because that was left out, says nothing: it goes when a heading of its level or
    above, or the end, comes next."""
    kept = []
    for block in blocks + [Block("", "h", 0)]:
        while block.kind == "h" and kept and kept[-1].kind == "h" and kept[-1].level >= block.level:
            kept.pop()
        kept.append(block)
    return kept[:-1]


def extract(form, paths, part="all"):
    """The text of the files, as one string. The part is chosen after the whole has been cleaned: the parts of one
    package never share a paragraph."""
    paths = sorted((path for path in paths if not left_out(form, stem_of(path))),
                   key=lambda path: os.path.basename(path).encode())
    files = without_repeats([(path, READERS[form](read_source(path))) for path in paths])
    files = [(name, without_bare_headings(blocks)) for name, blocks in files if words_of(blocks) >= FEWEST_WORDS]
    if part != "all":
        files = [file for at, file in enumerate(files) if (at % EVAL_EVERY == EVAL_EVERY - 1) == (part == "eval")]
    return "".join(block.text + "\n\n" for _, blocks in files for block in blocks).rstrip("\n") + "\n"


def main(argv):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("form", choices=sorted(READERS))
    parser.add_argument("--part", choices=["all", "eval", "calib"], default="all")
    parser.add_argument("out")
    parser.add_argument("files", nargs="+")
    options = parser.parse_args(argv)
    text = extract(options.form, options.files, options.part)
    with open(options.out + ".tmp", "w", encoding="utf-8", newline="\n") as file:
        file.write(text)
    os.replace(options.out + ".tmp", options.out)


if __name__ == "__main__":
    main(sys.argv[1:])
