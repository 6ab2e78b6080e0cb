"""Compare the time of the conditional convolution, and of its FFT convolution alone, in PyTorch and in film.

PyTorch is timed here (eager, float32, no gradients); film's times are those that `cargo bench` left in criterion's
output, or with --run those of a benchmark run between two halves of PyTorch's.
"""

import argparse
import json
import os
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch

from film_modules import KernelFiLMGenerator, require_positive
from siren_modules import CKConvNd, GaussianMask, SirenKernel, fft_conv

ROOT = Path(__file__).resolve().parents[2]
BENCH = ("cargo", "bench", "-p", "film-core", "--bench", "conv")
GROUPS = {"ckconv": "ckconv", "conv": "conv_production"}  # work: criterion's group
BATCHES = (1, 16)
SPATIAL = (15, 14)
CHANNELS = 384
RUNS = 30
SECONDS = 3.0
HALF = 0.5
UNSTEADY = 1.5


class Failure(Exception):
    """What the user is told instead of a table."""


class Row(NamedTuple):
    """What was measured of one work at one batch size: PyTorch's times and film's median, in milliseconds."""

    work: str
    batch: int
    times: list[float]
    film_ms: float

    def named(self) -> dict[str, Any]:
        """As it stands in JSON; the ratio says how many times as long PyTorch takes."""
        median = statistics.median(self.times)
        return {
            "work": self.work,
            "batch": self.batch,
            "pytorch_ms": median,
            "pytorch_fastest_ms": min(self.times),
            "film_ms": self.film_ms,
            "ratio": median / self.film_ms,
        }


def production() -> CKConvNd:
    """The convolution of production, with random weights."""
    generator = KernelFiLMGenerator(384, 32, 3, film_hidden_dim=64, init_type="small_random", init_std=0.05)
    kernel = SirenKernel(
        out_dim=CHANNELS,
        data_dim=2,
        mlp_hidden_dim=32,
        num_layers=3,
        embedding_dim=32,
        omega_0=12.0,
        l_cache=(15, 15),
        omega_0_scale=(0.01, 2.0),
        film_after_pos_embed=True,
        film_generator=generator,
    )
    return CKConvNd(kernel, "zero", mask=GaussianMask.for_grid(CHANNELS, kernel.l_cache))


def pytorch_work(work: str, batch: int) -> Callable[[], object]:
    """What to time: input [batch, 15, 14, 384] with conditioning [batch, 384] or a kernel [batch, 29, 27, 384]."""
    torch.manual_seed(0)
    module = production()
    x = torch.randn(batch, *SPATIAL, CHANNELS)
    conditioning = torch.randn(batch, 384)
    if work == "ckconv":
        return lambda: module(x, conditioning)
    _, _, kernel = module.draw(SPATIAL, conditioning)
    return lambda: fft_conv(x, kernel, module.padding)


def measure(call: Callable[[], object], share: float = 1.0) -> list[float]:
    """Milliseconds of each of at least RUNS calls, over at least SECONDS, times the share, after warming up."""
    end = time.perf_counter() + 0.3
    call()
    while time.perf_counter() < end:
        call()
    times: list[float] = []
    end = time.perf_counter() + share * SECONDS
    while len(times) < share * RUNS or time.perf_counter() < end:
        start = time.perf_counter()
        call()
        times.append(1e3 * (time.perf_counter() - start))
    return times


def bench_command(threads: int, pattern: str) -> str:
    """The line that runs the benchmarks of a pattern."""
    return f"RAYON_NUM_THREADS={threads} {shlex.join(BENCH)} -- {shlex.quote(pattern)}"


def run_bench(criterion: Path, threads: int, *last: str) -> None:
    """Run `cargo bench` with these last arguments; its output goes to stderr, criterion's to that folder."""
    variables = os.environ | {"RAYON_NUM_THREADS": str(threads), "CRITERION_HOME": str(criterion.resolve())}
    command = [*BENCH, *last]
    try:
        subprocess.run(command, cwd=ROOT, env=variables, stdout=sys.stderr, check=True)
    except (OSError, subprocess.CalledProcessError) as problem:
        raise Failure(f"{shlex.join(command)} failed: {problem}") from problem


