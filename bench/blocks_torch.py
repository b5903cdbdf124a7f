"""What the torch sides that quantise have in common: options, model, calibration windows, one JSON object at the end.

A side is a function quantize(torch, model, windows, options) that changes the weights of model's blocks in place, given
the calibration's ids [windows][tokens]. What it returns, a dictionary or nothing, joins the object that is printed.
"""
import argparse
import json
import math
import os
import resource
import sys
import time

from perplexity_torch import evaluate


class Caught(Exception):
    """A block was called; nothing behind it need run."""


def arguments(description):
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("folder", help="a Hugging Face folder")
    parser.add_argument("calib_ids", help="a file of token ids: its first windows calibrate")
    parser.add_argument("eval_ids", help="a file of token ids: its first window is evaluated")
    parser.add_argument("--w-bit", type=int, default=4)
    parser.add_argument("--group-size", type=int, default=64)
    parser.add_argument("--calib-windows", type=int, default=128)
    parser.add_argument("--calib-window", type=int, default=512)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    return parser


def windows_of(torch, path, n, length):
    """The first n windows, [n][length]."""
    with open(path, encoding="ascii") as file:
        ids = [int(word) for word in file.read().split()[:n * length]]
    if len(ids) < n * length:
        sys.exit(f"{path} holds {len(ids)} ids, fewer than {n} windows of {length}")
    return torch.tensor(ids).reshape(n, length)


def first_inputs(torch, model, windows):
    """What the first block is called with: hidden [windows][tokens][width], and the other arguments: positions, and no
    mask, since SDPA is causal by itself."""
    caught = {}

    def catch(_, args, kwargs):
        caught.update(kwargs, hidden=args[0])
        raise Caught

    hook = model.model.layers[0].register_forward_pre_hook(catch, with_kwargs=True)
    hidden = []
    for window in windows:
        try:
            model(input_ids=window[None], use_cache=False)
        except Caught:
            hidden.append(caught.pop("hidden"))
    hook.remove()
    return torch.cat(hidden), caught


def linears(torch, module):
    """Name -> linear, in the order in which the module lists them."""
    return {name: part for name, part in module.named_modules() if isinstance(part, torch.nn.Linear)}


def run(options, quantize):
    """Loads, quantises, evaluates, prints. The import of torch is here, so that its time is told apart."""
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    started = time.monotonic()
    import torch
    import transformers
    torch.set_num_threads(options.threads)
    transformers.logging.set_verbosity_error()
    imported = time.monotonic()
    model = transformers.AutoModelForCausalLM.from_pretrained(
        options.folder, dtype=torch.float32, attn_implementation="sdpa").eval()
    calib = windows_of(torch, options.calib_ids, options.calib_windows, options.calib_window)
    text = windows_of(torch, options.eval_ids, 1, options.calib_window)
    loaded = time.monotonic()
    with torch.no_grad():
        more = quantize(torch, model, calib, options) or {}
    quantized = time.monotonic()
    nll = evaluate(torch, model, text) / (text.numel() - 1)
    print(json.dumps({
        "ppl": math.exp(nll), "nll_mean": nll, "threads": options.threads,
        "seconds": {"import": imported - started, "load": loaded - imported, "quantize": quantized - loaded,
                    "calibrate": 0.0, "eval": time.monotonic() - quantized},
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "version": f"transformers {transformers.__version__}, torch {torch.__version__}", **more}))
