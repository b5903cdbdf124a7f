#!/usr/bin/env python3
"""How many of AWQ's clip bounds does the published algorithm share with itself when only the order of float32 sums changes?

  awq_noise.py GOLDEN_MODELS [FAMILY...]          (../shared/golden/models; needs torch, transformers, h5py)

bench/awq_torch.py, the published loops in plain torch, runs on each golden checkpoint's calibration tokens with the matrix
library as it is and held to older instructions. Each run's bounds are compared with golden.h5's and with those of the
first run: equal within 1e-3, as tests/test_golden_awq.c counts them."""
import argparse
import json
import os
import re
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "..", "bench"))
import awq_torch  # noqa: E402  (the folder of the benchmark is added above)

WAYS = {"as it is": {}, "one thread": {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
        "AVX2": {"ATEN_CPU_CAPABILITY": "avx2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"},
        "SSE": {"ATEN_CPU_CAPABILITY": "default", "MKL_CBWR": "COMPATIBLE"}}


def bounds_of(folder):
    """JSON on stdout: configuration -> linear -> bounds, in this process, with the reference code."""
    import h5py
    import torch
    import transformers
    transformers.logging.set_verbosity_error()
    found = {}
    with h5py.File(os.path.join(folder, "golden.h5")) as golden, torch.no_grad():
        tokens = torch.tensor(golden["calib_tokens"][:]).long()
        for name in golden["awq"]:
            w_bit, group_size = (int(number) for number in re.findall(r"\d+", name))
            model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
            kept, search = {}, awq_torch.search_clip
            names = {id(part): key for key, part in model.named_modules()}

            def clip(torch_, linear, x, options):
                parts = []
                awq_torch.search_clip = lambda *given: parts.append(search(*given)) or parts[-1]
                whole(torch_, linear, x, options)
                awq_torch.search_clip = search
                kept[names[id(linear)]] = torch.cat(parts).flatten().tolist()

            whole, awq_torch.clip = awq_torch.clip, clip
            awq_torch.quantize(torch, model, tokens,
                               argparse.Namespace(w_bit=w_bit, group_size=group_size, clip=True))
            awq_torch.clip = whole
            found[name] = kept
    json.dump(found, sys.stdout)


def golden_bounds(folder):
    import h5py
    with h5py.File(os.path.join(folder, "golden.h5")) as golden:
        return {name: {key: golden["awq"][name]["clip"][key][:].flatten().tolist() for key in golden["awq"][name]["clip"]}
                for name in golden["awq"]}


def shared(a, b):
    """Per cent of equal bounds, over the linears that both have."""
    same = all_of = 0
    for linear in a.keys() & b.keys():
        pairs = list(zip(a[linear], b[linear]))
        same += sum(abs(x - y) <= 1e-3 * abs(y) for x, y in pairs)
        all_of += len(pairs)
    return f"{100 * same / all_of:.2f} %" if all_of else "none in common"


def main():
    if sys.argv[1] == "--bounds":
        bounds_of(sys.argv[2])
        return
    families = sys.argv[2:] or ["llama", "llama3", "qwen2"]
    print("| family | cell | run | equal to golden.h5 | equal to the first run |\n| --- | --- | --- | --- | --- |")
    for family in families:
        folder = os.path.join(sys.argv[1], family)
        golden, first = golden_bounds(folder), None
        for way, settings in WAYS.items():
            done = subprocess.run([sys.executable, os.path.abspath(__file__), "--bounds", folder], check=True,
                                  stdout=subprocess.PIPE, env={**os.environ, **settings})
            bounds = json.loads(done.stdout)
            first = first or bounds
            for cell in bounds:
                print(f"| {family} | {cell} | {way} | {shared(bounds[cell], golden[cell])} | "
                      f"{shared(bounds[cell], first[cell])} |", flush=True)


if __name__ == "__main__":
    main()
