#!/usr/bin/env python3
"""A folder that ptq wrote, loaded by transformers (with GPTQModel's CPU kernels where it is quantised), against ptq's
logits of the same ids.

    compare_hf.py FOLDER SETS TEXT IDS_OF_TEXT [DENSE]

SETS holds NAME.ids and NAME.logits of each of true_logits.py's sets. DENSE is the plain FP16 folder that ptq makes of a
quantised FOLDER: its linears must be, to the bit, what GPTQModel dequantises. Two numbers for each set: the largest
difference of a logit and the relative difference of the perplexity of these ids. First the modules as they run
themselves: the perplexity is bound, the logits are not (GPTQModel's AWQ kernels round activations to FP16, which alone
moves them by 1e-2). Then transformers on what GPTQModel dequantises, in float32 and, as the witness of true_logits.py's
compare, in float64. The tokenizer of the folder must give IDS_OF_TEXT for TEXT."""
import math
import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from true_logits import compare, read_ids, read_sets, worst_of

PPL_BOUND = 1e-3


def perplexity(logits, ids):
    logits = torch.as_tensor(logits, dtype=torch.float64)
    nll = torch.nn.functional.cross_entropy(logits[:-1], torch.tensor(ids[1:]))
    return math.exp(nll.item())


def quantised_modules(model):
    return [(name, module) for name, module in model.named_modules() if hasattr(module, "qweight")]


def dense_weight(module):
    """[out][in] in float32, by GPTQModel's own dequantisation."""
    if module.__class__.__name__.lower().find("awq") >= 0:
        from gptqmodel.quantization.awq.utils.packing_utils import dequantize_gemm
        weight = dequantize_gemm(qweight=module.qweight, qzeros=module.qzeros, scales=module.scales, bits=module.bits,
                                 group_size=module.group_size)
    else:
        weight = module.dequantize_weight()
    return weight.t().float().contiguous()


def undivided(model, name, weight):
    """What the plain folder has, whose activations are not divided: the scales of the one before, put into the weights
    (BLOOM's AWQ; ones where the method was another)."""
    before = getattr(model.get_submodule(name.rpartition(".")[0]), "gelu_impl", None)
    if not name.endswith("dense_4h_to_h") or not hasattr(before, "scales"):
        return weight
    return weight.half().float() / before.scales.detach().float()


def same_weights(folder, model, dense):
    """Whether GPTQModel dequantises what ptq reads, rounded to FP16 as both define it."""
    plain = AutoModelForCausalLM.from_pretrained(dense, device_map="cpu", dtype=torch.float16)
    modules = quantised_modules(model)
    other = [name for name, module in modules
             if not torch.equal(undivided(model, name, dense_weight(module)).half(), plain.get_submodule(name).weight)]
    print(f"{folder}: weights: {len(modules) - len(other)} of {len(modules)} linears are ptq's to the bit"
          f"{'   NOT HELD: ' + ' '.join(other[:8]) if other else ''}")
    return bool(modules) and not other


def with_dense_linears(model):
    for name, module in quantised_modules(model):
        linear = torch.nn.Linear(module.in_features, module.out_features, bias=module.bias is not None)
        linear.weight.data = dense_weight(module)
        if module.bias is not None:
            linear.bias.data = module.bias.float()
        parent, _, leaf = name.rpartition(".")
        setattr(model.get_submodule(parent), leaf, linear)


def run(model, ids):
    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0].double().numpy()


def run_true(model, ids):
    """(logits in float64, the largest number of each token's residual)"""
    with torch.no_grad():
        found = model.double()(torch.tensor([ids]), output_hidden_states=True)
    size = torch.stack([x[0].abs().amax(dim=1) for x in found.hidden_states]).amax(dim=0)
    return found.logits[0].numpy(), size.numpy()


def say(what, theirs, ours, ids, held, words):
    a, b = perplexity(theirs, ids), perplexity(ours, ids)
    held &= bool(abs(a - b) <= PPL_BOUND * b)
    print(f"{what}, {len(ids)} tokens: {words}; perplexity {a:.6f} against {b:.6f} ({abs(a - b) / b:.1e})"
          f"{'' if held else '   NOT HELD'}")
    return held


def same_tokenizer(folder, text_path, text_ids):
    with open(text_path, encoding="utf-8") as file:
        found = AutoTokenizer.from_pretrained(folder)(file.read(), add_special_tokens=False)["input_ids"]
    same = found == read_ids(text_ids)
    print(f"{folder}: tokenizer: {len(found)} ids {'equal' if same else 'DIFFER'}")
    return same


def main():
    folder, sets_path, text_path, text_ids = sys.argv[1:5]
    torch.set_num_threads(2)
    sets, held = read_sets(sets_path), True
    model = AutoModelForCausalLM.from_pretrained(folder, device_map="cpu", dtype=torch.float32)
    kinds = sorted({type(module).__name__ for _, module in quantised_modules(model)})
    if kinds:
        for words, _, ids, ours in sets:
            packed = run(model, ids)
            held &= say(f"{folder}: {', '.join(kinds)} {words}", packed, ours, ids, True,
                        f"not bound: logits differ by {worst_of(packed, ours)}")
        held &= same_weights(folder, model, sys.argv[5])
        with_dense_linears(model)
    theirs = [run(model, ids) for _, _, ids, _ in sets]
    for (words, strict, ids, ours), found in zip(sets, theirs):
        held &= say(f"{folder}: transformers in float32 {words}", found, ours, ids,
                    *compare(found, ours, run_true(model, ids), strict))
    held &= same_tokenizer(folder, text_path, text_ids)
    sys.exit(0 if held else 1)


if __name__ == "__main__":
    main()
