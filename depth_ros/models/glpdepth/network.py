# SPDX-License-Identifier: Apache-2.0
"""The layers: a Mix Transformer encoder, of timm's parts, and a decoder of selective fusions.

Names are ours; `checkpoint` translates the published ones. B batch, h x w input [px].
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from timm.models.pvt_v2 import PyramidVisionTransformerV2
from torch import Tensor, nn

STRIDE = 32  # of the encoder's coarsest map [px]
WIDTHS = (64, 128, 320, 512)  # channels of the encoder's maps, fine to coarse
FEATURES = 64  # channels of the decoder


def double(x: Tensor) -> Tensor:
    """(B, C, a, b) -> (B, C, 2a, 2b)."""
    return F.interpolate(x, scale_factor=2, mode='bilinear', align_corners=False)


class Fusion(nn.Module):
    """Mixes a fine and a coarse map, with weights it chooses for every pixel."""

    def __init__(self) -> None:
        """Three convolutions from both maps to two weights."""
        super().__init__()
        self.choose = nn.Sequential(
            nn.Conv2d(2 * FEATURES, FEATURES, 3, padding=1),
            nn.BatchNorm2d(FEATURES),
            nn.ReLU(inplace=True),
            nn.Conv2d(FEATURES, FEATURES // 2, 3, padding=1),
            nn.BatchNorm2d(FEATURES // 2),
            nn.ReLU(inplace=True),
            nn.Conv2d(FEATURES // 2, 2, 3, padding=1),
            nn.Sigmoid(),
        )

    def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
        """Two (B, 64, a, b) -> (B, 64, a, b)."""
        weights: Tensor = self.choose(torch.cat((fine, coarse), dim=1))  # (B, 2, a, b)
        return fine * weights[:, :1] + coarse * weights[:, 1:]


class Decoder(nn.Module):
    """The encoder's four maps to 64 channels at the input's size."""

    def __init__(self) -> None:
        """The finest map has 64 channels already and is taken as it is."""
        super().__init__()
        self.projects = nn.ModuleList(nn.Conv2d(n, FEATURES, 1) for n in WIDTHS[:0:-1])
        self.fusions = nn.ModuleList(Fusion() for _ in range(3))

    def forward(self, features: list[Tensor]) -> Tensor:
        """(B, ., h/4, w/4) to (B, ., h/32, w/32) -> (B, 64, h, w)."""
        finest, *rest = features
        skips = [project(x) for project, x in zip(self.projects, rest[::-1], strict=True)]
        x = skips[0]
        for fusion, skip in zip(self.fusions, (*skips[1:], finest), strict=True):
            x = fusion(skip, double(x))
        return double(double(x))  # (B, 64, h/4, w/4) -> (B, 64, h, w)


class GlpDepth(nn.Module):
    """Encoder, decoder and head.

    Args:
        max_depth: farthest depth [m]; it belongs to the checkpoint, not to the scene.

    Source: Kim et al. 2022, arXiv 2201.07436; encoder: Xie et al. 2021, arXiv 2105.15203.
    """

    def __init__(self, max_depth: float) -> None:
        """Build with random weights; on the meta device this takes no time and no memory."""
        super().__init__()
        self.max_depth = max_depth
        # timm has no mit_b4; PVT v2 has the same blocks. It has no types either.
        self.encoder: Any = PyramidVisionTransformerV2(
            num_classes=0,
            depths=(3, 8, 27, 3),
            embed_dims=WIDTHS,
            num_heads=(1, 2, 5, 8),
            sr_ratios=(8, 4, 2, 1),
            mlp_ratios=(4, 4, 4, 4),
            qkv_bias=True,
        )
        self.decoder = Decoder()
        self.head = nn.Sequential(
            nn.Conv2d(FEATURES, FEATURES, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(FEATURES, 1, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Depth.

        Args:
            x: (B, 3, h, w) RGB in 0..1, h and w multiples of 32.

        Returns:
            (B, h, w) float32 [m], below the variant's maximum.
        """
        x = self.decoder(self.features(x))
        for layer in self.head:  # called as one, it would keep the first map to the end
            x = layer(x)
        return x[:, 0].float().sigmoid() * self.max_depth  # in full precision

    def features(self, x: Tensor) -> list[Tensor]:
        """The encoder's four maps, (B, 64, h/4, w/4) to (B, 512, h/32, w/32)."""
        features: list[Tensor] = self.encoder.forward_intermediates(x, intermediates_only=True)
        # as the convolutions have them, or each would reorder what comes of the finest map
        return [f.contiguous(memory_format=torch.channels_last) for f in features]
