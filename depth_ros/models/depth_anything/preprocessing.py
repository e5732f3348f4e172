# SPDX-License-Identifier: Apache-2.0
"""Published preprocessing of each version: how images are resized for the network."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from depth_ros.core.resample import resize_uint8
from depth_ros.models.dinov2 import PATCH


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """Resizing of a version, as published.

    Args:
        side: default input size [px]; `patches` defines which side.
        patches: height, width, side -> patches (p, q).
        resize: image (H, W, 3) uint8, (h, w), side -> (3, h, w) float32 in 0..1.
        aligned: what is resized with `align_corners`: none, output or both.
        kernel: of `resize`, as `onnx.resize` names it.
    """

    side: int
    patches: Callable[[int, int, int], tuple[int, int]]
    resize: Callable[[Tensor, tuple[int, int], int], Tensor]
    aligned: str
    kernel: str


def _shortest_side(height: int, width: int, side: int) -> tuple[int, int]:
    """Patches (p, q) so that the shorter side is at least `side` px; versions 1 and 2."""
    scale = max(side / height, side / width)

    def patches(length: int) -> int:
        n = round(scale * length / PATCH)  # rounds half to even
        return n if n * PATCH >= side else math.ceil(scale * length / PATCH)

    return patches(height), patches(width)


def _longest_side(height: int, width: int, side: int) -> tuple[int, int]:
    """Patches (p, q) so that the longer side is `side` px; version 3."""

    def patches(length: int) -> int:
        return max(1, math.floor(length / PATCH + 0.5))  # rounds half up

    h, w = _scaled(height, width, side)
    return patches(h), patches(w)


def _scaled(height: int, width: int, side: int) -> tuple[int, int]:
    """(h, w) with a longer side of `side` px, before rounding to whole patches."""
    scale = side / max(height, width)
    return max(1, round(scale * height)), max(1, round(scale * width))


def _fixed_aspect(height: int, width: int, side: int) -> tuple[int, int]:
    """Patches (p, q) of width `side` px and the ratio 392:518, for any aspect ratio; bins."""
    q = max(1, round(side / PATCH))
    return max(1, round(28 / 37 * q)), q


def _to_float(rgb: Tensor) -> Tensor:
    return rgb.permute(2, 0, 1).float() / 255  # (3, H, W)


def _resize_cubic(rgb: Tensor, size: tuple[int, int], side: int) -> Tensor:
    # as cv2.INTER_CUBIC of floats: without antialiasing, and overshoot is not clipped
    return F.interpolate(_to_float(rgb)[None], size=size, mode='bicubic', align_corners=False)[0]


def _resize_in_two_steps(rgb: Tensor, size: tuple[int, int], side: int) -> Tensor:
    """Resize to a longer side of `side` px, then to multiples of 14, both as uint8."""
    height, width = rgb.shape[:2]
    for to in (_scaled(height, width, side), size):
        grows = to[0] > rgb.shape[0] or to[1] > rgb.shape[1]
        rgb = resize_uint8(rgb, to, 'cubic' if grows else 'area')
    return _to_float(rgb)


def _resize_aligned(rgb: Tensor, size: tuple[int, int], side: int) -> Tensor:
    return F.interpolate(_to_float(rgb)[None], size=size, mode='bilinear', align_corners=True)[0]


#: By version; 'bins' are the metric networks of version 1.
PREPROCESSING: dict[int | str, Preprocessing] = {
    1: Preprocessing(518, _shortest_side, _resize_cubic, 'none', 'cubic'),
    2: Preprocessing(518, _shortest_side, _resize_cubic, 'output', 'cubic'),
    3: Preprocessing(504, _longest_side, _resize_in_two_steps, 'none', 'opencv_area_or_cubic'),
    # the output is resized as for their training loss
    'bins': Preprocessing(518, _fixed_aspect, _resize_aligned, 'both', 'linear'),
}
