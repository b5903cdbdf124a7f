#!/usr/bin/env python3
"""Writes small good files for the fuzzers to begin with: make_seeds.py FOLDER gives FOLDER/gguf and FOLDER/safetensors, and
FOLDER/tokenizer with the committed tokenizers and the texts that go with them."""
import json
import os
import struct
import sys


def text(data):
    return struct.pack("<Q", len(data)) + data


def gguf():
    keys = [(b"general.alignment", 4, struct.pack("<I", 64)), (b"general.architecture", 8, text(b"llama")),
            (b"a.u64", 10, b"\xff" * 8), (b"a.f32", 6, struct.pack("<f", 0.5)), (b"a.bool", 7, b"\1"),
            (b"a.texts", 9, struct.pack("<IQ", 8, 2) + text(b"x") + text(b"")),
            (b"a.ints", 9, struct.pack("<IQ3i", 5, 3, 1, -1, 7)), (b"a.reals", 9, struct.pack("<IQ2d", 12, 2, 1.5, -1))]
    types = [(0, 1, 4), (1, 1, 2), (30, 1, 2), (2, 32, 18), (3, 32, 20), (8, 32, 34), (28, 1, 8), (24, 1, 1)]
    out = b"GGUF" + struct.pack("<IQQ", 3, len(types), len(keys))
    for key, kind, value in keys:
        out += text(key) + struct.pack("<I", kind) + value
    data = b""
    for i, (kind, block, size) in enumerate(types):
        out += text(b"t%d" % i) + struct.pack("<IQQIQ", 2, 32, 2, kind, len(data))
        data += (bytes(range(64)) * 8)[:64 // block * size]
        data += b"\0" * (-len(data) % 64)
    return out + b"\0" * (-len(out) % 64) + data


def safetensors():
    types = [("F32", 4), ("F16", 2), ("BF16", 2), ("I64", 8), ("U8", 1), ("BOOL", 1)]
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for name, size in types:
        header[name.lower()] = {"dtype": name, "shape": [2, 3], "data_offsets": [at, at + 6 * size]}
        at += 6 * size
    header["scalar"] = {"dtype": "F16", "shape": [], "data_offsets": [at, at + 2]}
    header["none"] = {"dtype": "F16", "shape": [0, 5], "data_offsets": [at + 2, at + 2]}
    encoded = json.dumps(header).encode()
    return struct.pack("<Q", len(encoded)) + encoded + bytes(at + 2)


def tokenizers(folder):
    """The first byte says what a seed is: see fuzz_tokenizer.c."""
    fixtures = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "fixtures", "tokenizers")
    os.makedirs(folder, exist_ok=True)
    for name in os.listdir(fixtures):
        mark = b"g" if name.endswith(".gguf") else b"j" if name.endswith(".tokenizer.json") else None
        if mark:
            with open(os.path.join(fixtures, name), "rb") as source, open(os.path.join(folder, name), "wb") as file:
                file.write(mark + source.read())
    with open(os.path.join(fixtures, "texts.json"), encoding="utf-8") as source:
        for i, trap in enumerate(json.load(source)):
            with open(os.path.join(folder, f"text{i}"), "wb") as file:
                file.write(bytes([i % 11]) + trap.encode())


tokenizers(os.path.join(sys.argv[1], "tokenizer"))
for kind, make in (("gguf", gguf), ("safetensors", safetensors)):
    folder = os.path.join(sys.argv[1], kind)
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "good"), "wb") as file:
        file.write(make())
