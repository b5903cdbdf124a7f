#!/usr/bin/env python3
"""Turns a llama GGUF into a Hugging Face folder: config.json and model.safetensors in FP16.

The benchmark's other side must see the numbers that ptq sees, so the file is read with gguf-py and not with
transformers' own importer (which builds the tokenizer and, by version, the weights differently):

  tensor   dequantised to float32, rounded to FP16 once; norms too, and there the rounding must lose nothing
  q, k     llama.cpp stores the rows of a head as (pair, half); they go back to (half, pair)
  config   from the metadata alone
  tokens   tokenizer.json from the metadata, for the two pre-tokenizers smollm and gpt-2
  blocks   all, or the first N with --layers N: the same sizes, and a benchmark whose time grows by the block is short

    gguf_to_hf.py FILE.gguf FOLDER [--layers N]
"""
import argparse
import json
import os
import re
import shutil
import sys

import gguf
import numpy as np
from safetensors.numpy import save_file

BLOCK = {
    "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
}
OUTER = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}


def metadata(reader):
    def get(key, default=None):
        field = reader.get_field(key)
        if field is None and default is None:
            sys.exit(f"gguf_to_hf: the metadata has no {key}")
        return default if field is None else field.contents()
    return get


def hf_name(name):
    """The Hugging Face name of a tensor's weight, and the block part that it came from."""
    stem = name.removesuffix(".weight")
    if stem in OUTER:
        return OUTER[stem] + ".weight", stem
    match = re.fullmatch(r"blk\.(\d+)\.(\w+)", stem)
    if not match or match[2] not in BLOCK:
        sys.exit(f"gguf_to_hf: tensor {name} is not known")
    return f"model.layers.{match[1]}.{BLOCK[match[2]]}.weight", match[2]


def unpermute(w, heads):
    """Rows (head, pair, half) -> (head, half, pair)."""
    rows, columns = w.shape
    return w.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)


def config_of(get, tensors, layers):
    width, heads = get("llama.embedding_length"), get("llama.attention.head_count")
    return {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "torch_dtype": "float16",
        "hidden_size": width, "intermediate_size": get("llama.feed_forward_length"),
        "num_hidden_layers": layers, "num_attention_heads": heads,
        "num_key_value_heads": get("llama.attention.head_count_kv", heads), "head_dim": width // heads,
        "max_position_embeddings": get("llama.context_length"),
        "rms_norm_eps": float(f"{get('llama.attention.layer_norm_rms_epsilon'):.6g}"),
        "rope_theta": float(get("llama.rope.freq_base", 10000.0)), "rope_scaling": None,
        "vocab_size": tensors["model.embed_tokens.weight"].shape[0], "hidden_act": "silu",
        "attention_bias": False, "mlp_bias": False,
        "tie_word_embeddings": "lm_head.weight" not in tensors,
        "bos_token_id": get("tokenizer.ggml.bos_token_id", 1), "eos_token_id": get("tokenizer.ggml.eos_token_id", 2),
    }


def tokenizer_of(get):
    """tokenizer.json: byte-level BPE; tokens of type 3 (control) and 4 (user) are added tokens."""
    tokens, kinds = get("tokenizer.ggml.tokens"), get("tokenizer.ggml.token_type")
    pre, steps = get("tokenizer.ggml.pre"), [{"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True,
                                              "use_regex": True}]
    if get("tokenizer.ggml.model") != "gpt2" or pre not in ("smollm", "gpt-2"):
        sys.exit(f"gguf_to_hf: a tokenizer of kind {pre} is not known; known: smollm, gpt-2")
    if pre == "smollm":
        steps = [{"type": "Digits", "individual_digits": True}] + steps
    added = [{"id": i, "content": token, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
              "special": kind == 3} for i, (token, kind) in enumerate(zip(tokens, kinds)) if kind in (3, 4)]
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": steps}, "post_processor": None,
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                  "vocab": {token: i for i, token in enumerate(tokens)},
                  "merges": [merge.split(" ") for merge in get("tokenizer.ggml.merges")]},
    }


def block_of(name):
    """The number of the block that a tensor is in; -1 outside."""
    match = re.match(r"blk\.(\d+)\.", name)
    return int(match[1]) if match else -1


def read_tensors(reader, get, layers):
    """Hugging Face name -> FP16 array."""
    heads = {"attn_q": get("llama.attention.head_count")}
    heads["attn_k"] = get("llama.attention.head_count_kv", heads["attn_q"])
    tensors = {}
    for tensor in reader.tensors:
        if block_of(tensor.name) >= layers:
            continue
        name, part = hf_name(tensor.name)
        w = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        w = w.reshape([int(n) for n in reversed(tensor.shape)])
        if part in heads:
            w = unpermute(w, heads[part])
        half = w.astype(np.float16)
        if not np.isfinite(half).all():
            sys.exit(f"gguf_to_hf: {tensor.name} does not fit in FP16")
        if w.ndim == 1 and (half != w).any():
            sys.exit(f"gguf_to_hf: norm {tensor.name} would lose digits in FP16: the two sides would not be equal")
        tensors[name] = np.ascontiguousarray(half)
    return tensors


def write_json(folder, name, value):
    with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
        json.dump(value, file, ensure_ascii=False, indent=1)


def convert(source, folder, layers):
    reader = gguf.GGUFReader(source)
    get = metadata(reader)
    if get("general.architecture") != "llama":
        sys.exit("gguf_to_hf: only the llama architecture is known")
    layers = min(layers or get("llama.block_count"), get("llama.block_count"))
    tensors = read_tensors(reader, get, layers)
    temporary = folder + ".tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    os.makedirs(temporary)
    save_file(tensors, os.path.join(temporary, "model.safetensors"), metadata={"format": "pt"})
    write_json(temporary, "config.json", config_of(get, tensors, layers))
    write_json(temporary, "tokenizer.json", tokenizer_of(get))
    shutil.rmtree(folder, ignore_errors=True)
    os.rename(temporary, folder)


def main():
    parser = argparse.ArgumentParser(description="a llama GGUF as a Hugging Face folder in FP16")
    parser.add_argument("gguf")
    parser.add_argument("folder")
    parser.add_argument("--layers", type=int, default=0, help="keep the first N blocks (default: all)")
    options = parser.parse_args()
    convert(options.gguf, options.folder.rstrip("/"), options.layers)


if __name__ == "__main__":
    main()
