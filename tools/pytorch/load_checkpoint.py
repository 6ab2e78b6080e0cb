"""Load a generator that `film-tools init` wrote into the PyTorch module and show what it holds."""

import argparse
import json
import sys
from functools import reduce
from pathlib import Path

import torch
from safetensors import safe_open

from film_modules import KernelFiLMGenerator


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path, metavar="DIR", help="folder with config.json and model.safetensors")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the conditioning [default: 0]")
    args = parser.parse_args()

    config = json.loads((args.directory / "config.json").read_text(encoding="utf-8"))
    with safe_open(args.directory / "model.safetensors", framework="pt") as file:
        metadata = file.metadata()
        weights = {name: file.get_tensor(name) for name in sorted(file.keys())}

    dtype = reduce(torch.promote_types, (tensor.dtype for tensor in weights.values()))
    generator = KernelFiLMGenerator(**config).to(dtype)
    generator.load_state_dict(weights, strict=True)
    print(f"config    {json.dumps(config)}")
    print(f"metadata  {json.dumps(metadata)}")
    for name, tensor in weights.items():
        print(f"{name:<12}  {str(tensor.dtype):<14}  {list(tensor.shape)}")

    torch.manual_seed(args.seed)
    conditioning = torch.randn(8, config["cond_dim"]).to(dtype)
    with torch.no_grad():
        gammas, betas = zip(*generator(conditioning), strict=True)
    gamma_error = (torch.cat(gammas) - 1).abs().max().item()
    beta_error = torch.cat(betas).abs().max().item()
    print(f"largest |gamma - 1| {gamma_error:g}, largest |beta| {beta_error:g}, for {len(conditioning)} random rows")

    if config.get("init_type", "identity") == "identity":
        exact = gamma_error == 0 and beta_error == 0
        print(f"identity: gamma == 1 and beta == 0 exactly: {'yes' if exact else 'no'}")
        return 0 if exact else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
