#!/usr/bin/env python3
"""Makes models whose numbers are out of the ordinary, for numbers.tsv: make_numbers.py FOLDER

Each is tests/fixtures/models/llama with all tensors as F32 and some of them changed."""
import json
import math
import os
import shutil
import struct
import sys

from good import MODELS, read
from make_gguf import parted, text

LLAMA = os.path.join(MODELS, "llama")
Q, UP, DOWN = "layers.0.self_attn.q_proj", "layers.1.mlp.up_proj", "layers.1.mlp.down_proj"


def read_tensors():
    """name -> (shape, values) of the fixture, which is F16."""
    with open(os.path.join(LLAMA, "model.safetensors"), "rb") as file:
        data = file.read()
    start = 8 + struct.unpack_from("<Q", data)[0]
    tensors = {}
    for name, entry in json.loads(data[8:start]).items():
        if name != "__metadata__":
            begin, end = entry["data_offsets"]
            tensors[name] = (entry["shape"], list(struct.unpack_from(f"<{(end - begin) // 2}e", data, start + begin)))
    return tensors


GOOD = read_tensors()


def model(folder, name, change):
    """change(tensors) may put other values into `name -> (shape, values)`, whose lists are copies."""
    tensors = {key: (shape, list(values)) for key, (shape, values) in GOOD.items()}
    change(tensors)
    header, at, data = {}, 0, []
    for key, (shape, values) in tensors.items():
        header[key] = {"dtype": "F32", "shape": shape, "data_offsets": [at, at + 4 * len(values)]}
        at += 4 * len(values)
        data.append(struct.pack(f"<{len(values)}f", *values))
    text = json.dumps(header).encode()
    path = os.path.join(folder, name)
    os.makedirs(path)
    with open(os.path.join(path, "model.safetensors"), "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + b"".join(data))
    for other in ("config.json", "tokenizer.json"):
        shutil.copy(os.path.join(LLAMA, other), path)


def linear(name, values):
    """values(i, old) for every element of a linear."""
    def change(tensors):
        old = tensors[f"model.{name}.weight"][1]
        old[:] = [values(i, x) for i, x in enumerate(old)]
    return change


def one(name, index, value):
    def change(tensors):
        tensors[name][1][index] = value
    return change


def times(name, factor):
    def change(tensors):
        tensors[name][1][:] = [x * factor for x in tensors[name][1]]
    return change


def every_linear(values):
    def change(tensors):
        for key in tensors:
            if key.endswith("_proj.weight"):
                linear(key[len("model."):-len(".weight")], values)(tensors)
    return change


def dead_channel(tensors):
    for key in tensors:
        if key.endswith("layernorm.weight"):
            tensors[key][1][3] = 0.0


def overflow(tensors):
    """The product of gate and up, both finite, is beyond FP32."""
    for key in ("gate_proj", "up_proj"):
        linear(f"layers.1.mlp.{key}", lambda i, x: x * 1e30)(tensors)


def scaled_gguf(factor):
    """tests/fixtures/models/llama-gqa/model.gguf with blk.1.attn_output.weight, which is F32 there, times a factor."""
    data = bytearray(read(MODELS, "llama-gqa", "model.gguf"))
    head, _ = parted(bytes(data))
    name = text("blk.1.attn_output.weight")
    at = head.index(name) + len(name)  # u32 rank, 2 u64 dimensions, u32 type, u64 offset
    kind, offset = struct.unpack_from("<IQ", head, at + 20)
    assert kind == 0
    start, n = len(head) + -len(head) % 32 + offset, 64 * 64
    struct.pack_into(f"<{n}f", data, start, *(x * factor for x in struct.unpack_from(f"<{n}f", data, start)))
    return bytes(data)


def main():
    models = {
        "nan-weight": one(f"model.{UP}.weight", 327, math.nan),
        "inf-weight": one(f"model.{Q}.weight", 64, math.inf),
        "minus-inf-weight": one(f"model.{DOWN}.weight", 72, -math.inf),
        "nan-embedding": lambda t: [one("model.embed_tokens.weight", 64 * i + 5, math.nan)(t) for i in range(287)],
        "nan-norm": one("model.layers.1.input_layernorm.weight", 7, math.nan),
        "nan-head": one("lm_head.weight", 70, math.nan),
        "overflow": overflow,
        "large-embedding": times("model.embed_tokens.weight", 1e30),
        "large-head": times("lm_head.weight", 1e6),
        "overflowing-head": times("lm_head.weight", 1e38),
        "zero-group": every_linear(lambda i, x: 0.0 if i < 32 else x),
        "zero-linear": linear(UP, lambda i, x: 0.0),
        "all-zero": every_linear(lambda i, x: 0.0),
        "equal-group": every_linear(lambda i, x: 0.25 if i < 32 else x),
        "equal-negative-group": every_linear(lambda i, x: -0.25 if i < 32 else x),
        "outlier-group": every_linear(lambda i, x: 50.0 if i == 5 else 0.0 if i < 32 else x),
        "dead-channel": dead_channel,
        "large-weights": linear(Q, lambda i, x: x * 1e7),
        "tiny-weights": linear(Q, lambda i, x: x * 1e-7),
        "vanishing-weights": linear(Q, lambda i, x: x * 1e-38),
    }
    for name, change in models.items():
        model(sys.argv[1], name, change)
    for name, factor in (("large", 1e7), ("tiny", 1e-7)):
        with open(os.path.join(sys.argv[1], f"{name}-linear.gguf"), "wb") as file:
            file.write(scaled_gguf(factor))


if __name__ == "__main__":
    main()
