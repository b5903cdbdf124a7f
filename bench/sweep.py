#!/usr/bin/env python3
"""Runs an experiment from nothing and says what its cells cost.

    sweep.py PTQ EXPERIMENT.yaml --cache FOLDER [--threads N] [--set KEY=VALUE]... [--goal RATIO] [--out FILE.md]

FOLDER is where statistics are looked for and left; an empty one makes the run pay for its calibration. The JSON object on
standard output has the FP cell's ppl and nll_mean, the number of cells, and the seconds of each stage summed over them. With --goal or
--out a table is made: of each cell the seconds of quantising and evaluating, and how many times its evaluation both are.
Exit 1 where a further RTN, salient or AWQ cell is beyond the goal, or where the stages do not add up to the run.
"""
import argparse
import csv
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time

import sidebyside

STAGES = ("load", "calibrate", "quantize", "eval")


def parse():
    parser = argparse.ArgumentParser()
    parser.add_argument("ptq")
    parser.add_argument("experiment")
    parser.add_argument("--cache", required=True)
    parser.add_argument("--threads", default="2")
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--goal", type=float)
    parser.add_argument("--out")
    return parser.parse_args()


def run(options, file):
    """The rows of the results' table, and the wall seconds of the run."""
    environment = os.environ.copy()
    # models and texts are those of the user's cache, statistics those of the folder
    usual = environment.get("PTQ_CACHE") or os.path.join(
        environment.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "ptq")
    os.makedirs(options.cache, exist_ok=True)
    for name in ("models", "texts"):
        target = os.path.join(options.cache, name)
        if not os.path.lexists(target):
            os.symlink(os.path.join(usual, name), target)
    environment["PTQ_CACHE"] = options.cache
    sets = [word for one in options.set for word in ("--set", one)]
    started = time.monotonic()
    subprocess.run([options.ptq, "run", options.experiment, "-o", file, "--threads", options.threads] + sets,
                   check=True, env=environment, stdout=sys.stderr)
    wall = time.monotonic() - started
    text = subprocess.run([options.ptq, "table", file, "--format", "csv"], check=True, capture_output=True,
                          text=True).stdout
    return list(csv.DictReader(io.StringIO(text))), wall


def seconds(row, stage):
    """0 where the cell has no such stage: FP16 is compared with nothing."""
    return float(row.get("seconds_" + stage) or 0)


def ratio(row):
    return (seconds(row, "quantize") + seconds(row, "eval")) / seconds(row, "eval")


def report(options, rows, wall):
    table, missed = [], []
    for row in rows:
        verdict = ""
        if options.goal and row["method"] in ("rtn", "salient", "awq"):
            verdict = "met" if ratio(row) <= options.goal else "missed"
            missed += [row["spec"]] if verdict == "missed" else []
        enough = seconds(row, "quantize") / ((options.goal or 1.15) - 1) / (seconds(row, "eval") / int(row["windows"]))
        table.append([row["spec"], f"{seconds(row, 'quantize'):.1f}", f"{seconds(row, 'eval'):.1f}", f"{ratio(row):.2f}",
                      verdict, f"{enough:.0f}"])
    parts = sum(seconds(row, stage) for row in rows for stage in STAGES + ("reference",) if stage != "load")
    once = max(seconds(row, "load") for row in rows)
    lines = [
        "# What a further cell costs", "",
        f"{len(rows)} cells, {rows[0]['windows']} windows of {rows[0]['window']} tokens each, {options.threads} threads, "
        f"model {rows[0]['model']}. Goal: a further RTN, salient or AWQ (Gram loss) cell costs at most {options.goal} times "
        "its evaluation. Quantising does not grow with the evaluation, so the last column says from how many windows on "
        "that holds; the paper's protocol, all of WikiText-2's test, is about 140 windows for this tokenizer.", "",
        sidebyside.render_table(["cell", "quantise, s", "evaluate, s", "both / evaluate", "goal", "windows that suffice"],
                                table), "",
        f"The run took {wall:.1f} s: {once:.1f} to load, {sum(seconds(r, 'calibrate') for r in rows):.1f} for one "
        f"calibration pass, {parts - sum(seconds(r, 'calibrate') for r in rows):.1f} for the cells; "
        f"{wall - parts - once:.1f} s are nobody's.", ""]
    lines += [f"- {name}: {value}" for name, value in sidebyside.machine()]
    lines += [f"- load: {os.getloadavg()[0]:.1f} at the end (others' work and ours)", ""]
    text = "\n".join(lines)
    print(text, file=sys.stderr)
    if options.out:
        with open(options.out, "w", encoding="utf-8") as file:
            file.write(text)
    if abs(wall - parts - once) > 0.1 * wall + 2:
        sys.exit(f"sweep: the stages add up to {parts + once:.1f} s of {wall:.1f}")
    if missed:
        sys.exit("sweep: beyond the goal: " + ", ".join(missed))


def main():
    options = parse()
    folder = tempfile.mkdtemp(prefix="ptq-sweep-")
    try:
        rows, wall = run(options, os.path.join(folder, "sweep.h5"))
    finally:
        shutil.rmtree(folder)
    fp = next(row for row in rows if row["method"] == "fp16")
    print(json.dumps({
        "cells": len(rows), "ppl": float(fp["ppl"]), "nll_mean": float(fp["nll_mean"]), "wall": wall,
        "seconds": {stage: sum(seconds(row, stage) for row in rows) for stage in STAGES}, "version": rows[0]["version"],
        "threads": int(options.threads)}))
    if options.goal or options.out:
        report(options, rows, wall)


if __name__ == "__main__":
    main()
