"""What the measurements ran on, and whether it was theirs alone."""

import os
import time
from pathlib import Path

import torch

from film_bench import run

BUSY = 0.05


def described(device: str) -> str:
    """The processor, the GPU if there the work was done, and the versions of what ran on them."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    cpu = f"{names[0] if names else 'CPU'}, {os.cpu_count()} cores, {torch.backends.cpu.get_cpu_capability()}"
    rust = " ".join(run(["rustc", "--version"]).split()[:2])
    if device != "cpu":
        cpu = f"{torch.cuda.get_device_name()}, CUDA {torch.version.cuda} in PyTorch; {cpu}"
    return f"{time.strftime('%Y-%m-%d')}; {cpu}; PyTorch {torch.__version__} (eager), {rust}"


class Watch:
    """Tells how much of the processor's time others have had since it was made."""

    def __init__(self) -> None:
        self.load = os.getloadavg()[0]
        self.start = self.others(), time.monotonic()

    @staticmethod
    def others() -> float:
        """Seconds that all cores together were busy for others than this process and its children, hypervisor
        included; nan where the system does not tell."""
        try:
            ticks = [int(word) for word in Path("/proc/stat").read_text(encoding="utf-8").split()[1:9]]
        except (OSError, ValueError):
            return float("nan")
        user, nice, system, _idle, _iowait, interrupts, soft_interrupts, stolen = ticks
        busy = (user + nice + system + interrupts + soft_interrupts + stolen) / os.sysconf("SC_CLK_TCK")
        return busy - sum(os.times()[:4])

    def notes(self) -> list[str]:
        """The load, and a warning if it was not small."""
        others, then = self.start
        share = (self.others() - others) / (time.monotonic() - then) / (os.cpu_count() or 1)
        found = [f"Other programs took {100 * max(share, 0):.0f} % of the processor; load average before: {self.load:.2f}."]
        if not share < BUSY:
            found.append("DO NOT QUOTE THIS: the machine was busy, or does not tell whether it was.")
        return found
