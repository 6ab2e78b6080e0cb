"""What a fixture case is: a folder GROUP/NAME with config.json, model.safetensors and io.safetensors.

io.safetensors holds the input of GROUPS and the outputs: float64 under their own names, and, where the weights are
stored in float32, what float32 arithmetic gives as `f32.*`.
"""

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from film_modules import KernelFiLMGenerator, RegisterCompressConcat, RegisterPooling

CONFIG = "config.json"
MODEL = "model.safetensors"
IO = "io.safetensors"
FILES = (CONFIG, MODEL, IO)


class Group(NamedTuple):
    """What all cases of a group share."""

    module: type[nn.Module]
    input: str


GROUPS = {
    "generator": Group(KernelFiLMGenerator, "conditioning"),
    "register_pooling": Group(RegisterPooling, "registers"),
    "register_compress_concat": Group(RegisterCompressConcat, "registers"),
}


def find_cases(directory: Path) -> list[Path]:
    """Case folders at or below a directory, sorted."""
    folders = (path.parent for path in directory.resolve().rglob(CONFIG))
    return sorted(folder for folder in folders if folder.parent.name in GROUPS)


@torch.no_grad()
def outputs(module: nn.Module, value: Tensor) -> dict[str, Tensor]:
    """What the module returns, in the dtype of its parameters, by the names it has in io.safetensors."""
    dtype = next(module.parameters()).dtype
    result = module(value.to(dtype))
    if isinstance(result, Tensor):
        return {"conditioning": result}
    named = {}
    for layer, (gamma, beta) in enumerate(result):
        named[f"gamma.{layer}"] = gamma.contiguous()
        named[f"beta.{layer}"] = beta.contiguous()
    return named
