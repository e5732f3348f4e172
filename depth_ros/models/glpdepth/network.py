# SPDX-License-Identifier: Apache-2.0
"""The layers: a Mix Transformer encoder, made of timm's layers, and a selective fusion decoder.

Layer names are ours; `checkpoint` translates the published ones. B batch, h x w input [px].
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


def upsample(x: Tensor) -> Tensor:
    """(B, C, a, b) -> (B, C, 2a, 2b), bilinear."""
    return F.interpolate(x, scale_factor=2, mode='bilinear', align_corners=False)


class Fusion(nn.Module):
    """Weighted sum of a fine and a coarse map, with weights computed for each pixel."""

    def __init__(self) -> None:
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
    """Fuse the four maps of the encoder to 64 channels at input size.

    The finest map has 64 channels and needs no projection.
    """

    def __init__(self) -> None:
        super().__init__()
        self.projects = nn.ModuleList(nn.Conv2d(n, FEATURES, 1) for n in WIDTHS[:0:-1])
        self.fusions = nn.ModuleList(Fusion() for _ in range(3))

    def forward(self, features: list[Tensor]) -> Tensor:
        """(B, ., h/4, w/4) to (B, ., h/32, w/32) -> (B, 64, h, w)."""
        finest, *rest = features
        skips = [project(x) for project, x in zip(self.projects, rest[::-1], strict=True)]
        x = skips[0]
        for fusion, skip in zip(self.fusions, (*skips[1:], finest), strict=True):
            x = fusion(skip, upsample(x))
        return upsample(upsample(x))  # (B, 64, h/4, w/4) -> (B, 64, h, w)


class GlpDepth(nn.Module):
    """Encoder, decoder and head.

    Args:
        max_depth: largest depth [m]; a constant of the checkpoint, not of the scene.

    Source: Kim et al. 2022, arXiv 2201.07436; encoder: Xie et al. 2021, arXiv 2105.15203.
    """

    def __init__(self, max_depth: float) -> None:
        super().__init__()
        self.max_depth = max_depth
        # timm has no mit_b4, but PVT v2 has the same blocks; Any, as timm has no types
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
        """Predict depth.

        Args:
            x: (B, 3, h, w) RGB in 0..1, h and w multiples of 32.

        Returns:
            (B, h, w) float32 [m], at most `max_depth`.
        """
        x = self.decoder(self.features(x))
        for layer in self.head:  # layer by layer, to free the first map early
            x = layer(x)
        return x[:, 0].float().sigmoid() * self.max_depth  # in fp32

    def features(self, x: Tensor) -> list[Tensor]:
        """Four maps of the encoder, (B, 64, h/4, w/4) to (B, 512, h/32, w/32)."""
        features: list[Tensor] = self.encoder.forward_intermediates(x, intermediates_only=True)
        # channels last as for the convolutions, which would otherwise each convert their input
        return [f.contiguous(memory_format=torch.channels_last) for f in features]
