"""Times film-tools on large checkpoints beside what else does the work, and prints a Markdown table.

    cargo build --release -p film-tools --locked
    python make_checkpoints.py /tmp/film-checkpoints
    python compare_tools.py /tmp/film-checkpoints --film ../../target/release/film-tools

Each work is done once to fill the page cache, then by turns, short ones several times in a turn, each time in a process of
its own; the median is taken. "Opens the file" is a program in Rust that does nothing else, on a small checkpoint: what a
process takes at least, the measuring included. Memory is the largest resident set as GNU time tells it, in which the page
cache counts only where a tool maps files. `cmp` and `sha256sum` are the system's; the Python works need torch and
safetensors in the Python that runs this, and are left out without them, as are those of diffai-python, modelvet and
model-fingerprint.
"""

import argparse
import importlib.util
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

CONV = "blocks.0.sequence_mixer.inner_mixer.mixer.global_conv"
OPENS = "fn main() { std::fs::File::open(std::env::args().nth(1).unwrap()).unwrap(); }"
# What a user would write with the libraries, as short as it comes.
INSPECT = """
import sys; from safetensors import safe_open
with safe_open(sys.argv[1], "pt") as f:
    for k in f.keys(): print(k, f.get_slice(k).get_shape(), f.get_slice(k).get_dtype())
"""
DIFF = """
import sys, torch; from safetensors import safe_open
with safe_open(sys.argv[1], "pt") as a, safe_open(sys.argv[2], "pt") as b:
    sys.exit(a.keys() != b.keys() or not all(torch.equal(a.get_tensor(k), b.get_tensor(k)) for k in a.keys()))
"""
VALUES = """
import sys, torch; from safetensors import safe_open
with safe_open(sys.argv[1], "pt") as f:
    for k in f.keys():
        t = f.get_tensor(k); n, i = t.isnan().sum().item(), t.isinf().sum().item()
        if n or i: print(k, n, i)
"""
EXTRACT = """
import sys; from safetensors import safe_open; from safetensors.torch import save_file
p = sys.argv[2] + "."
with safe_open(sys.argv[1], "pt") as f:
    save_file({k.removeprefix(p): f.get_tensor(k) for k in f.keys() if k.startswith(p)}, sys.argv[3])
"""
HASH = """
import sys, hashlib; from safetensors import safe_open
with safe_open(sys.argv[1], "np") as f:
    for k in f.keys(): print(hashlib.sha256(f.get_tensor(k).tobytes()).hexdigest(), k)
"""

DIFFAI = "import sys, diffai; sys.exit(bool(diffai.diff_paths(*sys.argv[1:])))"
MODELVET = "import sys, modelvet; sys.exit(modelvet.verify_path(sys.argv[1]).verdict != 1)"


class Work(NamedTuple):
    """A command line, and what it is called."""

    task: str
    tool: str
    command: list[str]
    code: int = 0


