# SPDX-License-Identifier: Apache-2.0
"""How each version has pictures brought to its network, and depth back from it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from depth_ros.core.resample import resize_uint8
from depth_ros.models.depth_anything.network import PATCH


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """The rules of a version, as published.

    Args:
        side: the length `patches` scales to [px].
        patches: height, width, side -> patches (p, q).
        resized: picture (H, W, 3) uint8, (h, w), side -> (3, h, w) float32 in 0..1.
        corners: on the way back corner pixels fall on corner pixels (`align_corners`).
    """

    side: int
    patches: Callable[[int, int, int], tuple[int, int]]
    resized: Callable[[Tensor, tuple[int, int], int], Tensor]
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

    def patches(length: int) -> int:
        return max(1, math.floor(length / PATCH + 0.5))  # ties up

    h, w = _scaled(height, width, side)
    return patches(h), patches(w)


def _scaled(height: int, width: int, side: int) -> tuple[int, int]:
    """(h, w) with the longest `side` [px], before it is brought to whole patches."""
    scale = side / max(height, width)
    return max(1, round(scale * height)), max(1, round(scale * width))


def _squeezed(height: int, width: int, side: int) -> tuple[int, int]:
    """Patches (p, q) of 392x518 px whatever the picture's shape, of `side` px for 518; bins."""
    q = max(1, round(side / PATCH))
    return max(1, round(28 / 37 * q)), q


def _floats(rgb: Tensor) -> Tensor:
    return rgb.permute(2, 0, 1).float() / 255  # (3, H, W)


def _cubic(rgb: Tensor, size: tuple[int, int], side: int) -> Tensor:
    # cv2.INTER_CUBIC of floats: no antialiasing, and overshoot stays
    return F.interpolate(_floats(rgb)[None], size=size, mode='bicubic', align_corners=False)[0]


def _in_two_steps(rgb: Tensor, size: tuple[int, int], side: int) -> Tensor:
    """To a longest side of `side` first and to multiples of 14 then, bytes both times."""
    height, width = rgb.shape[:2]
    for to in (_scaled(height, width, side), size):
        grows = to[0] > rgb.shape[0] or to[1] > rgb.shape[1]
        rgb = resize_uint8(rgb, to, 'cubic' if grows else 'area')
    return _floats(rgb)


def _corners(rgb: Tensor, size: tuple[int, int], side: int) -> Tensor:
    return F.interpolate(_floats(rgb)[None], size=size, mode='bilinear', align_corners=True)[0]


#: By version; the metric networks of version 1 have one of their own.
PREPROCESSING: dict[int | str, Preprocessing] = {
    1: Preprocessing(518, _shortest_side, _cubic, corners=False),
    2: Preprocessing(518, _shortest_side, _cubic, corners=True),
    3: Preprocessing(504, _longest_side, _in_two_steps, corners=False),
    # the way back is the one their loss was computed with
    'bins': Preprocessing(518, _squeezed, _corners, corners=True),
}
