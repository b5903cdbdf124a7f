#!/usr/bin/env python3
"""Perplexity of a GGUF by llama.cpp, timed as `ptq eval --json` times its own.

    perplexity_llama.py FILE.gguf IDS [--window 2048] [--max-windows N] [--threads N]

The first N disjoint windows of a file of token ids; fresh context each, the first token not scored. A window is one
call of the library with logits of every token (its own tool scores the second half of a window alone); what numpy then
takes to sum the losses is not in the time. Prints one JSON object."""
import argparse
import json
import math
import os
import sys
import time

ROWS = 256  # of a slice of the loss


def parse():
    parser = argparse.ArgumentParser()
    parser.add_argument("gguf")
    parser.add_argument("ids", help="a file of token ids, separated by white space")
    parser.add_argument("--window", type=int, default=2048)
    parser.add_argument("--max-windows", type=int, default=0)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    return parser.parse_args()


def windows_of(options):
    with open(options.ids, encoding="ascii") as file:
        ids = [int(word) for word in file.read().split()]
    n = len(ids) // options.window
    n = min(n, options.max_windows) if options.max_windows else n
    if n < 1:
        sys.exit("perplexity_llama: fewer ids than one window")
    return [ids[i * options.window:(i + 1) * options.window] for i in range(n)]


def fill(batch, ids):
    batch.n_tokens = len(ids)
    for place, token in enumerate(ids):
        batch.token[place], batch.pos[place], batch.logits[place] = token, place, 1
        batch.n_seq_id[place], batch.seq_id[place][0] = 1, 0


def loss(numpy, logits, ids):
    """Sum of the nll of ids[1:] under logits[:-1]; slices in float64."""
    total = 0.0
    for at in range(0, len(ids) - 1, ROWS):
        end = min(at + ROWS, len(ids) - 1)
        rows = logits[at:end].astype(numpy.float64)
        top = rows.max(axis=1)
        sums = numpy.log(numpy.exp(rows - top[:, None]).sum(axis=1)) + top
        total += float((sums - rows[numpy.arange(end - at), ids[at + 1:end + 1]]).sum())
    return total


def main():
    options = parse()
    import llama_cpp
    import numpy
    windows = windows_of(options)
    llama = llama_cpp.Llama(options.gguf, n_ctx=options.window, n_batch=options.window, n_threads=options.threads,
                            n_threads_batch=options.threads, n_gpu_layers=0, logits_all=True, flash_attn=True,
                            verbose=False)
    batch = llama_cpp.llama_batch_init(options.window, 0, 1)
    nll = seconds = 0.0
    for ids in windows:
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(llama.ctx), True)
        fill(batch, ids)
        begun = time.perf_counter()
        if llama_cpp.llama_decode(llama.ctx, batch) != 0:
            sys.exit("perplexity_llama: llama_decode failed")
        pointer = llama_cpp.llama_get_logits(llama.ctx)  # waits for the logits
        seconds += time.perf_counter() - begun
        nll += loss(numpy, numpy.ctypeslib.as_array(pointer, (len(ids), llama.n_vocab())), numpy.array(ids))
    scored = len(windows) * (options.window - 1)
    print(json.dumps({"ppl": math.exp(nll / scored), "nll_mean": nll / scored, "tokens": scored, "windows": len(windows),
                      "window": options.window, "tokens_per_second": len(windows) * options.window / seconds,
                      "seconds": {"eval": seconds}, "threads": options.threads,
                      "version": f"llama-cpp-python {llama_cpp.__version__}"}))


if __name__ == "__main__":
    main()
