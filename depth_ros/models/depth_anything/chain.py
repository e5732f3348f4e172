# SPDX-License-Identifier: Apache-2.0
"""How each version has pictures brought to its network, and depth back from it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from depth_ros.models.depth_anything.network import PATCH
from depth_ros.resample import resize


@dataclass(frozen=True, slots=True)
class Chain:
    """The rules of a version, as published.

    Args:
        side: the length `patches` scales to [px].
        patches: height, width, side -> patches (p, q).
        resized: picture (3, H, W) in 0..1, (h, w) -> (3, h, w).
        corners: on the way back corner pixels fall on corner pixels (`align_corners`).
    """

    side: int
    patches: Callable[[int, int, int], tuple[int, int]]
    resized: Callable[[Tensor, tuple[int, int]], Tensor]
    corners: bool


def _shortest_side(height: int, width: int, side: int) -> tuple[int, int]:
    """Patches (p, q) such that no side is below `side` px; versions 1 and 2."""
    scale = max(side / height, side / width)

    def patches(length: int) -> int:
        n = round(scale * length / PATCH)  # half to even
        return n if n * PATCH >= side else math.ceil(scale * length / PATCH)

    return patches(height), patches(width)


def _longest_side(height: int, width: int, side: int) -> tuple[int, int]:
    """Patches (p, q) such that the longest side is `side` px; version 3."""
    scale = side / max(height, width)

    def patches(length: int) -> int:
        return max(1, math.floor(round(scale * length) / PATCH + 0.5))  # ties up

    return patches(height), patches(width)


def _squeezed(height: int, width: int, side: int) -> tuple[int, int]:
    """Patches (p, q) of 392x518 px whatever the picture's shape, of `side` px for 518; bins."""
    q = max(1, round(side / PATCH))
    return max(1, round(28 / 37 * q)), q


def _cubic(x: Tensor, size: tuple[int, int]) -> Tensor:
    # cv2.INTER_CUBIC: no antialiasing, and overshoot stays
    return F.interpolate(x[None], size=size, mode='bicubic', align_corners=False)[0]


def _area(x: Tensor, size: tuple[int, int]) -> Tensor:
    # In one step; the publishers go to the longest side first and to multiples of 14 then.
    grows = size[0] > x.shape[1] or size[1] > x.shape[2]
    return resize(x, size, 'cubic' if grows else 'area').clamp(0, 1)


def _corners(x: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(x[None], size=size, mode='bilinear', align_corners=True)[0]


#: By version; the metric networks of version 1 have one of their own.
CHAINS: dict[int | str, Chain] = {
    1: Chain(518, _shortest_side, _cubic, corners=False),
    2: Chain(518, _shortest_side, _cubic, corners=True),
    3: Chain(504, _longest_side, _area, corners=False),
    # the way back is the one their loss was computed with
    'bins': Chain(518, _squeezed, _corners, corners=True),
}
