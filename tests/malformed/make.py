#!/usr/bin/env python3
"""Makes the malformed inputs that table.tsv lists: make.py FOLDER [RESULTS.h5 EXPORT]

Each is a small good file of tests/fixtures with one thing wrong. RESULTS.h5 (of `ptq eval -o`) and EXPORT (a folder of
`ptq quantize`) are what the entries of results files and of quantised checkpoints are made of. Only json and struct are
needed; GGUF files come from make_gguf.py, HDF5 files from make_h5.py."""
import copy
import gzip
import json
import os
import shutil
import struct
import sys

from good import MODELS, read, read_json
from make_gguf import gguf_files

OUT = ""


def path_of(name):
    path = os.path.join(OUT, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    return path


def write(name, data):
    with open(path_of(name), "wb") as file:
        file.write(data if isinstance(data, bytes) else data.encode())


# ---- safetensors: N, JSON of N bytes, data ----

def safetensors(header, data=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(dtype="F32", shape=(1,), offsets=(0, 4), **more):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets), **more}


def one(name="a", data=bytes(4), **fields):
    """A file of one tensor of four bytes, with fields changed; None takes a field out."""
    fields = {key: value for key, value in {**entry(), **fields}.items() if value is not None}
    return safetensors({name: fields}, data)


def make_safetensors():
    good, two = json.dumps({"a": entry()}).encode(), {"a": entry(), "b": entry(offsets=(4, 8))}
    files = {
        "01-empty": b"", "02-seven-bytes": b"\x02\0\0\0\0\0\0",
        "03-header-beyond-file": safetensors(b"{}", length=1000),
        "04-header-2^64-1": safetensors(b"{}", length=2**64 - 1), "05-header-of-0": safetensors(b""),
        "07-not-utf8": safetensors(good.replace(b'"a"', b'"\xff"'), bytes(4)),
        "08-json-cut-short": safetensors(good[:-3], bytes(4)), "09-top-level-array": safetensors([]),
        "10-nul-padding": safetensors(good + b"\0\0\0", bytes(4)), "11-two-objects": safetensors(b"{}{}"),
        "12-name-twice": safetensors(good[:-1] + b"," + good[1:], bytes(4)),
        "13-name-twice-two-shapes": safetensors(good[:-1] + b"," + good.replace(b"[1]", b"[1, 1]")[1:], bytes(4)),
        "14-overlap": safetensors({**two, "b": entry(offsets=(2, 6))}, bytes(6)),
        "15-hole": safetensors({**two, "b": entry(offsets=(8, 12))}, bytes(12)),
        "16-first-not-at-0": one(data_offsets=[4, 8], data=bytes(8)), "17-trailing-bytes": one(data=bytes(9)),
        "18-two-bytes-short": one(data=bytes(2)), "19-begin-behind-end": one(data_offsets=[4, 0]),
        "20-negative-offset": one(data_offsets=[-4, 0]), "21-size-and-shape": one(shape=[2]),
        "22-product-overflows": one(shape=[2, 2**63 - 2]), "22b-dimension-2^64-2": one(shape=[2, 2**64 - 2]),
        "23-overflow-before-0": one(shape=[2**40, 2**40, 0], data_offsets=[0, 0], data=b""),
        "24-0-before-overflow": one(shape=[0, 2**40, 2**40], data_offsets=[0, 0], data=b""),
        "25a-dim-minus-1": one(shape=[-1]), "25b-dim-1.0": one(shape=[1.0]),
        "25c-dim-1e0": safetensors(good.replace(b"[1]", b"[1e0]"), bytes(4)), "25d-dim-text": one(shape=["1"]),
        "26a-dtype-unknown": one(dtype="F33"), "26b-dtype-lower-case": one(dtype="f32"),
        "27-no-dtype": one(dtype=None), "28-three-offsets": one(data_offsets=[0, 2, 4]),
        "29-metadata-number": safetensors({"__metadata__": {"format": 1}, "a": entry()}, bytes(4)),
        "06d-metadata-2mb": safetensors({"__metadata__": {"a": "x" * 2000000}}),
        "30d-name-of-5000": one("x" * 5000), "30e-name-of-2mb": one("x" * 2000000),
        "30a-name-empty": one(""), "30b-name-with-nul": one("a\0b"), "30c-name-is-a-path": one("../../etc/passwd"),
        "31-lone-surrogate": safetensors(good.replace(b'"a"', b'"\\ud800"'), bytes(4)),
        "32-f4-odd-count": one(dtype="F4", shape=[3], data_offsets=[0, 2], data=bytes(2)),
        "33-nested-200": safetensors(b'{"a":' + b"[" * 200 + b"]" * 200 + b"}"),
        "34-integer-2^128": one(shape=[2**128]), "35-rank-1000": one(shape=[1] * 1000),
        "36a-bom": safetensors(b"\xef\xbb\xbf" + good, bytes(4)),
        "36b-comment": safetensors(b"/* */" + good, bytes(4)),
        "38-lfs-pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 1\n",
        "38e-web-page": b"<!doctype html>\n<title>Sign in</title>\n", "38f-web-page": b"<html><body>404</body></html>\n",
        "38g-web-page": b"<!DOCTYPE HTML PUBLIC>\n<html></html>\n",
    }
    for name, data in files.items():
        write(f"st/{name}.safetensors", data)
    model = read(MODELS, "llama", "model.safetensors")
    length = struct.unpack_from("<Q", model)[0]
    header = model[8:8 + length].rstrip() + b" "
    good_folder("st/37-unaligned", "llama", ("model.safetensors",))
    write("st/37-unaligned/model.safetensors", safetensors(header + b" " * (len(header) % 2 == 0), model[8 + length:]))
    write("st/06-header-100000001.safetensors", safetensors(b"{}", length=100000001))
    os.truncate(path_of("st/06-header-100000001.safetensors"), 100000009)
    write("st/06b-million-values.safetensors", safetensors(b'{"a":{"x":[' + b"0," * 8000000 + b"0]}}"))
    write("st/06c-header-99999999.safetensors", safetensors(b"{}", length=99999999))
    os.truncate(path_of("st/06c-header-99999999.safetensors"), 100000007)
    for number, n in (("38b", 349000), ("38c", 150000)):
        write(f"st/{number}-metadata-{n}-pairs.safetensors", safetensors({"__metadata__": pairs(n)}))
    empty = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    write("st/38d-long-names.safetensors", safetensors({f"{i:04000}": empty for i in range(4500)}))


