#!/usr/bin/env python3
"""Greedy decoding by transformers in FP16 on the first CUDA device, LLaMA-7B's shape with random weights made there: what
bench_gpu_decode is compared with. One line a way of attention, as that program prints them: weights, bits, prompt
tokens/s, decoded tokens/s (medians), milliseconds a token, GB that a token reads, GB/s."""

import argparse
import statistics
import time

import torch
import transformers


def make_model(args, attention):
    config = transformers.LlamaConfig(
        hidden_size=args.width,
        intermediate_size=args.ff,
        num_hidden_layers=args.blocks,
        num_attention_heads=args.heads,
        num_key_value_heads=args.heads,
        vocab_size=args.vocab,
        max_position_embeddings=2048,
        attn_implementation=attention,
    )
    torch.set_default_dtype(torch.float16)
    with torch.device(args.device), torch.no_grad():
        model = transformers.LlamaForCausalLM(config).eval()
    torch.set_default_dtype(torch.float32)
    return model


def wait(device):
    if device == "cuda":
        torch.cuda.synchronize()


@torch.no_grad()
def run(model, ids, tokens, device):
    """Seconds of the prompt, and of each further token, each chosen on the host's side as a caller that streams does."""
    wait(device)
    started = time.perf_counter()
    out = model(ids, use_cache=True)
    token = out.logits[:, -1:].argmax(-1)
    token.item()
    prompt = time.perf_counter() - started
    started = time.perf_counter()
    for _ in range(tokens):
        out = model(token, past_key_values=out.past_key_values, use_cache=True)
        token = out.logits[:, -1:].argmax(-1)
        token.item()
    return prompt, (time.perf_counter() - started) / tokens


@torch.no_grad()
def generate(model, ids, tokens, device):
    """Seconds a token of generate(), its prompt left out by the difference of two lengths."""
    seconds = []
    for n in (1, tokens + 1):
        wait(device)
        started = time.perf_counter()
        model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=n, do_sample=False, eos_token_id=None)
        wait(device)
        seconds.append(time.perf_counter() - started)
    return (seconds[1] - seconds[0]) / tokens


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for name, value in (("blocks", 32), ("width", 4096), ("heads", 32), ("ff", 11008), ("vocab", 32000)):
        parser.add_argument("--" + name, type=int, default=value)
    parser.add_argument("--prompt", type=int, default=128)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--device", default="cuda")
    args = parser.parse_args()
    name = torch.cuda.get_device_name() if args.device == "cuda" else args.device
    print(f"# torch {torch.__version__}, transformers {transformers.__version__}, {name}")
    print("# weights\tbits\tprompt tokens/s\ttokens/s\tms\tGB\tGB/s")
    ids = torch.arange(args.prompt, device=args.device)[None] * 7919 % args.vocab
    for attention in ("eager", "sdpa"):
        model = make_model(args, attention)
        read = 2 * sum(p.numel() for p in model.parameters()) - 2 * args.vocab * args.width  # an embedding is one row
        run(model, ids, 4, args.device)
        runs = [run(model, ids, args.tokens, args.device) for _ in range(args.runs)]
        prompt = args.prompt / statistics.median(r[0] for r in runs)
        by_hand = statistics.median(r[1] for r in runs)
        for how, seconds in (("", by_hand), (", generate()", generate(model, ids, args.tokens, args.device))):
            print(
                f"HF {attention} FP16{how}\t16.00\t{prompt:.0f}\t{1 / seconds:.1f}\t{1e3 * seconds:.3f}\t{read / 1e9:.3f}"
                f"\t{read / seconds / 1e9:.0f}",
                flush=True,
            )
        del model
        if args.device == "cuda":
            torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
