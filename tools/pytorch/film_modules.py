"""The FiLM generator and the register encoders, as PyTorch modules.

Shapes: B batch, R registers, C channels, H = kernel_hidden_dim, L = num_film_layers; * is any number of leading axes.
"""

import torch
from torch import Tensor, nn


def require_positive(**sizes: int) -> None:
    """Raise a ValueError that names the first size below 1."""
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{name} must be at least 1, not {size}")


def require_registers(registers: Tensor, expected: int) -> None:
    """Raise a ValueError unless [B, R, C] has the expected R."""
    if registers.dim() != 3 or registers.shape[1] != expected:
        raise ValueError(f"registers must be [B, {expected}, C], not {list(registers.shape)}")


class KernelFiLMGenerator(nn.Module):
    """Conditioning [*, cond_dim] to L pairs (gamma, beta), each [*, H] (FiLM, Perez et al. 2017, arXiv:1709.07871).

    Parameters: `mlp.0.weight` [film_hidden_dim, cond_dim], `mlp.0.bias` [film_hidden_dim],
    `mlp.2.weight` [L * 2 * H, film_hidden_dim], `mlp.2.bias` [L * 2 * H].

    With init_type "identity", gamma is 1 and beta 0 exactly until training changes it; with "small_random" the
    output weights are N(0, init_std). no_weight_decay is for the optimizer; it changes nothing computed here.
    """

    def __init__(
        self,
        cond_dim: int,
        kernel_hidden_dim: int,
        num_film_layers: int,
        film_hidden_dim: int = 64,
        no_weight_decay: bool | float = False,
        init_type: str = "identity",
        init_std: float = 1e-4,
    ) -> None:
        super().__init__()
        require_positive(
            cond_dim=cond_dim,
            kernel_hidden_dim=kernel_hidden_dim,
            num_film_layers=num_film_layers,
            film_hidden_dim=film_hidden_dim,
        )
        if init_type not in ("identity", "small_random"):
            raise ValueError(f'init_type must be "identity" or "small_random", not "{init_type}"')
        self.kernel_hidden_dim = kernel_hidden_dim
        self.num_film_layers = num_film_layers
        self.no_weight_decay = no_weight_decay
        self.weight_std = 0.0 if init_type == "identity" else init_std
        self.mlp = nn.Sequential(
            nn.Linear(cond_dim, film_hidden_dim),
            nn.GELU(approximate="none"),
            nn.Linear(film_hidden_dim, num_film_layers * 2 * kernel_hidden_dim),
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """`mlp.0`: U(-1/sqrt(cond_dim), 1/sqrt(cond_dim)), as PyTorch's Linear has it.
        `mlp.2`: weight N(0, weight_std), bias 1 for gamma and 0 for beta."""
        weight_0, bias_0, weight_2, bias_2 = self.mlp.parameters()
        bound = weight_0.shape[1] ** -0.5
        nn.init.uniform_(weight_0, -bound, bound)
        nn.init.uniform_(bias_0, -bound, bound)
        nn.init.normal_(weight_2, std=self.weight_std)
        with torch.no_grad():
            pairs = bias_2.view(self.num_film_layers, 2, self.kernel_hidden_dim)
            pairs[:, 0] = 1.0
            pairs[:, 1] = 0.0

    def forward(self, conditioning: Tensor) -> list[tuple[Tensor, Tensor]]:
        """[*, cond_dim] to L pairs (gamma, beta), each [*, H]; flat, they are gamma 0, beta 0, gamma 1, beta 1, ..."""
        flat = self.mlp(conditioning)
        parts = flat.split(self.kernel_hidden_dim, dim=-1)
        return list(zip(parts[0::2], parts[1::2], strict=True))


class RegisterPooling(nn.Module):
    """Registers [B, R, C] to their weighted mean [B, C], the weights being softmax(logits).

    Parameter: `logits` [R], zero at first, which makes it a plain mean.
    """

    def __init__(self, num_registers: int) -> None:
        super().__init__()
        require_positive(num_registers=num_registers)
        self.logits = nn.Parameter(torch.zeros(num_registers))

    def forward(self, registers: Tensor) -> Tensor:
        """[B, R, C] to [B, C]."""
        require_registers(registers, self.logits.numel())
        return torch.einsum("r,brc->bc", self.logits.softmax(dim=0), registers)


class RegisterCompressConcat(nn.Module):
    """Registers [B, R, hidden_dim], each compressed and then concatenated in order, to [B, R * compressed_dim].

    Parameter: `compress.weight` [compressed_dim, hidden_dim], the same for all registers, without a bias.
    """

    def __init__(self, num_registers: int, hidden_dim: int, compressed_dim: int) -> None:
        super().__init__()
        require_positive(num_registers=num_registers, hidden_dim=hidden_dim, compressed_dim=compressed_dim)
        self.num_registers = num_registers
        self.compress = nn.Linear(hidden_dim, compressed_dim, bias=False)

    def forward(self, registers: Tensor) -> Tensor:
        """[B, R, hidden_dim] to [B, R * compressed_dim]."""
        require_registers(registers, self.num_registers)
        compressed: Tensor = self.compress(registers)
        return compressed.flatten(start_dim=1)
