"""Writes the pickles of tests/fixtures/pickle with torch.save, and beside each what is in it as safetensors.

NAME.pt or NAME.ckpt holds a case; NAME.safetensors the tensors that a converter has to find in it, written by
safetensors' own library. Cases named refused_* have to be refused. The big-endian archive, which would take another
machine, is made from a little-endian one and read back by torch.load.
"""

import argparse
import io
import sys
import types
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
BYTES = (
    torch.float8_e4m3fn,
    torch.float8_e5m2,
    torch.float8_e4m3fnuz,
    torch.float8_e5m2fnuz,
    torch.float8_e8m0fnu,
)
INTEGERS = (torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8, torch.uint16, torch.uint32, torch.uint64)


def kinds() -> dict[str, Tensor]:
    """Every dtype that safetensors has, a scalar, and empty tensors."""
    tensors = {str(dtype)[6:]: torch.randn(3, 5).to(dtype) for dtype in FLOATS}
    tensors |= {str(dtype)[6:]: torch.arange(256, dtype=torch.uint8).view(dtype) for dtype in BYTES}
    tensors |= {str(dtype)[6:]: torch.arange(7).to(dtype) for dtype in INTEGERS}
    tensors["bool"] = torch.tensor([[True, False], [False, True]])
    tensors["complex64"] = torch.randn(2, 3, dtype=torch.complex64)
    tensors["scalar"] = torch.tensor(2.5)
    tensors["empty"] = torch.zeros(0)
    tensors["empty.rows"] = torch.zeros(3, 0, 2, dtype=torch.int64)
    return tensors


def strided() -> dict[str, Tensor]:
    """Views of all sorts, most of them of one storage."""
    base = torch.randn(6, 8)
    volume = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    tied = torch.randn(4, 3)
    return {
        "tied": tied,
        "tied.again": tied,
        "transposed": base.T,
        "column": base[:, 3],
        "every_other": base[::2, 1::3],
        "offset": base[2:4],
        "expanded": torch.randn(1, 4).expand(3, 4),
        "expanded.within": base[:, :1].expand(6, 5),
        "expanded.scalar": torch.tensor(1.5).expand(2, 3),
        "expanded.permuted": base[:2, :1].expand(2, 3).T,
        "windows": base.flatten().as_strided((5, 4), (2, 1), 3),
        "permuted": volume.permute(3, 1, 0, 2),
        "channels_last": volume.float().contiguous(memory_format=torch.channels_last),
        "bytes": torch.arange(12, dtype=torch.uint8).reshape(3, 4).T,
        "halves": torch.randn(3, 4).bfloat16().T,
        "flipped_axes": volume[1, :, ::2].transpose(0, 1),
    }


def module() -> "OrderedDict[str, Tensor]":
    """A state dict as a module gives it, with `_metadata`, buffers and integers."""
    layers = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2, bias=False))
    return layers.state_dict()


def parameters() -> dict[str, Tensor]:
    """Parameters that were not detached, with attributes and without."""
    with_attribute = nn.Parameter(torch.randn(3))
    with_attribute.lr_scale = 0.1
    plain_with_attribute = torch.randn(2, 2)
    plain_with_attribute.note = "kept by _rebuild_from_type_v2"
    return {
        "plain": nn.Parameter(torch.randn(2, 3)),
        "frozen": nn.Parameter(torch.randn(4), requires_grad=False),
        "with_attribute": with_attribute,
        "plain_with_attribute": plain_with_attribute,
        "buffer": nn.Buffer(torch.randn(3)),
    }


def training() -> dict[str, object]:
    """A Lightning checkpoint with all that a training leaves in it."""
    network = nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    network(torch.randn(4, 3)).sum().backward()
    optimizer.step()
    return {
        "epoch": 3,
        "global_step": 1200,
        "pytorch-lightning_version": "2.5.0",
        "state_dict": OrderedDict((f"network.{name}", value) for name, value in network.state_dict().items()),
        "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": {"total": {"ready": 4, "completed": 3}}}},
        "callbacks": {"ModelCheckpoint{'mode': 'min'}": {"best_model_score": torch.tensor(0.5), "dirpath": Path("a")}},
        "optimizer_states": [optimizer.state_dict()],
        "lr_schedulers": [{"last_epoch": 3, "_last_lr": [numpy.float64(1e-3)], "table": numpy.arange(3)}],
        "hparams_name": "args",
        "hyper_parameters": argparse.Namespace(width=3, betas=(0.9, 0.999), device=torch.device("cpu"), none=None,
                                               dtype=torch.float32, size=torch.Size([1, 2]), big=1 << 80, tags={"a"}),
    }


