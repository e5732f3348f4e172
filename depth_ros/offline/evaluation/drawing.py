# SPDX-License-Identifier: Apache-2.0
"""Depth and its errors as colours, with legends; all images are RGB, (H, W, 3) uint8."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

Image8 = NDArray[np.uint8]
Depth = NDArray[np.float32]

SKY = (205, 208, 214)
UNKNOWN = (58, 62, 70)  #: where there is no truth
BACKGROUND = (22, 24, 29)
INK = (226, 229, 235)
WIDTH, FOOT = 480, 46  #: panels and legends [px]
NICE = (0.3, 0.5, 0.7, 1, 1.5, 2, 3, 4, 6, 8, 10, 15, 20, 30, 40, 60, 80)  #: ticks [m]
MAX_ERROR = 0.5  #: relative error with the full colour


def colour_range(truth: Depth) -> tuple[float, float]:
    """Depths [m] of the ends of the colour map: round numbers around most of `truth`."""
    valid = truth[np.isfinite(truth)]
    low, high = np.percentile(valid, (2, 95)) if valid.size else (1, 10)
    near = max((n for n in NICE if n <= low), default=NICE[0])
    return float(near), float(min((n for n in NICE if n >= max(high, 2 * near)), default=NICE[-1]))


def median_depth(truth: Depth) -> float:
    """Median of depth [m], of any shape; 5 if all of it is sky."""
    valid = truth[np.isfinite(truth)]
    return float(np.median(valid)) if valid.size else 5.0


def colourise(depth: Depth, near: float, far: float) -> Image8:
    """Colour log depth between `near` and `far` [m]; invalid is black, sky light grey."""
    known = np.clip(np.nan_to_num(depth, nan=near), near, far)
    image = _colour_map(np.log(known / near) / math.log(far / near))
    image[np.isnan(depth) | (depth <= 0)] = 0
    image[np.isposinf(depth)] = SKY
    return image


def _colour_map(level: NDArray[np.floating]) -> Image8:
    """Turbo without its dark ends: 0 (near) is red, 1 (far) blue."""
    index = (238 - 216 * level).astype(np.uint8)
    turbo = cv2.applyColorMap(index, cv2.COLORMAP_TURBO)
    return np.asarray(cv2.cvtColor(turbo, cv2.COLOR_BGR2RGB), np.uint8)


def error_image(depth: Depth, truth: Depth) -> Image8:
    """Relative error of depth (H, W): white is none, red too far, blue too near, grey sky."""
    with np.errstate(invalid='ignore', divide='ignore'):
        error = depth / truth - 1
    image = _diverging(np.nan_to_num(error / MAX_ERROR, nan=0.0, posinf=1.0))
    image[np.isnan(depth)] = 0
    image[np.isinf(truth)] = SKY
    return image


def _diverging(level: NDArray[np.floating]) -> Image8:
    """Colour map: -1 blue, 0 white, 1 red."""
    level = np.clip(level, -1, 1)[..., None]
    ends = np.where(level > 0, (196, 30, 58), (33, 88, 188))
    return np.asarray(np.rint(255 + (ends - 255) * np.abs(level)), np.uint8)


def depth_legend(near: float, far: float) -> Image8:
    """Legend of `colourise`, as wide as a panel."""
    ticks = [n for n in NICE if near <= n <= far]
    marks = [
        (math.log(n / near) / math.log(far / near), f'{n:g}')
        for n in ticks[:: -(-len(ticks) // 8)]
    ]
    return _legend(_colour_map(np.linspace(0, 1, WIDTH)[None]), marks, 'm')


def error_legend() -> Image8:
    """Legend of `error_image`, as wide as a panel."""
    percent = round(100 * MAX_ERROR)
    marks = [(0.0, f'{percent} % too near'), (0.5, '0'), (1.0, f'{percent} % too far')]
    return _legend(_diverging(np.linspace(-1, 1, WIDTH)[None]), marks, '')


def difference_image(error: Depth, most: float) -> Image8:
    """Difference of two images (H, W): black is none, bright is `most`; NaN is dark grey."""
    image = _brightness(np.nan_to_num(error) / most)
    image[np.isnan(error)] = UNKNOWN
    return image


def difference_legend(most: float) -> Image8:
    """Legend of `difference_image`, as wide as a panel."""
    marks = [(share, f'{share * most:.2g}') for share in (0.0, 0.5, 1.0)]
    return _legend(_brightness(np.linspace(0, 1, WIDTH)[None]), marks, '')


def _brightness(level: NDArray[np.floating]) -> Image8:
    index = np.rint(255 * np.clip(level, 0, 1)).astype(np.uint8)
    colours = cv2.applyColorMap(index, cv2.COLORMAP_INFERNO)
    return np.asarray(cv2.cvtColor(colours, cv2.COLOR_BGR2RGB), np.uint8)


def _legend(colours: Image8, marks: Sequence[tuple[float, str]], unit: str) -> Image8:
    strip = np.full((FOOT, WIDTH, 3), BACKGROUND, np.uint8)
    left, right = 8, WIDTH - (44 if unit else 8)
    strip[8:18, left:right] = cv2.resize(colours, (right - left, 10))
    for fraction, text in marks:
        x = left + fraction * (right - left)
        write_text(strip, text, (x, 39), 0.52, fraction if len(marks) < 4 else 0.5)
    if unit:
        write_text(strip, unit, (WIDTH - 8, 39), 0.52, 1)
    return strip


def write_text(
    image: Image8, text: str, at: tuple[float, float], size: float, align: float = 0.0
) -> None:
    """Write text with its baseline at `at`; `align` of its width is left of that."""
    (width, _), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size, 1)
    x = min(max(at[0] - align * width, 2), image.shape[1] - width - 2)
    corner = round(x), round(at[1])
    cv2.putText(image, text, corner, cv2.FONT_HERSHEY_SIMPLEX, size, INK, 1, cv2.LINE_AA)


def resize_to_width(image: Image8, width: int = WIDTH) -> Image8:
    """Resize an image to a width [px], keeping its aspect ratio."""
    interpolation = cv2.INTER_AREA if image.shape[1] > width else cv2.INTER_CUBIC
    height = round(width * image.shape[0] / image.shape[1])
    resized = cv2.resize(image, (width, height), interpolation=interpolation)
    return np.asarray(resized, np.uint8)


def enlarged(image: Image8, there: NDArray[np.bool_], radius: int) -> Image8:
    """Pixels of an image that are there, as squares; dark grey elsewhere.

    Args:
        image: (H, W, 3) uint8.
        there: (H, W) bool.
        radius: of the squares [px]; where two overlap, one of them is taken.
    """
    result = np.where(there[..., None], image, np.uint8(0))
    if radius:
        square = np.ones((2 * radius + 1, 2 * radius + 1), np.uint8)
        y, x = np.nonzero(there)
        nearest = np.zeros(there.shape, np.int32)
        nearest[y, x] = np.arange(1, len(y) + 1)
        nearest = cv2.dilate(nearest.astype(np.float32), square).astype(np.int32)
        there = nearest > 0
        result = np.where(there[..., None], image[y, x][nearest - 1] if len(y) else 0, 0)
    return np.where(there[..., None], result, np.array(UNKNOWN)).astype(np.uint8)