def pairs(n):
    """n pairs of texts of 24 bytes: 20 MB are full of them at 349,000."""
    return {f"{i:024x}": f"{i:024x}" for i in range(n)}


# ---- folders of models ----

def good_folder(name, source="llama", without=()):
    """A copy of a fixture's folder by hard links to one copy in OUT, so that many take no room."""
    kept = os.path.join(OUT, "good", source)
    if not os.path.isdir(kept):
        shutil.copytree(os.path.join(MODELS, source), kept, ignore=shutil.ignore_patterns("expected.h5"))
    for file in os.listdir(kept):
        if file not in without:
            os.link(os.path.join(kept, file), path_of(f"{name}/{file}"))
    return os.path.join(OUT, name)


FIRST, SECOND = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
INDEX = "model.safetensors.index.json"


def index_folder(name, change=None, text=None, without=()):
    good_folder(f"index/{name}", "llama3", (INDEX, *without))
    index = read_json(MODELS, "llama3", INDEX)
    if change:
        change(index)
    write(f"index/{name}/{INDEX}", text if text is not None else json.dumps(index))
    return os.path.join(OUT, "index", name)


def first_shard(name):
    """Every tensor of the first shard is said to be in another file."""
    def change(index):
        index["weight_map"] = {t: name if f == FIRST else f for t, f in index["weight_map"].items()}
    return change


