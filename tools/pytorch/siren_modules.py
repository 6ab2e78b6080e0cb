"""Kernels drawn by a SIREN, the Gaussian mask on them, and the convolution with them, as PyTorch modules.

Shapes: B batch, C channels, D = data_dim axes, N the length of an axis, K the kernel's points on it, E = embedding_dim,
H = mlp_hidden_dim; *spatial and *K stand for D axes each.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from film_modules import KernelFiLMGenerator, require_positive


def widened(dtype: torch.dtype) -> torch.dtype:
    """The dtype to compute in: float32 for half precision, else the same."""
    return torch.promote_types(dtype, torch.float32)


def make_grid(
    lengths: Sequence[int],
    l_cache: Sequence[int],
    dtype: torch.dtype = torch.float32,
    device: torch.device | None = None,
) -> Tensor:
    """Coordinates [1, *(2L - 1), D]: along each axis k / (l_cache - 1) for k = -(L - 1) ... L - 1."""
    if len(lengths) != len(l_cache):
        raise ValueError(f"lengths must have {len(l_cache)} axes, not {len(lengths)}")
    sizes = zip(lengths, l_cache, strict=True)
    axes = [torch.arange(1 - n, n, dtype=dtype, device=device) / (cache - 1) for n, cache in sizes]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).unsqueeze(0)


def modulate(h: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
    """gamma * h + beta: h [1 or B, *K, H], gamma and beta [B, H] to [B, *K, H]."""
    shape = (gamma.shape[0], *[1] * (h.dim() - 2), gamma.shape[1])
    return torch.addcmul(beta.reshape(shape), gamma.reshape(shape), h)


class SirenEmbedding(nn.Module):
    """Coordinates [*, D] to sines [*, E].

    Parameters: `linear.weight` [E, D], `linear.bias` [E]. With omega_0_scale = (min, max), omega is learnable:
    `omega_0_scale` [E], clamped to that range, times 2 pi omega_0 multiplies the phase.
    """

    def __init__(
        self, data_dim: int, embedding_dim: int, omega_0: float, omega_0_scale: tuple[float, float] | None = None
    ) -> None:
        super().__init__()
        self.linear = nn.Linear(data_dim, embedding_dim)
        self.omega_0 = omega_0
        self.scale_range = omega_0_scale
        bound = (1.0 if omega_0_scale else 2 * math.pi * omega_0) / data_dim
        nn.init.uniform_(self.linear.weight, -bound, bound)
        nn.init.zeros_(self.linear.bias)
        if omega_0_scale:
            self.omega_0_scale = nn.Parameter(torch.ones(embedding_dim))

    def forward(self, grid: Tensor) -> Tensor:
        """[*, D] to [*, E], in float32 at least until the sine is taken."""
        dtype = self.linear.weight.dtype
        wide = widened(dtype)
        phase = nn.functional.linear(grid.to(wide), self.linear.weight.to(wide), self.linear.bias.to(wide))
        if self.scale_range:
            phase = phase * (2 * math.pi * self.omega_0 * self.omega_0_scale.to(wide).clamp(*self.scale_range))
        return phase.sin().to(dtype)


class SirenKernel(nn.Module):
    """A grid to a kernel, by an MLP with sines (SIREN, Sitzmann et al. 2020, arXiv:2006.09661), FiLM after the sines.

    Parameters: `positional_embedding.*` (SirenEmbedding), `hidden_linears.{i}.*` for i = 0 ... num_layers - 2,
    `out_linear.*` and, if given, `film_generator.*`. l_cache is the kernel's own: halved already on single-grid axes.
    """

    def __init__(
        self,
        out_dim: int,
        data_dim: int,
        mlp_hidden_dim: int,
        num_layers: int,
        embedding_dim: int,
        omega_0: float,
        l_cache: Sequence[int],
        omega_0_scale: tuple[float, float] | None = None,
        film_after_pos_embed: bool = False,
        film_generator: KernelFiLMGenerator | None = None,
    ) -> None:
        super().__init__()
        require_positive(
            out_dim=out_dim,
            data_dim=data_dim,
            mlp_hidden_dim=mlp_hidden_dim,
            num_layers=num_layers,
            embedding_dim=embedding_dim,
        )
        if len(l_cache) != data_dim or min(l_cache) < 2:
            raise ValueError(f"l_cache must be {data_dim} lengths of at least 2, not {list(l_cache)}")
        if film_generator:
            pairs = num_layers - 1 + film_after_pos_embed
            if film_generator.num_film_layers != pairs:
                raise ValueError(f"num_film_layers must be {pairs}, not {film_generator.num_film_layers}")
            if film_generator.kernel_hidden_dim != mlp_hidden_dim:
                raise ValueError(f"kernel_hidden_dim must be {mlp_hidden_dim}, not {film_generator.kernel_hidden_dim}")
            if film_after_pos_embed and embedding_dim != mlp_hidden_dim:
                raise ValueError(f"embedding_dim must be {mlp_hidden_dim} to be modulated, not {embedding_dim}")
        self.l_cache = tuple(l_cache)
        self.film_after_pos_embed = film_after_pos_embed
        self.positional_embedding = SirenEmbedding(data_dim, embedding_dim, omega_0, omega_0_scale)
        inputs = [embedding_dim, *[mlp_hidden_dim] * (num_layers - 1)]
        self.hidden_linears = nn.ModuleList(nn.Linear(features, mlp_hidden_dim) for features in inputs[:-1])
        self.out_linear = nn.Linear(inputs[-1], out_dim)
        self.film_generator = film_generator
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Weights U(-sqrt(6 / in), sqrt(6 / in)), those of `out_linear` divided by sqrt(prod(l_cache)); biases 0."""
        for linear in (*self.hidden_linears, self.out_linear):
            bound = math.sqrt(6 / linear.in_features)
            if linear is self.out_linear:
                bound /= math.sqrt(math.prod(self.l_cache))
            nn.init.uniform_(linear.weight, -bound, bound)
            nn.init.zeros_(linear.bias)

    def forward(self, lengths: Sequence[int], conditioning: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Lengths L, one an axis, and conditioning [B, cond_dim] to the grid [1, *(2L - 1), D] and the kernel
        [B, *(2L - 1), out_dim]; the kernel's leading axis is 1 without conditioning or without a generator."""
        weight = self.out_linear.weight
        grid = make_grid(lengths, self.l_cache, widened(weight.dtype), weight.device)
        pairs: list[tuple[Tensor, Tensor]] = []
        if conditioning is not None and self.film_generator is not None:
            pairs = self.film_generator(conditioning)

        h = self.positional_embedding(grid)
        if pairs and self.film_after_pos_embed:
            h = modulate(h, *pairs.pop(0))
        for linear in self.hidden_linears:
            h = linear(h).sin()
            if pairs:
                h = modulate(h, *pairs.pop(0))
        return grid, self.out_linear(h)


def gaussian_std(value: float, position: float) -> float:
    """The standard deviation of the Gaussian (1 at 0) that has this value at this position."""
    return position * math.sqrt(-1 / (2 * math.log(value)))


class GaussianMask(nn.Module):
    """Kernel times exp(-1/2 sum_d (p_d / std_dc)^2), the direct parametrization.

    Parameter: `std_param` [D, C], clamped to [min_std, max_std]. At first log-spaced over the channels, from min_std to
    what leaves 0.1 at the border, both times init_extent.
    """

    def __init__(
        self, data_dim: int, num_channels: int, min_std: float, max_std: float, init_extent: float = 1.0
    ) -> None:
        super().__init__()
        require_positive(data_dim=data_dim, num_channels=num_channels)
        if not 0 < min_std <= max_std:
            raise ValueError(f"0 < min_std <= max_std must hold, not min_std {min_std} and max_std {max_std}")
        self.min_std, self.max_std = min_std, max_std
        ends = (min_std * init_extent, gaussian_std(0.1, 1.0) * init_extent)
        low, high = (math.log(min(max(std, min_std), max_std)) for std in ends)
        self.std_param = nn.Parameter(torch.linspace(low, high, num_channels).exp().repeat(data_dim, 1))

    @classmethod
    def for_grid(cls, num_channels: int, l_cache: Sequence[int]) -> "GaussianMask":
        """With the usual range: from 0.1 one step off the centre to 0.95 at the border."""
        grid_size = 2 * max(l_cache) - 1
        low, high = gaussian_std(0.1, 2 / (grid_size - 1)), gaussian_std(0.95, 1.0)
        return cls(len(l_cache), num_channels, low, high)

    def forward(self, grid: Tensor, kernel: Tensor) -> Tensor:
        """Grid [1, *K, D] and kernel [1 or B, *K, C] to the masked kernel, of the kernel's shape."""
        wide = widened(kernel.dtype)
        std = self.std_param.to(wide).clamp(self.min_std, self.max_std)
        mask = torch.exp(-0.5 * (grid.to(wide).square() @ std.square().reciprocal()))
        return (kernel.to(wide) * mask).to(kernel.dtype)


def fft_conv(
    x: Tensor, kernel: Tensor, padding: Sequence[str], is_causal: bool = False, channels_first: bool = False
) -> Tensor:
    """Convolve each channel of x [B, *N, C] (or [B, C, *N]) with its kernel [1 or B, *K, C], to the shape of x.

    A true convolution (the kernel is flipped), centred. On an axis of "zero" padding x is 0 outside, and K is odd and
    at most 2N - 1; on a "circular" one x repeats, and K is odd and at most N. If causal, only the kernel's second half,
    from K // 2 on, is used, and its first point multiplies the present.
    """
    dtype, wide = x.dtype, widened(x.dtype)
    if is_causal:
        kernel = kernel[:, kernel.shape[1] // 2 :]
    if channels_first:
        kernel = kernel.movedim(-1, 1)
    first = 2 if channels_first else 1
    dims = tuple(range(first, first + len(padding)))
    sizes = [(x.shape[dim], kernel.shape[dim]) for dim in dims]
    transform = []
    for kind, (n, k) in zip(padding, sizes, strict=True):
        longest = n if kind == "circular" or is_causal else 2 * n - 1
        if k > longest or (k % 2 == 0 and not is_causal):
            raise ValueError(f"an axis of {n} points takes an odd kernel of up to {longest} points, not {k}")
        transform.append(n if kind == "circular" else min(n + (k if is_causal else (k + 1) // 2), 2 * n))

    spectrum = torch.fft.rfftn(x.to(wide), s=transform, dim=dims)
    spectrum = spectrum * torch.fft.rfftn(kernel.to(wide), s=transform, dim=dims)
    y: Tensor = torch.fft.irfftn(spectrum, s=transform, dim=dims)
    for kind, dim, (n, k) in zip(padding, dims, sizes, strict=True):
        if kind == "circular":
            y = y.roll(-((k - 1) // 2), dim)
        else:
            y = y.narrow(dim, 0 if is_causal else k // 2, n)
    return y.to(dtype)


class CKConvNd(nn.Module):
    """x convolved with the kernel that conditioning draws, plus shortcut * x (CKConv, Romero et al., arXiv:2102.02611).

    Parameters: `kernel.*` (SirenKernel), `mask.*` (GaussianMask, if given) and `shortcut` [C]. padding is "zero" or
    "circular", one for all axes or one for each.
    """

    def __init__(
        self, kernel: SirenKernel, padding: str | Sequence[str], is_causal: bool = False, mask: nn.Module | None = None
    ) -> None:
        super().__init__()
        axes = len(kernel.l_cache)
        self.padding = (padding,) * axes if isinstance(padding, str) else tuple(padding)
        if len(self.padding) != axes or not {*self.padding} <= {"zero", "circular"}:
            raise ValueError(f'padding must be "zero" or "circular" for {axes} axes, not {padding}')
        if is_causal and self.padding != ("zero",):
            raise ValueError("a causal convolution has one axis, with zero padding")
        self.is_causal = is_causal
        self.kernel = kernel
        self.mask = mask
        channels = kernel.out_linear.out_features
        self.shortcut = nn.Parameter(torch.empty(channels).uniform_(-(channels**-0.5), channels**-0.5))

    def draw(self, spatial: Sequence[int], conditioning: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Lengths N and conditioning [B, cond_dim] to grid [1, *K, D], kernel and masked kernel [1 or B, *K, C].

        K is 2N - 1 on axes of zero padding (the double grid), else 2 ((N + 1) // 2) - 1 (the single grid).
        """
        lengths = [(n + 1) // 2 if kind == "circular" else n for kind, n in zip(self.padding, spatial, strict=True)]
        grid, kernel = self.kernel(lengths, conditioning)
        return grid, kernel, kernel if self.mask is None else self.mask(grid, kernel)

    def forward(self, x: Tensor, conditioning: Tensor | None = None, channels_first: bool = False) -> Tensor:
        """x [B, *spatial, C] (or [B, C, *spatial]) and conditioning [B, cond_dim] to the shape of x."""
        axes = len(self.padding)
        if x.dim() != axes + 2:
            raise ValueError(f"x must have {axes} axes beside batch and channels, not {x.dim() - 2}")
        spatial = x.shape[2:] if channels_first else x.shape[1:-1]
        _, _, kernel = self.draw(spatial, conditioning)
        y = fft_conv(x, kernel, self.padding, self.is_causal, channels_first)
        shortcut = self.shortcut.view(-1, *[1] * axes) if channels_first else self.shortcut
        return torch.addcmul(y, shortcut, x)
