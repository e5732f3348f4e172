# SPDX-License-Identifier: Apache-2.0
"""Heads from tokens to four values per pixel, linear or convolutional; dimensions of the network.

B batch, p x q patches of 16 px, N = p*q tokens, C width of the encoder, D width of the decoders.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from depth_ros.models.depth_anything.network import Fusion, resize_layers

PATCH = 16


@dataclass(frozen=True, slots=True)
class Shape:
    """Dimensions of the network; the defaults are those of all published variants.

    Args:
        width: C.
        depth: number of blocks of the encoder.
        decoder_width: D.
        decoder_depth: number of blocks of each decoder, a multiple of 4.
        features: F, channels in the DPT heads.
        channels: channels of the four input maps of a DPT head, fine to coarse.
    """

    width: int = 1024
    depth: int = 24
    decoder_width: int = 768
    decoder_depth: int = 12
    features: int = 256
    channels: tuple[int, int, int, int] = (96, 192, 384, 768)

    @property
    def taps(self) -> tuple[int, int, int, int]:
        """Indices into [encoder, decoder block 1, 2, ...] whose tokens the DPT heads use."""
        n = self.decoder_depth
        return 0, n // 2, 3 * n // 4, n


def grid_of(x: Tensor) -> tuple[int, int]:
    """Rows and columns of patches (p, q) of a network input (B, 3, h, w)."""
    return x.shape[2] // PATCH, x.shape[3] // PATCH


def as_map(x: Tensor, grid: tuple[int, int]) -> Tensor:
    """(B, N, C) -> (B, C, p, q)."""
    return x.transpose(1, 2).reshape(len(x), -1, *grid)


class LinearHead(nn.Module):
    """Linear layer from a token to four values for each of its pixels."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.proj = nn.Linear(shape.decoder_width, 4 * PATCH**2)

    def forward(self, features: Sequence[Tensor], grid: tuple[int, int]) -> Tensor:
        """Features of a view, the last (B, N, D) -> (B, 4, 16 p, 16 q)."""
        x = self.proj(features[-1])  # (B, N, 4 * 256)
        return F.pixel_shuffle(as_map(x, grid), PATCH)


class DptHead(nn.Module):
    """Dense prediction head on tokens of the encoder and of three decoder blocks.

    Source: Ranftl et al. 2021, arXiv 2103.13413; each stage doubles the size.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.taps, c, features = shape.taps, shape.channels, shape.features
        widths = (shape.width, *3 * (shape.decoder_width,))
        self.projects = nn.ModuleList(
            nn.Conv2d(width, n, 1) for width, n in zip(widths, c, strict=True)
        )
        self.resizes = resize_layers(c)
        self.laterals = nn.ModuleList(nn.Conv2d(n, features, 3, padding=1, bias=False) for n in c)
        self.fusions = nn.ModuleList(Fusion(features, lateral=i < 3) for i in range(4))
        self.neck = nn.Conv2d(features, features // 2, 3, padding=1)
        self.out = nn.Sequential(
            nn.Conv2d(features // 2, features // 2, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(features // 2, 4, 1),
        )

    def forward(self, features: Sequence[Tensor], grid: tuple[int, int]) -> Tensor:
        """Features of a view, (B, N, C) or (B, N, D) each -> (B, 4, 16 p, 16 q)."""
        maps = [
            lateral(resize(project(as_map(features[tap], grid))))
            for tap, project, resize, lateral in zip(
                self.taps, self.projects, self.resizes, self.laterals, strict=True
            )
        ]  # (B, F, ., .) with 4p, 2p, p and p/2 rows, the last rounded up
        x = self.fusions[3](maps[3], None, _twice(maps[3]))
        x = x[:, :, : grid[0], : grid[1]]  # an odd number of patches was rounded up
        for i in (2, 1, 0):
            x = self.fusions[i](x, maps[i], _twice(maps[i]))
        x = self.neck(x)  # (B, F/2, 8 p, 8 q)
        x = F.interpolate(x, size=_twice(x), mode='bilinear', align_corners=True)
        y: Tensor = self.out(x)
        return y


def _twice(x: Tensor) -> tuple[int, int]:
    return 2 * x.shape[2], 2 * x.shape[3]


HEADS: dict[str, type[LinearHead] | type[DptHead]] = {'linear': LinearHead, 'dpt': DptHead}
