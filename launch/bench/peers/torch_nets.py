"""The same generator and critic in PyTorch, as its documentation has the layers.

`nn.Conv2d` with strides, `nn.ConvTranspose2d`, `nn.GroupNorm` (flax's epsilon) and a
ConvLSTM whose input convolution runs once for all frames, which in eager mode is faster
than the usual one of [h, x] inside the loop. Channels first, as PyTorch wants it. All
names are those of `fluoro_jax.models`, so that parameters can be copied over.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch  # pyright: ignore[reportMissingImports]
from torch import Tensor, nn  # pyright: ignore[reportMissingImports]
from torch.nn import functional  # pyright: ignore[reportMissingImports]

from fluoro_jax.models.critic import Critic
from fluoro_jax.models.generator import Generator
from fluoro_jax.models.unet import SLOPE, widths
from launch.bench.peers.torch_device import device

EPSILON = 1e-6  # of flax's GroupNorm


class TorchBlock(nn.Module):
    """Strided or transposed convolution, group norm, leaky ReLU."""

    def __init__(
        self, inputs: int, features: int, *, size: int, form: str, group_size: int
    ) -> None:
        """Takes the attributes of `fluoro_jax.models.unet.Block` and its inputs."""
        super().__init__()
        layer = nn.Conv2d if form == "down" else nn.ConvTranspose2d
        self.conv = layer(inputs, features, size, 2, (size - 2) // 2)
        self.norm = nn.GroupNorm(features // group_size, features, EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        """`[N, C, H, W]` to half or twice the rows and columns."""
        return functional.leaky_relu(self.norm(self.conv(x)), SLOPE)


class TorchConvLSTM(nn.Module):
    """One cell each way of time, outputs concatenated; forget gate shifted by one."""

    def __init__(self, channels: int, size: int, bidirectional: bool) -> None:
        """`channels` in and out, a share of them for each way."""
        super().__init__()
        self.ways = 2 if bidirectional else 1
        part = channels // self.ways
        self.input = nn.Conv2d(channels, 4 * channels, size, padding=size // 2)
        cell = lambda: nn.Conv2d(part, 4 * part, size, padding=size // 2, bias=False)
        self.hidden = nn.ModuleList([cell() for _ in range(self.ways)])

    def forward(self, x: Tensor) -> Tensor:
        """`[B, T, C, H, W]` to the same shape."""
        b, t = x.shape[:2]
        zx = self.input(x.flatten(0, 1)).unflatten(0, (b, t))
        parts = zx.chunk(self.ways, dim=2)
        states = [self._run(way, z) for way, z in enumerate(parts)]
        return torch.cat(states, dim=2)

    def _run(self, way: int, zx: Tensor) -> Tensor:
        h = c = torch.zeros_like(zx[:, 0, : zx.shape[2] // 4])
        steps = range(zx.shape[1])
        found = []
        for t in reversed(steps) if way else steps:
            i, g, f, o = (zx[:, t] + self.hidden[way](h)).chunk(4, dim=1)
            c = torch.sigmoid(f + 1.0) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
            found.append(h)
        return torch.stack(found[::-1] if way else found, dim=1)


class TorchUNet(nn.Module):
    """The U-Net over time with the sizes of `fluoro_jax.models.unet.UNet`."""

    def __init__(self, inputs: int, like: Generator, refine: bool) -> None:
        """The coarse or the refinement net of a generator like `like`."""
        super().__init__()
        levels = like.refine_levels if refine else like.levels
        size = like.refine_kernel if refine else like.kernel
        self.channels = widths(levels, like.base, like.cap)
        block: dict[str, Any] = dict(size=size, group_size=like.group_size)
        for level, features in enumerate(self.channels):
            down = TorchBlock(inputs, features, form="down", **block)
            self.add_module(f"down_{level}", down)
            inputs = features
        for level in range(levels - 1, -1, -1):
            bottom = level == levels - 1
            features = self.channels[level]
            if bottom or not refine:
                lstm = TorchConvLSTM(features, like.lstm_kernel, like.bidirectional)
                self.add_module(f"lstm_{level}", lstm)
            joined = features if bottom else 2 * features
            outputs = self.channels[level - 1] if level else like.base
            up = TorchBlock(joined, outputs, form="up", **block)
            self.add_module(f"up_{level}", up)
        self.logit = nn.Conv2d(like.base, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, T, C, H, W]` to logits `[B, T, H, W]`."""
        b, t = x.shape[:2]
        x, skips = x.flatten(0, 1), []
        for level in range(len(self.channels)):
            x = self.get_submodule(f"down_{level}")(x)
            skips.append(x)
        for level in range(len(self.channels) - 1, -1, -1):
            skip = skips[level]
            if hasattr(self, f"lstm_{level}"):
                lstm = self.get_submodule(f"lstm_{level}")
                skip = lstm(skip.unflatten(0, (b, t))).flatten(0, 1)
            joined = skip if level == len(skips) - 1 else torch.cat([x, skip], dim=1)
            x = self.get_submodule(f"up_{level}")(joined)
        return self.logit(x)[:, 0].unflatten(0, (b, t))


