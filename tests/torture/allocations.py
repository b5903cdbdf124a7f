#!/usr/bin/env python3
"""Memory that fails: every command of ptq is run on the tiny fixtures with its n-th allocation failing (preload.c).

  allocations.py PTQ PRELOAD.so [--most N] [--every] [--jobs N] [COMMAND...]

Without --every, n goes through the first allocation of each place in the program (chain of callers), at most N of them a
command, evenly spread; PTQ_TORTURE=long is --every, whatever --most says. After each run: exit 0 with the undisturbed
output (what was not to be had was not needed), or exit 1 with one sentence that says that memory is short; never a
signal; no file but whole ones under their names; and the next undisturbed run gives the undisturbed output and leaves no
temporary file."""
import argparse
import concurrent.futures
import csv
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading

FIXTURES = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "fixtures")
MODELS = os.path.join(FIXTURES, "models")
LLAMA, TEXT, CALIB = (os.path.join(MODELS, name) for name in ("llama", "text.txt", "calib.txt"))
RUN = ["--threads", "1", "--quiet"]
CALIBRATE = ["--calib", CALIB, "--calib-windows", "2", "--calib-window", "32"]
SAYS_MEMORY = re.compile(r"[Mm]emory|cannot be (mapped|started|made)|cannot make a file")
# What differs between two undisturbed runs: hours, seconds, memory, speed.
VOLATILE = re.compile(rb"[0-9.]+ (s|MB|MiB|tokens/s)\b|\d{4}-\d\d-\d\dT[\d:]+Z|[0-9.]+(?= *\|$)", re.M)

# name: (arguments, {} the folder of this run, whose OUT is removed before each; OUT or None; how outputs are compared)
COMMANDS = {
    "tokenize": (["tokenize", LLAMA, TEXT], None, "text"),
    "inspect-model": (["inspect", LLAMA], None, "text"),
    "inspect-gguf": (["inspect", os.path.join(MODELS, "llama.gguf"), "--json"], None, "text"),
    "diff-models": (["diff", LLAMA, os.path.join(MODELS, "llama3")], None, "text"),
    "methods": (["methods"], None, "text"),
    "models": (["models"], None, "text"),
    "experiments": (["experiments", "{}/sweep.yaml"], None, "text"),
    "eval": (["eval", LLAMA, "--text", TEXT, "--window", "32", "--max-windows", "2", "--method", "gptq:w3,g32",
              "-o", "{}/out.h5"] + CALIBRATE + RUN, "out.h5", "results"),
    "eval-packed": (["eval", os.path.join(MODELS, "llama.gguf"), "--text", TEXT, "--window", "32", "--max-windows", "2",
                     "--path", "packed", "--method", "rtn:w4,g32", "-o", "{}/out.h5"] + RUN, "out.h5", "results"),
    "generate": (["generate", LLAMA, "--prompt", "the", "-n", "4", "--method", "rtn:w4,g32"] + RUN, None, "text"),
    "quantize-fp16": (["quantize", LLAMA, "--method", "awq:w4,g32,loss=gram", "--format", "fp16", "-o", "{}/out"]
                      + CALIBRATE + RUN, "out", "files"),
    # OPT is the tiny model whose sizes these containers have a place for.
    **{"quantize-" + name: (["quantize", os.path.join(MODELS, "opt"), "--method", method, "--format", name,
                             "-o", "{}/out"] + CALIBRATE + RUN, "out", "files") for name, method in {
        "awq": "awq:w4,g32", "gptq": "gptq:w4,g32,sym=1", "gptq_v2": "gptq:w4,g32"}.items()},
    "quantize-gguf": (["quantize", os.path.join(MODELS, "llama-gqa", "model.gguf"), "--method", "rtn:w4,g32",
                       "--format", "gguf",
                       "-o", "{}/out"] + RUN, "out", "files"),
    "run": (["run", "{}/sweep.yaml", "-o", "{}/out.h5"] + RUN, "out.h5", "results"),
    # Memory is short in the parent alone (preload.c): its children are to end with it.
    "run-jobs": (["run", "{}/sweep.yaml", "-o", "{}/out.h5", "--jobs", "2"] + RUN, "out.h5", "results"),
    "inspect-results": (["inspect", "{}/two.h5"], None, "text"),
    "inspect-results-json": (["inspect", "{}/two.h5", "--json"], None, "text"),
    "diff-results": (["diff", "{}/two.h5", "{}/two.h5"], None, "text"),
    **{"table" + name: (["table", "{}/two.h5"] + words, None, "text") for name, words in {
        "": [], "-md": ["--format", "md"], "-csv": ["--format", "csv"], "-tex": ["--format", "tex"],
        "-json": ["--format", "json"]}.items()},
    "bench": (["bench", "rmsnorm", "--threads", "1"], None, "lines"),
    "plot": (["plot", "{}/two.h5", "-o", "{}/out", "--quiet"], "out", "whole files"),
    "claims": (["claims", "{}/claims.yaml", "{}"], None, "text"),
    "report": (["report", "{}/two.h5", "-o", "{}/out", "--format", "html", "--quiet"], "out", "whole files"),
    "report-pdf": (["report", "{}/two.h5", "-o", "{}/out", "--format", "pdf", "--quiet"], "out", "whole files"),
}
SLOW = {"bench", "report-pdf"}  # a second a run: an eighth of --most
PROGRAM = {"report-pdf": "weasyprint"}  # which `make test` does not install
SWEEP = f"""title: two cells
models: ["{LLAMA}"]
w_bit: 4
group_size: 32
methods: [fp16, rtn]
calib: {{text: "{CALIB}", windows: 2, window: 32}}
eval: {{text: "{TEXT}", windows: 2, window: 32}}
"""
CLAIMS = """title: one
claims:
  - name: costs
    claim: three bits cost something
    source: here
    tests:
      - {what: ratio, experiment: two, measure: ratio, of: ["rtn:w4"], to: [fp16], above: 1}
"""


