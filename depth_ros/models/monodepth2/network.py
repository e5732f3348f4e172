# SPDX-License-Identifier: Apache-2.0
"""The layers: timm's ResNet encoder and a decoder that doubles the size five times.

Names are ours; `checkpoint` translates the published ones. B batch, h x w input [px].
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from depth_ros.core.errors import ConfigError

MEAN, STD = 0.45, 0.225  # of RGB in 0..1, the same for all three channels
WIDTHS = (256, 128, 64, 32, 16)  # channels of the decoder's stages, coarse to fine


@dataclass(frozen=True, slots=True)
class Variant:
    """What a preset's `variant`, the publisher's own name, says; such as mono+stereo_640x192.

    Args:
        training: pictures it was trained with: 'mono' (sequences of one camera), 'stereo' (pairs)
            or 'mono+stereo' (both).
        encoder: timm's name.
        width: of the network's input [px].
        height: of it.
    """

    training: str
    encoder: str
    width: int
    height: int

    @classmethod
    def parse(cls, text: str) -> Variant:
        """Read `text`; no_pt, an encoder that was not pretrained, is the same network.

        Raises:
            ConfigError: it is no variant of this family.
        """
        match = re.fullmatch(
            r'(mono|stereo|mono\+stereo)_(?:no_pt_|(resnet50)_)?(\d+)x(\d+)', text
        )
        if match is None:
            raise ConfigError(f'variant {text!r} is none of monodepth2; such as mono_640x192')
        return cls(match[1], match[2] or 'resnet18', int(match[3]), int(match[4]))

    @property
    def stereo(self) -> bool:
        """Whether training saw stereo pairs, whose baseline gives depth its unit."""
        return self.training != 'mono'


def conv3x3(inputs: int, outputs: int) -> nn.Conv2d:
    """A 3x3 convolution that keeps the size; beyond the edge it sees the picture mirrored."""
    return nn.Conv2d(inputs, outputs, 3, padding=1, padding_mode='reflect')


class Stage(nn.Module):
    """Doubles the size and takes in the encoder's map of the new size."""

    def __init__(self, inputs: int, skip: int, outputs: int) -> None:
        """`skip`: channels of the encoder's map; 0 at full size, where there is none."""
        super().__init__()
        self.before = conv3x3(inputs, outputs)
        self.after = conv3x3(outputs + skip, outputs)

    def forward(self, x: Tensor, skip: Tensor | None) -> Tensor:
        """(B, inputs, a, b) and (B, skip, 2a, 2b) -> (B, outputs, 2a, 2b)."""
        x = F.interpolate(F.elu(self.before(x)), scale_factor=2, mode='nearest')
        if skip is not None:
            x = torch.cat((x, skip), dim=1)
        return F.elu(self.after(x))


class Monodepth2(nn.Module):
    """Encoder, decoder and heads of one variant.

    The number a head gives is called disparity in the paper: inverse depth, squeezed into 0..1.
    Only the finest head is needed; the other three served training.

    Source: Godard et al. 2019, arXiv 1806.01260.
    """

    def __init__(self, variant: Variant) -> None:
        """Build with random weights; on the meta device this takes no time and no memory."""
        super().__init__()
        self.variant = variant
        encoder: Any = timm.create_model(variant.encoder, pretrained=False, features_only=True)
        self.encoder: Any = encoder  # timm has no types
        channels = encoder.feature_info.channels()  # of maps at 1/2, 1/4, ... 1/32
        inputs = (channels[-1], *WIDTHS[:-1])
        skips = (*channels[-2::-1], 0)
        self.stages = nn.ModuleList(
            Stage(*widths) for widths in zip(inputs, skips, WIDTHS, strict=True)
        )
        self.heads = nn.ModuleList(conv3x3(width, 1) for width in WIDTHS[:0:-1])  # fine to coarse

    def forward(self, x: Tensor) -> Tensor:
        """The finest head's number, in 0..1, larger is nearer.

        Args:
            x: (B, 3, h, w) RGB in 0..1, h and w multiples of 32.

        Returns:
            (B, h, w) float32.
        """
        finest = self.maps(self.features(x))[0]
        return self.sigmoid_disparity(0, finest)

    def features(self, x: Tensor) -> list[Tensor]:
        """The encoder's five maps, (B, ., h/2, w/2) to (B, ., h/32, w/32)."""
        features: list[Tensor] = self.encoder((x - MEAN) / STD)
        return features

    def maps(self, features: list[Tensor]) -> list[Tensor]:
        """What the four heads see, (B, 16, h, w) to (B, 128, h/8, w/8)."""
        x, maps = features[-1], []
        for stage, skip in zip(self.stages, (*features[-2::-1], None), strict=True):
            x = stage(x, skip)
            maps.append(x)
        return maps[:0:-1]

    def sigmoid_disparity(self, scale: int, features: Tensor) -> Tensor:
        """Head `scale`, 0 the finest: (B, ., a, b) -> (B, a, b) float32 in 0..1."""
        x: Tensor = self.heads[scale](features)[:, 0]
        return x.float().sigmoid()  # in full precision