def make_index():
    for number, shard in (("39-parent", "../../x.safetensors"), ("40-absolute", "/etc/passwd"),
                          ("41-below", "a/b.safetensors"), ("39b-hidden", ".x.safetensors"),
                          ("39c-backquotes", "`touch x`.safetensors")):
        index_folder(number, first_shard(shard))
    folder = index_folder("42a-fifo", without=(FIRST,))
    os.mkfifo(os.path.join(folder, FIRST))
    folder = index_folder("42b-device", without=(FIRST,))
    os.symlink("/dev/zero", os.path.join(folder, FIRST))
    folder = index_folder("42d-link-to-a-fifo", without=(FIRST,))
    os.mkfifo(os.path.join(folder, "pipe"))
    os.symlink("pipe", os.path.join(folder, FIRST))
    folder = index_folder("42c-directory", without=(FIRST,))
    os.mkdir(os.path.join(folder, FIRST))
    folder = index_folder("43a-link-leaves", without=(FIRST,))
    os.symlink(os.path.join(OUT, "good", "llama3", FIRST), os.path.join(folder, FIRST))
    for file in ("config.json", "tokenizer.json"):
        folder = good_folder(f"index/43b-link-leaves-{file}", "llama", (file,))
        os.symlink(os.path.join(OUT, "good", "llama", file), os.path.join(folder, file))
    folder = good_folder("index/43c-link-leaves-vocab", "opt350", ("merges.txt",))
    os.symlink(os.path.join(OUT, "good", "opt350", "merges.txt"), os.path.join(folder, "merges.txt"))
    cache(f"index/43d-cache/models--a--b", "../../blobs")
    cache(f"index/43e-cache/models--a--b", "../../../blobs")
    index_folder("44-shard-missing", without=(FIRST,))
    good_folder("index/44b-no-index", "llama3", (INDEX,))
    index_folder("45-not-in-its-shard", lambda index: index["weight_map"].update({"model.extra.weight": SECOND}))
    folder = index_folder("46-in-two-shards", without=(SECOND,))
    shutil.copy(os.path.join(folder, FIRST), os.path.join(folder, SECOND))
    index_folder("47a-map-is-a-list", lambda index: index.update(weight_map=[]))
    index_folder("47b-no-map", lambda index: index.pop("weight_map"))
    index_folder("47c-a-number-for-a-file", first_shard(3))
    entries = ",".join(f'"{i:x}":"{i:x}"' for i in range(1000000))
    index_folder("48-million-shards", text='{"weight_map":{%s}}' % entries)
    index_folder("48b-5000-shards", lambda index: index.update(
        weight_map={f"t{i}": f"shard-{i}.safetensors" for i in range(5000)}))
    index_folder("48c-key-of-2-mb", lambda index: index["weight_map"].update({"x" * 2000000: FIRST}))
    for number, n in (("49b", 199000), ("49c", 150000)):
        index_folder(f"{number}-metadata-{n}-pairs", lambda index, n=n: index["metadata"].update(pairs(n)))
    index_folder("49-total-size", lambda index: index["metadata"].update(total_size=1))


def cache(name, blobs):
    """A model as the Hugging Face cache has it: files of snapshots/X are links to the blobs."""
    place = os.path.normpath(os.path.join(OUT, name, "snapshots", "abc", blobs))
    os.makedirs(place)
    for file in ("config.json", "tokenizer.json", "model.safetensors"):
        shutil.copy(os.path.join(MODELS, "llama", file), os.path.join(place, file))
        link = path_of(f"{name}/snapshots/abc/{file}")
        os.symlink(os.path.join(blobs, file), link)


# ---- config.json ----

def config_folder(name, change, source="llama"):
    good_folder(f"config/{name}", source, ("config.json",))
    config = read_json(MODELS, source, "config.json")
    if isinstance(change, bytes):
        write(f"config/{name}/config.json", change)
        return
    config.update(change)
    write(f"config/{name}/config.json", json.dumps({k: v for k, v in config.items() if v != "gone"}))


def biased_folder(name, linear, value, source="llama", **config):
    """The linear has got a bias, which is value everywhere."""
    config_folder(name, config, source)
    place = path_of(f"config/{name}/model.safetensors")
    data = read(place)
    length = struct.unpack_from("<Q", data)[0]
    header, data = json.loads(data[8:8 + length]), data[8 + length:]
    n = header[linear + ".weight"]["shape"][0]
    header[linear + ".bias"] = entry("F16", [n], [len(data), len(data) + 2 * n])
    os.unlink(place)
    write(f"config/{name}/model.safetensors", safetensors(header, data + n * struct.pack("<e", value)))


