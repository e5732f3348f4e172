# SPDX-License-Identifier: Apache-2.0
"""Variants of the family: version, kind of network, and dimensions."""

from __future__ import annotations

import re
from dataclasses import dataclass

from depth_ros.core.errors import ConfigError
from depth_ros.models.interface import Preset


@dataclass(frozen=True, slots=True)
class Size:
    """Dimensions of the network, from ViT-S to ViT-L.

    Args:
        encoder: name in timm.
        width: C.
        features: F.
        channels: channels of the four input maps of the head, fine to coarse.
        taps: encoder blocks (0-based) the head uses in versions 2 and 3; version 1 uses the last
            four.
    """

    encoder: str
    width: int
    features: int
    channels: tuple[int, int, int, int]
    taps: tuple[int, int, int, int]


SIZES = {
    'vits': Size('vit_small_patch14_dinov2', 384, 64, (48, 96, 192, 384), (2, 5, 8, 11)),
    'vitb': Size('vit_base_patch14_dinov2', 768, 128, (96, 192, 384, 768), (2, 5, 8, 11)),
    'vitl': Size('vit_large_patch14_dinov2', 1024, 256, (256, 512, 1024, 1024), (4, 11, 17, 23)),
}


@dataclass(frozen=True, slots=True)
class Variant:
    """The parts of a preset's `variant`, such as v2_metric_vits.

    Args:
        version: 1, 2 or 3.
        role: '' relative (versions 1 and 2), 'metric', or 'mono' or 'any' (version 3).
        max_depth: largest depth of the metric networks of versions 1 and 2 [m]; 0 for all others.
        size: a key of `SIZES`.
    """

    version: int
    role: str
    max_depth: float
    size: str

    @classmethod
    def parse(cls, text: str, max_depth: float = 0.0) -> Variant:
        """Parse the `variant` and `max_depth` of a preset.

        Raises:
            ConfigError: `text` is no variant of this family.
        """
        match = re.fullmatch(r'v([123])_(?:(metric|mono|any)_)?(vit[sbl])', text)
        if match is None:
            raise ConfigError(
                f'variant {text!r} is not of depth_anything; an example is v2_metric_vits'
            )
        return cls(int(match[1]), match[2] or '', max_depth, match[3])

    @classmethod
    def of(cls, preset: Preset) -> Variant:
        """The variant of a preset of this family."""
        return cls.parse(preset.variant, preset.max_depth)

    @property
    def network(self) -> str:
        """Kind of network, and so of checkpoint layout: plain, bins, sky or any_view."""
        if self.version == 3:
            return 'any_view' if self.role == 'any' else 'sky'
        return 'bins' if self.version == 1 and self.role else 'plain'

    @property
    def taps(self) -> tuple[int, ...]:
        """Encoder blocks (0-based) whose tokens the head uses."""
        taps = SIZES[self.size].taps
        return tuple(range(taps[-1] - 3, taps[-1] + 1)) if self.version == 1 else taps
