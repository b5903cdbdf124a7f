#!/usr/bin/env python3
"""GPTQ's solver alone, in torch: the python column loop of gptq_torch.py beside bench/solver.c, on the same file.

The file holds float32 W [N][K], then H [K][K]: a Hessian of correlated inputs of very different sizes, as real ones are.

    solver_torch.py make  FILE NxK
    solver_torch.py solve FILE NxK THREADS CODES     CODES: the other side's, to compare with
"""
import json
import os
import sys
import time

import numpy as np


def make(path, n, k):
    random = np.random.default_rng(n + k)
    mixing = np.eye(k, dtype=np.float32) + random.standard_normal((k, k), dtype=np.float32) / np.float32(k ** 0.5)
    x = random.standard_normal((2 * k, k), dtype=np.float32) @ mixing
    x *= np.exp(random.standard_normal(k)).astype(np.float32)
    w = random.standard_normal((n, k), dtype=np.float32) * np.float32(0.02)
    with open(path + ".tmp", "wb") as file:
        w.tofile(file)
        (x.T @ x * np.float32(1 / k)).tofile(file)
    os.replace(path + ".tmp", path)


def solve(path, n, k, threads, codes_path):
    os.environ["OMP_NUM_THREADS"] = str(threads)
    import torch
    import gptq_torch
    torch.set_num_threads(threads)
    numbers = torch.from_numpy(np.fromfile(path, dtype=np.float32))
    w, h = numbers[:n * k].reshape(n, k), numbers[n * k:].reshape(k, k)
    with torch.no_grad():
        for _ in range(2):  # the second is timed, as bench/solver.c has it
            used_up = w.clone(), h.clone()
            started = time.monotonic()
            _, codes, loss = gptq_torch.solve(torch, *used_up, 4, 128)
            seconds = time.monotonic() - started
    other = np.fromfile(codes_path, dtype=np.uint8).reshape(n, k)
    print(json.dumps({"loss": loss, "codes_equal": float((codes.numpy() == other).mean()),
                      "seconds": {"solve": seconds}, "version": f"torch {torch.__version__}"}))


def main():
    if len(sys.argv) not in (4, 6) or sys.argv[1] != ("make" if len(sys.argv) == 4 else "solve"):
        sys.exit(__doc__)
    n, k = (int(word) for word in sys.argv[3].split("x"))
    if sys.argv[1] == "make":
        make(sys.argv[2], n, k)
    else:
        solve(sys.argv[2], n, k, int(sys.argv[4]), sys.argv[5])


if __name__ == "__main__":
    main()
