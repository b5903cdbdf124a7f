#!/usr/bin/env python3
"""Do the tests notice? Changes one token at a time in kernels, methods and the protocol of measurement, in a copy of the
tree, builds the tests named beside it and runs them:

  tests/mutate.py SCRATCH [NUMBER...] [--jobs N]
  tests/mutate.py --check                whether each change still stands once in its file, which CI asks

SCRATCH is a folder that may be kept from one call to the next. Ends with the list of what was not noticed; exit 1 where
there is any. A change that does not compile, or that no longer stands once in its file, is an error of the table."""
import argparse
import os
import shutil
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

# file, what stands there once, what is put in its place, the tests that must fail
MUTATIONS = [
    # kernels
    ("kernels/ref/ref.c", "(float)(1 / sqrt(squares / (double)k + eps))",
     "(float)(1 / sqrt(squares / (double)k - eps))", "kernels"),
    # not (row[j] - mean) * (row[j] + mean), whose sum is the same
    ("kernels/ref/ref.c", "double scale = 1 / sqrt(squares / (double)k + eps)",
     "double scale = 1 / sqrt(squares / (double)k - eps)", "kernels"),
    ("kernels/ref/ref.c", "*b = *b * c + kept * s;", "*b = *b * c - kept * s;", "attention"),
    ("kernels/ref/ref.c", "last - shape->window + 1", "last - shape->window + 2", "attention"),
    # not t + last, which moves all scores of a query alike
    ("kernels/ref/ref.c", "score[t] += shape->slope", "score[t] -= shape->slope", "attention"),
    ("kernels/ref/ref.c", "for (int64_t j = i + 1; j < f->columns", "for (int64_t j = i + 2; j < f->columns", "kernels"),
    # not >=, since ids come in their order: the last one that is not above the target is the target
    ("kernels/ref/ref.c", "if (target == id) state->target", "if (target != id) state->target", "kernels"),
    ("kernels/ref/packed.c", "return top / most;", "return top / (most + 1);", "packed_ops"),
    ("kernels/ref/packed.c", "find_scale(x, n, 127, &inverse)", "find_scale(x, n, 100, &inverse)", "packed_ops"),
    ("kernels/acts.h", "byte % 2 * 2 + j / 4 % 2", "byte % 2 + j / 4 % 2 * 2", "packed_ops"),
    ("kernels/acts.c", "(bits == 16 || a->grid.w_bit == b->grid.w_bit)", "(bits != 16 || a->grid.w_bit == b->grid.w_bit)",
     "packed_ops"),
    ("kernels/packed.c", "zero >= 0 && zero <= (float)maxq", "zero >= 0 && zero < (float)maxq", "packed"),
    ("kernels/ops.c", "log(state->sum) + state->max - state->target", "log(state->sum) + state->max + state->target",
     "kernels"),
    # the grid and the methods
    ("methods/grid.c", "fmaxf(step(grid, high - low), 1e-5f)", "fmaxf(step(grid, high - low), 1e-4f)", "grid scale"),
    ("methods/grid.c", "low = -1, high = 1;", "low = -1, high = 2;", "grid gptq"),
    ("methods/grid.c", "(maxq + 1) / 2", "(maxq - 1) / 2", "grid"),
    ("methods/grid.c", "> maxq + 0.5f", "> maxq - 0.5f", "grid"),
    ("methods/grid.c", "* (16 + zero)", "* (16 - zero)", "grid pipeline"),
    ("methods/salient.c", "n * q->n_keep + i] = value", "n * q->n_keep + i] = -value", "pipeline quantized scale"),
    ("methods/channels.c", "fmax(1, rint(", "fmax(1, ceil(", "pipeline scale"),
    ("methods/channels.c", "x->importance < y->importance ? 1", "x->importance > y->importance ? 1", "pipeline scale"),
    ("methods/gptq_factor.c", "t->diagonal[row] + t->damp", "t->diagonal[row] - t->damp", "gptq"),
    ("methods/gptq_factor.c", "out->percdamp * 10", "out->percdamp * 2", "gptq"),
    ("methods/gptq_factor.c", "sum += diagonal[i];", "sum += dead[i] ? 0 : diagonal[i];", "gptq"),
    ("methods/gptq_solve.c", "SHRINKS = 80", "SHRINKS = 40", "gptq"),
    # a row's grid is found with the weights of dead channels, a group's without
    ("methods/gptq_solve.c", "if (s->q->grid.group_size < 0)", "if (s->q->grid.group_size < -1)", "gptq"),
    ("methods/gptq_solve.c", "t->row[i] = s->factor->dead[i] ? 0 : w[i];", "t->row[i] = w[i];", "gptq"),
    ("methods/gptq_solve.c", "+= loss[lane] / 2", "+= loss[lane] * 2", "gptq"),
    ("methods/gptq_solve.c", "for (int64_t lane = 0; lane < t->lanes; lane++) now[lane] += w[lane];",
     "for (int64_t lane = 0; lane < t->lanes; lane++) now[lane] -= w[lane];", "gptq"),
    ("methods/awq_search.c", "sqrtf(most * least)", "sqrtf(most + least)", "awq"),
    ("methods/awq_search.c", "(float)(1 - ratio)", "(float)(1 + ratio)", "awq"),
    ("methods/awq_search.c", "s->group, s->weight_mean);", "s->group, s->importance);", "awq_scales"),
    ("methods/awq_search.c", "margin = 1 + 1e-6", "margin = 0.5", "awq_scales"),
    ("methods/awq_search.c", "? 1e-4f : 0", "? 1e-1f : 0", "awq_scales"),
    ("methods/awq_groups.c", "h < sharing; h++) sum +=", "h < 1; h++) sum +=", "awq_scales"),
    ("methods/awq_gptq.c", "memcpy(linear->w, w,", "memcpy(w, linear->w,", "awq"),
    ("methods/awq_clip.c", "if (loss < least)", "if (loss > least)", "awq"),
    ("methods/awq_clip.c", "1 - i / 20.0", "1 - i / 10.0", "awq"),
    # the protocol: windows, what is scored, and how sure that is; readers of data
    ("core/tokens.c", "return stream->id[i - lead];", "return stream->id[i + lead];", "tokens"),
    ("core/tokens.c", "s->tokens - s->step + 1)", "s->tokens - s->step - 1)", "tokens sampling"),
    ("core/tokens.c", "v >> 8 * b", "v >> 4 * b", "tokens sampling"),
    ("methods/pipeline.c", "exp(c->nll_mean)", "exp(-c->nll_mean)", "pipeline"),
    ("core/results_model.c", "return strcmp(config[0], config[1]) == 0;", "return 1;", "same_model"),
    ("experiments/report.c", "ptq_path_is_coarse(a->path) != ptq_path_is_coarse(b->path)",
     "ptq_path_is_coarse(a->path) == ptq_path_is_coarse(b->path)", "table page"),
    ("experiments/claim_select.c", "!w->value[PATH] && ptq_path_is_coarse", "w->value[PATH] && ptq_path_is_coarse",
     "claim_select"),
    ("data/packed_codes.c", "if (n_held < 32) continue;", "if (n_held < 31) continue;", "packed_codes"),
    ("data/documents.c", "+= text[i] == '\\n'", "+= text[i] == '\\r'", "sampling"),
    ("base/quantile.c", "p * (double)(n - 1)", "p * (double)(n + 1)", "bootstrap stats"),
    ("experiments/bootstrap.c", "sqrt(squares / (double)(n - 1))", "sqrt(squares / (double)(n + 1))", "bootstrap"),
]


