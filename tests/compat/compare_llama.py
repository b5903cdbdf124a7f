#!/usr/bin/env python3
"""A GGUF that ptq wrote, loaded by llama.cpp, against ptq's logits of the same ids.

    compare_llama.py FILE.gguf SETS TEXT IDS_OF_TEXT FLOAT32.gguf
    compare_llama.py --float32 FILE.gguf FLOAT32.gguf

The second form has llama.cpp write FILE's weights as its own reader dequantises them; ptq's logits of that file must be
the same bytes (run.sh). SETS holds NAME.ids and NAME.logits (compat_logits ... exact) of each of true_logits.py's sets.

FILE with the BLAS backend, which multiplies d code + m in float32; then FLOAT32.gguf as llama.cpp runs where nobody
says anything. The cache of keys and values is float32, attention the plain one, weights are not repacked and all tokens
are one batch: else llama.cpp's CPU kernels round activations to 8 bits, which no program that keeps them can agree
with. How far that takes it is said, and nothing is asked of it: by default (of the types here x86 repacks Q4_0 alone,
and repacked weights never reach BLAS), and in batches of 16 tokens (BLAS is asked from 32 on)."""
import ctypes
import math
import os
import sys

import llama_cpp
import numpy as np
from true_logits import compare, read, read_ids, read_sets, true_logits, worst_of

PPL_BOUND = 1e-3


def perplexity(logits, ids):
    x = logits[:-1].astype(np.float64)
    x -= x.max(axis=1, keepdims=True)
    nll = np.log(np.exp(x).sum(axis=1)) - x[np.arange(len(x)), ids[1:]]
    return math.exp(nll.mean())


def has_blas():
    """Whether the library knows a backend of that name: its system info does not say so."""
    folder = os.path.dirname(llama_cpp.llama_cpp._lib._name)
    ggml, base = (ctypes.CDLL(os.path.join(folder, f"lib{name}.so")) for name in ("ggml", "ggml-base"))
    ggml.ggml_backend_reg_count.restype = ctypes.c_size_t
    ggml.ggml_backend_reg_get.restype = ctypes.c_void_p
    base.ggml_backend_reg_name.argtypes, base.ggml_backend_reg_name.restype = [ctypes.c_void_p], ctypes.c_char_p
    count = ggml.ggml_backend_reg_count()
    return b"BLAS" in [base.ggml_backend_reg_name(ggml.ggml_backend_reg_get(ctypes.c_size_t(i))) for i in range(count)]


def logits_of(path, ids, plain, batch=0):
    """(logits, the model). plain: weights not repacked, since repacked ones are multiplied with activations of 8 bits, past
    BLAS; else as llama.cpp runs where nobody says anything."""
    defaults = llama_cpp.llama_cpp.llama_model_default_params

    def without_repacking():
        params = defaults()
        params.use_extra_bufts = False
        return params

    llama_cpp.llama_cpp.llama_model_default_params = without_repacking if plain else defaults
    batch = batch or len(ids)
    llama = llama_cpp.Llama(path, n_ctx=len(ids), n_batch=batch, n_ubatch=batch, n_threads=2, n_threads_batch=2,
                            logits_all=True, verbose=False, type_k=llama_cpp.GGML_TYPE_F32,
                            type_v=llama_cpp.GGML_TYPE_F32, flash_attn=False, n_gpu_layers=0)
    llama_cpp.llama_cpp.llama_model_default_params = defaults
    llama.eval(ids)
    return np.array(llama.scores[:len(ids)], dtype=np.float32), llama


def write_float32(path, out):
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype, params.allow_requantize, params.nthread = llama_cpp.LLAMA_FTYPE_ALL_F32, True, 2
    if llama_cpp.llama_model_quantize(path.encode(), out.encode(), ctypes.byref(params)):
        sys.exit(f"{path}: llama.cpp does not dequantise it")


def say(what, theirs, ours, ids, true, strict):
    near, words = compare(theirs, ours, true, strict)
    a, b = perplexity(theirs, ids), perplexity(ours, ids)
    held = near and abs(a - b) <= PPL_BOUND * b
    print(f"{what}, {len(ids)} tokens: {words}; perplexity {a:.6f} against {b:.6f} ({abs(a - b) / b:.1e})"
          f"{'' if held else '   NOT HELD'}")
    return held


def say_rounded(what, path, ids, ours):
    for words, plain, batch in (("as it runs by default", False, 0), ("in batches of 16 tokens", True, 16)):
        rounded, _ = logits_of(path, ids, plain, batch)
        print(f"{what}: not bound: {words}: logits differ by {worst_of(rounded, ours)}; perplexity "
              f"{perplexity(rounded, ids):.6f}")


def compare_set(path, wide_path, words, strict, ids, ours, true):
    theirs, llama = logits_of(path, ids, True)
    wide, _ = logits_of(wide_path, ids, False)
    held = say(f"{path}: llama.cpp {words}", theirs, ours, ids, true, strict)
    held &= say(f"{path}: its own float32 weights, as it runs by default, {words}", wide, ours, ids, true, strict)
    say_rounded(f"{path}: {words}", path, ids, ours)
    return held, llama


def main():
    if sys.argv[1] == "--float32":
        write_float32(*sys.argv[2:])
        return
    path, sets_path, text_path, text_ids, wide_path = sys.argv[1:6]
    file = read(path)
    held = has_blas()
    if not held:
        print(f"{path}: NOT HELD: llama.cpp has no BLAS here")
    for words, strict, ids, ours in read_sets(sets_path):
        near, llama = compare_set(path, wide_path, words, strict, ids, ours, true_logits(*file, ids))
        held &= near
    with open(text_path, "rb") as text:
        found = llama.tokenize(text.read(), add_bos=False, special=True)  # "<unk>" is one in wikitext, to ptq, too
    same = found == read_ids(text_ids)
    print(f"{path}: tokenizer: {len(found)} ids {'equal' if same else 'DIFFER'}")
    sys.exit(0 if held and same else 1)


if __name__ == "__main__":
    main()
