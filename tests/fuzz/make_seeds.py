#!/usr/bin/env python3
"""Writes small good inputs for the fuzz targets to begin with: make_seeds.py FOLDER gives FOLDER/TARGET/NAME for every
target of fuzz.h. Files are made here or taken from tests/fixtures and experiments/."""
import hashlib
import json
import os
import struct
import sys

TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
FIXTURES = os.path.join(TESTS, "fixtures")
EXPERIMENTS = os.path.join(os.path.dirname(TESTS), "experiments")


def bytes_of(path):
    with open(path, "rb") as file:
        return file.read()


def files(folder, *ends):
    """(name, content) of the files of a folder with these ends, by name."""
    for name in sorted(os.listdir(folder)):
        if name.endswith(ends):
            yield name, bytes_of(os.path.join(folder, name))


def text(data):
    return struct.pack("<Q", len(data)) + data


def gguf():
    keys = [(b"general.alignment", 4, struct.pack("<I", 64)), (b"general.architecture", 8, text(b"llama")),
            (b"a.u64", 10, b"\xff" * 8), (b"a.f32", 6, struct.pack("<f", 0.5)), (b"a.bool", 7, b"\1"),
            (b"a.texts", 9, struct.pack("<IQ", 8, 2) + text(b"x") + text(b"")),
            (b"a.ints", 9, struct.pack("<IQ3i", 5, 3, 1, -1, 7)), (b"a.reals", 9, struct.pack("<IQ2d", 12, 2, 1.5, -1))]
    for name, value in (("embedding_length", 64), ("block_count", 2), ("attention.head_count", 4),
                        ("feed_forward_length", 96), ("context_length", 64), ("attention.head_count_kv", 2),
                        ("vocab_size", 287), ("attention.sliding_window", 16)):
        keys.append((b"llama." + name.encode(), 4, struct.pack("<I", value)))
    keys.append((b"llama.attention.layer_norm_rms_epsilon", 6, struct.pack("<f", 1e-5)))
    keys.append((b"llama.rope.scaling.type", 8, text(b"linear")))
    keys.append((b"llama.rope.scaling.factor", 6, struct.pack("<f", 4)))
    types = [(0, 1, 4), (1, 1, 2), (30, 1, 2), (2, 32, 18), (3, 32, 20), (8, 32, 34), (28, 1, 8), (24, 1, 1)]
    out = b"GGUF" + struct.pack("<IQQ", 3, len(types), len(keys))
    for key, kind, value in keys:
        out += text(key) + struct.pack("<I", kind) + value
    data = b""
    for i, (kind, block, size) in enumerate(types):
        out += text(b"t%d" % i) + struct.pack("<IQQIQ", 2, 32, 2, kind, len(data))
        data += (bytes(range(64)) * 8)[:64 // block * size]
        data += b"\0" * (-len(data) % 64)
    yield "good", out + b"\0" * (-len(out) % 64) + data


def safetensors():
    types = [("F32", 4), ("F16", 2), ("BF16", 2), ("I64", 8), ("U8", 1), ("BOOL", 1)]
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for name, size in types:
        header[name.lower()] = {"dtype": name, "shape": [2, 3], "data_offsets": [at, at + 6 * size]}
        at += 6 * size
    header["scalar"] = {"dtype": "F16", "shape": [], "data_offsets": [at, at + 2]}
    header["none"] = {"dtype": "F16", "shape": [0, 5], "data_offsets": [at + 2, at + 2]}
    encoded = json.dumps(header).encode()
    yield "good", struct.pack("<Q", len(encoded)) + encoded + bytes(at + 2)


def index():
    shards = {"a": "a.safetensors", "b": "b.safetensors"}
    yield "good", json.dumps({"metadata": {"total_size": 8}, "weight_map": shards}).encode()
    yield "one", json.dumps({"weight_map": {"a": "a.safetensors"}}).encode()
    yield "swapped", json.dumps({"weight_map": {"a": "b.safetensors", "b": "a.safetensors"}}).encode()
    yield "outside", json.dumps({"weight_map": {"a": "../a.safetensors"}}).encode()


QUANTIZED = {
    "awq": {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True, "version": "gemm"},
    "gptq": {"quant_method": "gptq", "bits": 3, "group_size": -1, "sym": False, "desc_act": True, "dynamic": {},
             "checkpoint_format": "gptq_v2", "lm_head": False, "pack_dtype": "int32"},
    "ptq": {"quant_method": "ptq", "version": 1, "bits": 4, "group_size": 16, "sym": False},
}


def config():
    models = os.path.join(FIXTURES, "models")
    for name in sorted(os.listdir(models)):
        path = os.path.join(models, name, "config.json")
        if os.path.isfile(path):
            content = bytes_of(path)
            yield name, content
            if name == "llama":
                for method, how in QUANTIZED.items():
                    yield f"llama-{method}", json.dumps({**json.loads(content), "quantization_config": how}).encode()


TINY = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 16, "intermediate_size": 32,
        "num_attention_heads": 2, "num_key_value_heads": 1, "num_hidden_layers": 1, "vocab_size": 11, "rms_norm_eps": 1e-5,
        "max_position_embeddings": 64, "hidden_act": "silu", "tie_word_embeddings": True}