def film_ms(criterion: Path, work: str, batch: int, threads: int, since: float = 0.0) -> float:
    """The median that criterion wrote, at that time or later, in milliseconds."""
    file = criterion / GROUPS[work] / str(batch) / "new" / "estimates.json"
    command = bench_command(threads, "|".join(GROUPS.values()))
    try:
        if file.stat().st_mtime < since:
            raise Failure(f"{file} is older than this run: the benchmark did not write it")
        milliseconds = float(json.loads(file.read_text(encoding="utf-8"))["median"]["point_estimate"]) / 1e6
    except FileNotFoundError as problem:
        raise Failure(f"no {file}; this makes it: {command}") from problem
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise Failure(f"no median.point_estimate in {file} ({problem}); this makes it: {command}") from problem
    if not milliseconds > 0:
        raise Failure(f"median.point_estimate in {file} must be positive; this makes it: {command}")
    return milliseconds


@torch.no_grad()
def compare(criterion: Path, threads: int, run: bool) -> list[Row]:
    """One row for each work and batch size."""
    todo = [(work, batch) for work in GROUPS for batch in BATCHES]
    if not run:
        film = [film_ms(criterion, work, batch, threads) for work, batch in todo]
        return [
            Row(work, batch, measure(pytorch_work(work, batch)), milliseconds)
            for (work, batch), milliseconds in zip(todo, film, strict=True)
        ]
    run_bench(criterion, threads, "--no-run")
    rows = []
    for work, batch in todo:
        call = pytorch_work(work, batch)
        times = measure(call, HALF)
        since = int(time.time())  # whole seconds, as some file systems have them
        run_bench(criterion, threads, "--", f"^{GROUPS[work]}/{batch}$")
        times += measure(call, HALF)
        rows.append(Row(work, batch, times, film_ms(criterion, work, batch, threads, since)))
    return rows


def table(rows: list[Row], threads: int, run: bool, load: float) -> str:
    """The rows as text, at most 80 columns wide."""
    whose = "both" if run else "PyTorch's"
    lines = [f"{'work':<14}{'batch':>6}{'PyTorch ms':>14}{'film ms':>12}{'ratio':>9}"]
    steady = True
    for row in map(Row.named, rows):
        busy = row["pytorch_ms"] > UNSTEADY * row["pytorch_fastest_ms"]
        steady = steady and not busy
        mark = f"  * fastest {row['pytorch_fastest_ms']:.3f}" if busy else ""
        start = f"{row['work']:<14}{row['batch']:>6}{row['pytorch_ms']:>14.3f}"
        lines.append(f"{start}{row['film_ms']:>12.3f}{row['ratio']:>9.2f}{mark}")
    lines.append(f"medians; PyTorch {torch.__version__}, threads {threads} ({whose})")
    lines.append("ratio = PyTorch / film: above 1, film is faster")
    lines.append(f"load average when this began: {load:.2f} on {os.cpu_count()} cores")
    if not steady:
        lines.append("* PyTorch's times vary much: is the machine busy? This ratio says little.")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument(
        "--criterion",
        type=Path,
        default=ROOT / "target" / "criterion",
        metavar="DIR",
        help="criterion's output [default: target/criterion of this repository]",
    )
    parser.add_argument("--threads", type=int, default=2, metavar="N", help="threads to use [default: 2]")
    parser.add_argument("--run", action="store_true", help="run the benchmarks too, in turn with PyTorch")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    args = parser.parse_args()

    try:
        require_positive(threads=args.threads)
        torch.set_num_threads(args.threads)
        load = os.getloadavg()[0]
        rows = compare(args.criterion, args.threads, args.run)
    except (Failure, ValueError) as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 1
    if args.json:
        found = {"pytorch": torch.__version__, "threads": args.threads, "load_average": load}
        print(json.dumps(found | {"rows": [row.named() for row in rows]}, indent=2))
    else:
        print(table(rows, args.threads, args.run, load))
    return 0


if __name__ == "__main__":
    sys.exit(main())