class TorchGenerator(nn.Module):
    """The whole net with the sizes of one of ours."""

    def __init__(self, like: Generator) -> None:
        """Takes the attributes of `like` (remat and dtype do not count)."""
        super().__init__()
        assert not like.background_px
        self.mean, self.scale = like.input_mean, like.input_scale
        self.coarse = TorchUNet(3, like, refine=False)
        self.refine = TorchUNet(1, like, refine=True)

    def forward(self, stack: Tensor) -> tuple[Tensor, Tensor]:
        """Line integrals `[B, T, 3, H, W]` to the two logits `[B, T, H, W]`."""
        coarse = self.coarse((stack - self.mean) / self.scale)
        return coarse, coarse + self.refine(torch.sigmoid(coarse)[:, :, None])


class TorchCritic(nn.Module):
    """The critic with the sizes of one of ours."""

    def __init__(self, like: Critic, clip: Sequence[int]) -> None:
        """`clip`: (T, H, W) of the masks that it scores."""
        super().__init__()
        channels = widths(like.levels, like.base, like.cap)
        inputs = 1
        for level, features in enumerate(channels):
            block = TorchBlock(
                inputs,
                features,
                size=like.kernel,
                form="down",
                group_size=like.group_size,
            )
            self.add_module(f"down_{level}", block)
            inputs = features
        self.levels, self.sigmoid = like.levels, like.output == "sigmoid"
        self.lstm = TorchConvLSTM(inputs, like.lstm_kernel, True)
        frames, rows, cols = clip
        shrink = 2**like.levels
        self.score = nn.Linear(frames * inputs * (rows // shrink) * (cols // shrink), 1)

    def forward(self, mask: Tensor) -> Tensor:
        """Mask or probability `[B, T, H, W]` to a score `[B]`."""
        b, t = mask.shape[:2]
        x = mask.flatten(0, 1)[:, None]
        for level in range(self.levels):
            x = self.get_submodule(f"down_{level}")(x)
        x = self.lstm(x.unflatten(0, (b, t)))
        # Ours flattens with channels last, so the same weights need the same order.
        score = self.score(x.movedim(2, -1).flatten(1))[:, 0]
        return torch.sigmoid(score) if self.sigmoid else score


def torch_params(ours: Mapping[str, Any], prefix: str = "") -> dict[str, np.ndarray]:
    """Our parameters, or their gradient, by PyTorch's names and in its layout."""
    if "input_kernel" in ours:
        return {prefix + k: v for k, v in _cells(ours).items()}
    found: dict[str, np.ndarray] = {}
    for name, value in ours.items():
        if isinstance(value, Mapping):
            transposed = name.startswith("up_")
            inner = {**value}
            if transposed:  # ConvTranspose2d mirrors its kernel, lax does not
                kernel = np.asarray(value["conv"]["kernel"])[::-1, ::-1]
                kernel = np.swapaxes(kernel, 2, 3)
                inner["conv"] = {**value["conv"], "kernel": kernel}
            found |= torch_params(inner, f"{prefix}{name}.")
            continue
        value = np.asarray(value)
        if name == "kernel":
            order = (3, 2, 0, 1) if value.ndim == 4 else (1, 0)
            value = value.transpose(order)
        name = {"kernel": "weight", "scale": "weight"}.get(name, name)
        found[prefix + name] = np.ascontiguousarray(value)
    return found


def _cells(ours: Mapping[str, Any]) -> dict[str, np.ndarray]:
    layout = lambda k: np.ascontiguousarray(np.asarray(k).transpose(3, 2, 0, 1))
    found = {"input.weight": layout(ours["input_kernel"])}
    found["input.bias"] = np.asarray(ours["bias"])
    for place, way in enumerate(("forward", "backward")):
        if f"{way}_kernel" in ours:
            found[f"hidden.{place}.weight"] = layout(ours[f"{way}_kernel"])
    return found


def load(module: nn.Module, ours: Mapping[str, Any]) -> nn.Module:
    """Copies our parameters in, on `device`; every one must have its place."""
    state = {k: torch.tensor(v) for k, v in torch_params(ours).items()}
    module.load_state_dict(state)
    return module.to(device())