def big_endian(tensors: dict[str, Tensor]) -> bytes:
    """The archive as a machine with the highest byte first would have written it."""
    plain = io.BytesIO()
    torch.save(tensors, plain)
    widths = {}
    for tensor in tensors.values():
        width = tensor.element_size() // (2 if tensor.is_complex() else 1)
        widths[str(len(widths))] = width
    swapped = io.BytesIO()
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(swapped, "w") as target:
        for name in source.namelist():
            content = source.read(name)
            folder, key = name.split("/", 1)
            if key == "byteorder":
                content = b"big"
            elif key.startswith("data/"):
                width = widths[key[5:]]
                content = b"".join(content[at : at + width][::-1] for at in range(0, len(content), width))
            target.writestr(zipfile.ZipInfo(f"{folder}/{key}", (1980, 1, 1, 0, 0, 0)), content)
    swapped.seek(0)
    read = torch.load(swapped)
    assert all(torch.equal(read[name], tensor) for name, tensor in tensors.items())
    return swapped.getvalue()


class Settings:
    """A class that no reader knows."""

    def __init__(self) -> None:
        self.width = 3


def save(path: Path, case: object, tensors: dict[str, Tensor] | None, **options: object) -> None:
    """Writes one case and, if it can be converted, what is in it."""
    torch.save(case, path, **options)
    if tensors is not None:
        dense = {name: tensor.detach().contiguous().clone() for name, tensor in tensors.items()}
        save_file(dense, path.with_suffix(".safetensors"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True)
    folder = parser.parse_args().output
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    # The class is to have the same name however this file is run.
    Settings.__module__ = "project"
    sys.modules["project"] = types.ModuleType("project")
    sys.modules["project"].Settings = Settings

    tensors = kinds()
    save(folder / "kinds.pt", tensors, tensors)
    tensors = strided()
    save(folder / "strided.pt", tensors, tensors)
    save(folder / "strided_legacy.pt", tensors, None, _use_new_zipfile_serialization=False)
    tensors = module()
    save(folder / "module.pt", tensors, tensors)
    for protocol in range(1, 6):
        save(folder / f"protocol_{protocol}.pt", tensors, None, pickle_protocol=protocol)
    for protocol in (1, 4):
        file = folder / f"protocol_{protocol}_legacy.pt"
        save(file, tensors, None, pickle_protocol=protocol, _use_new_zipfile_serialization=False)
    tensors = parameters()
    save(folder / "parameters.pt", tensors, tensors)
    case = training()
    save(folder / "training.ckpt", case, case["state_dict"])
    save(folder / "nested.pt", {"checkpoint": {"state_dict": tensors, "step": 5}}, tensors)
    tensors = {"weight": torch.randn(2, 3), "bias": torch.randn(2)}
    save(folder / "mixed.pt", {**tensors, "epoch": 3, "extra._extra_state": {"a": 1}}, tensors)
    save(folder / "several.pt", {"model": tensors, "ema": {"weight": torch.ones(2, 3)}, "step": 7}, None)
    save(folder / "unknown_class.ckpt", {"state_dict": tensors, "hyper_parameters": Settings()}, tensors)
    tensors = {"half": torch.randn(3).half(), "float": torch.randn(2, 2), "complex": torch.randn(2, dtype=torch.complex64)}
    (folder / "big_endian.pt").write_bytes(big_endian(tensors))
    save_file(tensors, folder / "big_endian.safetensors")

    weight = torch.randn(2, 2)
    refused = {
        "quantized": {"weight": torch.quantize_per_tensor(weight, 0.1, 0, torch.qint8)},
        "sparse": {"weight": weight.to_sparse()},
        "complex128": {"weight": weight.to(torch.complex128)},
        "conjugated": {"weight": weight.to(torch.complex64).conj()},
        "meta": {"weight": weight.to("meta")},
        "tensor": weight,
        "whole_module": nn.Linear(2, 2),
    }
    for name, case in refused.items():
        save(folder / f"refused_{name}.pt", case, None)


if __name__ == "__main__":
    main()
