"""Write fixture cases with random weights and inputs; the same seed gives the same cases."""

import argparse
import json
import sys
import zlib
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import save_file

from fixture_format import CONFIG, FILES, GROUPS, IO, MODEL, outputs


class Case(NamedTuple):
    """One case: where it goes, its config.json, the shape of its input and the dtype its weights are stored in.

    Cases with the same `draw` get the same random numbers; by default each case has its own.
    """

    group: str
    name: str
    config: dict[str, object]
    shape: tuple[int, ...]
    dtype: torch.dtype = torch.float32
    draw: str = ""


def sizes(cond_dim: int, kernel_hidden_dim: int, num_film_layers: int, film_hidden_dim: int) -> dict[str, object]:
    return {
        "cond_dim": cond_dim,
        "kernel_hidden_dim": kernel_hidden_dim,
        "num_film_layers": num_film_layers,
        "film_hidden_dim": film_hidden_dim,
    }


def init(init_type: str) -> dict[str, object]:
    return {"init_type": init_type, "init_std": 0.05, "no_weight_decay": False}


STORED = sizes(48, 16, 2, 32)

CASES = [
    Case("generator", "tiny_1x1x1", sizes(1, 1, 1, 1) | init("identity"), (1, 1)),
    Case("generator", "small_8x4x2_h6", sizes(8, 4, 2, 6) | init("small_random"), (3, 8)),
    Case("generator", "odd_13x7x5_h11", sizes(13, 7, 5, 11) | init("small_random"), (4, 13)),
    Case("generator", "single_layer_64x16x1_h128", sizes(64, 16, 1, 128) | init("identity"), (2, 64)),
    Case("generator", "production_384x32x3_h64", sizes(384, 32, 3, 64) | init("identity"), (8, 384)),
    Case("generator", "stored_bf16", STORED, (4, 48), torch.bfloat16, draw="stored"),
    Case("generator", "stored_f16", STORED, (4, 48), torch.float16, draw="stored"),
    Case("generator", "stored_f64", STORED, (4, 48), torch.float64, draw="stored"),
    Case("register_pooling", "r1_c4", {"num_registers": 1}, (2, 1, 4)),
    Case("register_pooling", "r8_c48", {"num_registers": 8}, (3, 8, 48)),
    Case("register_pooling", "r14_c384", {"num_registers": 14}, (2, 14, 384)),
    Case(
        "register_compress_concat",
        "r2_c4_d3",
        {"num_registers": 2, "hidden_dim": 4, "compressed_dim": 3},
        (2, 2, 4),
    ),
    Case(
        "register_compress_concat",
        "r14_c384_d32",
        {"num_registers": 14, "hidden_dim": 384, "compressed_dim": 32},
        (2, 14, 384),
    ),
]


def write(case: Case, output: Path, seed: int) -> None:
    """Draw the weights and the input of a case, compute its outputs and write its folder."""
    torch.manual_seed(zlib.crc32(f"{seed}/{case.group}/{case.draw or case.name}".encode()))
    group = GROUPS[case.group]
    module = group.module(**case.config).double()
    with torch.no_grad():
        for parameter in module.parameters():  # away from the init, as training would move it
            parameter.add_(torch.randn_like(parameter), alpha=0.2)
    module.to(case.dtype)
    value = torch.randn(case.shape)

    tensors = {group.input: value}
    weights = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    if case.dtype == torch.float32:
        tensors |= {f"f32.{name}": tensor for name, tensor in outputs(module, value).items()}
    tensors |= outputs(module.double(), value)

    folder = output / case.group / case.name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG).write_text(json.dumps(case.config, indent=2), encoding="utf-8")
    save_file(weights, folder / MODEL, metadata={"format": "pt"})
    save_file(tensors, folder / IO, metadata={"format": "pt"})


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder to write the cases into")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the random numbers [default: 0]")
    parser.add_argument("--force", action="store_true", help="replace files that exist")
    args = parser.parse_args()

    files = [args.output / case.group / case.name / file for case in CASES for file in FILES]
    existing = [file for file in files if file.exists()]
    if existing and not args.force:
        print(f"error: {existing[0]} exists; --force replaces it", file=sys.stderr)
        return 1
    torch.set_num_threads(1)  # the order of sums, and so the last bit, may depend on it
    for case in CASES:
        write(case, args.output, args.seed)
    print(f"wrote {len(CASES)} cases to {args.output}, seed {args.seed}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
