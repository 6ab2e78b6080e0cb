"""Compare the time and memory of conditional convolutions and their parts in PyTorch and in film.

Both sides do the same work in float32, on the CPU or on the same GPU, in turn, in several rounds: PyTorch eagerly, film in
its release benchmarks, which are built first.
"""

import argparse
import json
import re
import sys
from collections.abc import Sequence

import torch

import film_bench
import speed_works
from film_bench import NONE, Failure
from machine import Watch, described
from speed_table import Row, Side, report
from speed_works import WORKS, Work

ROUNDS = 3
WARM_UP = 0.15
SECONDS = 0.4


def tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def compare(works: Sequence[Work], device: str, threads: Sequence[int], seconds: float) -> tuple[list[Row], list[str]]:
    """A row for each work and number of threads, and what to say of their memory."""
    if device == "cuda" and not torch.cuda.is_available():
        raise Failure(f"--device cuda: PyTorch {torch.__version__} finds no CUDA device")
    tell("building the benchmarks")
    programs = film_bench.build(sorted({work.kind.program for work in works}), device)
    todo = [(count, work) for count in threads for work in works]
    pytorch: dict[tuple[int, Work], list[float]] = {case: [] for case in todo}
    film: dict[tuple[int, Work], list[float]] = {case: [] for case in todo}
    for turn in range(ROUNDS):
        for count, work in todo:
            tell(f"round {turn + 1} of {ROUNDS}, threads {count}: {work.benchmark}")
            program = programs[work.kind.program]
            pytorch[count, work].append(speed_works.measure(work, device, count, WARM_UP, seconds))
            film[count, work].append(film_bench.measure(program, work.benchmark, count, WARM_UP, seconds))

    if device != "cpu":
        times = [(work, count, pytorch[count, work], film[count, work]) for count, work in todo]
        return [Row(work, count, Side(theirs, None), Side(ours, None)) for work, count, theirs, ours in times], []

    idle = {name: film_bench.peak(program, NONE, 1) for name, program in programs.items()}
    rows, empty = [], 0
    for count, work in todo:
        tell(f"memory, threads {count}: {work.benchmark}")
        empty, full = speed_works.peak(work, count)
        ours = film_bench.peak(programs[work.kind.program], work.benchmark, count) - idle[work.kind.program]
        rows.append(Row(work, count, Side(pytorch[count, work], full - empty), Side(film[count, work], ours)))
    before = f"{empty / 1e6:.0f} MB in PyTorch's and {max(idle.values()) / 1e6:.0f} MB in film's"
    return rows, [f"Memory: a process's peak beyond what it holds before any work, which is {before}."]


def chosen(parser: argparse.ArgumentParser, pattern: str) -> list[Work]:
    """The works whose name matches."""
    try:
        works = [work for work in WORKS if re.search(pattern, work.benchmark)]
    except re.error as problem:
        parser.error(f"--only {pattern!r} is no pattern: {problem}")
    if not works:
        parser.error(f"--only {pattern!r} matches none of {', '.join(work.benchmark for work in WORKS)}")
    return works


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument(
        "--only",
        default="",
        metavar="PATTERN",
        help='the works whose name matches, such as "siren_2d/64" [default: all]',
    )
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="where both compute [default: cpu]")
    parser.add_argument(
        "--threads", type=int, nargs="+", metavar="N", help="threads of both sides [default: 1 2, and 1 beside a GPU]"
    )
    parser.add_argument(
        "--seconds", type=float, default=SECONDS, help=f"for each side of a work in each round [default: {SECONDS}]"
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--markdown", action="store_true", help="print the tables as BENCHMARKS.md has them")
    form.add_argument("--json", action="store_true", help="print JSON: seconds and bytes")
    args = parser.parse_args()

    works = chosen(parser, args.only)
    threads = args.threads or ([1, 2] if args.device == "cpu" else [1])
    if min(threads) < 1:
        parser.error(f"--threads must be at least 1, not {min(threads)}")
    if not 0 < args.seconds < float("inf"):
        parser.error(f"--seconds must be positive, not {args.seconds}")

    try:
        watch = Watch()
        rows, notes = compare(works, args.device, threads, args.seconds)
        notes = [f"{described(args.device)}; medians of {ROUNDS} rounds.", *notes, *watch.notes()]
    except Failure as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 1
    if args.json:
        print(json.dumps({"notes": notes, "rows": [row.named() for row in rows]}, indent=2, ensure_ascii=False))
    else:
        print(report(rows, notes, args.markdown))
    return 0


if __name__ == "__main__":
    sys.exit(main())
