#!/usr/bin/env python3
"""Unpacks an AWQ or GPTQ folder from the definition of its format, and compares every linear with a plain FP16 folder.

    unpack.py QUANTISED PLAIN

Written from the formats' own descriptions and with nothing but Python's library, so that it shares no line and no idea
with ptq's packing: a stream of b-bit codes is one large integer here. A weight is fp16(scale * (code - zero)); it must be
the plain folder's to the bit. Where PLAIN is QUANTISED itself only shapes, code ranges and g_idx are looked at."""
import json
import os
import struct
import sys

AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)  # nibble i of a word holds this output


def tensors(folder):
    """Name -> (dtype, shape, bytes), of one file or of shards."""
    index = os.path.join(folder, "model.safetensors.index.json")
    files = ["model.safetensors"]
    if os.path.exists(index):
        with open(index, encoding="utf-8") as file:
            files = sorted(set(json.load(file)["weight_map"].values()))
    found = {}
    for name in files:
        with open(os.path.join(folder, name), "rb") as file:
            data = file.read()
        size = struct.unpack("<Q", data[:8])[0]
        for key, entry in json.loads(data[8:8 + size]).items():
            if key != "__metadata__":
                begin, end = entry["data_offsets"]
                found[key] = (entry["dtype"], entry["shape"], data[8 + size + begin:8 + size + end])
    return found


def words(tensor):
    """Rows of unsigned 32-bit words."""
    dtype, (rows, columns), data = tensor
    assert dtype == "I32", dtype
    flat = struct.unpack("<%dI" % (rows * columns), data)
    return [flat[i * columns:(i + 1) * columns] for i in range(rows)]


def halves(tensor):
    dtype, shape, data = tensor
    assert dtype == "F16", dtype
    flat = struct.unpack("<%de" % (len(data) // 2), data)
    columns = shape[-1]
    return [flat[i:i + columns] for i in range(0, len(flat), columns)]


def stream(column, bits, count):
    """count codes from words, the first in the lowest bits."""
    whole = int.from_bytes(struct.pack("<%dI" % len(column), *column), "little")
    return [whole >> bits * i & (1 << bits) - 1 for i in range(count)]


def nibbles(row):
    """One AWQ row of words to its outputs."""
    out = [0] * (8 * len(row))
    for i, word in enumerate(row):
        for j, place in enumerate(AWQ_ORDER):
            out[8 * i + place] = word >> 4 * j & 15
    return out


def read_awq(name, found, config):
    """codes[n][k], zeros[g][n], group[k]"""
    rows = [nibbles(row) for row in words(found[name + ".qweight"])]
    codes = [list(column) for column in zip(*rows)]
    zeros = [nibbles(row) for row in words(found[name + ".qzeros"])]
    k = len(rows)
    size = k if config["group_size"] < 0 else config["group_size"]
    return codes, zeros, [i // size for i in range(k)]


def read_gptq(name, found, config):
    bits, less = config["bits"], config["checkpoint_format"] == "gptq"
    columns = list(zip(*words(found[name + ".qweight"])))
    k = len(columns[0]) * 32 // bits
    codes = [stream(column, bits, k) for column in columns]
    zeros = [[z + less for z in stream(row, bits, len(columns))] for row in words(found[name + ".qzeros"])]
    group = struct.unpack("<%di" % k, found[name + ".g_idx"][2])
    return codes, zeros, group


def half(value):
    return struct.unpack("<e", struct.pack("<e", value))[0]


def check_linear(name, found, config, plain):
    read = {"awq": read_awq, "gptq": read_gptq}[config["quant_method"]]
    codes, zeros, group = read(name, found, config)
    scales = halves(found[name + ".scales"])
    assert len(zeros) == len(scales) == max(group) + 1, name
    assert all(len(row) == len(codes) for row in zeros + scales), name
    if plain is None:
        return
    weights = halves(plain[name + ".weight"])
    assert len(weights) == len(codes), name
    for n, row in enumerate(codes):
        for k, code in enumerate(row):
            value = half(scales[group[k]][n] * (code - zeros[group[k]][n]))
            if value != weights[n][k]:
                sys.exit(f"{name}: weight [{n}, {k}] unpacks to {value}; the plain folder has {weights[n][k]}")


def main():
    packed, plain = sys.argv[1:]
    with open(os.path.join(packed, "config.json"), encoding="utf-8") as file:
        config = json.load(file)["quantization_config"]
    found = tensors(packed)
    names = sorted(name[:-8] for name in found if name.endswith(".qweight"))
    other = None if os.path.samefile(packed, plain) else tensors(plain)
    for name in names:
        check_linear(name, found, config, other)
    rest = 0
    for name, tensor in found.items():  # what is no code is the same bytes
        if other is not None and name in other:
            assert tensor == other[name], name
            rest += 1
    print(f"{config['quant_method']} {config['bits']} bits: {len(names)} linears equal, {rest} other tensors")


if __name__ == "__main__":
    main()