def run(argv, log, **settings):
    with open(log, "ab") as file:
        return subprocess.run(argv, stdout=file, stderr=file, check=False, **settings).returncode


def expect_once(name, text, old):
    if text.count(old) != 1:
        sys.exit(f"{name}: '{old}' stands there {text.count(old)} times; the table wants it once")


class Copy:
    """The tree as git has it now, with its build folder."""

    def __init__(self, scratch, jobs):
        self.tree, self.build = os.path.join(scratch, "tree"), os.path.join(scratch, "build")
        self.log, self.jobs = os.path.join(scratch, "log"), str(jobs)
        os.makedirs(self.tree, exist_ok=True)
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout
        for name in listed.decode().split("\0"):
            self.take(name)
        settings = ["-DPTQ_CUDA=OFF", "-DCMAKE_BUILD_TYPE=Release", "-DCMAKE_C_FLAGS_RELEASE=-O1"]
        # each time: a test that is new since the last one is no target yet
        if run(["cmake", "-S", self.tree, "-B", self.build] + settings, self.log):
            sys.exit(f"{self.log}: the copy cannot be configured")

    def take(self, name):
        """A file as it is in the tree; its time changes only where its bytes do."""
        here, there = os.path.join(ROOT, name), os.path.join(self.tree, name)
        if not name or not os.path.isfile(here):
            return
        os.makedirs(os.path.dirname(there), exist_ok=True)
        with open(here, "rb") as file:
            content = file.read()
        if os.path.exists(there):
            with open(there, "rb") as file:
                if file.read() == content:
                    return
        shutil.copy(here, there)
        os.utime(there)

    def change(self, name, old, new):
        path = os.path.join(self.tree, name)
        with open(path, encoding="utf-8") as file:
            text = file.read()
        expect_once(name, text, old)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text.replace(old, new))

    def verdict(self, tests):
        """"noticed by NAME", "NOT NOTICED", or that it does not compile."""
        targets = ["test_" + name for name in tests]
        if run(["cmake", "--build", self.build, "--parallel", self.jobs, "--target"] + targets, self.log):
            return "DOES NOT COMPILE"
        for name in tests:
            if run(["ctest", "--test-dir", self.build, "--timeout", "300", "-R", f"^{name}$", "--no-tests=error"],
                   self.log):
                return f"noticed by {name}"
        return "NOT NOTICED"


def check():
    for name, old, *_ in MUTATIONS:
        with open(os.path.join(ROOT, name), encoding="utf-8") as file:
            expect_once(name, file.read(), old)


def main():
    if sys.argv[1:] == ["--check"]:
        return check()
    parser = argparse.ArgumentParser()
    parser.add_argument("scratch")
    parser.add_argument("numbers", nargs="*", type=int)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    args = parser.parse_args()
    copy = Copy(os.path.abspath(args.scratch), args.jobs)
    every = sorted({name for row in MUTATIONS for name in row[3].split()})
    if not args.numbers and copy.verdict(every) != "NOT NOTICED":
        sys.exit(f"{copy.log}: the tests fail on the tree as it is")
    missed = []
    for number, (name, old, new, tests) in enumerate(MUTATIONS):
        if args.numbers and number not in args.numbers:
            continue
        started = time.monotonic()
        copy.change(name, old, new)
        verdict = copy.verdict(tests.split())
        copy.take(name)
        print(f"{number:2} {name}: '{old}' -> '{new}': {verdict} ({time.monotonic() - started:.0f} s)", flush=True)
        if not verdict.startswith("noticed"):
            missed.append(number)
    print(f"{len(missed)} of {len(args.numbers or MUTATIONS)} were not noticed" + (f": {missed}" if missed else ""))
    sys.exit(bool(missed))


if __name__ == "__main__":
    main()