class Place:
    """A folder for runs, one a thread."""

    def __init__(self, args, like=None):
        self.args = args
        self.folder = tempfile.mkdtemp(prefix="ptq-torture-")
        self.write("sweep.yaml", SWEEP)
        self.write("claims.yaml", CLAIMS)
        if like:  # the same results in each folder, with the same seconds
            shutil.copy(like.folder + "/two.h5", self.folder)
        else:
            self.run(["run", self.folder + "/sweep.yaml", "-o", self.folder + "/two.h5"] + RUN)
        self.kept = set(os.listdir(self.folder))

    def write(self, name, text):
        with open(os.path.join(self.folder, name), "w", encoding="utf-8") as file:
            file.write(text)

    def run(self, argv, **settings):
        environment = dict(os.environ, PTQ_CACHE=os.path.join(self.folder, "cache"), OPENBLAS_NUM_THREADS="1",
                           PTQ_COMMIT="")
        if settings:
            environment.update({f"PTQ_TORTURE_{key}": str(value) for key, value in settings.items()},
                               LD_PRELOAD=self.args.preload)
        return subprocess.run([self.args.ptq] + [a.replace("{}", self.folder) for a in argv], capture_output=True,
                              env=environment, timeout=120, check=False)

    def clear(self):
        """Takes away what a run has made, but for the cache, which any run may find as another one left it."""
        for name in set(os.listdir(self.folder)) - self.kept - {"cache"}:
            path = os.path.join(self.folder, name)
            shutil.rmtree(path) if os.path.isdir(path) else os.remove(path)

    def temporaries(self):
        return [os.path.join(at, name) for at, folders, files in os.walk(self.folder) for name in folders + files
                if name.startswith(".tmp")]

    def output(self, out, how, result):
        """What a run gave, without what differs from run to run."""
        path = os.path.join(self.folder, out or "")
        if how == "text":
            return VOLATILE.sub(b"", result.stdout).replace(self.folder.encode(), b"")
        if how == "results":
            table = self.run(["table", path, "--format", "csv"])
            rows = list(csv.reader(table.stdout.decode().splitlines()))
            keep = [i for i, key in enumerate(rows[0]) if not re.match(
                "seconds|started|peak_rss|tokens_per|host|cpu|threads", key)] if rows else []
            return [[row[i] for i in keep] for row in rows]
        if how == "lines":
            return result.stdout.count(b"\n")
        files = {}
        for at, _, names in os.walk(path):
            for name in names:
                with open(os.path.join(at, name), "rb") as file:
                    text = VOLATILE.sub(b"", file.read()).replace(self.folder.encode(), b"")
                if name.endswith(".pdf"):  # has the hour in its compressed parts
                    text = text[:5] + text.strip()[-5:]
                files[name] = hashlib.sha256(text).hexdigest()
        files.pop("README.md", None)  # the model card has the hour and the seconds
        return files


