# SPDX-License-Identifier: Apache-2.0
"""The layers: timm's ResNet encoder and a decoder that upsamples five times.

Layer names are ours; `checkpoint` translates the published ones. B batch, h x w input [px].
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
    """The parts of a preset's `variant`, the published name, such as mono+stereo_640x192.

    Args:
        training: 'mono' (image sequences of one camera), 'stereo' (stereo pairs) or 'mono+stereo'
            (both).
        encoder: name in timm.
        width: width of the network input [px].
        height: height of the network input [px].
    """

    training: str
    encoder: str
    width: int
    height: int

    @classmethod
    def parse(cls, text: str) -> Variant:
        """Parse the `variant` of a preset; no_pt (encoder not pretrained) is the same network.

        Raises:
            ConfigError: `text` is no variant of this family.
        """
        match = re.fullmatch(
            r'(mono|stereo|mono\+stereo)_(?:no_pt_|(resnet50)_)?(\d+)x(\d+)', text
        )
        if match is None:
            raise ConfigError(f'variant {text!r} is not of monodepth2; an example is mono_640x192')
        return cls(match[1], match[2] or 'resnet18', int(match[3]), int(match[4]))

    @property
    def stereo(self) -> bool:
        """Whether training used stereo pairs, whose baseline defines the unit of depth."""
        return self.training != 'mono'


def conv3x3(inputs: int, outputs: int) -> nn.Conv2d:
    """3x3 convolution with reflection padding, which keeps the size."""
    return nn.Conv2d(inputs, outputs, 3, padding=1, padding_mode='reflect')


class Stage(nn.Module):
    """Upsample by two and add the map of the encoder of that size.

    Args:
        inputs: channels of the input.
        skip: channels of the map of the encoder; 0 at full size, where there is none.
        outputs: channels of the output.
    """

    def __init__(self, inputs: int, skip: int, outputs: int) -> None:
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

    The paper calls the output disparity: it is inverse depth, mapped to 0..1. Only the finest head
    is needed; the other three are for training.

    Source: Godard et al. 2019, arXiv 1806.01260.
    """

    def __init__(self, variant: Variant) -> None:
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
        """Output of the finest head, in 0..1; larger is closer.

        Args:
            x: (B, 3, h, w) RGB in 0..1, h and w multiples of 32.

        Returns:
            (B, h, w) float32.
        """
        finest = self.maps(self.features(x))[0]
        return self.sigmoid_disparity(0, finest)

    def features(self, x: Tensor) -> list[Tensor]:
        """Five maps of the encoder, (B, ., h/2, w/2) to (B, ., h/32, w/32)."""
        features: list[Tensor] = self.encoder((x - MEAN) / STD)
        return features

    def maps(self, features: list[Tensor]) -> list[Tensor]:
        """Inputs of the four heads, (B, 16, h, w) to (B, 128, h/8, w/8)."""
        x, maps = features[-1], []
        for stage, skip in zip(self.stages, (*features[-2::-1], None), strict=True):
            x = stage(x, skip)
            maps.append(x)
        return maps[:0:-1]

    def sigmoid_disparity(self, scale: int, features: Tensor) -> Tensor:
        """Output of head `scale`, 0 is the finest: (B, ., a, b) -> (B, a, b) float32 in 0..1."""
        x: Tensor = self.heads[scale](features)[:, 0]
        return x.float().sigmoid()  # in fp32