LINEARS = {"self_attn.q_proj": (16, 16), "self_attn.k_proj": (8, 16), "self_attn.v_proj": (8, 16),
           "self_attn.o_proj": (16, 16), "mlp.gate_proj": (32, 16), "mlp.up_proj": (32, 16), "mlp.down_proj": (16, 32)}


def halves(n):
    return b"".join(struct.pack("<e", ((i * 37) % 101 - 50) / 100) for i in range(n))


def codes_of(method, n, k):
    """What a linear of 4 bits and groups of 16 has in a container: name's end, type, shape, bytes."""
    words = bytes((i * 41 + 5) % 256 for i in range(n * k // 2))
    yield "qweight", "I32", [k, n // 8] if method == "awq" else [k // 8, n], words
    zeros = bytes(word & 0x77 for word in words[:k // 16 * n // 2])  # no 15, which GPTQ's first container cannot hold
    yield "qzeros", "I32", [k // 16, n // 8], zeros
    yield "scales", "F16", [k // 16, n], halves(k // 16 * n)
    if method == "gptq":
        yield "g_idx", "I32", [k], b"".join(struct.pack("<i", i // 16) for i in range(k))


def image_of(n, k):
    """The same as an image (kernels/packed.h): scales of FP16, zeros, of the rows that fill up a tile, too."""
    def padded(data):
        return data + bytes(-len(data) % 64)
    tiles, groups = -(-n // 16), k // 16
    parts = [bytes((i * 41 + 5) % 256 for i in range(tiles * groups * 4 * 64)), padded(halves(tiles * groups * 16)),
             padded(bytes((i * 29) % 256 for i in range(tiles * groups * 8)))]
    head = struct.pack("<8sIIqqqqqiiiiiiiiQQ", b"ptqpack", 1, 128, n, k, 16, 0, 0, 4, 0, 0, 0, 1, 1, 0, 0,
                       128 + sum(map(len, parts)), 0)
    return head.ljust(128, b"\0") + b"".join(parts)


def tiny_model(method):
    """config.json, NUL, safetensors of a llama of one block: FP16, 4-bit codes or images."""
    settings = dict(TINY)
    tensors = [("model.embed_tokens.weight", "F16", [11, 16], halves(11 * 16))]
    tensors += [(f"model.{name}.weight", "F16", [16], halves(16)) for name in
                ("norm", "layers.0.input_layernorm", "layers.0.post_attention_layernorm")]
    for name, (n, k) in LINEARS.items():
        name = "model.layers.0." + name
        if method == "ptq":
            image = image_of(n, k)
            tensors.append((f"{name}.packed", "U8", [len(image)], image))
        elif method:
            tensors += [(f"{name}.{end}", *rest) for end, *rest in codes_of(method, n, k)]
        else:
            tensors.append((f"{name}.weight", "F16", [n, k], halves(n * k)))
    if method:
        settings["quantization_config"] = {**QUANTIZED[method], "bits": 4, "group_size": 16, "checkpoint_format": method}
    header, data = {}, b""
    for name, kind, shape, content in tensors:
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    encoded = json.dumps(header).encode()
    return json.dumps(settings).encode() + b"\0" + struct.pack("<Q", len(encoded)) + encoded + data


def model():
    for name in ("bloom.gguf", "gpt2.gguf", os.path.join("qwen2-gguf", "model.gguf")):
        yield name.replace(os.sep, "-"), bytes_of(os.path.join(FIXTURES, "models", name))
    for method in (None, "awq", "gptq", "ptq"):
        yield method or "fp16", tiny_model(method)


def tokenizer():
    return files(os.path.join(FIXTURES, "tokenizers"), ".tokenizer.json")


def tokenizer_gguf():
    return files(os.path.join(FIXTURES, "tokenizers"), ".gguf")


def tokenizer_files():
    for name, _ in files(os.path.join(FIXTURES, "tokenizers"), "gpt2.tokenizer.json", "opt.tokenizer.json"):
        with open(os.path.join(FIXTURES, "tokenizers", name), encoding="utf-8") as file:
            model = json.load(file)["model"]
        merges = "\n".join(m if isinstance(m, str) else " ".join(m) for m in model["merges"])
        settings = {"tokenizer_class": "GPT2Tokenizer", "add_bos_token": True, "bos_token": "<s>"}
        yield name, b"\0".join([json.dumps(model["vocab"]).encode(), ("#version: 0.2\n" + merges).encode(),
                                json.dumps(settings).encode()])


def encode():
    with open(os.path.join(FIXTURES, "tokenizers", "texts.json"), encoding="utf-8") as file:
        for i, trap in enumerate(json.load(file)):
            for kind in (i % 12, (i + 5) % 12):
                yield f"text{i}-{kind}", bytes([kind]) + trap.encode()


def experiment():
    yield from files(EXPERIMENTS, ".yaml")
    yield "all-keys", b"""title: all
models: [a, b]
methods: [fp16, "rtn:w4", {salient: {select: [weight, random], fraction: [0.01, 0.03]}}, awq+gptq]
w_bit: [3, 4]
group_size: [64, row]
calib: {text: c, windows: [4, 8], window: 32, sample: random}
eval: {text: [t, u], window: 64, windows: all, bos: window}
seed: [0, 1]
exclude: [{methods: rtn, w_bit: 4}]
include: [{methods: rtn, w_bit: 8}]
quick: {models: a}
"""


def claims():
    folder = os.path.join(EXPERIMENTS, "claims")
    return files(folder if os.path.isdir(folder) else EXPERIMENTS, ".yaml")


def documents():
    yield from files(os.path.join(FIXTURES, "sampling"), "paragraphs.txt", "documents.jsonl")
    yield "spaces", "a\n\u2028\n b \u3000\n\n\x1c\nc".encode()
    yield "no-text", b'{"text": "x"}\n{"txt": 1}\n'


def results():
    """An odd first byte: the rest is a file. Else what is put into one of ptq's own; 0 alone puts in nothing. With 16:
    header, place (2 bytes), value of bytes that are changed in its image."""
    for name, content in files(os.path.join(FIXTURES, "h5"), ".h5"):
        yield name, b"\1" + content
        yield "sealed-" + name, b"\1" + content + b"\nptq-sha256 " + hashlib.sha256(content).hexdigest().encode() + b"\n"
    for flags in (0, 2, 4, 6, 8, 10, 14):
        yield f"cell{flags}", bytes([flags])
        yield f"bytes{flags}", bytes([flags | 16, flags, 0, 9 * flags, 0xff, 3 * flags, 1, flags, 0x14])
        yield f"edit{flags}", bytes([flags]) + bytes((7 * i + flags) % 61 for i in range(120))


def blocks():
    for kind in range(18):
        yield f"type{kind}", bytes([kind]) + bytes((37 * i + 11) % 256 for i in range(340))


def floats(n, scale):
    return b"".join(struct.pack("<f", scale * ((i * 7919) % 201 - 100) / 100) for i in range(n))


def quantizer():
    for w in range(7):
        for flags in range(8):
            yield f"grid{w}{flags}", bytes([w, flags, 95, 33 + flags]) + floats(192, 10.0 ** (flags - 4))


def packed():
    for w in range(7):
        head = struct.pack("<BBBB", 1, w, 6 * w, 20 * w + 9) + bytes([33 + 10 * w])
        rest = head[1:] + bytes((i * 31 + w) % 256 for i in range(2000))
        yield f"made{w}", b"\1" + rest
        yield f"damaged{w}", b"\2" + bytes((i * 11 + w) % 200 for i in range(48)) + rest
    yield "stranger", bytes(200)


def codes():
    yield "all", bytes((i * 13) % 256 for i in range(2000))


def quantized():
    for container in range(3):
        for flags in range(16):
            head = bytes([container]) + (bytes([flags % 4]) if container else b"") + bytes([33, flags, 7, 95])
            yield f"{container}-{flags}", head + bytes((i * 29) % 64 for i in range(3000))


def export_formats():
    for kind in range(4):
        for flags in range(8):
            yield f"{kind}-{flags}", bytes([kind, flags, flags % 4, flags // 2, 0, flags]) + bytes(
                (i * 17) % 251 for i in range(900))


TARGETS = [safetensors, index, config, gguf, model, tokenizer, tokenizer_gguf, tokenizer_files, encode, experiment, claims,
           documents, results, blocks, quantizer, packed, codes, quantized, export_formats]
for target in TARGETS:
    folder = os.path.join(sys.argv[1], target.__name__)
    os.makedirs(folder, exist_ok=True)
    for name, content in target():
        with open(os.path.join(folder, name), "wb") as file:
            file.write(content)
