#!/usr/bin/env python3
"""Pickled weights (pytorch_model*.bin) to safetensors, once, in the same folder:

    data/convert_bin.py FOLDER

ptq itself never reads a pickle. Here torch does, with weights_only=True, which builds tensors and runs nothing. Shards
stay shards; the index is written last, so that a conversion that was killed is not taken for a whole one.
"""
import glob
import json
import os
import sys

sys.dont_write_bytecode = True

from fetch_base import cache_folder, write_whole

try:
    import torch
    from safetensors.torch import save_file
except ImportError as missing:
    VENV = os.path.join(cache_folder(), "venv")  # where data/fetch looks for a Python that has torch
    sys.exit("data/convert_bin.py: %s is not here; run `python3 -m venv %s && %s/bin/pip install torch safetensors "
             "numpy`, then the same command again (this script by %s/bin/python)" % (missing.name, VENV, VENV, VENV))


def fail(text):
    sys.exit("data/convert_bin.py: " + text)


def load(path):
    """The tensors of one .bin, mapped where its form allows that."""
    try:
        try:
            state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except RuntimeError:  # the form before torch 1.6 is no archive, and cannot be mapped
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a bad file
        fail("%s cannot be read with weights_only: %s" % (path, str(error).splitlines()[0]))
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        fail("%s holds more than a table of tensors; it is no checkpoint that ptq can use" % path)
    return state


def convert(path, out):
    """One shard. Tensors that share memory (a tied head) are each written whole: safetensors knows no sharing."""
    state = load(path)
    names = list(state)
    shared = {}
    for name in names:
        tensor = state[name].detach().contiguous()
        key = tensor.untyped_storage().data_ptr()
        state[name] = tensor.clone() if key in shared else tensor
        shared[key] = name
    save_file(state, out + ".tmp", metadata={"format": "pt"})
    os.chmod(out + ".tmp", 0o644)
    with open(out + ".tmp", "rb") as file:
        os.fsync(file.fileno())
    return names, sum(tensor.numel() * tensor.element_size() for tensor in state.values())


def new_name(name):
    return name.replace("pytorch_model", "model", 1)[:-len(".bin")] + ".safetensors"


def main(argv):
    if len(argv) != 1 or not os.path.isdir(argv[0]):
        fail("usage: data/convert_bin.py FOLDER, where the folder holds pytorch_model*.bin")
    folder = argv[0]
    paths = sorted(glob.glob(os.path.join(glob.escape(folder), "pytorch_model*.bin")))
    if not paths:
        fail("%s holds no pytorch_model*.bin" % folder)
    weight_map, total, outs = {}, 0, []
    for path in paths:
        out = os.path.join(folder, new_name(os.path.basename(path)))
        print("data/convert_bin.py: %s -> %s" % (os.path.basename(path), os.path.basename(out)), file=sys.stderr)
        names, size = convert(path, out)
        weight_map.update({name: os.path.basename(out) for name in names})
        total += size
        outs.append(out)
    for out in outs:
        os.replace(out + ".tmp", out)
    if len(outs) > 1 or os.path.basename(outs[0]) != "model.safetensors":
        index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
        write_whole(os.path.join(folder, "model.safetensors.index.json"), json.dumps(index, indent=1).encode())


if __name__ == "__main__":
    main(sys.argv[1:])
