#!/usr/bin/env python3
"""The logits of a llama GGUF in float64: what the file says before anybody rounds a sum.

    true_logits.py FILE.gguf IDS OUT

Tensors are unpacked by gguf-py, d code + m in float32, as their types are defined; everything after that is numpy in
float64. OUT becomes float32 [T][V]. Programs that compute in float32 lie around this: where two of them differ it says how
far off each of them is."""
import sys

import numpy as np

LOGIT_BOUND = 1e-3


def read(path):
    """(metadata as a function of the key behind 'llama.', tensors by name)."""
    import gguf
    reader = gguf.GGUFReader(path)

    def get(key, default=None):
        field = reader.get_field("llama." + key)
        return default if field is None else field.contents()

    tensors = {}
    for t in reader.tensors:
        w = gguf.quants.dequantize(t.data, t.tensor_type).astype(np.float32)
        tensors[t.name] = w.reshape([int(n) for n in reversed(t.shape)]).astype(np.float64)
    return get, tensors


def norm(x, w, eps):
    return x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + eps) * w


def rotate(x, base):
    """x [T][heads][D], a head's pairs side by side, as llama.cpp stores them; frequencies as float32 has them."""
    t, _, d = x.shape
    frequency = (1 / np.float32(base) ** (np.arange(0, d, 2, dtype=np.float32) / np.float32(d))).astype(np.float64)
    angle = (np.arange(t)[:, None] * frequency)[:, None]
    even, odd, c, s = x[..., ::2], x[..., 1::2], np.cos(angle), np.sin(angle)
    return np.stack([even * c - odd * s, even * s + odd * c], axis=-1).reshape(x.shape)


def attention(x, w, heads, kv_heads, base):
    t = len(x)
    q, k, v = (x @ w[f"attn_{name}"].T for name in "qkv")
    q = rotate(q.reshape(t, heads, -1), base)
    k = np.repeat(rotate(k.reshape(t, kv_heads, -1), base), heads // kv_heads, axis=1)
    v = np.repeat(v.reshape(t, kv_heads, -1), heads // kv_heads, axis=1)
    score = np.einsum("qhd,khd->hqk", q, k) / np.sqrt(q.shape[-1])
    score = np.where(np.tri(t, dtype=bool), score, -np.inf)
    score = np.exp(score - score.max(axis=-1, keepdims=True))
    return np.einsum("hqk,khd->qhd", score / score.sum(axis=-1, keepdims=True), v).reshape(t, -1) @ w["attn_output"].T


def mlp(x, w):
    gate = x @ w["ffn_gate"].T
    return gate / (1 + np.exp(-gate)) * (x @ w["ffn_up"].T) @ w["ffn_down"].T


def logits(get, tensors, ids):
    eps, heads = get("attention.layer_norm_rms_epsilon"), get("attention.head_count")
    x = tensors["token_embd.weight"][ids]
    for block in range(get("block_count")):
        stem = f"blk.{block}."
        w = {name[len(stem):-len(".weight")]: tensor for name, tensor in tensors.items() if name.startswith(stem)}
        x = x + attention(norm(x, w["attn_norm"], eps), w, heads, get("attention.head_count_kv", heads),
                          get("rope.freq_base", 10000.0))
        x = x + mlp(norm(x, w["ffn_norm"], eps), w)
    x = norm(x, tensors["output_norm.weight"], eps)
    head = tensors.get("output.weight", tensors["token_embd.weight"])
    return (x @ head.T).astype(np.float32)


def worst_of(a, b):
    """'1.2e-04 at token 7, 3.4e-05 at the next worst'"""
    worst = np.abs(a - b).max(axis=1)
    order = np.argsort(-worst)
    return f"{worst[order[0]]:.1e} at token {order[0]}, {worst[order[1]]:.1e} at the next worst"


def compare(theirs, ours, true):
    """(held, words). ptq's logits must be within 1e-3 of the other program's in float32, or of float64, at every token: two
    programs that round the residual alike agree in float32 where both are off, and where the other one's sums are off
    float64 remains. Where neither holds, the other program must itself miss float64 by more than half the bound: float32
    does not settle such a token, and the words say how many there are."""
    between, a, b = (np.abs(x - y).max(axis=1) for x, y in ((theirs, ours), (theirs, true), (ours, true)))
    over = np.minimum(between, b) > LOGIT_BOUND
    words = (f"logits differ by {worst_of(theirs, ours)}; from float64 ptq by {worst_of(ours, true)}, they by "
             f"{worst_of(theirs, true)}")
    if over.any():
        words += f"; float32 does not settle {over.sum()} of {len(a)} tokens"
    return not (over & (a <= LOGIT_BOUND / 2)).any(), words


def main():
    path, ids_path, out = sys.argv[1:]
    with open(ids_path, encoding="utf-8") as file:
        ids = [int(word) for word in file.read().split()]
    get, tensors = read(path)
    logits(get, tensors, ids).tofile(out)


if __name__ == "__main__":
    main()
