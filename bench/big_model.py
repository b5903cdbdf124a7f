#!/usr/bin/env python3
"""Writes a checkpoint in the shape of LLaMA-7B (F16, 13.5 GB to read) that takes about 2 GB of disk: random weights,
sparse where that does not matter. Standard library only; the same bytes every time.

    big_model.py FOLDER TOKENIZER_JSON

  FOLDER/7b    config.json, tokenizer.json, index and 33 shards: outer.safetensors (embedding, norm, head) and one a block
  FOLDER/1b    the same with the first block alone, FOLDER/2b and FOLDER/12b with as many: hard links to the same shards

Embedding, head and the first two blocks, which are quantised, are random throughout. In the other thirty one page of 4
KiB in sixteen is random, four times as large; the rest are holes, which read as zeros. The tokenizer is any byte-level
one: its ids are below the vocabulary's end, which is all that a shape needs."""
import argparse
import json
import os
import random
import shutil
import statistics
import struct

WIDTH, FF, BLOCKS, HEADS, VOCAB = 4096, 11008, 32, 32, 32000
DENSE, PAGE, EVERY = 2, 4096, 16
CONFIG = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "torch_dtype": "float16", "hidden_size": WIDTH,
          "intermediate_size": FF, "num_attention_heads": HEADS, "num_key_value_heads": HEADS, "vocab_size": VOCAB,
          "max_position_embeddings": 2048, "rms_norm_eps": 1e-6, "hidden_act": "silu", "tie_word_embeddings": False,
          "rope_theta": 10000.0, "rope_scaling": None, "bos_token_id": 1, "eos_token_id": 2}
OUTER = {"model.embed_tokens.weight": ((VOCAB, WIDTH), 0.05), "model.norm.weight": ((WIDTH,), 0),
         "lm_head.weight": ((VOCAB, WIDTH), 0.02)}
ROLES = {"self_attn.q_proj": (WIDTH, WIDTH), "self_attn.k_proj": (WIDTH, WIDTH), "self_attn.v_proj": (WIDTH, WIDTH),
         "self_attn.o_proj": (WIDTH, WIDTH), "mlp.gate_proj": (FF, WIDTH), "mlp.up_proj": (FF, WIDTH),
         "mlp.down_proj": (WIDTH, FF)}


def half(value):
    return struct.pack("<e", value)


def gauss(rng, n, spread):
    """n F16 values of 256 sizes that lie as a normal distribution's quantiles do."""
    values = [half(spread * statistics.NormalDist().inv_cdf((i + 0.5) / 256)) for i in range(256)]
    raw = rng.randbytes(n)
    out = bytearray(2 * n)
    out[0::2] = raw.translate(bytes(value[0] for value in values))
    out[1::2] = raw.translate(bytes(value[1] for value in values))
    return out


def norm(rng, n):
    """Near 1, and every 512th channel 8 times that: what makes channels salient."""
    values = [1 + 0.1 * rng.gauss(0, 1) for _ in range(n)]
    return b"".join(half(value * (8 if i % 512 == 7 else 1)) for i, value in enumerate(values))


def block_tensors(block):
    stem = f"model.layers.{block}."
    tensors = {f"{stem}{name}.weight": ((WIDTH,), 0) for name in ("input_layernorm", "post_attention_layernorm")}
    for role, shape in ROLES.items():
        tensors[f"{stem}{role}.weight"] = (shape, 0.5 / shape[1] ** 0.5)
    return tensors


def write_tensor(file, at, shape, spread, dense, rng):
    if spread == 0:
        file.seek(at)
        file.write(norm(rng, shape[0]))
        return
    size = 2 * shape[0] * shape[1]
    step = 1 << 22 if dense else PAGE * EVERY
    for offset in range(0, size, step):
        length = min(step if dense else PAGE, size - offset)
        file.seek(at + offset)
        file.write(gauss(rng, length // 2, spread if dense else 4 * spread))


def write_shard(path, tensors, dense, seed):
    header, at, rng = {}, 0, random.Random(seed)
    for name, (shape, _) in tensors.items():
        size = 2 * shape[0] * (shape[1] if len(shape) > 1 else 1)
        header[name] = {"dtype": "F16", "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    # Data begins on a page, so that random pages are pages of the file.
    text += b" " * (-(8 + len(text)) % PAGE)
    with open(path + ".tmp", "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + at)
        for name, (shape, spread) in tensors.items():
            write_tensor(file, 8 + len(text) + header[name]["data_offsets"][0], shape, spread, dense, rng)
    os.rename(path + ".tmp", path)
    return at


def write_folder(folder, blocks, tokenizer, shards):
    """config, index and tokenizer of a model with so many blocks; shards: file -> (names, bytes)."""
    weight_map = {name: file for file, (names, _) in shards.items() for name in names}
    total = sum(size for _, size in shards.values())
    os.makedirs(folder, exist_ok=True)
    shutil.copy(tokenizer, os.path.join(folder, "tokenizer.json"))
    for name, value in (("config.json", {**CONFIG, "num_hidden_layers": blocks}),
                        ("model.safetensors.index.json", {"metadata": {"total_size": total}, "weight_map": weight_map})):
        with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
            json.dump(value, file, indent=1)


def main():
    parser = argparse.ArgumentParser(description="writes a sparse checkpoint in the shape of LLaMA-7B")
    parser.add_argument("folder")
    parser.add_argument("tokenizer")
    args = parser.parse_args()
    whole = os.path.join(args.folder, "7b")
    os.makedirs(whole, exist_ok=True)
    shards = {"outer.safetensors": (list(OUTER), write_shard(os.path.join(whole, "outer.safetensors"), OUTER, True, 0))}
    for block in range(BLOCKS):
        file, tensors = f"block-{block:02}.safetensors", block_tensors(block)
        shards[file] = list(tensors), write_shard(os.path.join(whole, file), tensors, block < DENSE, block + 1)
    write_folder(whole, BLOCKS, args.tokenizer, shards)
    for blocks in (1, 2, 12):
        few, folder = dict(list(shards.items())[:1 + blocks]), os.path.join(args.folder, f"{blocks}b")
        write_folder(folder, blocks, args.tokenizer, few)
        for file in few:
            if not os.path.lexists(os.path.join(folder, file)):
                os.link(os.path.join(whole, file), os.path.join(folder, file))
    used = sum(os.stat(os.path.join(whole, file)).st_blocks * 512 for file in shards)
    print(f"{whole}: {sum(size for _, size in shards.values()) / 1e9:.1f} GB to read, {used / 1e9:.1f} GB on disk")


if __name__ == "__main__":
    main()
