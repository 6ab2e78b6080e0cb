"""Writes tests/fixtures/casts.safetensors: numbers in each floating-point dtype, and what torch's `to` makes of them.

A tensor `float64` holds numbers, `float64.to.float16` the same after the cast.
"""

import argparse
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from make_pickles import BYTES, FLOATS


def name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def numbers() -> Tensor:
    """Numbers of all sizes, halfway cases of the halves, and what lies at the ends of their ranges."""
    generator = torch.Generator().manual_seed(0)
    exponents = torch.empty(300, dtype=torch.float64).uniform_(-160, 160, generator=generator)
    signs = torch.randint(0, 2, (300,), generator=generator) * 2 - 1
    ties = 1 + torch.arange(16, dtype=torch.float64) * 2.0**-12
    near = torch.tensor([1 + 2**-11 + 2**-30, 1 + 2**-8 + 2**-40], dtype=torch.float64)
    ends = [65504, 65519.99, 65520, 3.3895e38, 3.39e38, 3.4028e38, 3.5e38, 1e308, 2**-24, 2**-25, 2**-149, 0.0, -0.0]
    ends = torch.tensor([*ends, float("inf"), float("-inf"), float("nan")], dtype=torch.float64)
    return torch.cat([signs * 2**exponents, ties, near, ends])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True)
    output = parser.parse_args().output
    sources = {name(dtype): numbers().to(dtype) for dtype in FLOATS}
    sources |= {name(dtype): torch.arange(256, dtype=torch.uint8).view(dtype) for dtype in BYTES}
    tensors = dict(sources)
    for source, tensor in sources.items():
        for dtype in FLOATS:
            if tensor.dtype != dtype:
                tensors[f"{source}.to.{name(dtype)}"] = tensor.to(dtype)
    save_file(tensors, output)


if __name__ == "__main__":
    main()
