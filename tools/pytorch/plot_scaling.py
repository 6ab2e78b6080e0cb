"""Plot how the cost of drawing grows, from what `cargo bench -p film-core --bench scaling` wrote.

The floor is the time that the FLOPs alone take at the rate of a plain matrix product, measured in the same run.
"""

import argparse
import sys
from pathlib import Path
from typing import NamedTuple

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from film_bench import ROOT, Failure, median, written

MATMUL = "matmul/1024"
PANELS = {  # criterion's group: title, and what the horizontal axis is
    "scaling_batch": ("γ and β", "batch B"),
    "scaling_grid": ("2-D kernel, 384 channels, B = 1", "length L of each axis; (2L − 1)² points"),
    "scaling_hidden": ("29×29×384 kernel, B = 1", "hidden width H"),
}
MEASURED, FLOOR = "#0b5394", "#b45f06"


class Point(NamedTuple):
    """A size, its median in seconds and what it takes in FLOPs."""

    size: int
    seconds: float
    flops: float


def point(criterion: Path, benchmark: str) -> Point:
    try:
        flops = float(written(criterion, benchmark, "benchmark.json")["throughput"]["Elements"])
    except (ValueError, KeyError, TypeError) as problem:
        raise Failure(f"no throughput.Elements in what is known of {benchmark}: {problem!r}") from problem
    return Point(int(benchmark.rpartition("/")[2]), median(criterion, benchmark), flops)


def points(criterion: Path, group: str) -> list[Point]:
    """Those of a group, by size."""
    sizes = sorted(int(folder.name) for folder in (criterion / group).glob("*") if folder.name.isdecimal())
    if not sizes:
        raise Failure(f"no measurements in {criterion / group}: run cargo bench -p film-core --bench scaling")
    return [point(criterion, f"{group}/{size}") for size in sizes]


def draw(axes: Axes, title: str, label: str, measured: list[Point], rate: float) -> None:
    """One panel, the rate being that of the floor in FLOP/s."""
    sizes = [point.size for point in measured]
    axes.loglog(sizes, [1e3 * point.seconds for point in measured], "o-", color=MEASURED, markersize=4, label="film")
    floor = [1e3 * point.flops / rate for point in measured]
    axes.loglog(sizes, floor, "--", color=FLOOR, label=f"FLOPs at a product's {rate / 1e9:.0f} GFLOP/s")
    axes.set_title(title, fontsize=10)
    axes.set_xlabel(label)
    step = 1 + (len(sizes) - 1) // 6
    axes.set_xticks(sizes[::step], [f"{size:,}" for size in sizes[::step]])
    axes.yaxis.set_major_formatter("{x:g}")
    axes.minorticks_off()
    axes.grid(alpha=0.3)


def plot(criterion: Path, output: Path) -> None:
    matmul = point(criterion, MATMUL)
    rate = matmul.flops / matmul.seconds
    matplotlib.rcParams |= {"font.size": 9, "svg.hashsalt": "film"}
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    panels = figure.subplots(1, len(PANELS))
    for axes, (group, (title, label)) in zip(panels, PANELS.items(), strict=True):
        draw(axes, title, label, points(criterion, group), rate)
    panels[0].set_ylabel("time, ms")
    panels[0].legend(fontsize=8)
    figure.savefig(output, dpi=150, metadata={"Date": None} if output.suffix == ".svg" else None)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument(
        "--criterion",
        type=Path,
        default=ROOT / "target" / "criterion",
        metavar="DIR",
        help="criterion's output [default: target/criterion of this repository]",
    )
    parser.add_argument(
        "--output", type=Path, default=ROOT / "docs" / "scaling.svg", help="SVG or PNG [default: docs/scaling.svg]"
    )
    args = parser.parse_args()
    try:
        plot(args.criterion, args.output)
    except (Failure, OSError, ValueError) as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
