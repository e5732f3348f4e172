# SPDX-License-Identifier: Apache-2.0
"""Filter `edges`: flying pixels, points in the air between a near and a far surface, become NaN.

Networks blur the edges of depth, and the pixels of the blur are on neither surface. Such a pixel
is between its neighbours on both sides, more than `step` away from each. A plane seen at a grazing
angle, such as a floor, looks the same from near, but it goes on: a pixel stays if the slope to its
neighbours is, within a quarter, that over `REACH` pixels to both sides. Where the network
estimates normals, it also stays if its normal explains the slope (`slant`): so do the sides of
round and small objects, which do not go on that far.

All comparisons are of log depth, which makes them relative, in units of 1 / `SCALE`: 16-bit
integers take a CPU a third of the time of float32. A plane is straight in inverse depth; in log
depth it is straight enough while depth changes by less than 8 % from pixel to pixel.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from depth_ros.core.camera import Camera
from depth_ros.pipeline.filters.mark import with_nan
from depth_ros.pipeline.filters.slant import slanted, slanted_at

REACH = 8  #: pixels to each side over which a plane goes on, of an image of `WIDTH`
#: images are compared at about this width: networks blur wider images more, as seen in pixels
WIDTH = 640
SCALE = 2048  #: units of log depth
_LIMIT = 7.9  #: of log depth, so that 16 bits hold it: 0.4 mm to 2.7 km
_STEEPEST = 4095  #: units over two pixels; `REACH` times as many fit into 16 bits
_MOST = 32767
#: each margin of `REACH` pixels, and the pixels that it continues
_BORDERS = (
    (np.s_[:, :REACH], np.s_[:, REACH : REACH + 1]),
    (np.s_[:, -REACH:], np.s_[:, -REACH - 1 : -REACH]),
    (np.s_[:REACH], np.s_[REACH : REACH + 1]),
    (np.s_[-REACH:], np.s_[-REACH - 1 : -REACH]),
)
_CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))


def without_flying_pixels(
    z: Tensor, step: float, normals: Tensor | None = None, camera: Camera | None = None
) -> Tensor:
    """Mark flying pixels.

    Args:
        z: (H, W) float32 [m], positive or NaN. +Inf is a surface behind all others; NaN is
            unknown, and its neighbours stay.
        step: relative difference of depth to the neighbours on both sides; 0 marks nothing.
        normals: (H, W, 3) float32, as in `Prediction`; or None.
        camera: of `z`, undistorted; needed for `normals`.

    Returns:
        (H, W) float32, a copy with NaN for flying pixels; `z` itself if step is 0.
    """
    if step <= 0:
        return z
    reach = _stride(z.shape[1])
    if z.device.type != 'cpu':
        flying = _flying_by_torch(z, step)
        if normals is not None and camera is not None:
            flying &= ~slanted(z, normals, camera, step, reach)
        return torch.where(flying, torch.nan, z)
    values, marks = z.numpy(), _flying_by_opencv(z.numpy(), step)
    if normals is not None and camera is not None:
        marks[slanted_at(marks, values, normals.numpy(), camera, step, reach)] = False
    return torch.from_numpy(with_nan(values, marks))


def _units(step: float) -> int:
    return max(1, round(step * SCALE))


def _stride(width: int) -> int:
    return max(1, round(width / WIDTH))


def _flying_by_opencv(z: NDArray[np.float32], step: float) -> NDArray[np.bool_]:
    """(H, W) bool."""
    height, width = z.shape
    stride = _stride(width)
    z = np.ascontiguousarray(z[::stride, ::stride])
    units = np.int16(_units(step))
    known = z > 0
    log: Any = cv2.log(z)
    np.clip(log, -_LIMIT, _LIMIT, out=log)
    levels: Any = cv2.addWeighted(log, SCALE, log, 0, 0, dtype=cv2.CV_16S)  # rounds
    levels *= known  # what OpenCV makes of NaN differs
    levels = _continued(levels)
    flying = _between_rows(levels[:, REACH:-REACH], units)
    columns = _between_rows(cv2.transpose(levels[REACH:-REACH]), units)
    marks: Any = flying.view(np.uint8)
    marks |= cv2.transpose(columns.view(np.uint8))
    marks &= cv2.erode(known.view(np.uint8), _CROSS)
    if stride > 1:
        size = z.shape[1] * stride, z.shape[0] * stride
        marks = cv2.resize(marks, size, interpolation=cv2.INTER_NEAREST)
    return np.asarray(marks[:height, :width]).view(np.bool_)


def _continued(levels: NDArray[np.int16]) -> NDArray[np.int16]:
    """(h + 2 REACH, w + 2 REACH): the borders go on as they were, with the same slopes."""
    r = REACH
    wide: Any = cv2.copyMakeBorder(levels, r, r, r, r, cv2.BORDER_REFLECT_101)
    for side, edge in _BORDERS:
        beyond = 2 * wide[edge].astype(np.int32) - wide[side]
        wide[side] = np.clip(beyond, -_MOST, _MOST)
    return np.asarray(wide, np.int16)


def _between_rows(levels: NDArray[Any], units: np.int16) -> NDArray[np.bool_]:
    """(h, w) bool of (h + 2 REACH, w): between the rows above and below, and not on a plane."""
    r, height = REACH, len(levels) - 2 * REACH
    steps = cv2.subtract(levels[r : r + height + 1], levels[r - 1 : r + height])
    above, below = steps[:-1], steps[1:]
    flying = np.minimum(above, below) > units
    flying |= np.maximum(above, below) < -units
    slope = cv2.add(above, below)  # over two pixels
    np.clip(slope, -_STEEPEST, _STEEPEST, out=slope)
    middle = levels[r : r + height]
    before = cv2.subtract(middle, levels[:height])
    after = cv2.subtract(levels[2 * r :], middle)
    whole = cv2.add(before, after)
    deviation = cv2.absdiff(whole, slope * np.int16(r))
    plane = deviation <= np.abs(slope) * np.int16(r // 4)  # a quarter
    plane &= cv2.absdiff(before, after) <= np.abs(whole) >> 1  # not all of it on one side
    np.greater(flying, plane, out=flying)  # flying and not plane
    flying[:1] = flying[-1:] = False  # nothing is known beyond
    return np.asarray(flying)


def _flying_by_torch(z: Tensor, step: float) -> Tensor:
    """(H, W) bool, as by OpenCV."""
    height, width = z.shape
    stride = _stride(width)
    z = z[::stride, ::stride]
    unknown = ~(z > 0)
    log = torch.log(z).clamp(-_LIMIT, _LIMIT)
    levels = torch.where(unknown, 0, log * SCALE).round().to(torch.int32)
    r, units = REACH, _units(step)
    levels = _continued_by_torch(levels)
    flying = _between_rows_by_torch(levels[:, r:-r], units)
    flying |= _between_rows_by_torch(levels[r:-r].T, units).T
    for axis in (0, 1):
        there = unknown.narrow(axis, 1, unknown.shape[axis] - 1)
        here = unknown.narrow(axis, 0, unknown.shape[axis] - 1)
        flying.narrow(axis, 0, there.shape[axis]).logical_and_(~there)
        flying.narrow(axis, 1, there.shape[axis]).logical_and_(~here)
    flying &= ~unknown
    flying = flying.repeat_interleave(stride, 0).repeat_interleave(stride, 1)
    return flying[:height, :width]


def _continued_by_torch(levels: Tensor) -> Tensor:
    """As `_continued`."""
    for axis in (0, 1):
        n = levels.shape[axis]
        inside = torch.arange(1, REACH + 1, device=levels.device).clamp(max=n - 1)
        first, last = levels.narrow(axis, 0, 1), levels.narrow(axis, n - 1, 1)
        before = 2 * first - levels.index_select(axis, inside.flip(0))
        after = 2 * last - levels.index_select(axis, n - 1 - inside)
        levels = torch.cat((before.clamp(-_MOST, _MOST), levels, after.clamp(-_MOST, _MOST)), axis)
    return levels


def _between_rows_by_torch(levels: Tensor, units: int) -> Tensor:
    """As `_between_rows`."""
    r, height = REACH, len(levels) - 2 * REACH
    steps = levels[r : r + height + 1] - levels[r - 1 : r + height]
    above, below = steps[:-1], steps[1:]
    flying = (torch.minimum(above, below) > units) | (torch.maximum(above, below) < -units)
    slope = (above + below).clamp(-_STEEPEST, _STEEPEST)
    middle = levels[r : r + height]
    before = (middle - levels[:height]).clamp(-_MOST, _MOST)
    after = (levels[2 * r :] - middle).clamp(-_MOST, _MOST)
    whole = (before + after).clamp(-_MOST, _MOST)
    plane = (whole - slope * r).abs() <= slope.abs() * (r // 4)
    plane &= (before - after).abs() <= whole.abs() // 2
    flying &= ~plane
    flying[:1] = flying[-1:] = False
    return flying
