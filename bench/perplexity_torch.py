#!/usr/bin/env python3
"""The other side of the perplexity benchmark: transformers on torch, FP32, and the same protocol as `ptq eval`.

The first N disjoint windows of a file of token ids; fresh context each, the first token not scored; no KV cache, SDPA
attention, inference mode. One window is one batch, which is the quickest for a CPU. Cross-entropy is taken by slices of
rows: the same sum, without a second [window, vocabulary] array, so that the memory that is compared is the model's and
not that of a careless loss. Prints one JSON object.

    perplexity_torch.py FOLDER IDS [--window 2048] [--max-windows N] [--threads N]
"""
import argparse
import json
import math
import os
import resource
import sys
import time

ROWS = 256  # of a slice of the loss


def parse():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("ids", help="a file of token ids, separated by white space")
    parser.add_argument("--window", type=int, default=2048)
    parser.add_argument("--max-windows", type=int, default=0)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    return parser.parse_args()


def token_losses(torch, logits, targets):
    """nll of targets[t] under logits[t], float32 [T]."""
    parts = [torch.nn.functional.cross_entropy(logits[at:at + ROWS], targets[at:at + ROWS], reduction="none")
             for at in range(0, len(targets), ROWS)]
    return torch.cat(parts)


def evaluate(torch, model, windows):
    total = 0.0
    with torch.inference_mode():
        for window in windows:
            logits = model(input_ids=window[None], use_cache=False).logits[0]
            total += token_losses(torch, logits[:-1], window[1:]).double().sum().item()
            del logits
    return total


def main():
    options = parse()
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    started = time.monotonic()
    import torch
    import transformers
    torch.set_num_threads(options.threads)
    transformers.logging.set_verbosity_error()
    imported = time.monotonic()
    model = transformers.AutoModelForCausalLM.from_pretrained(
        options.folder, dtype=torch.float32, attn_implementation="sdpa").eval()
    with open(options.ids, encoding="ascii") as file:
        ids = torch.tensor([int(word) for word in file.read().split()])
    n = len(ids) // options.window
    if options.max_windows:
        n = min(n, options.max_windows)
    if n < 1:
        sys.exit("perplexity_torch: fewer ids than one window")
    windows = ids[:n * options.window].reshape(n, options.window)
    loaded = time.monotonic()
    nll = evaluate(torch, model, windows)
    seconds = time.monotonic() - loaded
    scored = n * (options.window - 1)
    print(json.dumps({
        "ppl": math.exp(nll / scored), "nll_mean": nll / scored, "tokens": scored, "windows": n,
        "window": options.window, "tokens_per_second": n * options.window / seconds,
        "seconds": {"import": imported - started, "load": loaded - imported, "eval": seconds},
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, "threads": options.threads,
        "version": f"transformers {transformers.__version__}, torch {torch.__version__}"}))


if __name__ == "__main__":
    main()
