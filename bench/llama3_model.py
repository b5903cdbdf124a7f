#!/usr/bin/env python3
"""Writes a checkpoint in the shape of LLaMA-3-8B (F16) with some of its 32 blocks, all of it random: what
bench/gpu.sh quantises. Standard library only; blocks are written by all cores together, the same bytes every time.

    llama3_model.py FOLDER TOKENIZER_JSON [BLOCKS]

A block is 436 MB. The vocabulary is 32000 in place of 128256: embedding and head are not quantised."""
import multiprocessing
import os
import sys

import big_model

big_model.FF = 14336
KV = 1024
big_model.ROLES.update({"self_attn.k_proj": (KV, big_model.WIDTH), "self_attn.v_proj": (KV, big_model.WIDTH),
                        "mlp.gate_proj": (big_model.FF, big_model.WIDTH), "mlp.up_proj": (big_model.FF, big_model.WIDTH),
                        "mlp.down_proj": (big_model.WIDTH, big_model.FF)})
big_model.CONFIG.update({"intermediate_size": big_model.FF, "num_key_value_heads": 8, "max_position_embeddings": 8192,
                         "rms_norm_eps": 1e-5, "rope_theta": 500000.0})


def write(task):
    path, tensors, seed = task
    return os.path.basename(path), list(tensors), big_model.write_shard(path, tensors, True, seed)


def main():
    folder, tokenizer, blocks = sys.argv[1], sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else 4
    os.makedirs(folder, exist_ok=True)
    tasks = [(os.path.join(folder, "outer.safetensors"), big_model.OUTER, 0)]
    for block in range(blocks):
        tasks.append((os.path.join(folder, f"block-{block:02}.safetensors"), big_model.block_tensors(block), block + 1))
    with multiprocessing.Pool() as pool:
        shards = {file: (names, size) for file, names, size in pool.imap_unordered(write, tasks)}
    big_model.write_folder(folder, blocks, tokenizer, shards)
    print(f"{folder}: {blocks} blocks, {sum(size for _, size in shards.values()) / 1e9:.1f} GB")


if __name__ == "__main__":
    main()
