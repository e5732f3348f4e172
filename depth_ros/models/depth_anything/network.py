# SPDX-License-Identifier: Apache-2.0
"""The layers: a DPT head on a DINOv2 encoder.

Layer names are ours; `checkpoint` translates the published ones. B batch, h x w input [px], p x q
patches of 14 px, C width of the encoder, F features of the head.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from depth_ros.models.depth_anything.variant import SIZES, Size, Variant
from depth_ros.models.dinov2 import PATCH, WithDinov2


def grid_of(x: Tensor) -> tuple[int, int]:
    """Rows and columns of patches (p, q) of a network input (B, 3, h, w)."""
    return x.shape[2] // PATCH, x.shape[3] // PATCH


class ResidualUnit(nn.Module):
    """x + conv(relu(conv(relu(x)))), with 3x3 convolutions.

    Args:
        features: F.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(features, features, 3, padding=1)
        self.conv2 = nn.Conv2d(features, features, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, F, ., .) -> the same shape."""
        # in place where possible: these are the largest maps of the network
        y: Tensor = self.conv2(F.relu_(self.conv1(F.relu(x))))
        y += x
        return y


class Fusion(nn.Module):
    """Add a finer map to the path from the coarser maps, and resize the sum.

    Args:
        features: F.
        lateral: there is a map to add; false for the coarsest stage.
    """

    def __init__(self, features: int, *, lateral: bool) -> None:
        super().__init__()
        self.lateral = ResidualUnit(features) if lateral else None
        self.unit = ResidualUnit(features)
        self.out = nn.Conv2d(features, features, 1)

    def forward(self, x: Tensor, lateral: Tensor | None, size: tuple[int, int]) -> Tensor:
        """Path (B, F, a, b) and lateral map of the same shape -> (B, F, *size)."""
        if self.lateral is not None and lateral is not None:
            x = self.lateral(lateral).add_(x)
        # The published code upsamples first. A 1x1 convolution commutes with interpolation, whose
        # weights have sum one, and before it takes a quarter of the time.
        x = self.out(self.unit(x))
        return F.interpolate(x, size=size, mode='bilinear', align_corners=True)


def resize_layers(channels: Sequence[int]) -> nn.ModuleList:
    """Layers of a DPT head that resize four maps of equal size by 4, 2, 1 and 1/2."""
    c = channels
    return nn.ModuleList(
        [
            nn.ConvTranspose2d(c[0], c[0], 4, stride=4),
            nn.ConvTranspose2d(c[1], c[1], 2, stride=2),
            nn.Identity(),
            nn.Conv2d(c[3], c[3], 3, stride=2, padding=1),
        ]
    )


class Head(nn.Module):
    """Dense prediction head: from four maps of tokens to one value per pixel, or two with `sky`.

    Args:
        size: dimensions of the network.
        sky: add a second output for sky (version 3).

    Source: Ranftl et al. 2021, arXiv 2103.13413; here without readout of the class token.
    """

    def __init__(self, size: Size, *, sky: bool) -> None:
        super().__init__()
        c, features = size.channels, size.features
        self.projects = nn.ModuleList(nn.Conv2d(size.width, n, 1) for n in c)
        self.resizes = resize_layers(c)
        self.laterals = nn.ModuleList(nn.Conv2d(n, features, 3, padding=1, bias=False) for n in c)
        self.fusions = nn.ModuleList(Fusion(features, lateral=i < 3) for i in range(4))
        self.neck = nn.Conv2d(features, features // 2, 3, padding=1)
        self.depth = self._branch(features // 2)
        self.sky = self._branch(features // 2) if sky else None

    @staticmethod
    def _branch(channels: int, outputs: int = 1) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(channels, 32, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(32, outputs, 1),
        )

    def forward(self, taps: list[Tensor], grid: tuple[int, int]) -> tuple[Tensor, Tensor | None]:
        """Four (B, p*q, C) -> depth and sky before the activation, (B, 14 p, 14 q) each."""
        x = self.pixels(self.paths(self.maps(taps, grid), grid)[-1], grid)
        depth = self.depth(x)[:, 0]
        return depth, None if self.sky is None else self.sky(x)[:, 0]

    def maps(self, taps: list[Tensor], grid: tuple[int, int]) -> list[Tensor]:
        """Four (B, p*q, C) -> four (B, F, ., .) with 4p, 2p, p and p/2 rows."""
        maps = []
        for tap, project, resize, lateral in zip(
            taps, self.projects, self.resizes, self.laterals, strict=True
        ):
            x = tap.transpose(1, 2).reshape(len(tap), -1, *grid)  # (B, C, p, q)
            maps.append(lateral(resize(self.add_uv_embedding(project(x), grid))))
        return maps

    def add_uv_embedding(self, x: Tensor, grid: tuple[int, int]) -> Tensor:
        """Return x (B, c, ., .); the any-view head adds a position encoding."""
        return x

    def paths(self, maps: list[Tensor], grid: tuple[int, int]) -> list[Tensor]:
        """Four maps -> output of each fusion, (B, F, ., .) with p, 2p, 4p and 8p rows."""
        x = self.fusions[3](maps[3], None, maps[2].shape[2:])
        paths = [x]
        for i in (2, 1, 0):
            size = maps[i - 1].shape[2:] if i else (8 * grid[0], 8 * grid[1])
            x = self.fusions[i](x, maps[i], size)
            paths.append(x)
        return paths

    def pixels(self, path: Tensor, grid: tuple[int, int]) -> Tensor:
        """Finest path -> features of the input pixels, (B, F/2, 14 p, 14 q)."""
        size = (PATCH * grid[0], PATCH * grid[1])
        x = F.interpolate(self.neck(path), size=size, mode='bilinear', align_corners=True)
        return self.add_uv_embedding(x, grid)


class DepthAnything(WithDinov2):
    """Encoder, head and last activation of one variant.

    Args:
        variant: variant of the network.
        head: replaces the default head.
        pos_embed: as in `WithDinov2`.

    Source: arXiv 2401.10891 (version 1), 2406.09414 (2), 2511.10647 (3).
    """

    def __init__(
        self, variant: Variant, *, head: Head | None = None, pos_embed: str = 'official'
    ) -> None:
        shape = SIZES[variant.size]
        super().__init__(shape.encoder, pos_embed=pos_embed)
        self.variant = variant
        if variant.version == 3:
            self.encoder.norm.eps = 1e-5  # the blocks keep 1e-6
        self.head = Head(shape, sky=variant.version == 3) if head is None else head

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Depth (inverse depth for relative versions 1 and 2) and, in version 3, sky.

        Args:
            x: (B, 3, h, w) normalised RGB, h and w multiples of 14.

        Returns:
            (B, h, w) float32 each; sky: larger is more certain.
        """
        depth, sky = self.head(self.taps(x), grid_of(x))
        depth = depth.float()  # exp and sigmoid in fp32
        if sky is not None:
            return depth.exp(), F.relu(sky.float())
        max_depth = self.variant.max_depth
        return (depth.sigmoid() * max_depth if max_depth else F.relu(depth),)

    def taps(self, x: Tensor) -> list[Tensor]:
        """(B, 3, h, w) -> four (B, p*q, C), after the final norm, without the class token."""
        return [tap[:, 1:] for tap in self.all_taps(x, self.variant.taps)]
