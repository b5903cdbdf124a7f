#!/usr/bin/env python3
"""GPTQ or AWQ by llm-compressor on the CPU: the field's own tool beside `make -f Makefile.bench gptq-peer`, `awq-peer`.

Asymmetric codes in groups, columns as they stand, all linears of the blocks; for the rest its own defaults, which are
not everywhere the papers': its AWQ weighs weights too (duo_scaling, off here as in llm-awq today) and clips nothing, and
its GPTQ finds a group's grid in the original weights.

    llmcompressor_quant.py FOLDER CALIB_IDS EVAL_IDS [--w-bit 4] [--group-size 64] [--method gptq|awq]
"""
import os
import sys

os.environ.setdefault("TQDM_DISABLE", "1")
STDOUT, sys.stdout = sys.stdout, sys.stderr  # its log goes to what stdout is now: the JSON object must stand alone

import blocks_torch
import llmcompressor
from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
from llmcompressor.modifiers.gptq import GPTQModifier
from llmcompressor.modifiers.quantization import QuantizationModifier
from llmcompressor.modifiers.transform.awq import AWQModifier
from llmcompressor.pipelines.cache import IntermediatesCache


def recipe_of(options):
    grid = QuantizationArgs(num_bits=options.w_bit, type="int", symmetric=False, strategy="group",
                            group_size=options.group_size, actorder=None)
    where = {"config_groups": {"group_0": QuantizationScheme(targets=["Linear"], weights=grid)}, "ignore": ["lm_head"]}
    if options.method == "awq":
        return [AWQModifier(duo_scaling=False), QuantizationModifier(**where)]
    return [GPTQModifier(actorder=None, **where)]


def quantize(torch, model, windows, options):
    loader = torch.utils.data.DataLoader([{"input_ids": window} for window in windows], batch_size=1)
    if not torch.cuda.is_available():  # its AWQ pins memory without asking, and stops
        IntermediatesCache.pin_memory = lambda *_, **__: None
    llmcompressor.oneshot(model=model, dataset=loader, recipe=recipe_of(options), pipeline="sequential",
                          num_calibration_samples=len(windows), max_seq_length=windows.shape[1])
    sys.stdout = STDOUT
    return {"version": f"llm-compressor {llmcompressor.__version__}, torch {torch.__version__}"}


def main():
    parser = blocks_torch.arguments("GPTQ or AWQ by llm-compressor")
    parser.add_argument("--method", choices=("gptq", "awq"), default="gptq")
    blocks_torch.run(parser.parse_args(), quantize)


if __name__ == "__main__":
    main()
