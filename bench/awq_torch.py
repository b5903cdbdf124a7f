#!/usr/bin/env python3
"""AWQ as the published code does it, in plain torch on the CPU: the other side of `make -f Makefile.bench awq-module`.

What it keeps of llm-awq (pre_quant.py, auto_scale.py, auto_clip.py), since it decides what the time goes to:

  driver   all calibration windows are one batch; the next block reads what the block gives before anything is changed
  scales   20 trials a group of linears that read one input; each quantises the weights, runs the part of the block that
           the group feeds (the attention, the MLP, the linear) on the whole batch, and takes the mean squared error
  clip     10 bounds for each row and group, on 512 and some tokens; 256 rows (or 64) at a time; not q and k

v -> o is scaled only where both have one shape: not under grouped queries. fp32 takes the place of fp16, which a CPU is
slow at.

    awq_torch.py FOLDER CALIB_IDS EVAL_IDS [--w-bit 4] [--group-size 64] [--no-clip]
"""
import blocks_torch

RATIOS, CLIPS, CLIP_TOKENS = 20, 10, 512


def fake_quantize(torch, w, w_bit, group_size):
    """w by way of codes: the range of a group is min..max as they are."""
    maxq, shape = 2 ** w_bit - 1, w.shape
    w = w.reshape(-1, group_size)
    high, low = w.amax(1, keepdim=True), w.amin(1, keepdim=True)
    scale = (high - low).clamp(min=1e-5) / maxq
    zero = (-torch.round(low / scale)).clamp_(0, maxq)
    return ((torch.clamp(torch.round(w / scale) + zero, 0, maxq) - zero) * scale).reshape(shape)


def groups_of(block):
    """(what comes before, linears that read one input, what a trial runs, whether it takes the block's arguments)."""
    attention, mlp = block.self_attn, block.mlp
    yield block.input_layernorm, (attention.q_proj, attention.k_proj, attention.v_proj), attention, True
    if attention.v_proj.weight.shape == attention.o_proj.weight.shape:
        yield attention.v_proj, (attention.o_proj,), attention.o_proj, False
    yield block.post_attention_layernorm, (mlp.gate_proj, mlp.up_proj), mlp, False
    yield mlp.up_proj, (mlp.down_proj,), mlp.down_proj, False


def search_scale(torch, group, x, call, options):
    """The scale [K] under which the part that the group feeds errs least on x [windows][tokens][K]."""
    _, parts, module, takes_call = group

    def run():
        y = module(x, **(call if takes_call else {}))
        return y[0] if isinstance(y, tuple) else y

    kept = [linear.weight.data.clone() for linear in parts]
    wanted, magnitude = run(), x.abs().view(-1, x.shape[-1]).mean(0)
    best, best_scale = float("inf"), None
    for i in range(RATIOS):
        scale = magnitude.pow(i / RATIOS).clamp(min=1e-4)
        scale = scale / (scale.max() * scale.min()).sqrt()
        for linear, weight in zip(parts, kept):
            linear.weight.data = fake_quantize(torch, weight * scale, options.w_bit, options.group_size) / scale
        loss = (wanted - run()).float().pow(2).mean().item()
        if loss < best:
            best, best_scale = loss, scale
    for linear, weight in zip(parts, kept):
        linear.weight.data = weight
    return best_scale


def apply_scale(group, scale):
    """Columns times scale; what comes before, a norm or the rows of a linear, divided by it."""
    before, parts, _, _ = group
    weight = before.weight.data
    if weight.dim() == 1:
        weight /= scale
    else:
        weight[-len(scale):] /= scale[:, None]
    for linear in parts:
        linear.weight.data *= scale


def search_clip(torch, w, x, options):
    """The bound [rows][groups][1] for each group of w [rows][K]; x [tokens][K]."""
    groups = w.shape[1] // options.group_size
    w = w.reshape(w.shape[0], 1, groups, options.group_size)
    x = x.reshape(1, x.shape[0], groups, options.group_size)
    widest = w.abs().amax(-1, keepdim=True)
    best, least = widest.clone(), torch.full_like(widest, 1e9)
    wanted = (x * w).sum(-1)
    for i in range(CLIPS):
        bound = widest * (1 - i / 20)
        trial = fake_quantize(torch, torch.clamp(w, -bound, bound), options.w_bit, options.group_size)
        error = ((x * trial).sum(-1) - wanted).pow(2).mean(1).view(widest.shape)
        better = error < least
        least[better], best[better] = error[better], bound[better]
    return best.squeeze(1)


def clip(torch, linear, x, options):
    x = x.view(-1, x.shape[-1])
    x = x[::max(1, x.shape[0] // CLIP_TOKENS)]
    weight = linear.weight.data
    rows = 256 if weight.shape[0] % 256 == 0 else 64
    bounds = torch.cat([search_clip(torch, part, x, options) for part in weight.split(rows)])
    shape = weight.shape
    weight = weight.reshape(*bounds.shape[:2], -1)
    linear.weight.data = torch.clamp(weight, -bounds, bounds).reshape(shape)


def quantize_block(torch, block, hidden, call, options):
    """Returns what the block gave before it was changed."""
    seen, linears = {}, blocks_torch.linears(torch, block)
    hooks = [linear.register_forward_hook(lambda part, args, _: seen.__setitem__(part, args[0]))
             for linear in linears.values()]
    following = block(hidden, **call)
    for hook in hooks:
        hook.remove()
    found = [(group, search_scale(torch, group, seen[group[1][0]], call, options)) for group in groups_of(block)]
    for group, scale in found:
        apply_scale(group, scale)
        for linear in group[1]:
            seen[linear] = seen[linear] / scale
    for name, linear in linears.items():
        if options.clip and "q_" not in name and "k_" not in name:
            clip(torch, linear, seen[linear], options)
    for linear in linears.values():
        linear.weight.data = fake_quantize(torch, linear.weight.data, options.w_bit, options.group_size)
    return following


def quantize(torch, model, windows, options):
    hidden, call = blocks_torch.first_inputs(torch, model, windows)
    for block in model.model.layers:
        hidden = quantize_block(torch, block, hidden, call, options)


def main():
    parser = blocks_torch.arguments("AWQ in plain torch")
    parser.add_argument("--no-clip", dest="clip", action="store_false")
    blocks_torch.run(parser.parse_args(), quantize)


if __name__ == "__main__":
    main()
