#!/usr/bin/env python3
"""Goes through a table with the built ptq: check.py PTQ TABLE.tsv FOLDER [--of PREFIX | --but PREFIX]

FOLDER is where make.py or make_numbers.py made the files; PREFIX picks the entries whose file begins so, or leaves them
out. A line of the table is: number, file, command, exit code, words, what is wrong, parted by tabs. In the command {} is
the file, {models} the fixtures, {good} a good copy of one, {bad} FOLDER and {out} a place to write to; {eval} is an
evaluation of one window, {calib} a calibration; a command with {method} or {method,g128} runs once for each method.
Exit code "-" is an entry that does not concern ptq, for the reason given.

A refusal must be one line on stderr that begins with "ptq: ", names the file (unless a word is ~: a layer or an option
is named) and holds every word (parted by ;), with nothing on stdout. Where the message names the file it is {} to the
words, so that none is found in the file's own name. What is taken must say nothing on stderr but one line of those
words, and with --json a perplexity that is a number.

Each ends within SECONDS of processor time, WALL seconds, and MEGABYTES above what `ptq --version` takes, as
measured.c sees it (PTQ_MEASURED, or beside ptq); a * behind the exit code frees an entry of these bounds. A sanitizer's
own costs are not ptq's, so a sanitized build is not held to them."""
import concurrent.futures
import json
import math
import os
import re
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
MODELS = os.path.join(HERE, "..", "fixtures", "models")
SECONDS, WALL, MEGABYTES, HANGS = 1.0, 20.0, 64, 60
NAMELESS = "~"
EVAL = "--text {models}/text.txt --window 32 --max-windows 1 --quiet"
CALIB = "--calib {models}/calib.txt --calib-windows 2 --calib-window 32"
METHODS = ("rtn:w4,%s", "salient:w4,%s,fraction=0.05", "scale:w4,%s,fraction=0.05,s=2", "awq:w4,%s",
           "gptq:w4,%s,act_order=1", "obq:w4,%s", "awq+gptq:w4,%s")


class Ended:
    """What a command did: exit code, both outputs, seconds of processor time, seconds, most memory in MB."""

    def __init__(self, measured, words, environment):
        report, end = os.pipe()
        with os.fdopen(report) as lines:
            child = subprocess.run([measured, str(HANGS), str(end), *words], stdin=subprocess.DEVNULL,
                                   capture_output=True, env=environment, pass_fds=[end], check=False)
            os.close(end)
            code, seconds, wall, kilobytes = lines.read().split()
        self.code, self.out, self.err = int(code), child.stdout, child.stderr.decode(errors="replace")
        self.seconds, self.wall, self.megabytes = float(seconds), float(wall), int(kilobytes) / 1024


def is_number(out):
    try:
        return math.isfinite(json.loads(out)["ppl"])
    except (ValueError, KeyError, TypeError):
        return False


def with_methods(row):
    """The row, or one for each method where its command has {method}."""
    found = re.search(r"\{method(?:,(\S+))?\}", row[2])
    if not found:
        return [row]
    specs = [method % (found[1] or "g32") for method in METHODS]
    return [[row[0], row[1], row[2].replace(found[0], spec), *row[3:]] for spec in specs]


