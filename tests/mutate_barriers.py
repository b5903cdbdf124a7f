#!/usr/bin/env python3
"""Do the tests notice a missing barrier? Takes each barrier out of the kernels, one at a time, in a copy of the tree
(__syncthreads, __syncwarp, waits for copies, products and barriers in shared memory, turns), and runs the tests of its
file over the emulated device:

  tests/mutate_barriers.py SCRATCH [FILE[:LINE]...] [--jobs N]
  tests/mutate_barriers.py --check       whether what may survive still stands once in its file, which CI asks

Ends with what was neither noticed nor may survive; exit 1 where there is any."""
import argparse
import os
import re
import sys
import time

import mutate

FOLDER = "kernels/cuda"
BARRIER = re.compile(r"__syncthreads\(\);|__syncwarp\(\);|ptq_copy_wait<[^>]*>\(\);|ptq_wgmma_wait<1>\(\);"
                     r"|ptq_wgmma_finish\([^;]*\);|ptq_barrier_wait\([^;]*\);|ptq_turn(_aside)?\(\);")

# The tests that run a file's kernels, the one that notices most first.
TESTS = {
    "attention.cu": "cuda", "awq.cu": "device_solver", "decode.cu": "cuda_decode resident",
    "decode_cache.cu": "cuda_decode resident", "decode_half.cu": "cuda_decode resident",
    "decode_row.cu": "cuda_decode resident", "gptq.cu": "device_solver", "head.cu": "cuda", "packed.cu": "cuda_packed",
    "packed_acts.cu": "cuda_packed", "packed_few.cu": "cuda_packed resident", "packed_few.cuh": "cuda_packed",
    "packed_fused.cu": "cuda_packed", "packed_gemm.cu": "cuda_packed", "packed_one.cu": "cuda_packed cuda_decode",
    "parts.cuh": "cuda cuda_decode cuda_packed", "split.cu": "device_solver",
}

# What may go without a test that fails: file, what stands there once and holds the barrier, why. They stay in the
# kernels: none costs a time that was measured, and these kernels are those that ran on devices (results/gpu/README.md).
# A shuffle orders lanes in the model; on a device it passes values, and memory is ordered by __syncwarp alone. `make
# races` misses the two that a shuffle hides here, awq.cu's and the first of gptq.cu's.
MAY_SURVIVE = [
    ("head.cu", "__syncthreads();\n    if (threadIdx.x % WARP == 0) part[threadIdx.x / WARP] = x.value",
     "its kernel reads part nowhere before; a second call in one kernel would need it, as block_sum's callers do"),
    ("awq.cu", "(uint8_t)best;\n        }\n        __syncwarp();",
     "the shuffles of warp_sum come after each lane's last read of the row's errors"),
    ("gptq.cu", "__syncwarp();\n        if (t.fits) fit_block",
     "groups fitted here divide 128, so a block's first one begins at its first column: what a lane reads before the "
     "first shuffle is its own"),
    ("gptq.cu", "t.loss[row] += loss / 2;\n        __syncwarp();",
     "nobody reads `now` behind the barrier at the end of fit_block, or, without it, behind the one before"),
    ("packed_few.cu", "ptq_copy_wait<0>();\n    __syncthreads(); /* the ring is free */",
     "the groups still under way are of units behind the last, and hold no copies"),
    ("decode_cache.cu", "ptq_fence();\n    __syncthreads();\n    if (threadIdx.x == 0) *done",
     "an order between blocks, and the model runs one block after the other"),
]


def read(name):
    with open(os.path.join(mutate.ROOT, FOLDER, name), encoding="utf-8") as file:
        return file.read()


def barriers():
    """(file, line, where it begins, where it ends), but for those that a comment speaks of."""
    for name in sorted(os.listdir(os.path.join(mutate.ROOT, FOLDER))):
        if not name.endswith((".cu", ".cuh")):
            continue
        text = read(name)
        for found in BARRIER.finditer(text):
            if text.rfind("/*", 0, found.start()) <= text.rfind("*/", 0, found.start()):
                yield name, text.count("\n", 0, found.start()) + 1, found.start(), found.end()


def survivors():
    """(file, where its barrier begins): why it may survive."""
    out = {}
    for name, old, why in MAY_SURVIVE:
        text = read(name)
        mutate.expect_once(name, text, old)
        found = BARRIER.search(old)
        if not found:
            sys.exit(f"{name}: '{old}' holds no barrier")
        out[name, text.index(old) + found.start()] = why
    return out


def check():
    known = survivors()
    for name, line, begin, _ in barriers():
        known.pop((name, begin), None)
        if name not in TESTS:
            sys.exit(f"{name}:{line}: a barrier, and TESTS names no test for its file")
    if known:
        sys.exit(f"{sorted(known)}: no barriers")


def verdict_without(copy, name, begin, end):
    text = read(name)
    with open(os.path.join(copy.tree, FOLDER, name), "w", encoding="utf-8") as file:
        file.write(text[:begin] + "{}" + text[end:])
    verdict = copy.verdict(TESTS[name].split())
    copy.take(os.path.join(FOLDER, name))
    return verdict


def main():
    check()
    if sys.argv[1:] == ["--check"]:
        return
    parser = argparse.ArgumentParser()
    parser.add_argument("scratch")
    parser.add_argument("places", nargs="*", metavar="FILE[:LINE]")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    args = parser.parse_args()
    known, missed, noticed, all_of_them = survivors(), [], 0, 0
    copy = mutate.Copy(os.path.abspath(args.scratch), args.jobs)
    every = sorted({test for tests in TESTS.values() for test in tests.split()})
    if not args.places and copy.verdict(every) != "NOT NOTICED":
        sys.exit(f"{copy.log}: the tests fail on the tree as it is")
    for name, line, begin, end in barriers():
        place, started = f"{name}:{line}", time.monotonic()
        if args.places and name not in args.places and place not in args.places:
            continue
        verdict = verdict_without(copy, name, begin, end)
        all_of_them += 1
        noticed += verdict.startswith("noticed")
        if verdict == "NOT NOTICED" and (name, begin) in known:
            verdict = "survives, as it may: " + known[name, begin]
        elif not verdict.startswith("noticed"):
            missed.append(place)
        print(f"{place} {read(name)[begin:end]} {verdict} ({time.monotonic() - started:.0f} s)", flush=True)
    print(f"{noticed} of {all_of_them} removals were noticed; {len(missed)} were not and should be"
          + (": " + " ".join(missed) if missed else ""))
    sys.exit(bool(missed))


if __name__ == "__main__":
    main()
