#!/usr/bin/env python3
"""Runs two commands by turns and compares what they report.

A and B each print one JSON object on standard output. They run A B A B ..., so that a machine that slows down or is
shared slows both alike; the order of a pair changes from round to round. From each run come the fields that --metric
names, and what the kernel says of the process: wall seconds, CPU seconds, peak resident bytes. The medians are
compared, with the range beside them. The report goes to standard output and, with --out, to a Markdown file.

    sidebyside.py --title T [--reps 5] --a NAME COMMAND --b NAME COMMAND
                  --metric FIELD LABEL UNIT SCALE higher|lower [GOAL] ...   GOAL: A must be so many times better
                  [--equal FIELD TOLERANCE]... [--note TEXT]... [--out FILE.md]

A field may be nested ("seconds.eval"), a sum of such ("seconds.calibrate+seconds.quantize"), or one of process.wall,
process.cpu, process.peak, process.wall_a_cell (of a run of several cells, "cells", else the same as process.wall). {fresh} in a command is an empty folder of that run's own, gone afterwards. Exit 1 where a
command fails, where an --equal field differs, or where a goal is missed.
"""
import argparse
import datetime
import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
import tempfile
import time


def run(command):
    """One run: the object that it prints, with what the kernel says of it under "process"."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as talk, tempfile.TemporaryDirectory() as fresh:
        words = [word.replace("{fresh}", fresh) for word in shlex.split(command)]
        started = time.monotonic()
        try:
            child = subprocess.Popen(words, stdout=out, stderr=talk)
        except OSError as error:
            sys.exit(f"sidebyside: {error.strerror}: {command}")
        _, status, usage = os.wait4(child.pid, 0)
        wall = time.monotonic() - started
        child.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        talk.seek(0)
        if child.returncode:
            sys.stderr.write(talk.read().decode(errors="replace")[-4000:])
            sys.exit(f"sidebyside: exit {child.returncode} of: {command}")
        try:
            result = json.load(out)
        except ValueError as error:
            sys.exit(f"sidebyside: no JSON object ({error}) from: {command}")
    result["process"] = {"wall": wall, "wall_a_cell": wall / result.get("cells", 1), "cpu": usage.ru_utime + usage.ru_stime, "peak": usage.ru_maxrss * 1024}
    return result


def field(result, name):
    if "+" in name:
        return sum(field(result, part) for part in name.split("+"))
    for part in name.split("."):
        if not isinstance(result, dict) or part not in result:
            sys.exit(f"sidebyside: a result has no field {name}")
        result = result[part]
    return result


def alternate(commands, reps, say):
    """runs[side] = results, sides by turns; the side that starts changes from round to round."""
    runs = ([], [])
    for rep in range(reps):
        for side in (0, 1) if rep % 2 == 0 else (1, 0):
            result = run(commands[side])
            runs[side].append(result)
            say(rep, side, result)
    return runs


def text_of(command):
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def cpu_model():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        names = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
    return names[0] if names else platform.machine()


def scheduling():
    """A row where the runs have real-time priority (chrt): on a shared machine it says what the load does not."""
    if os.sched_getscheduler(0) not in (os.SCHED_FIFO, os.SCHED_RR):
        return []
    return [("scheduling", "both sides at real-time priority, before other work on the machine")]


def build():
    """What made the command that the environment names PTQ, and the kernels that its matrix products take, which the
    environment may have chosen: half of the speed on a processor with AVX-512."""
    lines = text_of([os.environ.get("PTQ", "build/ptq"), "--version"]).splitlines()
    wish = os.environ.get("OPENBLAS_CORETYPE")
    return (lines[1] if len(lines) > 1 else "unknown") + (f" (OPENBLAS_CORETYPE={wish})" if wish else "")


def machine():
    dirty = "-dirty" if text_of(["git", "status", "--porcelain", "--untracked-files=no"]) else ""
    return [
        ("date", datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC")),
        ("commit", text_of(["git", "rev-parse", "--short", "HEAD"]) + dirty),
        ("CPU", f"{cpu_model()}, {len(os.sched_getaffinity(0))} cores to run on"),
        ("system", f"{platform.system()} {platform.release()}"),
        ("ptq's build", build()),
    ] + scheduling()


class Metric:
    """A field, how it is shown, and which way is better."""

    def __init__(self, words):
        if len(words) not in (5, 6) or words[4] not in ("higher", "lower"):
            sys.exit("sidebyside: --metric FIELD LABEL UNIT SCALE higher|lower [GOAL]")
        self.field, self.label, self.unit = words[:3]
        self.scale, self.higher = float(words[3]), words[4] == "higher"
        self.goal = float(words[5]) if len(words) == 6 else None

    def summary(self, runs):
        values = [field(result, self.field) * self.scale for result in runs]
        return statistics.median(values), min(values), max(values)

    def ratio(self, a, b):
        return (a / b if self.higher else b / a) if a and b else float("nan")

    def row(self, runs):
        """The cells of its table row, and whether its goal is met."""
        (a, *range_a), (b, *range_b) = self.summary(runs[0]), self.summary(runs[1])
        ratio = self.ratio(a, b)
        rounds = [self.ratio(*(field(result, self.field) for result in pair)) for pair in zip(*runs)] + [ratio]
        if self.goal is None:
            verdict, met = "", True
        else:
            met = ratio >= self.goal
            verdict = f"at least {self.goal:g}: {'met' if met else 'missed'}"
        def show(median, low, high):
            return f"{median:.4g} ({low:.4g} .. {high:.4g})"
        name = f"{self.label}, {self.unit}" if self.unit else self.label
        return [name, show(a, *range_a), show(b, *range_b), f"{ratio:.2f} ({min(rounds):.2f} .. {max(rounds):.2f})",
                verdict], met


def render_table(head, rows):
    width = [max(len(row[i]) for row in [head] + rows) for i in range(len(head))]
    def line(row):
        return "| " + " | ".join(cell.ljust(width[i]) for i, cell in enumerate(row)) + " |"
    return "\n".join([line(head), "|" + "|".join("-" * (w + 2) for w in width) + "|"] + [line(row) for row in rows])


def check_equal(runs, equal):
    """One sentence about the field that must be equal, and whether it is."""
    name, tolerance = equal[0], float(equal[1])
    a, b = field(runs[0][0], name), field(runs[1][0], name)
    apart = abs(a - b) / abs(b) if b else abs(a - b)
    good = apart <= tolerance
    return f"{name}: {a:.6f} and {b:.6f}, relative difference {apart:.1e} (" \
           f"{'within' if good else 'NOT within'} {tolerance:g}).", good


def render(options, metrics, runs, about):
    names = options.a[0], options.b[0]
    rows, met = zip(*(metric.row(runs) for metric in metrics))
    good = all(met)
    lines = [f"# {options.title}", "",
             f"Medians of {options.reps} runs each, taken by turns; smallest and largest in brackets. The "
             f"ratio of the medians says how many times better {names[0]} is, its brackets those of single rounds.", "",
             render_table(["", names[0], names[1], "ratio", "goal"], list(rows)), ""]
    for equal in options.equal:
        sentence, same = check_equal(runs, equal)
        lines += [sentence, ""]
        good = good and same
    lines += [note + "\n" for note in options.note]
    lines += [f"- {key}: {value}" for key, value in about]
    for side, name in enumerate(names):
        lines.append(f"- {name}: {runs[side][0].get('version', 'version unknown')}: "
                     f"`{' '.join(shlex.split((options.a, options.b)[side][1]))}`")
    return "\n".join(lines) + "\n", good


def parse():
    parser = argparse.ArgumentParser(description="two commands by turns, compared by the JSON that they print")
    parser.add_argument("--title", required=True)
    parser.add_argument("--reps", type=int, default=5)
    parser.add_argument("--a", nargs=2, required=True, metavar=("NAME", "COMMAND"))
    parser.add_argument("--b", nargs=2, required=True, metavar=("NAME", "COMMAND"))
    parser.add_argument("--metric", nargs="+", action="append", required=True, metavar="WORD")
    parser.add_argument("--equal", nargs=2, action="append", default=[], metavar=("FIELD", "TOLERANCE"))
    parser.add_argument("--note", action="append", default=[])
    parser.add_argument("--out", help="a Markdown file")
    options = parser.parse_args()
    if options.reps < 1:
        sys.exit("sidebyside: --reps must be at least 1")
    return options


def main():
    options = parse()
    metrics = [Metric(words) for words in options.metric]
    names, about = (options.a[0], options.b[0]), machine()

    def say(rep, side, result):
        print(f"round {rep + 1} of {options.reps}  {names[side]:14}"
              f"  {metrics[0].label} {field(result, metrics[0].field) * metrics[0].scale:.4g} {metrics[0].unit}",
              file=sys.stderr, flush=True)

    before = os.getloadavg()[0]
    if before > 0.5:
        print(f"sidebyside: the machine is busy (load {before:.1f}): the ratio will not be what it is on a quiet one",
              file=sys.stderr)
    runs = alternate((options.a[1], options.b[1]), options.reps, say)
    about.append(("load", f"{before:.1f} before the first run, {os.getloadavg()[0]:.1f} after the last (others' work "
                          "and ours); on a busy machine a ratio says little"))
    report, good = render(options, metrics, runs, about)
    print(report)
    if options.out:
        os.makedirs(os.path.dirname(options.out) or ".", exist_ok=True)
        with open(options.out + ".tmp", "w", encoding="utf-8") as file:
            file.write(report)
        os.replace(options.out + ".tmp", options.out)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
