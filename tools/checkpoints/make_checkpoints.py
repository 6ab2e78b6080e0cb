"""Makes the two checkpoints that the tools are measured on. Needs numpy and nothing else.

    python make_checkpoints.py /tmp/film-checkpoints

- large.safetensors: 297 MB (10^6 bytes) in 2,002 tensors and one file: 69 blocks, of which the first has a convolution
  of 16 MB, and an embedding that makes up the rest.
- production/: 24 million parameters in 12 blocks, in 4 shards with an index and a config.json.

The names are those of tests/fixtures/hybrid_model. The numbers are random, the same on every run; generators start near
the identity, so that nothing is wrong with them.
"""

import argparse
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

LARGE_BYTES = 297_000_000
CONV = "sequence_mixer.inner_mixer.mixer.global_conv"


class Tensor(NamedTuple):
    """What a tensor is called, its shape, and the values it is filled with: a mean and a standard deviation."""

    name: str
    shape: tuple[int, ...]
    mean: float = 0.0
    std: float = 0.02

    @property
    def bytes(self) -> int:
        return 4 * int(np.prod(self.shape))


def kernel(prefix: str, channels: int, hidden: int, film_hidden: int, layers: int = 3) -> Iterator[Tensor]:
    """A conditional kernel: SIREN with learned frequencies, FiLM generator, mask and shortcut."""
    rows = layers * 2 * hidden
    yield Tensor(f"{prefix}.shortcut", (channels,))
    yield Tensor(f"{prefix}.mask.std_param", (2, channels), 0.5)
    yield Tensor(f"{prefix}.kernel.positional_embedding.linear.weight", (hidden, 2), 0.0, 1.0)
    yield Tensor(f"{prefix}.kernel.positional_embedding.linear.bias", (hidden,))
    yield Tensor(f"{prefix}.kernel.positional_embedding.omega_0_scale", (hidden,), 1.0)
    for layer in range(layers - 1):
        yield Tensor(f"{prefix}.kernel.hidden_linears.{layer}.weight", (hidden, hidden))
        yield Tensor(f"{prefix}.kernel.hidden_linears.{layer}.bias", (hidden,))
    yield Tensor(f"{prefix}.kernel.out_linear.weight", (channels, hidden))
    yield Tensor(f"{prefix}.kernel.out_linear.bias", (channels,))
    film = f"{prefix}.kernel.film_generator.mlp"
    yield Tensor(f"{film}.0.weight", (film_hidden, channels))
    yield Tensor(f"{film}.0.bias", (film_hidden,))
    yield Tensor(f"{film}.2.weight", (rows, film_hidden))
    yield Tensor(f"{film}.2.bias", (rows,))


def block(number: int, channels: int, hidden: int, film_hidden: int) -> Iterator[Tensor]:
    """A block of the network: 29 tensors."""
    prefix = f"blocks.{number}"
    mixer = f"{prefix}.sequence_mixer.inner_mixer"
    for name in ["grn.beta", "grn.gamma", "input_norm.weight", "ls_attn.gamma", "ls_mlp.gamma", "mlp_norm.weight"]:
        yield Tensor(f"{prefix}.{name}", (channels,))
    yield Tensor(f"{prefix}.mlp.layer1.weight", (4 * channels, channels))
    yield Tensor(f"{prefix}.mlp.layer2.weight", (channels, 4 * channels))
    yield Tensor(f"{prefix}.register_pooling.logits", (14,))
    yield from kernel(f"{prefix}.{CONV}", channels, hidden, film_hidden)
    yield Tensor(f"{mixer}.mixer.output_norm.weight", (channels,))
    yield Tensor(f"{mixer}.mixer.pixelhyena_norm.weight", (channels,))
    yield Tensor(f"{mixer}.mixer.short_conv.weight", (3 * channels, 1, 3, 3))
    yield Tensor(f"{mixer}.out_proj.weight", (channels, channels))
    yield Tensor(f"{mixer}.qkv_proj.weight", (3 * channels, channels))


def write_values(file: BinaryIO, tensor: Tensor, random: np.random.Generator) -> None:
    """Random numbers; of a generator's last bias the γ are about 1 and the β about 0."""
    values = random.standard_normal(tensor.shape, dtype=np.float32) * np.float32(tensor.std) + np.float32(tensor.mean)
    if tensor.name.endswith("film_generator.mlp.2.bias"):
        values.reshape(3, 2, -1)[:, 0] += 1
    file.write(values.astype("<f4").tobytes())


def write(path: Path, tensors: list[Tensor], random: np.random.Generator) -> None:
    """Writes a safetensors file: a header, and the tensors one behind the other."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for tensor in tensors:
        header[tensor.name] = {"dtype": "F32", "shape": tensor.shape, "data_offsets": [end, end + tensor.bytes]}
        end += tensor.bytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for tensor in tensors:
            write_values(file, tensor, random)


def make_large(path: Path) -> None:
    """One file of `LARGE_BYTES` and 2,002 tensors."""
    tensors = [
        tensor for number in range(69) for tensor in block(number, 256, 32 if number else 1024, 64 if number else 256)
    ]
    header_bytes = 262_144
    rest = (LARGE_BYTES - header_bytes - sum(tensor.bytes for tensor in tensors)) // 1024
    tensors.append(Tensor("embedding.weight", (rest, 256)))
    assert len(tensors) == 2002, len(tensors)
    write(path, tensors, np.random.default_rng(0))


def make_production(folder: Path) -> None:
    """12 blocks in 4 shards, with an index and what shapes do not tell."""
    folder.mkdir(exist_ok=True)
    channels = 384
    blocks = [list(block(number, channels, 32, 64)) for number in range(12)]
    ends = [
        Tensor("cls_token", (1, 1, channels)),
        Tensor("reg_token", (1, 14, channels)),
        Tensor("pos_embed", (1, 196, channels)),
        Tensor("patch_embed.weight", (channels, 3, 16, 16)),
        Tensor("out_norm.weight", (channels,)),
        Tensor("out_proj.weight", (3500, channels)),
    ]
    random = np.random.default_rng(1)
    weight_map = {}
    total = 0
    for shard in range(4):
        tensors = [tensor for each in blocks[3 * shard : 3 * shard + 3] for tensor in each] + (
            ends if shard == 3 else []
        )
        name = f"model-{shard + 1:05}-of-00004.safetensors"
        write(folder / name, tensors, random)
        weight_map |= {tensor.name: name for tensor in tensors}
        total += sum(tensor.bytes for tensor in tensors)
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")
    kernel = {
        "omega_0": 12.0,
        "omega_0_scale_min": 0.01,
        "omega_0_scale_max": 2.0,
        "L_cache": [15, 15],
        "film_after_pos_embed": True,
        "mask": "BlockAlignedGaussianModulationND",
        "fft_padding": "zero",
        "grid_type": "double",
    }
    config = {"hidden_dim": channels, "num_registers": 14, "kernel": kernel}
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    print(f"{folder}: {total // 4:,} parameters, {len(weight_map):,} tensors")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where to write them")
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    make_large(folder / "large.safetensors")
    print(f"{folder / 'large.safetensors'}: {(folder / 'large.safetensors').stat().st_size:,} bytes")
    make_production(folder / "production")


if __name__ == "__main__":
    main()