def complaint(place, argv, out, how, good, n):
    """Runs with the n-th allocation failing: what is wrong with what came of it, or None; and whether it ended well."""
    place.clear()
    result = place.run(argv, ALLOC=n)
    said = result.stderr.decode(errors="replace").strip()
    wrong = None
    if result.returncode == 0:
        if place.output(out, how, result) != good:
            wrong = "exit 0 with another output: " + said
    elif result.returncode != 1:
        wrong = f"exit {result.returncode}: {said[-300:]}"
    elif len([line for line in said.splitlines() if line.startswith("ptq: ")]) != 1:
        wrong = f"no one sentence: {said[-300:]}"
    elif not SAYS_MEMORY.search(said):
        wrong = f"says nothing of memory: {said[-300:]}"
    if not wrong and result.returncode and out and os.path.exists(os.path.join(place.folder, out)):
        # An export has its name once it is whole; what fails after that is what is said of it. A folder of pictures
        # has whole ones, and those that it has yet to get.
        if how == "whole files":
            whole = place.output(out, how, result).items() <= good.items()
        elif how == "files":
            whole = place.output(out, how, result) == good
        else:
            whole = place.run(["table", os.path.join(place.folder, out)]).returncode == 0
        if not whole:
            wrong = "left something that is not whole under its name"
    if not wrong and place.temporaries():
        again = place.run(argv)
        if again.returncode or place.temporaries() or place.output(out, how, again) != good:
            wrong = f"the next run does not sweep: {place.temporaries()} {again.stderr.decode()[-200:]}"
    return wrong, result.returncode == 0


def numbers(place, argv, args, most):
    """Which allocations are to fail, and how many there are."""
    counts = os.path.join(place.folder, "counts")
    place.clear()
    place.run(argv, COUNT=counts)
    with open(counts, encoding="ascii") as file:
        places = [int(line) for line in file]
    os.remove(counts)
    total = places.pop()
    chosen = list(range(1, total + 1)) if args.every else places
    step = max(1, len(chosen) / most)
    return [chosen[int(i * step)] for i in range(int(len(chosen) / step))], total, len(places)


def torture(name, args, pool, local):
    argv, out, how = COMMANDS[name]
    if name in PROGRAM and not shutil.which(PROGRAM[name]):
        print(f"{name}: skipped: {PROGRAM[name]} is not installed (scripts/install-deps --for report)")
        return os.environ.get("PTQ_MUST_RUN") == "1"
    place = local()
    place.clear()
    # A first run fills the cache, the second one is what is held to.
    for _ in range(1 if name in SLOW else 2):
        place.clear()
        first = place.run(argv)
    if first.returncode:
        print(f"{name}: does not run at all: {first.stderr.decode()}")
        return 1
    good = place.output(out, how, first)
    chosen, total, places = numbers(place, argv, args, max(1, args.most // 8) if name in SLOW else args.most)

    def one(n):
        return (n, *complaint(local(), argv, out, how, good, n))
    results = list(pool.map(one, chosen))
    wrong = [(n, what) for n, what, _ in results if what]
    fine = sum(well for _, what, well in results if not what)
    print(f"{name:20} {len(chosen):6} of {total:6} allocations ({places} places): {fine} not needed, "
          f"{len(results) - fine - len(wrong)} refused, {len(wrong)} wrong", flush=True)
    for n, what in wrong[:args.show]:
        print(f"  at {n}: {what}")
    return len(wrong)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("ptq")
    parser.add_argument("preload")
    parser.add_argument("commands", nargs="*")
    parser.add_argument("--most", type=int, default=10**9)
    parser.add_argument("--every", action="store_true")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--show", type=int, default=5)
    args = parser.parse_intermixed_args()
    if os.environ.get("PTQ_TORTURE") == "long":
        args.every, args.most = True, 10**9
    args.preload = os.path.abspath(args.preload)
    thread, made = threading.local(), [Place(args)]

    def local():
        if not hasattr(thread, "place"):
            thread.place = Place(args, made[0])
            made.append(thread.place)
        return thread.place
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        wrong = sum(torture(name, args, pool, local) for name in args.commands or COMMANDS)
    for place in made:
        shutil.rmtree(place.folder)
    sys.exit(wrong > 0)


main()
