"""Write what a modulated kernel gives for conditioning at the ends of float32: NaN, infinities, subnormals, huge numbers.

The kernel is that of a fixture case of `siren_kernel`. The file holds the conditioning, one extreme a row, and γ, β and
kernel in float32 and, from the same conditioning, in float64 (as `f64.*`).
"""

import argparse
import json
import math
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from check_conv import build_kernel
from fixture_format import CONFIG, MODEL

INF = math.inf


def conditioning(width: int) -> torch.Tensor:
    """Rows [11, width]; the first and the last are ordinary."""
    ordinary = torch.linspace(-1.5, 1.5, width).roll(width // 3)
    rows = [ordinary, 0 * ordinary, ordinary * 1e-40, ordinary * 1e4, ordinary * 1e30, ordinary * 1e38]
    for value in (math.nan, INF, -INF, 3e38):
        row = ordinary.clone()
        row[width // 2] = value
        rows.append(row)
    return torch.stack([*rows, ordinary])


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("case", type=Path, help="a case of siren_kernel")
    parser.add_argument("output", type=Path, help="the .safetensors file to write")
    arguments = parser.parse_args()
    config = json.loads((arguments.case / CONFIG).read_text())
    lengths = config.pop("seq_lens")
    axes = config["data_dim"]
    config["L_cache"] = [config["L_cache"]] * axes if isinstance(config["L_cache"], int) else config["L_cache"]
    kernel = build_kernel(config)
    kernel.load_state_dict(load_file(arguments.case / MODEL))
    rows = conditioning(config["film_generator"]["cond_dim"])
    tensors = {"conditioning": rows}
    for prefix, dtype in (("", torch.float32), ("f64.", torch.float64)):
        kernel = kernel.to(dtype)
        for layer, (gamma, beta) in enumerate(kernel.film_generator(rows.to(dtype))):
            tensors[f"{prefix}gamma.{layer}"] = gamma.contiguous()
            tensors[f"{prefix}beta.{layer}"] = beta.contiguous()
        tensors[f"{prefix}kernel"] = kernel(lengths, rows.to(dtype))[1]
    save_file(tensors, arguments.output, metadata={"format": "pt"})


if __name__ == "__main__":
    main()
