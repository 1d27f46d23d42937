#!/usr/bin/env python3
"""PyTorch's causal attention, the peer of the prefill kernels, with the card's ceilings measured in the same process.

bf16, head size 128; FLASH_ATTENTION and CUDNN_ATTENTION backends; medians by CUDA events.
"""

import statistics
import sys
from dataclasses import dataclass

try:
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.nn.functional import scaled_dot_product_attention
except ImportError:
    print("skipped: no PyTorch")
    sys.exit(0)

HEAD_DIM = 128
BACKENDS = [SDPBackend.FLASH_ATTENTION, SDPBackend.CUDNN_ATTENTION]


@dataclass
class Shape:
    context: int
    batch: int
    heads: int
    kv_heads: int

    def flop(self) -> float:
        """Both products over the causal half: each of L queries against the keys up to it."""
        pairs = self.context * (self.context + 1) / 2
        return 2 * 2 * self.heads * HEAD_DIM * pairs * self.batch


SHAPES = [
    Shape(context, batch, heads, kv_heads)
    for heads, kv_heads in [(32, 8), (40, 40)]
    for context, batch in [(2048, 8), (8192, 2), (32768, 1)]
]


def seconds(work, samples: int = 7, warm_ups: int = 2) -> float:
    times = []
    for i in range(warm_ups + samples):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        work()
        end.record()
        end.synchronize()
        if i >= warm_ups:
            times.append(begin.elapsed_time(end) * 1e-3)
    return statistics.median(times)


def random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, device="cuda", dtype=torch.bfloat16)


def measure_ceilings() -> float:
    source = torch.empty(4 << 30, device="cuda", dtype=torch.uint8).random_()
    target = torch.empty_like(source)
    bandwidth = 2 * source.numel() / seconds(lambda: target.copy_(source))
    print(f"copy, read and written: {bandwidth * 1e-12:.3f} TB/s", flush=True)
    del source, target
    a, b = random(8192, 8192), random(8192, 8192)
    rate = 2 * 8192**3 * 10 / seconds(lambda: [a @ b for _ in range(10)])
    print(f"bf16 8,192 cubed product: {rate * 1e-12:.0f} TFLOP/s", flush=True)
    return rate


def measure_attention(shape: Shape, backend: SDPBackend, matrix_rate: float) -> None:
    q = random(shape.batch, shape.heads, shape.context, HEAD_DIM)
    k = random(shape.batch, shape.kv_heads, shape.context, HEAD_DIM)
    v = random(shape.batch, shape.kv_heads, shape.context, HEAD_DIM)
    grouped = shape.heads != shape.kv_heads
    name = (
        f"{backend.name} {shape.heads}/{shape.kv_heads} heads, {shape.batch} x {shape.context} tokens"
    )
    try:
        with sdpa_kernel(backend), torch.no_grad():
            elapsed = seconds(lambda: scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=grouped))
    except RuntimeError as error:
        print(f"{name}: refused: {str(error).splitlines()[0]}", flush=True)
        return
    rate = shape.flop() / elapsed
    print(
        f"{name}: {elapsed * 1e3:.3f} ms, {rate * 1e-12:.0f} TFLOP/s, {100 * rate / matrix_rate:.0f}% of the product",
        flush=True,
    )


def main() -> int:
    if not torch.cuda.is_available():
        print("PyTorch finds no CUDA device", file=sys.stderr)
        return 1
    torch.manual_seed(1)
    print(f"PyTorch {torch.__version__}, {torch.cuda.get_device_name()}", flush=True)
    matrix_rate = measure_ceilings()
    for shape in SHAPES:
        for backend in BACKENDS:
            measure_attention(shape, backend, matrix_rate)
    return 0


if __name__ == "__main__":
    sys.exit(main())
