#!/usr/bin/env python3
"""The logits of a llama or qwen2 GGUF in float64: what the file says before anybody rounds a sum.

    true_logits.py FILE.gguf IDS OUT

Tensors are unpacked by gguf-py, d code + m in float32, as their types are defined; everything after that is numpy in
float64. OUT becomes float32 [T][V]. Programs that compute in float32 lie around this: where two of them differ it says how
far off each of them is. What the comparisons share is here, too: the sets of ids, and when a set holds."""
import os
import sys

import numpy as np

LOGIT_BOUND = 1e-3
# From here on neighbours in float32 are 1e-3 apart: a residual that reaches this and goes back leaves its logits unsettled.
MASSIVE = LOGIT_BOUND * 2**23
# run.sh's sets of ids: name, words, and whether tokens with a massive activation are bound, too. Behind its BOS a model
# has one at the first place alone, where it stays; without, a text's second token may be another (docs/compat.md).
SETS = (("bos", "behind the BOS", True), ("open", "without BOS", False))


def read_ids(path):
    with open(path, encoding="utf-8") as file:
        return [int(word) for word in file.read().split()]


def read_sets(folder):
    """[(words, strict, ids, ptq's logits)]"""
    found = []
    for name, words, strict in SETS:
        ids = read_ids(os.path.join(folder, name + ".ids"))
        logits_of_set = np.fromfile(os.path.join(folder, name + ".logits"), dtype=np.float32)
        found.append((words, strict, ids, logits_of_set.reshape(len(ids), -1)))
    return found


def read(path):
    """(metadata as a function of the key behind the architecture's name, tensors by name)."""
    import gguf
    reader = gguf.GGUFReader(path)
    architecture = reader.get_field("general.architecture").contents()

    def get(key, default=None):
        field = reader.get_field(f"{architecture}.{key}")
        return default if field is None else field.contents()

    get.halves = {"llama": False, "qwen2": True}[architecture]

    tensors = {}
    for t in reader.tensors:
        w = gguf.quants.dequantize(t.data, t.tensor_type).astype(np.float32)
        tensors[t.name] = w.reshape([int(n) for n in reversed(t.shape)]).astype(np.float64)
    return get, tensors


def norm(x, w, eps):
    return x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + eps) * w


def angles(get, factors, t, d):
    """[T][1][D / 2]; frequencies as float32 has them."""
    base = np.float32(get("rope.freq_base", 10000.0))
    frequency = (1 / base ** (np.arange(0, d, 2, dtype=np.float32) / np.float32(d))).astype(np.float64) / factors
    return (np.arange(t)[:, None] * frequency)[:, None]


def rotate(x, angle, halves):
    """x [T][heads][D], a head's pairs side by side, as llama.cpp stores llama's; halves: D / 2 apart, as qwen2's are."""
    c, s = np.cos(angle), np.sin(angle)
    a, b = np.split(x, 2, axis=-1) if halves else (x[..., ::2], x[..., 1::2])
    turned = [a * c - b * s, a * s + b * c]
    return np.concatenate(turned, axis=-1) if halves else np.stack(turned, axis=-1).reshape(x.shape)


def attention(x, w, get, factors):
    t, heads = len(x), get("attention.head_count")
    kv_heads = get("attention.head_count_kv", heads)
    q, k, v = (x @ w[f"attn_{name}"].T + w.get(f"attn_{name}.bias", 0) for name in "qkv")
    q = q.reshape(t, heads, -1)
    angle = angles(get, factors, t, q.shape[-1])
    q = rotate(q, angle, get.halves)
    k = np.repeat(rotate(k.reshape(t, kv_heads, -1), angle, get.halves), heads // kv_heads, axis=1)
    v = np.repeat(v.reshape(t, kv_heads, -1), heads // kv_heads, axis=1)
    score = np.einsum("qhd,khd->hqk", q, k) / np.sqrt(q.shape[-1])
    score = np.where(np.tri(t, dtype=bool), score, -np.inf)
    score = np.exp(score - score.max(axis=-1, keepdims=True))
    return np.einsum("hqk,khd->qhd", score / score.sum(axis=-1, keepdims=True), v).reshape(t, -1) @ w["attn_output"].T


def mlp(x, w):
    gate = x @ w["ffn_gate"].T
    return gate / (1 + np.exp(-gate)) * (x @ w["ffn_up"].T) @ w["ffn_down"].T


def block_of(tensors, block):
    """Name without 'blk.N.' and '.weight' -> tensor."""
    stem = f"blk.{block}."
    return {name[len(stem):].removesuffix(".weight"): tensor for name, tensor in tensors.items() if name.startswith(stem)}


def true_logits(get, tensors, ids):
    """(logits, the largest number of each token's residual)"""
    eps, factors = get("attention.layer_norm_rms_epsilon"), tensors.get("rope_freqs.weight", 1)
    x = tensors["token_embd.weight"][ids]
    size = np.zeros(len(ids))
    for block in range(get("block_count")):
        w = block_of(tensors, block)
        x = x + attention(norm(x, w["attn_norm"], eps), w, get, factors)
        x = x + mlp(norm(x, w["ffn_norm"], eps), w)
        size = np.maximum(size, np.abs(x).max(axis=1))
    x = norm(x, tensors["output_norm.weight"], eps)
    head = tensors.get("output.weight", tensors["token_embd.weight"])
    return (x @ head.T).astype(np.float32), size


def worst_of(a, b):
    """'1.2e-04 at token 7, 3.4e-05 at the next worst'"""
    worst = np.abs(a - b).max(axis=1)
    order = np.argsort(-worst)
    return f"{worst[order[0]]:.1e} at token {order[0]}, {worst[order[1]]:.1e} at the next worst"


def compare(theirs, ours, true, strict):
    """(held, words). ptq's logits must be within 1e-3 of the other program's, both in float32, at every token; not strict:
    at every token without a massive activation. true: logits in float64 and the size of each token's residual, which
    say how far off each of the two is, and where an activation is massive."""
    between, (logits, size) = np.abs(theirs - ours).max(axis=1), true
    words = (f"logits differ by {worst_of(theirs, ours)}; from float64 ptq by {worst_of(ours, logits)}, they by "
             f"{worst_of(theirs, logits)}; massive at {np.flatnonzero(size >= MASSIVE).tolist() or 'none'}")
    return not (between[strict | (size < MASSIVE)] > LOGIT_BOUND).any(), words


def main():
    path, ids_path, out = sys.argv[1:]
    true_logits(*read(path), read_ids(ids_path))[0].tofile(out)


if __name__ == "__main__":
    main()
