#!/usr/bin/env python3
"""Greedy decoding of a GGUF by llama.cpp, timed as `ptq generate --json` times its own.

    decode_llama.py FILE.gguf PROMPT TOKENS THREADS

Prints one JSON object: the prompt and the decoding in tokens per second. As llama.cpp has it by default: weights
repacked where it knows how, FP16 cache of keys and values; the loop calls the library, not its Python class."""
import json
import sys
import time

import llama_cpp
import numpy as np


def main():
    path, prompt, tokens, threads = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    llama = llama_cpp.Llama(path, n_ctx=512, n_threads=threads, n_threads_batch=threads, n_gpu_layers=0, verbose=False)
    ids = llama.tokenize(prompt.encode(), add_bos=False)
    context, n_vocab = llama.ctx, llama.n_vocab()

    def step(new):
        array = (llama_cpp.llama_token * len(new))(*new)
        if llama_cpp.llama_decode(context, llama_cpp.llama_batch_get_one(array, len(new))) != 0:
            sys.exit("decode_llama.py: llama_decode failed")
        logits = llama_cpp.llama_get_logits_ith(context, -1)
        return int(np.argmax(np.ctypeslib.as_array(logits, (n_vocab,))))

    begun = time.perf_counter()
    token = step(ids)
    read, out = time.perf_counter(), []
    for _ in range(tokens):
        out.append(token)
        token = step([token])
    done = time.perf_counter()
    print(json.dumps({"tokens_per_second": tokens / (done - read), "prompt_tokens_per_second": len(ids) / (read - begun),
                      "text": llama.detokenize(out).decode(errors="replace"),
                      "version": f"llama-cpp-python {llama_cpp.__version__}"}))


if __name__ == "__main__":
    main()