class Table:
    def __init__(self, ptq, folder):
        self.ptq, self.folder = ptq, folder
        self.measured = os.environ.get("PTQ_MEASURED") or os.path.join(os.path.dirname(ptq), "tests", "measured")
        self.environment = {**os.environ, "PTQ_CACHE": os.path.join(folder, "cache"), "OPENBLAS_NUM_THREADS": "1"}
        with open(ptq, "rb") as file:
            self.sanitized = b"__asan_init" in file.read()
        self.least = self.run(["--version"]).megabytes

    def run(self, words):
        return Ended(self.measured, [self.ptq, *words], self.environment)

    def words_of(self, number, file, command):
        path = os.path.join(self.folder, file)
        places = {"models": MODELS, "good": os.path.join(self.folder, "good/llama"),
                  "out": os.path.join(self.folder, "out", number + "-" + file.replace("/", "-")), "bad": self.folder}
        text = command.replace("{eval}", EVAL).replace("{calib}", CALIB).replace("{}", path)
        for name, place in places.items():
            text = text.replace("{%s}" % name, place)
        return text.split()

    def nameless(self, file, message):
        """The message with {} for the file's path, and for its bare name."""
        return message.replace(os.path.join(self.folder, file), "{}").replace(os.path.basename(file), "{}")

    def complaints(self, row, ended):
        file, code = row[1], row[3]
        words = [word for word in row[4].split(";") if word and word != NAMELESS]
        if ended.code != int(code.rstrip("*")):
            yield f"exit {ended.code}, not {code}"
        if ended.code:
            lines = ended.err.split("\n")
            if len(lines) != 2 or lines[1] or not lines[0].startswith("ptq: "):
                yield "is not one line that begins with ptq:"
            if os.path.join(self.folder, file) not in ended.err and NAMELESS not in row[4]:
                yield "does not name the file"
            if ended.out:
                yield f"{len(ended.out)} bytes on standard output"
        elif ended.err and not words:
            yield "was taken, and complained of"
        elif ended.err.count("\n") > 1:
            yield "was taken with more than one line on stderr"
        elif "--json" in row[2] and not is_number(ended.out):
            yield f"its perplexity is no number: {ended.out[:60]!r}"
        message = self.nameless(file, ended.err)
        for word in words:
            if word not in message:
                yield f"lacks '{word}'"
        if not self.sanitized and not code.endswith("*"):
            if ended.seconds > SECONDS:
                yield f"{ended.seconds:.2f} seconds of processor time"
            if ended.wall > WALL:
                yield f"{ended.wall:.0f} seconds"
            if ended.megabytes > self.least + MEGABYTES:
                yield f"{ended.megabytes - self.least:.0f} MB more than ptq --version"

    def check(self, row):
        ended = self.run(self.words_of(*row[:3]))
        return row, ended, list(self.complaints(row, ended))


def read_table(path):
    """The table's lines, each with its section behind it: the comment ---- NAME ---- above it."""
    rows, section = [], ""
    with open(path, encoding="utf-8") as file:
        for line in file.read().splitlines():
            title = re.fullmatch("# ---- (.*) ----", line)
            section = title[1] if title else section
            if line and not line.startswith("#"):
                rows.append([*line.split("\t"), section])
    for row in rows:
        if len(row) != 7:
            raise SystemExit(f"{path}: {len(row) - 1} columns, not 6: {row}")
        if row[3][0] in "12" and not row[4].strip(NAMELESS + ";"):
            raise SystemExit(f"{path}: no words tell this refusal from another: {row}")
    return rows


def commands_of(rows, option, prefix):
    every = [each for row in rows if row[3] != "-" for each in with_methods(row)]
    return [row for row in every if not option or row[1].startswith(prefix) == (option == "--of")]


def counts(rows):
    """What docs/reliability.md says of a table with sections: its kinds and lines, what each takes and refuses."""
    if not rows[0][6]:
        return
    kinds = {re.match("[0-9]+", row[0])[0] for row in rows}
    yield f"{len(kinds)} kinds of malformed input in {len(rows)} lines"
    codes = {}
    for row in commands_of(rows, None, None):
        codes.setdefault(row[6], []).append(row[3][0])
    for section, each in codes.items():
        yield f"| {section} | {each.count('0')} | {len(each) - each.count('0')} |"


def summary(table, rows, done, failed):
    held = [each for each in done if not each[0][3].endswith("*")]
    slowest, largest = max(held, key=lambda each: each[1].seconds), max(held, key=lambda each: each[1].megabytes)
    return (f"{len(done)} commands of {len(rows)} lines, {sum(ended.code != 0 for _, ended in done)} refused, {failed} "
            f"not as the table says; slowest {slowest[1].seconds:.2f} s ({slowest[0][1]}), largest "
            f"{largest[1].megabytes - table.least:.0f} MB above the start ({largest[0][1]})"
            + ("; a sanitized build, so time and memory are not held to their bounds" if table.sanitized else ""))


def main():
    option, prefix = (sys.argv[4:] + [None, None])[:2]
    table = Table(os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[3]))
    rows = read_table(sys.argv[2])
    os.makedirs(os.path.join(table.folder, "out"), exist_ok=True)
    failed, done = 0, []
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for row, ended, complaints in pool.map(table.check, commands_of(rows, option, prefix)):
            done.append((row, ended))
            if complaints or os.environ.get("PTQ_SHOW"):
                print(f"{row[0]} {row[1]}: ptq {row[2]}: {'; '.join(complaints)}\n    {ended.err.rstrip()}")
            failed += bool(complaints)
    print(*counts(rows), summary(table, rows, done, failed), sep="\n")
    sys.exit(failed != 0)


if __name__ == "__main__":
    main()
