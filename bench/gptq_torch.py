#!/usr/bin/env python3
"""GPTQ as the published code does it, in plain torch on the CPU: the other side of `make -f Makefile.bench gptq`.

What it keeps of IST-DASLab/gptq (gptq.py, quant.py, opt.py, llama.py), since it decides what the time goes to:

  Hessian   each linear its own, fp32, a full matrix product a window; q, k and v read one input and compute it thrice
  factor    cholesky, cholesky_inverse, cholesky(upper)
  columns   a python loop in blocks of 128; a group's grid from the weights as they stand before the block
  driver    one-shot: all windows through the block for H, then all again for the next block's inputs;
            --true-sequential: once for q, k, v, once for o, once for gate, up, once for down, and once more

Left out is what moves tensors to a GPU and back.

    gptq_torch.py FOLDER CALIB_IDS EVAL_IDS [--w-bit 4] [--group-size 64] [--true-sequential] [--act-order]
"""
import math

import blocks_torch

BLOCK = 128
STAGES = (("k_proj", "v_proj", "q_proj"), ("o_proj",), ("up_proj", "gate_proj"), ("down_proj",))


class Hessian:
    """2 X^T X as a running mean over the windows that a linear has read."""

    def __init__(self, torch, linear):
        self.h = torch.zeros(linear.in_features, linear.in_features)
        self.windows = 0

    def add(self, x):
        n = x.shape[0]
        x = x.reshape(-1, x.shape[-1]).t()
        self.h *= self.windows / (self.windows + n)
        self.windows += n
        x = math.sqrt(2 / self.windows) * x.float()
        self.h += x.matmul(x.t())


def find_grid(torch, w, maxq):
    """scale and zero [N][1] of a group w [N][G]; the range always holds 0."""
    low = torch.minimum(w.min(1)[0], torch.zeros(1))
    high = torch.maximum(w.max(1)[0], torch.zeros(1))
    flat = (low == 0) & (high == 0)
    low[flat], high[flat] = -1, 1
    scale = (high - low) / maxq
    return scale[:, None], torch.round(-low / scale)[:, None]


def encode(torch, w, scale, zero, maxq):
    return torch.clamp(torch.round(w / scale) + zero, 0, maxq)


def factor(torch, h, percdamp):
    """The upper Cholesky factor of the damped inverse."""
    damp = percdamp * torch.mean(torch.diag(h))
    h.diagonal().add_(damp)
    h = torch.cholesky_inverse(torch.linalg.cholesky(h))
    return torch.linalg.cholesky(h, upper=True)


def solve(torch, w, h, w_bit, group_size, percdamp=0.01, act_order=False):
    """(quantised weights [N][K], codes [N][K], loss). w and h are used up."""
    maxq, columns = 2 ** w_bit - 1, w.shape[1]
    dead = torch.diag(h) == 0
    h[dead, dead] = 1
    w[:, dead] = 0
    if act_order:
        order = torch.argsort(torch.diag(h), descending=True)
        w, h = w[:, order], h[order][:, order]
    u = factor(torch, h, percdamp)
    quantized, codes, losses = torch.zeros_like(w), torch.zeros_like(w), torch.zeros_like(w)
    for i1 in range(0, columns, BLOCK):
        i2 = min(i1 + BLOCK, columns)
        block, triangle = w[:, i1:i2].clone(), u[i1:i2, i1:i2]
        errors = torch.zeros_like(block)
        for i in range(i2 - i1):
            column, d = block[:, i], triangle[i, i]
            if (i1 + i) % group_size == 0:
                scale, zero = find_grid(torch, w[:, i1 + i:i1 + i + group_size], maxq)
            code = encode(torch, column[:, None], scale, zero, maxq)
            q = (scale * (code - zero)).flatten()
            codes[:, i1 + i], quantized[:, i1 + i] = code.flatten(), q
            losses[:, i1 + i] = (column - q) ** 2 / d ** 2 / 2
            error = (column - q) / d
            block[:, i:] -= error[:, None].matmul(triangle[i, i:][None])
            errors[:, i] = error
        w[:, i2:] -= errors.matmul(u[i1:i2, i2:])
    if act_order:
        back = torch.argsort(order)
        quantized, codes = quantized[:, back], codes[:, back]
    return quantized, codes, losses.sum().item()


def forward(torch, block, hidden, call, out=None):
    for i in range(len(hidden)):
        y = block(hidden[i:i + 1], **call)
        if out is not None:
            out[i:i + 1] = y


def quantize_stage(torch, block, parts, hidden, call, options):
    """parts: name -> linear. One forward for their Hessians, and then the linears one by one."""
    hessians = {name: Hessian(torch, linear) for name, linear in parts.items()}

    def watch(name):
        return lambda _, args, __: hessians[name].add(args[0])

    hooks = [linear.register_forward_hook(watch(name)) for name, linear in parts.items()]
    forward(torch, block, hidden, call)
    for hook in hooks:
        hook.remove()
    for name, linear in parts.items():
        linear.weight.data = solve(torch, linear.weight.data.clone(), hessians.pop(name).h, options.w_bit,
                                   options.group_size, options.percdamp, options.act_order)[0]


def quantize(torch, model, windows, options):
    hidden, call = blocks_torch.first_inputs(torch, model, windows)
    following = torch.zeros_like(hidden)
    for block in model.model.layers:
        parts = blocks_torch.linears(torch, block)
        stages = STAGES if options.true_sequential else ([name.rsplit(".", 1)[-1] for name in parts],)
        for stage in stages:
            chosen = {name: linear for name, linear in parts.items() if name.rsplit(".", 1)[-1] in stage}
            quantize_stage(torch, block, chosen, hidden, call, options)
        forward(torch, block, hidden, call, following)
        hidden, following = following, hidden


def main():
    parser = blocks_torch.arguments("GPTQ in plain torch")
    parser.add_argument("--percdamp", type=float, default=0.01)
    parser.add_argument("--act-order", action="store_true")
    parser.add_argument("--true-sequential", action="store_true")
    blocks_torch.run(parser.parse_args(), quantize)


if __name__ == "__main__":
    main()
