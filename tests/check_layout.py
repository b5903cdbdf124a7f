#!/usr/bin/env python3
"""Whether a report fits its window, as Chromium lays it out: tests/check_layout.py report.html [WIDTH...]

At each width (1280, 900 and 500 pixels, the least that it takes): the page itself does not scroll sideways; a table that
is wider than its place can be scrolled there; a number and its interval stand on one line. Says what does not hold, and
fails."""
import json
import os
import re
import subprocess
import sys
import tempfile

# Runs in a copy of the page, which has no script itself, and leaves what it finds in the title.
MEASURE = """<script>
const said = [], root = document.documentElement;
if (root.scrollWidth > root.clientWidth) said.push(`the page is ${root.scrollWidth} wide, not ${root.clientWidth}`);
for (const table of document.querySelectorAll('table')) {
    const place = table.parentElement, name = table.caption ? table.caption.textContent : table.textContent.slice(0, 40);
    const scrolls = getComputedStyle(place).overflowX == 'auto', right = place.getBoundingClientRect().right;
    if (table.offsetWidth > place.clientWidth && !scrolls) said.push(`a table runs out of its place: ${name}`);
    if (right > root.clientWidth + 1) said.push(`the place of a table runs out of the page: ${name}`);
    for (const cell of table.querySelectorAll('td.n')) {
        const range = document.createRange(), text = cell.firstChild;
        const end = text ? text.textContent.indexOf(']') : -1;
        if (end < 0) continue;
        range.setStart(text, 0);
        range.setEnd(text, end + 1);
        if (new Set(Array.from(range.getClientRects(), box => box.top)).size > 1)
            said.push(`an interval is on two lines: ${text.textContent}`);
    }
}
document.title = JSON.stringify({width: innerWidth, tables: document.querySelectorAll('table').length, said});
</script></body>"""


def laid_out(path, width):
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--window-size=%d,1000" % width, "--dump-dom",
               "file://" + path]
    page = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True).stdout
    title = re.search(r"<title>(.*?)</title>", page, re.DOTALL).group(1)
    return json.loads(title.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&").replace("&nbsp;", " "))


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        page = file.read()
    bad = 0
    with tempfile.TemporaryDirectory() as folder:
        copy = os.path.join(folder, "page.html")
        with open(copy, "w", encoding="utf-8") as file:
            file.write(page.replace("</body>", MEASURE))
        for width in [int(word) for word in sys.argv[2:]] or [1280, 900, 500]:
            found = laid_out(copy, width)
            if not found["tables"]:
                found["said"].append("no table was looked at")
            for said in found["said"]:
                print("%s at %d: %s" % (sys.argv[1], found["width"], said))
            bad += len(found["said"])
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