def make_config():
    for i, size in enumerate((0, -1, 10**9, 2**31, "576", 64.0)):
        config_folder(f"50{'abcdef'[i]}-hidden-size-{size}", {"hidden_size": size})
    config_folder("51-heads", {"num_attention_heads": 5, "num_key_value_heads": 5, "head_dim": None})
    config_folder("52-kv-heads", {"num_key_value_heads": 3})
    config_folder("53-layers-10^9", {"num_hidden_layers": 10**9})
    config_folder("53b-layers-1000", {"num_hidden_layers": 1000})
    config_folder("54a-model-type", {"model_type": "mamba"})
    config_folder("54b-hidden-act", {"hidden_act": "swish2"})
    config_folder("54c-rope-type", {"rope_scaling": {"rope_type": "yarn2", "factor": 2.0}})
    linear = {"rope_type": "linear", "factor": 4.0}
    config_folder("54d-rope-twice", {"rope_parameters": {"rope_theta": 10000.0}, "rope_scaling": linear})
    config_folder("54e-theta-twice", {"rope_theta": 10000.0, "rope_parameters": {"rope_theta": 20000.0}})
    config_folder("54f-rope-by-layer-type", {"rope_parameters": {"full_attention": {"rope_theta": 10000.0, **linear}}})
    config_folder("54g-half-turned", {"rope_parameters": {"rope_theta": 10000.0, "partial_rotary_factor": 0.5}})
    config_folder("54h-rope-parameters-a-list", {"rope_parameters": []})
    config_folder("54i-rope-twice-the-same", {"rope_theta": 10000.0, "rope_scaling": linear,
                                              "rope_parameters": {"rope_theta": 10000.0, **linear}})
    config_folder("53c-one-position", {"max_position_embeddings": 1})
    config_folder("55-vocab-size", {"vocab_size": 288})
    config_folder("56a-eps-nan", read(MODELS, "llama", "config.json").replace(b"1e-05", b"NaN"))
    config_folder("56b-eps-0", {"rms_norm_eps": 0})
    config_folder("56c-eps-1e999", read(MODELS, "llama", "config.json").replace(b"1e-05", b"1e999"))
    config_folder("57a-quantised-unknown", {"quantization_config": {"quant_method": "bitsandbytes"}})
    config_folder("57c-quantised-text", {"quantization_config": "gptq"})
    config_folder("57d-dynamic-no-regex", {"quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": 32,
                                                                   "dynamic": {"-:(": {}}}})
    for key in ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "vocab_size",
                "model_type"):
        config_folder(f"58-no-{key}", {key: "gone"})
    config_folder("59-architectures-empty", {"architectures": []})
    config_folder("60-torch-dtype", {"torch_dtype": "float12"})
    config_folder("61a-sliding-window", {"sliding_window": 16})
    config_folder("61b-experts", {"num_local_experts": 8, "num_experts_per_tok": 2})
    config_folder("61c-layer-types", {"layer_types": ["full_attention", "linear_attention"]}, "mistral")
    query, down = "model.layers.1.self_attn.q_proj", "model.layers.0.mlp.down_proj"
    biased_folder("61d-no-attention-bias", query, 0.5)
    biased_folder("61e-attention-bias-missing", query, 0.5, attention_bias="gone")
    biased_folder("61f-no-mlp-bias", down, 0.5)
    biased_folder("61g-bias-of-zeros", query, 0)
    biased_folder("61h-output-bias", "model.layers.0.self_attn.o_proj", 0.5, "qwen2")
    biased_folder("61i-bias-of-nan", query, float("nan"))
    config_folder("61j-no-bias-at-all", {"enable_bias": False}, "opt")
    config_folder("61k-tied-to-another-head", {"tie_word_embeddings": True})


# ---- tokenizers ----

def tokenizer(name, change):
    tree = copy.deepcopy(read_json(MODELS, "llama", "tokenizer.json"))
    change(tree)
    write(f"tok/{name}.json", json.dumps(tree))


# At each character it looks ten times through all that is left.
QUADRATIC = ".(?=" + "|".join(f"[\\s\\S]*{digit}" for digit in range(10)) + ")|."


