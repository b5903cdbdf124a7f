#!/usr/bin/env python3
"""torch's int4 product (_weight_int4pack_mm, "tinygemm") on the shapes of bench_gpu, in CUDA graphs over rotated weights.

Prints bench_gpu's lines, so that both can stand in one table: N, K, tokens, kernel, microseconds, GB/s, percent of a
copy's, TFLOP/s, times torch's own product in bfloat16.
"""
import statistics
import sys

import torch

GROUP, RUNS, REPLAYS, GRAPH_US = 128, 9, 3, 600.0
SHAPES = [(4096, 4096), (8192, 8192), (28672, 8192), (8192, 28672)]
TOKENS = [1, 16]
ROTATED = 256 << 20


def microseconds(calls, us):
    """Of a call: calls are functions over other weights each; about as many as fill GRAPH_US are put into a graph."""
    count = max(2, min(128, int(GRAPH_US / us)))
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for call in calls[:3]:
            call()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for i in range(count):
            calls[i % len(calls)]()
    times = []
    for _ in range(RUNS + 1):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        for _ in range(REPLAYS):
            graph.replay()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end))
    return 1000 * statistics.median(times[1:]) / REPLAYS / count


def copy_rate():
    """GB/s of a copy within the device, read and written."""
    size = 1 << 30
    a, b = torch.empty(size, dtype=torch.uint8, device="cuda"), torch.empty(size, dtype=torch.uint8, device="cuda")
    return 2 * size / microseconds([lambda: b.copy_(a)], 500.0) / 1e3


def line(shape, m, name, us, weights, copy, base_us):
    n, k = shape
    moved = weights + 2 * m * (n + k)
    print(f"{n}\t{k}\t{m}\t{name}\t{us:.2f}\t{moved / us / 1e3:.0f}\t{100 * moved / us / 1e3 / copy:.0f}"
          f"\t{2e-6 * m * n * k / us:.1f}\t{base_us / us:.2f}", flush=True)


def packed(n, k, copies):
    """Random codes as torch packs them, with scales and zeros of a group."""
    out = []
    for i in range(copies):
        codes = torch.randint(0, 256, (n, k // 2), dtype=torch.uint8, device="cuda")
        weights = torch.ops.aten._convert_weight_to_int4pack(codes, 8)
        scales = torch.rand(k // GROUP, n, 2, dtype=torch.bfloat16, device="cuda") / 64
        out.append((weights, scales))
        del codes
    return out


def bench(shape, copy):
    n, k = shape
    w4_bytes, half_bytes = n * k // 2 + 4 * n * (k // GROUP), 2 * n * k
    half = [torch.randn(n, k, dtype=torch.bfloat16, device="cuda") / 64 for _ in range(ROTATED // half_bytes + 2)]
    w4 = packed(n, k, ROTATED // w4_bytes + 2)
    for m in TOKENS:
        x = torch.randn(m, k, dtype=torch.bfloat16, device="cuda")
        base = microseconds([lambda w=w: torch.nn.functional.linear(x, w) for w in half], half_bytes / 4e6 + 2)
        line(shape, m, "torch BF16", base, half_bytes, copy, base)
        us = microseconds([lambda w=w, s=s: torch.ops.aten._weight_int4pack_mm(x, w, GROUP, s) for w, s in w4],
                          w4_bytes / 2e6 + 2)
        line(shape, m, "torch int4", us, w4_bytes, copy, base)


def main():
    torch.manual_seed(1)
    print(f"# {torch.cuda.get_device_name()}, torch {torch.__version__}, group {GROUP}")
    copy = copy_rate()
    print(f"# copy {copy:.0f} GB/s (read and written)")
    for shape in SHAPES:
        bench(shape, copy)


if __name__ == "__main__":
    sys.exit(main())
