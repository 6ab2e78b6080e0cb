"""Our benchmarks: building them, running one for a moment, and reading what criterion wrote."""

import json
import os
import shlex
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = 10  # the fewest that criterion takes
NONE = "-"  # no benchmark's name


class Failure(Exception):
    """What the user is told instead of a result."""


def run(command: Sequence[str], **variables: str) -> str:
    """What a command prints on stdout, with these environment variables set."""
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=os.environ | variables, capture_output=True, check=True, encoding="utf-8"
        )
    except OSError as problem:
        raise Failure(f"{shlex.join(command)} failed: {problem}") from problem
    except subprocess.CalledProcessError as problem:
        raise Failure(f"{shlex.join(command)} failed: {problem}\n{problem.stderr}") from problem
    return done.stdout


def build(names: Sequence[str], device: str) -> dict[str, Path]:
    """Build these benchmarks for a device, optimised; the path of each one's program, by name."""
    chosen = [argument for name in names for argument in ("--bench", name)]
    features = [] if device == "cpu" else ["--features", device]
    command = ["cargo", "bench", "--locked", "-p", "film-core", *features, *chosen, "--no-run", "--message-format=json"]
    messages = [json.loads(line) for line in run(command).splitlines() if line.startswith("{")]
    programs = {
        message["target"]["name"]: Path(message["executable"])
        for message in messages
        if message["reason"] == "compiler-artifact" and message["executable"]
    }
    if missing := sorted({*names} - {*programs}):
        raise Failure(f"{shlex.join(command)} built no {', '.join(missing)}")
    return programs


def written(criterion: Path, benchmark: str, name: str) -> Any:
    """The JSON file of that name that criterion wrote of its last run of the benchmark, which is "group/value"."""
    file = criterion / benchmark / "new" / name
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as problem:
        raise Failure(f"no measurement of {benchmark}: {file}: {problem}") from problem


def median(criterion: Path, benchmark: str) -> float:
    """Criterion's median of a benchmark, in seconds."""
    try:
        nanoseconds = float(written(criterion, benchmark, "estimates.json")["median"]["point_estimate"])
    except (ValueError, KeyError, TypeError) as problem:
        raise Failure(f"no median.point_estimate in the estimates of {benchmark}: {problem!r}") from problem
    if not nanoseconds > 0:
        raise Failure(f"the median of {benchmark} must be positive, not {nanoseconds} ns")
    return 1e-9 * nanoseconds


def measure(program: Path, benchmark: str, threads: int, warm_up: float, seconds: float) -> float:
    """The median of a benchmark that runs for about so long after warming up, in seconds."""
    times = ["--warm-up-time", str(warm_up), "--measurement-time", str(seconds), "--sample-size", str(SAMPLES)]
    command = [str(program), "--bench", "--exact", benchmark, *times, "--nresamples", "1000", "--noplot"]
    with tempfile.TemporaryDirectory() as folder:
        run(command, RAYON_NUM_THREADS=str(threads), CRITERION_HOME=folder)
        return median(Path(folder), benchmark)


def peak(program: Path, benchmark: str, threads: int) -> int:
    """The most memory that a process has which runs a benchmark once, or with NONE nothing, in bytes."""
    out = run([str(program), "--test", "--exact", benchmark], RAYON_NUM_THREADS=str(threads))
    return memory(out, "VmHWM")


def memory(status: str, key: str) -> int:
    """The bytes that a line of Linux's /proc/self/status tells."""
    for line in status.splitlines():
        words = line.split()
        if words[:1] == [f"{key}:"]:
            return 1024 * int(words[1])
    raise Failure(f"no {key}: memory is measured on Linux only")