def splits(regex):
    step = {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": False}
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    return lambda t: t.update(pre_tokenizer={"type": "Sequence", "pretokenizers": [step, level]})


def added(text, token_id, normalized=False):
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": normalized, "special": True}
    return lambda t: t["added_tokens"].append({"id": token_id, "content": text, **flags})


BOS = [{"SpecialToken": {"id": "<bos>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]


def replaces(old, new):
    return {"type": "Replace", "pattern": {"String": old}, "content": new}


def growing(n, steps):
    """n added tokens of 1000 bytes and more of which a normalizer of these steps makes something."""
    def change(t):
        t["normalizer"] = {"type": "Sequence", "normalizers": steps}
        for i in range(n):
            added("a" * 1000 + str(i), 900 + i, normalized=True)(t)
    return change


def merges_folder(name, text):
    good_folder(f"tok/{name}", "opt350", ("merges.txt",))
    write(f"tok/{name}/merges.txt", text)


def make_tokenizers():
    def vocabulary(**more):
        return lambda t: t["model"]["vocab"].update(more)

    tokenizer("62-merge-unknown", lambda t: t["model"]["merges"].append("zq qz"))
    tokenizer("63-id-twice", vocabulary(qqq=7))
    tokenizer("64a-id-minus-1", vocabulary(qqq=-1))
    tokenizer("64b-id-2^32-1", vocabulary(qqq=2**32 - 1))
    tokenizer("64c-added-id-2^31", added("<q>", 2**31))
    good_folder("tok/65-id-beyond-vocab", "llama", ("tokenizer.json",))
    tree = read_json(MODELS, "llama", "tokenizer.json")
    tree["model"]["vocab"]["e"] = 5000
    write("tok/65-id-beyond-vocab/tokenizer.json", json.dumps(tree))
    good_folder("tok/65-bos-beyond-vocab", "llama", ("tokenizer.json",))
    bos = copy.deepcopy(read_json(MODELS, "llama", "tokenizer.json"))
    added("<bos>", 5000)(bos)
    bos["post_processor"] = {"type": "TemplateProcessing", "single": BOS, "pair": BOS, "special_tokens": {
        "<bos>": {"id": "<bos>", "ids": [5000], "tokens": ["<bos>"]}}}
    write("tok/65-bos-beyond-vocab/tokenizer.json", json.dumps(bos))
    merges_folder("66a-merges-10^7-lines", "e r\n" * 10**7)
    merges_folder("66c-merges-10^6-lines", "e r\n" * 10**6)
    text = json.dumps({**tree, "model": {**tree["model"], "merges": ["MERGES"]}})
    write("tok/66b-merges-10^7.json", text.replace('"MERGES"', ",".join(['"e r"'] * 10**7)))
    write("tok/66d-merges-10^6.json", text.replace('"MERGES"', ",".join(['"e r"'] * 10**6)))
    tokenizer("67-merge-of-three", lambda t: t["model"]["merges"].append("a b c"))
    tokenizer("68-regex-explodes", splits("(a+)+$"))
    tokenizer("68b-regex-quadratic", splits(QUADRATIC))
    tokenizer("69-regex-does-not-compile", splits("(a"))
    for name, step in (("69b-prepend", {"type": "Prepend", "prepend": "a" * 1025}),
                       ("69c-pattern", replaces("a" * 1025, "a")), ("69d-content", replaces("a", "a" * 1025))):
        tokenizer(f"{name}-of-1025", lambda t, step=step: t.update(normalizer=step))
    for letter, regex in zip("efghij", (r"\V", r"[[:alpha:]]+", r"\pL+", r"a{2}?", r"(?i)ss", r"(?U)a+")):
        tokenizer(f"69{letter}-regex-of-two-minds", splits(regex))
    tokenizer("69k-regex-of-classes", splits(r"\w{,3}|[^\v\d]|'(?i:[sdmt]|ll|ve|re)"))
    tokenizer("70a-wordpiece", lambda t: t["model"].update(type="WordPiece"))
    tokenizer("70b-unigram", lambda t: t["model"].update(type="Unigram"))
    tokenizer("71-added-empty", added("", 900))
    tokenizer("71b-added-grows", growing(1, [replaces("a", "b" * 1000)]))
    tokenizer("71c-added-grow-and-shrink", growing(40, [replaces("a", "b" * 20), replaces("b" * 20, "a")] * 8))
    tokenizer("71f-gaps-grow", lambda t: t.update(normalizer=replaces("a", "b" * 1000)))
    tokenizer("71d-added-doubles", lambda t: (t.update(normalizer=replaces("a", "bb")),
                                              added("a" * 1000, 900, normalized=True)(t)))
    tokenizer("71e-added-5-mb", lambda t: [added(f"{i:01000}", 900 + i)(t) for i in range(5000)])
    tokenizer("71g-added-text-twice", lambda t: [added("zz", 287)(t), added("zz", 288)(t)])
    tokenizer("71h-added-once-normalised", lambda t: (t.update(normalizer={"type": "NFD"}), [
        added(text, 287 + i, normalized=True)(t) for i, text in enumerate(("d\u0307", "\u1e0b"))]))
    tokenizer("72-no-byte-symbol", lambda t: t["model"]["vocab"].pop("q"))
    for name, word in (("73a-byte-minus-1", "<0x-1>"), ("73b-byte-zz", "<0xZZ>")):
        def change(t, word=word):
            t["model"]["byte_fallback"] = True
            t["model"]["vocab"][word] = 900
        tokenizer(name, change)
    merges_folder("75a-no-header", b"\n".join(read(MODELS, "opt350", "merges.txt").split(b"\n")[1:]))
    merges_folder("75c-merges-empty", "")
    merges_folder("75d-cr", read(MODELS, "opt350", "merges.txt").replace(b"\n", b"\r"))
    merges_folder("75b-crlf", read(MODELS, "opt350", "merges.txt").replace(b"\n", b"\r\n"))


def make_texts():
    text = read(MODELS, "text.txt")
    write("text/74a-not-utf8.txt", text + b"\xff\xfe" + text)
    write("text/74b-one-word.txt", b"a" * (10 << 20))
    write("text/74c-nul.txt", text + b"\0\0\0" + text)
    write("text/75-question.txt", "a question")
    write("text/71f-gaps.txt", "a<s>" * 2000)
    write("text/68-a.txt", "a" * 200 + "!")
    write("text/68b-words.txt", "the words " * 2000)
    write("text/115a-cut.gz", gzip.compress(text, mtime=0)[:-30])
    write("text/115b-bomb.gz", gzip.compress(bytes(50 << 20), mtime=0))
    write("text/116a-line-of-100-mb.jsonl", b'{"text": "' + b"a" * (100 << 20) + b'"}\n')
    write("text/116b-no-text.jsonl", b'{"text": "a"}\n{"body": "b"}\n')
    write("text/116c-no-json.jsonl", b'{"text": "a"}\n{"text": "b\n')
    write("text/116d-lines.jsonl", (json.dumps({"text": "the quick brown fox " * 40}) + "\n").encode() * 3)
    write("text/117-short.txt", "a few words")


# ---- experiments ----

def experiment(name, more="", **changed):
    fields = {"title": '"malformed"', "models": f'["{OUT}/good/llama"]', "w_bit": "[3]", "group_size": "32",
              "methods": "[fp16, rtn]", "calib": '{text: "%s/calib.txt", windows: 2, window: 32}' % MODELS,
              "eval": '{text: "%s/text.txt", window: 32, windows: 1}' % MODELS, **changed}
    write(f"yaml/{name}.yaml", "".join(f"{key}: {value}\n" for key, value in fields.items()) + more)


def listed(pattern, n):
    return "[" + ", ".join(pattern % i for i in range(1, n + 1)) + "]"


def make_experiments():
    experiment("76-unknown-key", "group_sise: 32\n")
    experiment("77-key-twice", "w_bit: [4]\n")
    for letter, bits in zip("abcd", ("0", "17", "3.5", "three")):
        experiment(f"78{letter}-bits-{bits}", w_bit=f"[{bits}]")
    for letter, group in zip("abc", ("0", "-2", "33000000000")):
        experiment(f"79{letter}-group-{group}", group_size=group)
    experiment("79d-group-beyond-row", group_size="4096")
    experiment("116h-lines", eval='{text: "%s/text/116d-lines.jsonl", window: 32, windows: 1}' % OUT)
    experiment("80-alias-bomb", "a0: &a0 [x, x]\n" + "".join(
        f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12)))
    experiment("81-product-10^9", seed=listed("%d", 1000), group_size=listed("%d", 1000),
               methods="[{salient: {fraction: %s}}]" % listed("0.%04d", 1000))
    experiment("82-tab", 'note:\n\t- "x"\n')
    experiment("84-seed-2^64", seed="18446744073709551616")
    experiment("85a-control-character", title='"a\\x07b"')
    experiment("85b-nul", title='"a\\0b"')
    write("yaml/85c-nul-byte.yaml", b"title: a\0b\n")
    experiment("86-two-cells-one-id", methods="[rtn, rtn]")
    experiment("86b-braces-by-the-thousand", methods='[{rtn: {only: ["{0..99}%s"]}}]' % ("{a|b|c}x" * 1000))
    experiment("86c-braces-in-5000-methods", methods="[%s]" % ", ".join(['{rtn: {only: "{0|1}.q"}}'] * 5000))
    experiment("86d-includes-by-the-thousand", "include:\n" + "".join(
        f"  - {{methods: [rtn], w_bit: [{2 + i % 7}], group_size: [{32 * (1 + i % 5)}]}}\n" for i in range(3000)))


# ---- GGUF ----

def make_gguf():
    for name, data in gguf_files():
        write(f"gguf/{name}.gguf", data)


def main():
    global OUT
    OUT = os.path.abspath(sys.argv[1])
    make_safetensors()
    make_index()
    make_config()
    make_tokenizers()
    make_texts()
    make_experiments()
    make_gguf()


if __name__ == "__main__":
    main()
