"""Measurements of both sides as a table: text, Markdown or JSON."""

import statistics
from collections.abc import Sequence
from typing import Any, NamedTuple

from speed_works import Work

UNSTEADY = 1.3
ASTERISK = f"Do not quote a ratio with *: the rounds of a side differ by {100 * (UNSTEADY - 1):.0f} % or more."


class Side(NamedTuple):
    """What was measured of one side: the median of each round in seconds, and the bytes that the work takes on the CPU."""

    times: list[float]
    memory: int | None

    @property
    def median(self) -> float:
        return statistics.median(self.times)


class Row(NamedTuple):
    """One work with so many threads."""

    work: Work
    threads: int
    pytorch: Side
    film: Side

    @property
    def ratio(self) -> float:
        """How many times as long PyTorch takes."""
        return self.pytorch.median / self.film.median

    @property
    def unsteady(self) -> bool:
        """Whether the rounds of a side differ too much to be believed."""
        return any(max(side.times) > UNSTEADY * min(side.times) for side in (self.pytorch, self.film))

    def named(self) -> dict[str, Any]:
        """As it stands in JSON."""
        return {
            "work": self.work.benchmark,
            "threads": self.threads,
            "pytorch": self.pytorch._asdict() | {"median": self.pytorch.median},
            "film": self.film._asdict() | {"median": self.film.median},
            "ratio": self.ratio,
            "unsteady": self.unsteady,
        }

    def cells(self) -> list[str]:
        """As it stands in a table."""
        ratios = [pytorch / film for pytorch, film in zip(self.pytorch.times, self.film.times, strict=True)]
        return [
            self.work.name,
            f"{self.work.batch:,}",
            duration(self.pytorch.median),
            duration(self.film.median),
            f"{digits(self.ratio)}{'*' if self.unsteady else ''}",
            f"{digits(min(ratios))}–{digits(max(ratios))}",
            *[f"{side.memory / 1e6:.1f} MB" for side in (self.pytorch, self.film) if side.memory is not None],
        ]


HEADER = ["work", "B", "PyTorch", "film", "ratio", "in the rounds", "PyTorch's memory", "film's"]


def digits(value: float) -> str:
    """Three digits of a positive number, and no fewer than stand before the point."""
    return f"{value:.{2 if value < 9.995 else 1 if value < 99.95 else 0}f}"


def duration(seconds: float) -> str:
    """Three digits in µs, ms or s."""
    for unit, scale in (("µs", 1e6), ("ms", 1e3)):
        if scale * seconds < 999.5:
            return f"{digits(scale * seconds)} {unit}"
    return f"{digits(seconds)} s"


def table(rows: Sequence[Row], markdown: bool) -> str:
    """The rows of one number of threads."""
    cells = [row.cells() for row in rows]
    header = HEADER[: len(cells[0])]
    cells.insert(0, header)
    if markdown:
        cells.insert(1, ["---", *["---:"] * (len(header) - 1)])
        return "\n".join(f"| {' | '.join(line)} |" for line in cells)
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(
            f"{cell:{'>' if i else '<'}{width}}" for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in cells
    )


def report(rows: Sequence[Row], notes: Sequence[str], markdown: bool) -> str:
    """A table for each number of threads, then the notes."""
    parts = []
    for threads in sorted({row.threads for row in rows}):
        title = f"{threads} thread{'s' if threads > 1 else ''}"
        chosen = [row for row in rows if row.threads == threads]
        parts.append(f"### {title}\n\n{table(chosen, True)}" if markdown else f"{title}\n{table(chosen, False)}")
    if any(row.unsteady for row in rows):
        notes = [*notes, ASTERISK]
    return "\n\n".join([*parts, "\n".join(f"- {note}" for note in notes)])
