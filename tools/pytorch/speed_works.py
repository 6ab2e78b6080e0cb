"""The works that are compared: what our benchmarks call each, and how PyTorch does it.

Production size: conditioning 384 wide, a generator with 64 hidden units, kernels of 3 layers, 32 wide. With a backward
pass the loss is the sum of the outputs, and its gradients are those of all parameters, of the signal of a convolution
and of the kernel where that is given.
"""

import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

import film_bench
from film_modules import KernelFiLMGenerator
from siren_modules import CKConvNd, GaussianMask, SirenKernel, fft_conv

COND_DIM = 384
SPATIAL = (15, 14)
CHANNELS = 384

Forward = tuple[Callable[[], Tensor], list[Tensor]]  # the output, and what a loss is differentiated by


def film_generator() -> KernelFiLMGenerator:
    return KernelFiLMGenerator(COND_DIM, 32, 3, film_hidden_dim=64, init_type="small_random", init_std=0.05)


def siren_kernel(out_dim: int, l_cache: tuple[int, ...]) -> SirenKernel:
    return SirenKernel(
        out_dim=out_dim,
        data_dim=len(l_cache),
        mlp_hidden_dim=32,
        num_layers=3,
        embedding_dim=32,
        omega_0=12.0,
        l_cache=l_cache,
        omega_0_scale=(0.01, 2.0),
        film_after_pos_embed=True,
        film_generator=film_generator(),
    )


def generator(batch: int) -> Forward:
    """Conditioning to γ and β of all layers in one tensor, as our benchmark leaves them."""
    module = film_generator()
    conditioning = torch.randn(batch, COND_DIM)
    return lambda: module.mlp(conditioning), [*module.parameters()]


def siren(batch: int, out_dim: int, lengths: tuple[int, ...]) -> Forward:
    module = siren_kernel(out_dim, lengths)
    conditioning = torch.randn(batch, COND_DIM)
    return lambda: module(lengths, conditioning)[1], [*module.parameters()]


def ckconv(batch: int) -> Forward:
    kernel = siren_kernel(CHANNELS, (15, 15))
    module = CKConvNd(kernel, "zero", mask=GaussianMask.for_grid(CHANNELS, kernel.l_cache))
    x = torch.randn(batch, *SPATIAL, CHANNELS, requires_grad=True)
    conditioning = torch.randn(batch, COND_DIM)
    return lambda: module(x, conditioning), [x, *module.parameters()]


def convolution(batch: int) -> Forward:
    x = torch.randn(batch, *SPATIAL, CHANNELS, requires_grad=True)
    kernel = torch.randn(batch, *[2 * n - 1 for n in SPATIAL], CHANNELS, requires_grad=True)
    return lambda: fft_conv(x, kernel, ("zero", "zero")), [x, kernel]


class Kind(NamedTuple):
    """What a work is called in the table, the program and group of our benchmarks, its batch sizes with and without a
    backward pass, and what prepares it in PyTorch."""

    name: str
    program: str
    group: str
    batches: tuple[int, ...]
    backward: tuple[int, ...]
    prepare: Callable[[int], Forward]


KINDS = (
    Kind("generator", "draw", "generator", (1, 64, 4096, 65536), (1, 64, 4096), generator),
    Kind("SIREN, 29×29×384", "draw", "siren_2d", (1, 16, 64), (1, 16, 64), lambda b: siren(b, 384, (15, 15))),
    Kind("SIREN, 8,191×64", "draw", "siren_1d", (8,), (8,), lambda b: siren(b, 64, (4096,))),
    Kind("convolution", "ckconv", "conv_production", (1, 16), (1, 16), convolution),
    Kind("conditional convolution", "ckconv", "ckconv", (1, 16), (1, 16), ckconv),
)


class Work(NamedTuple):
    """One row of the table."""

    kind: Kind
    batch: int
    backward: bool

    @property
    def benchmark(self) -> str:
        """Criterion's name of it."""
        return f"{self.kind.group}{'_backward' if self.backward else ''}/{self.batch}"

    @property
    def name(self) -> str:
        return f"{self.kind.name}{', and back' if self.backward else ''}"

    def pytorch(self) -> Callable[[], object]:
        """What PyTorch is to do once."""
        torch.manual_seed(0)
        output, leaves = self.kind.prepare(self.batch)
        return (lambda: torch.autograd.grad(output().sum(), leaves)) if self.backward else output


WORKS = [Work(kind, batch, False) for kind in KINDS for batch in kind.batches]
WORKS += [Work(kind, batch, True) for kind in KINDS for batch in kind.backward]


def measure(work: Work, device: str, threads: int, warm_up: float, seconds: float) -> float:
    """The median of PyTorch's times, over about so long but ten at least, in seconds."""
    torch.set_num_threads(threads)
    with torch.device(device):
        once = work.pytorch()

    def call() -> None:
        once()
        if device != "cpu":
            torch.cuda.synchronize()

    times: list[float] = []
    with torch.set_grad_enabled(work.backward):
        end = time.perf_counter() + warm_up
        call()
        while time.perf_counter() < end:
            call()
        end = time.perf_counter() + seconds
        while len(times) < film_bench.SAMPLES or time.perf_counter() < end:
            start = time.perf_counter()
            call()
            times.append(time.perf_counter() - start)
    return statistics.median(times)


def once(benchmark: str, threads: int) -> tuple[int, int]:
    """The memory of this process before and, at its peak, after a work is done once, in bytes."""
    status = Path("/proc/self/status")
    before = film_bench.memory(status.read_text(), "VmRSS")
    torch.set_num_threads(threads)
    work = next(work for work in WORKS if work.benchmark == benchmark)
    with torch.set_grad_enabled(work.backward):
        work.pytorch()()
    return before, film_bench.memory(status.read_text(), "VmHWM")


def peak(work: Work, threads: int) -> tuple[int, int]:
    """The same of a fresh process."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(once, work.benchmark, threads).result()
