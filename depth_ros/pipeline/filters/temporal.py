# SPDX-License-Identifier: Apache-2.0
"""Filter `temporal`: depth that flickers from frame to frame is averaged over time.

The flicker of networks is mostly one factor for the whole frame, and the rest of it is smooth. So
a small field of factors is filtered, not pixels: edges stay as sharp as in the newest frame. In
each cell the depth of before is moved by the motion of the camera and compared with the new depth.
The median of all ratios, and in each cell the rest of the ratio, pass a first-order low-pass in
log depth. Where the colour or the rest changes too much, only the median is used: something moves
there, or comes into view.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from depth_ros.core.camera import Camera
from depth_ros.core.stamps import went_back
from depth_ros.core.types import Frame
from depth_ros.parameters.settings import FilterSettings, ScalingSettings
from depth_ros.pipeline.filters import motion
from depth_ros.pipeline.filters.motion import Array, Template
from depth_ros.pipeline.two_views.keyframes import relative_pose
from depth_ros.pipeline.two_views.poses import Pose4x4

#: a longer time between two frames starts again [ns]
GAP_NS = 1_000_000_000
#: change of brightness from which a cell shows something else, in standard deviations of the image
COLOR = 0.5
#: with fewer cells that show the same as before, the scene is another one
SAME = 0.5


@dataclass(frozen=True, slots=True)
class _Memory:
    """The frame before.

    Args:
        stamp_ns: its stamp.
        camera: its camera.
        scaling: the user's scale, which changes depth at once.
        template: for the motion since.
        depth: (h, w) filtered depth of the cells [m].
        factor: () median of the log of the factors.
        z: (H, W) filtered depth [m]; None if no pixel may be held.
        age: (H, W) uint8, frames since each pixel was measured; likewise.
        T_odom_camera: its pose; None if it is not known.
    """

    stamp_ns: int
    camera: Camera
    scaling: ScalingSettings
    template: Template
    depth: Array
    factor: Array
    z: Array | None
    age: Array | None
    T_odom_camera: Pose4x4 | None = None


@dataclass(frozen=True, slots=True)
class _Moved:
    """Where the cells of the new frame were in the frame before.

    Args:
        u: (h, w) columns [cells].
        v: (h, w) rows [cells].
        stretch: (h, w) depth now per depth before.
        depth: (h, w) depth before, as seen from now [m]; NaN if unknown.
        shown: (h, w) bool, the colour is the same.
    """

    u: Array
    v: Array
    stretch: Array
    depth: Array
    shown: Array


class Temporal:
    """The filter and the memory of one camera."""

    def __init__(self) -> None:
        self._before: _Memory | None = None

    def clear(self) -> None:
        """Forget the frames before."""
        self._before = None

    def __call__(
        self,
        z: Tensor,
        frame: Frame,
        settings: FilterSettings,
        scaling: ScalingSettings,
    ) -> Tensor:
        """Filter the depth of the next frame.

        Args:
            z: (H, W) float32 [m]; +Inf and -Inf stay, and NaN unless `temporal_hold` is set.
            frame: undistorted, of `z`; without a pose its motion is found in the images.
            settings: `temporal` is the weight of the frames before, `temporal_change` the relative
                change of depth from which they count nothing, and `temporal_hold` the number of
                frames for which a pixel that becomes NaN keeps its depth.
            scaling: of this frame; if it is another than before, the filter starts again.

        Returns:
            (H, W) float32 [m].
        """
        cameras = motion.small_cameras(frame.camera, str(z.device))
        images = motion.small_images(frame.rgb, cameras)
        values = z.numpy() if z.device.type == 'cpu' else z
        cells = motion.sampled(values, cameras[0].size)
        lib, holds = motion.library(cells), settings.temporal_hold > 0
        before, field = self._before, lib.zeros_like(cells)
        age = lib.zeros_like(values, dtype=lib.uint8) if holds else None
        if before is not None and _follows(before, frame, scaling):
            motions = None
            if frame.T_odom_camera is not None and before.T_odom_camera is not None:
                T_now_before = relative_pose(frame.T_odom_camera, before.T_odom_camera)
                motions = motion.known_motion(T_now_before, cells)
            moved = _moved(
                before, cells, images[0], motions or motion.motion_since(before.template, images)
            )
            field = _field(before, cells, moved, settings)
            values = _multiplied(values, lib.exp(field))
            if holds and before.z is not None:
                values, age = _held(values, before, moved, settings.temporal_hold)
            cells = motion.sampled(values, cameras[0].size)
        self._before = _Memory(
            frame.stamp_ns,
            frame.camera,
            scaling,
            motion.template(images, cells, cameras),
            cells,
            _median(field, lib.isfinite(field)),
            values if holds else None,
            age,
            frame.T_odom_camera,
        )
        return values if isinstance(values, Tensor) else torch.from_numpy(values)


def _follows(before: _Memory, frame: Frame, scaling: ScalingSettings) -> bool:
    """Whether a frame is the next one of the same camera and scale."""
    ahead_ns = frame.stamp_ns - before.stamp_ns
    return (
        before.camera == frame.camera
        and before.scaling == scaling
        and ahead_ns <= GAP_NS
        and not went_back(frame.stamp_ns, before.stamp_ns)
    )


def _moved(before: _Memory, cells: Array, image: Array, motions: motion.Motion) -> _Moved:
    """Move the cells of the new depth to the frame before."""
    lib, size, camera = motion.library(cells), cells.shape, before.template.cameras[0]
    # the new depth as the filter would leave it, and where there is none, that of before
    depth = lib.where(lib.isfinite(cells), cells * lib.exp(before.factor), before.depth)
    depth = lib.where(lib.isfinite(depth), depth, lib.ones_like(depth))
    points = motions.backward(camera.points(depth.reshape(-1)))
    u, v = camera.project(points)
    stretch = depth / points[2].clip(motion.NEAREST).reshape(size)
    there = motion.sampled_at(before.depth, u, v, nearest=True)
    color = motion.sampled_at(before.template.images[0], u, v)
    shown = lib.abs(color - image) < COLOR
    return _Moved(u.reshape(size), v.reshape(size), stretch, there * stretch, shown)


def _field(before: _Memory, cells: Array, moved: _Moved, settings: FilterSettings) -> Array:
    """Log of the factor on each cell of the new depth, (h, w)."""
    lib = motion.library(cells)
    same = moved.shown & lib.isfinite(moved.depth) & lib.isfinite(cells)
    one = lib.ones_like(cells)
    # what the new depth would have to be multiplied by, to be that of before
    ratio = lib.log(lib.where(same, moved.depth, one) / lib.where(same, cells, one))
    common = _median(ratio, same)
    rest = ratio - common
    averaged = same & (lib.abs(rest) < settings.temporal_change)
    rest = lib.where(averaged, rest, lib.zeros_like(rest))
    share = same.sum() / cells.size if lib is np else same.float().mean()
    return settings.temporal * (common + rest) * (share > SAME)


def _held(z: Array, before: _Memory, moved: _Moved, frames: int) -> tuple[Array, Array]:
    """Depth and age of the pixels, of which those that became NaN have their depth of before.

    Args:
        z: (H, W) [m].
        before: the frame before, with `z` and `age`.
        moved: from this frame to that.
        frames: for which a pixel keeps its depth.
    """
    lib, (height, width), (h, w) = motion.library(z), z.shape, moved.u.shape
    assert before.z is not None and before.age is not None  # the caller asked
    lost, age = lib.isnan(z).reshape(-1), lib.zeros_like(before.age)
    # on a GPU all pixels: to count those that are lost would wait for it
    pixels = np.flatnonzero(lost) if lib is np else torch.arange(z.numel(), device=z.device)
    row, column = pixels // width, pixels % width
    cell = row * h // height * w + column * w // width
    u = column + (moved.u.reshape(-1)[cell] - cell % w) * (width / w) + 0.5
    v = row + (moved.v.reshape(-1)[cell] - cell // w) * (height / h) + 0.5
    known = moved.shown.reshape(-1)[cell] & (u >= 0) & (v >= 0) & (u < width) & (v < height)
    u, v = lib.where(known, u, u * 0), lib.where(known, v, v * 0)
    source = _whole(v) * width + _whole(u)
    value = before.z.reshape(-1)[source] * moved.stretch.reshape(-1)[cell]
    years = before.age.reshape(-1)[source] + 1
    known &= lib.isfinite(value) & (years <= frames)
    if lib is np:
        z.reshape(-1)[pixels[known]] = value[known]
        age.reshape(-1)[pixels[known]] = years[known]
        return z, age
    known &= lost
    z = torch.where(known, value, z.reshape(-1)).reshape(height, width)
    return z, torch.where(known, years, 0).to(torch.uint8).reshape(height, width)


def _whole(values: Array) -> Array:
    """Integers by truncation."""
    return values.long() if isinstance(values, Tensor) else values.astype(np.int64)


def _median(values: Array, where: Array) -> Array:
    """() median of some values, of two in the middle the lower; 0 if there are none."""
    if isinstance(values, Tensor):
        return torch.where(where, values, torch.nan).nanmedian().nan_to_num()
    chosen = values[where]
    middle = (len(chosen) - 1) // 2
    return np.partition(chosen, middle)[middle] if len(chosen) else np.float32(0)


def _multiplied(z: Any, factors: Any) -> Array:
    """(H, W) new array: `z` times the factors of its cells, interpolated."""
    height, width = z.shape
    if isinstance(factors, Tensor):
        large = F.interpolate(factors[None, None], (height, width), mode='bilinear')
        return z * large[0, 0]
    fine: Any = cv2.resize(factors, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.multiply(fine, z, out=fine)
