"""Check that the modules reproduce the recorded outputs of every fixture case at or below a folder."""

import argparse
import json
import math
import sys
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from fixture_format import CONFIG, GROUPS, IO, MODEL, find_cases, outputs

FLOAT64_BOUND = 1e-12
FLOAT32_BOUND = 1e-6


def relative_error(computed: Tensor, recorded: Tensor, name: str) -> float:
    """Largest difference, relative to the largest |recorded value|; infinite if anything is not finite."""
    if (computed.dtype, computed.shape) != (recorded.dtype, recorded.shape):
        wanted, found = (f"{tensor.dtype} {list(tensor.shape)}" for tensor in (computed, recorded))
        raise ValueError(f"{name} is {found}, not {wanted}")
    difference = (computed.double() - recorded.double()).abs().max().item()
    if not math.isfinite(difference):
        return math.inf
    return difference / max(recorded.double().abs().max().item(), sys.float_info.min)


def errors(folder: Path) -> dict[str, float]:
    """The largest relative error of a case, in float64 and, where the weights are float32, in float32."""
    group = GROUPS[folder.parent.name]
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    weights = load_file(folder / MODEL)
    recorded = load_file(folder / IO)
    value = recorded.pop(group.input, None)
    if value is None:
        raise ValueError(f"{IO} has no {group.input}")

    module = group.module(**config).double()  # holds every stored dtype exactly
    module.load_state_dict(weights, strict=True)
    computed = outputs(module, value)
    if all(tensor.dtype == torch.float32 for tensor in weights.values()):
        computed |= {f"f32.{name}": tensor for name, tensor in outputs(module.float(), value).items()}
    if computed.keys() != recorded.keys():
        raise ValueError(f"{IO} lacks or adds {sorted(computed.keys() ^ recorded.keys())}")

    largest: dict[str, float] = {}
    for name, tensor in recorded.items():
        kind = "float32" if name.startswith("f32.") else "float64"
        largest[kind] = max(largest.get(kind, 0.0), relative_error(computed[name], tensor, name))
    return largest


def check(folder: Path) -> bool:
    """Check one case and print its line."""
    name = f"{folder.parent.name}/{folder.name}"
    try:
        found = errors(folder)
    except (OSError, RuntimeError, SafetensorError, TypeError, ValueError) as problem:
        print(f"FAIL  {name:<46}  {' '.join(str(problem).split())}")
        return False
    bounds = {"float64": FLOAT64_BOUND, "float32": FLOAT32_BOUND}
    good = all(error <= bounds[kind] for kind, error in found.items())
    numbers = "  ".join(f"{kind} {error:7.1e}" for kind, error in sorted(found.items(), reverse=True))
    print(f"{'ok  ' if good else 'FAIL'}  {name:<46}  {numbers}")
    return good


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path, metavar="DIR", help="a case, a group of cases or a folder of groups")
    directory = parser.parse_args().directory

    torch.set_num_threads(1)
    cases = find_cases(directory)
    if not cases:
        print(f"error: no fixture cases in {directory}", file=sys.stderr)
        return 1
    failures = [case for case in cases if not check(case)]
    print(f"{len(cases) - len(failures)} of {len(cases)} cases reproduced")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
