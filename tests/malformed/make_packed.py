#!/usr/bin/env python3
"""Makes the entries of ptq's own checkpoints: make_packed.py FOLDER EXPORT

EXPORT is a folder of `ptq quantize --method salient:w4,g32 --format packed`; each entry is a copy of it, FOLDER/packed/NAME,
with one thing wrong: in the image of one linear (kernels/packed.h draws it) or in config.json."""
import json
import os
import shutil
import struct
import sys

from good import read, read_json

SHARD, INDEX = "model-00002-of-", "model.safetensors.index.json"
LINEAR = "model.layers.0.mlp.up_proj.packed"


def read_shard(path):
    data = read(path)
    length = struct.unpack_from("<Q", data)[0]
    header = json.loads(data[8:8 + length])
    header.pop("__metadata__", None)
    data = data[8 + length:]
    return {name: (entry, bytearray(data[slice(*entry["data_offsets"])])) for name, entry in header.items()}


def write_shard(path, tensors):
    header, at = {}, 0
    for name, (entry, data) in tensors.items():
        shape = [len(data)] if entry["dtype"] == "U8" else entry["shape"]
        header[name] = {**entry, "shape": shape, "data_offsets": [at, at + len(data)]}
        at += len(data)
    text = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + b"".join(data for _, data in tensors.values()))


def places(image):
    """Where the scales begin, and the salient columns."""
    n, k, group = struct.unpack_from("<qqq", image, 16)
    bits, = struct.unpack_from("<i", image, 56)
    halves, zeros, permuted = struct.unpack_from("<iii", image, 72)
    tiles, groups = -(-n // 16), -(-k // group)

    def padded(size):
        return -(-size // 64) * 64
    steps = sum(-(-min(group, k - first) // 32) for first in range(0, k, group))
    scale = 128 + tiles * steps * bits * 64
    zero = scale + padded(tiles * groups * 16 * (2 if halves else 4))
    perm = zero + padded(tiles * groups * (8 if bits <= 4 else 16) * zeros)
    return scale, perm + padded(4 * k * permuted)


def poke(at, form, value):
    return lambda image: struct.pack_into(form, image, at(image) if callable(at) else at, value)


def folder(out, export, name, change=None, config=None, drop=False):
    """A copy; change: what is done to the linear's image; config: what is put into quantization_config."""
    place = os.path.join(out, "packed", name)
    shutil.copytree(export, place)
    shard = next(file for file in os.listdir(place) if file.startswith(SHARD))
    tensors = read_shard(os.path.join(place, shard))
    if drop:
        del tensors[LINEAR]
        index = read_json(place, INDEX)
        del index["weight_map"][LINEAR]
        with open(os.path.join(place, INDEX), "w", encoding="utf-8") as file:
            json.dump({"weight_map": index["weight_map"]}, file)
    if change:
        change(tensors[LINEAR][1])
        index = read_json(place, INDEX)
        with open(os.path.join(place, INDEX), "w", encoding="utf-8") as file:
            json.dump({"weight_map": index["weight_map"]}, file)
    if change or drop:
        write_shard(os.path.join(place, shard), tensors)
    if config:
        text = read_json(place, "config.json")
        text["quantization_config"].update(config)
        with open(os.path.join(place, "config.json"), "w", encoding="utf-8") as file:
            json.dump(text, file)


def main():
    out, export = sys.argv[1:]
    folder(out, export, "119a-version", poke(8, "<I", 2))
    folder(out, export, "119b-cut-short", lambda image: image.__delitem__(slice(-64, None)))
    folder(out, export, "119c-too-long", lambda image: image.extend(bytes(64)))
    folder(out, export, "119d-outputs", lambda image: poke(16, "<q", struct.unpack_from("<q", image, 16)[0] - 1)(image))
    folder(out, export, "119e-column-outside", poke(lambda image: places(image)[1], "<i", 1 << 20))
    folder(out, export, "119f-scale-nan", poke(lambda image: places(image)[0], "<f", float("nan")))
    folder(out, export, "119g-missing", drop=True)
    folder(out, export, "119h-config-version", config={"version": 2})
    folder(out, export, "119i-config-bits", config={"bits": 3})
    folder(out, export, "119j-no-magic", poke(0, "<B", 0))
    folder(out, export, "119k-good")


if __name__ == "__main__":
    main()
