"""Check that the convolution reproduces the recorded outputs of every `ckconv` case at or below a folder."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from check_fixtures import relative_error
from film_modules import KernelFiLMGenerator
from fixture_format import CONFIG, IO, MODEL
from siren_modules import CKConvNd, GaussianMask, SirenKernel

GROUP = "ckconv"
BOUND = 2e-6


def build_kernel(config: dict[str, Any]) -> SirenKernel:
    """The kernel of a config's `kernel`; its L_cache is the kernel's own."""
    config = dict(config)
    if not config.pop("use_bias", True):
        raise ValueError("use_bias must be true")
    config.pop("hidden_omega_0", None)  # cancels in the init and is nowhere else
    generator = config.pop("film_generator", None)
    return SirenKernel(
        l_cache=config.pop("L_cache"), film_generator=KernelFiLMGenerator(**generator) if generator else None, **config
    )


def build_mask(config: dict[str, Any], data_dim: int) -> GaussianMask:
    """The mask of a config's `mask`."""
    if (config["type"], config["parametrization"]) != ("gaussian", "direct"):
        raise ValueError(f"no such mask: {config['type']}, {config['parametrization']}")
    return GaussianMask(data_dim, config["num_channels"], config["min_std"], config["max_std"])


def build(config: dict[str, Any]) -> CKConvNd:
    """The convolution of a config.json."""
    mask = build_mask(config["mask"], config["data_dim"]) if "mask" in config else None
    module = CKConvNd(build_kernel(config["kernel"]), config["fft_padding"], config["is_causal"], mask)
    grids = {"double" if kind == "zero" else "single" for kind in module.padding}
    if config["grid_type"] is not None and {config["grid_type"]} != grids:
        raise ValueError(f"grid_type {config['grid_type']} does not go with fft_padding {config['fft_padding']}")
    return module


@torch.no_grad()
def computed(module: CKConvNd, x: Tensor, conditioning: Tensor | None) -> dict[str, Tensor]:
    """What x [B, *spatial, C] and conditioning [B, cond_dim] give, by the names in io.safetensors, and the output of
    x [B, C, *spatial], its channels moved back to the end, as `output_first`."""
    grid, kernel, masked_kernel = module.draw(x.shape[1:-1], conditioning)
    output_first = module(x.movedim(-1, 1), conditioning, channels_first=True).movedim(1, -1)
    output = module(x, conditioning)
    return {
        "grid": grid,
        "kernel": kernel,
        "masked_kernel": masked_kernel,
        "output": output,
        "output_first": output_first,
    }


def errors(folder: Path) -> dict[str, float]:
    """The relative error of each output of a case."""
    module = build(json.loads((folder / CONFIG).read_text(encoding="utf-8")))
    module.load_state_dict(load_file(folder / MODEL), strict=True)
    recorded = load_file(folder / IO)
    x, conditioning = recorded.pop("input"), recorded.pop("conditioning", None)
    recorded["output_first"] = recorded["output"]
    found = computed(module, x, conditioning)
    if found.keys() != recorded.keys():
        raise ValueError(f"{IO} lacks or adds {sorted(found.keys() ^ recorded.keys())}")
    return {name: relative_error(found[name], tensor, name) for name, tensor in sorted(recorded.items())}


def check(folder: Path) -> bool:
    """Check one case and print its line."""
    try:
        found = errors(folder)
    except KeyError as problem:
        print(f"FAIL  {folder.name:<22}  {problem} is missing")
        return False
    except (OSError, RuntimeError, SafetensorError, TypeError, ValueError) as problem:
        print(f"FAIL  {folder.name:<22}  {' '.join(str(problem).split())}")
        return False
    good = all(error <= BOUND for error in found.values())
    numbers = "  ".join(f"{name} {error:.1e}" for name, error in found.items())
    print(f"{'ok  ' if good else 'FAIL'}  {folder.name:<22}  {numbers}")
    return good


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path, metavar="DIR", help=f"a case, a folder {GROUP}, or one that holds it")
    directory = parser.parse_args().directory

    torch.set_num_threads(1)
    folders = sorted(path.parent for path in directory.resolve().rglob(CONFIG))
    cases = [folder for folder in folders if folder.parent.name == GROUP]
    if not cases:
        print(f"error: no {GROUP} cases in {directory}", file=sys.stderr)
        return 1
    failures = [case for case in cases if not check(case)]
    print(f"{len(cases) - len(failures)} of {len(cases)} cases reproduced")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