def works(folder: Path, film: str, scratch: Path) -> list[Work]:
    """All that is timed, by task."""
    large, production, small = folder / "large.safetensors", folder / "production", scratch / "small"
    opens = scratch / "opens"
    subprocess.run(["rustc", "-O", "-o", opens, "-"], input=OPENS.encode(), check=True)
    sizes = ["--cond-dim", "16", "--kernel-hidden-dim", "8", "--num-film-layers", "3"]
    subprocess.run([film, "init", "--output", small, *sizes, "-q"], check=True)
    copy, changed = scratch / "copy.safetensors", scratch / "changed.safetensors"
    shutil.copyfile(large, copy)
    shutil.copyfile(large, changed)
    with changed.open("r+b") as file:
        file.seek(-4, 2)
        file.write(b"\0\0\0\x3f")
    has = {name: importlib.util.find_spec(name) is not None for name in ["torch", "safetensors", "diffai", "modelvet"]}
    all_works = []

    def add(task: str, tool: str, *command: object, code: int = 0) -> None:
        all_works.append(Work(task, tool, [str(part) for part in command], code))

    def python(task: str, program: str, *arguments: object, of: str = "torch") -> None:
        if has[of] and (of != "torch" or has["safetensors"]):
            add(task, f"Python, {of}", sys.executable, "-c", program, *arguments)

    add("a small checkpoint", "opens the file", opens, small / "model.safetensors")
    add("a small checkpoint", "film-tools inspect", film, "inspect", small)
    add("a small checkpoint", "film-tools run", film, "run", small, "--random", 1)
    add("inspect", "film-tools", film, "inspect", large)
    python("inspect", INSPECT, large)
    add("inspect, 12 blocks in 4 shards", "film-tools", film, "inspect", production)
    add("diff, the same", "film-tools", film, "diff", large, copy)
    add("diff, the same", "cmp", "cmp", large, copy)
    python("diff, the same", DIFF, large, copy)
    python("diff, the same", DIFFAI, large, copy, of="diffai")
    add("diff, the last value differs", "film-tools", film, "diff", large, changed, code=1)
    add("diff, the last value differs", "cmp", "cmp", large, changed, code=1)
    add("verify", "film-tools", film, "verify", large)
    python("verify", MODELVET, large, of="modelvet")
    add("verify --values", "film-tools", film, "verify", large, "--values")
    add("verify --values", "sha256sum", "sha256sum", large)
    python("verify --values", VALUES, large)
    add("verify --values, 4 shards", "film-tools", film, "verify", production, "--values")
    add("inspect --hash", "film-tools", film, "inspect", large, "--hash", "--flat")
    add("inspect --hash", "sha256sum", "sha256sum", large)
    python("inspect --hash", HASH, large)
    if fingerprint := shutil.which("model-fingerprint"):
        add("inspect --hash", "model-fingerprint", fingerprint, large)
    add(
        "extract 16 MB",
        "film-tools",
        film,
        "extract",
        large,
        "--prefix",
        "blocks.0",
        "--output",
        scratch / "x",
        "--force",
        "-q",
    )
    python("extract 16 MB", EXTRACT, large, CONV, scratch / "y.safetensors")
    return all_works


def run(work: Work) -> float:
    """Seconds that the work takes."""
    command = [shutil.which(work.command[0]) or work.command[0], *work.command[1:]]
    silent = [(os.POSIX_SPAWN_OPEN, stream, os.devnull, os.O_WRONLY, 0) for stream in (1, 2)]
    begun = time.perf_counter()
    _, status = os.waitpid(os.posix_spawn(command[0], command, os.environ, file_actions=silent), 0)
    took = time.perf_counter() - begun
    if (code := os.waitstatus_to_exitcode(status)) != work.code:
        raise SystemExit(f"{' '.join(work.command)}: exit status {code}")
    return took


def milliseconds(seconds: float) -> str:
    """As a cell tells it: hundredths where there are few."""
    return f"{1e3 * seconds:.{2 if seconds < 0.01 else 1}f}"


def memory(work: Work) -> int:
    """The largest resident set in kB."""
    with tempfile.NamedTemporaryFile("r") as told:
        command = ["/usr/bin/time", "--format=%M", f"--output={told.name}", *work.command]
        subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
        return int(told.read().split()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="what make_checkpoints.py wrote")
    parser.add_argument("--film", required=True, help="the film-tools to time")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", default="", metavar="TEXT", help="works whose task begins like this")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as scratch:
        # As when it is installed: what a linker writes piece by piece lies scattered in the page cache.
        film = str(shutil.copy2(args.film, Path(scratch) / "film-tools"))
        all_works = [work for work in works(args.folder, film, Path(scratch)) if work.task.startswith(args.only)]
        if not all_works:
            parser.error(f"--only {args.only!r}: no task begins like this")
        repeats = []
        for work in all_works:
            print(f"{work.task}: {work.tool}", file=sys.stderr)
            repeats.append(max(1, min(20, int(0.1 / run(work)))))
        times: list[list[float]] = [[] for _ in all_works]
        for _ in range(args.rounds):
            for work, count, taken in zip(all_works, repeats, times, strict=True):
                taken.extend(run(work) for _ in range(count))
        print("| work | tool | median ms | least | most | MB |")
        print("|---|---|---:|---:|---:|---:|")
        for work, taken in zip(all_works, times, strict=True):
            median, least, most = [milliseconds(of(taken)) for of in (statistics.median, min, max)]
            print(f"| {work.task} | {work.tool} | {median} | {least} | {most} | {memory(work) / 1000:.1f} |")


if __name__ == "__main__":
    main()
