# SPDX-License-Identifier: Apache-2.0
"""Metrics of sequences: how the scale changes, and whether depth agrees from frame to frame."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from depth_ros.core.camera import Camera
from depth_ros.core.geometry import is_inside, pixel_rays, project
from depth_ros.pipeline.two_views.poses import Pose4x4

#: of a sequence, for the temporal alignment error: frames are held in memory
MOST_FRAMES = 300
WIDEST_PX = 640  #: of these frames
FEWEST_PIXELS = 100  #: of a pair
HIDDEN = 1.1  #: a point that is this much farther than another at the same pixel is hidden by it

Depth = NDArray[np.floating]


@dataclass(frozen=True, slots=True)
class Drift:
    """How the scale of a network changes over a sequence.

    The ratio of a frame is the median of truth / prediction.

    Args:
        frames: number of frames.
        median: of the ratios.
        spread: standard deviation of the logarithm of the ratios: 0.1 is 10 %.
        jitter: median of the change of log ratio from frame to frame.
        slope: of log ratio over time [1/s], by least squares; NaN without times.
    """

    frames: int
    median: float
    spread: float
    jitter: float
    slope: float


def drift(ratios: Sequence[float], times_s: Sequence[float]) -> Drift:
    """Change of the scale over a sequence of frames.

    Args:
        ratios: median of truth / prediction of each frame, positive.
        times_s: of each frame [s]; all the same if they are not known.
    """
    log_ratio, t = np.log(ratios), np.asarray(times_s, float)
    t = t - t.mean()
    steps = np.abs(np.diff(log_ratio))
    return Drift(
        len(log_ratio),
        float(np.exp(np.median(log_ratio))),
        float(np.std(log_ratio)),
        float(np.median(steps)) if len(steps) else math.nan,
        float(t @ log_ratio / (t @ t)) if t @ t > 0 else math.nan,
    )


@dataclass(frozen=True, slots=True)
class View:
    """Depth of a frame whose pose is known.

    Args:
        z: (H, W) [m]; not finite where unknown.
        camera: of `z`, undistorted.
        T_world_camera: (4, 4) [m], pose of the optical frame.
    """

    z: Depth
    camera: Camera
    T_world_camera: Pose4x4

    @classmethod
    def of(cls, z: Depth, camera: Camera, T_world_camera: Pose4x4) -> View:
        """A view with at most `WIDEST_PX` columns: of a larger one every n-th pixel."""
        step = -(-camera.width // WIDEST_PX)
        first = step // 2
        small = z[first::step, first::step]
        height, width = small.shape
        camera = Camera(
            width,
            height,
            camera.fx / step,
            camera.fy / step,
            (camera.cx - first) / step,
            (camera.cy - first) / step,
        )
        return cls(small.astype(np.float32), camera, T_world_camera)


def temporal_alignment_error(views: Sequence[View], factor: float = 1.0) -> float:
    """Temporal alignment error (TAE) of the depth of a sequence.

    For each two frames that follow each other, the points of one are moved by the known poses into
    the camera of the other, and compared with its depth at the pixels where they fall: the mean of
    |Z_moved - Z| / Z. Both directions of all pairs are averaged, as by Yang et al. 2024 (Depth Any
    Video, arXiv 2410.10815) and Chen et al. 2025 (Video Depth Anything, arXiv 2501.12375), who
    give it times 100. Of several points at one pixel only those close to the nearest are compared,
    as the others are hidden there.

    Args:
        views: at least two.
        factor: with which depth is multiplied.

    Returns:
        The error as a fraction; NaN if no pair has enough pixels.
    """
    errors = [
        error
        for first, second in pairwise(views)
        for error in (_moved(first, second, factor), _moved(second, first, factor))
    ]
    return float(np.mean(errors)) if (errors := [e for e in errors if e == e]) else math.nan


def _moved(first: View, second: View, factor: float) -> float:
    """AbsRel of the points of `first` in the camera of `second`; NaN for too few pixels."""
    known = np.isfinite(first.z) & (first.z > 0)
    rows, columns = np.nonzero(known)
    z = factor * first.z[known].astype(np.float64)
    points = pixel_rays(columns.astype(float), rows.astype(float), first.camera) * z[:, None]
    T = np.linalg.inv(second.T_world_camera) @ first.T_world_camera
    points = points @ T[:3, :3].T + T[:3, 3]
    points = points[points[:, 2] > 1e-3]
    u, v = project(points, second.camera)
    inside = is_inside(u, v, second.camera)
    at = np.rint(v[inside]).astype(int) * second.camera.width + np.rint(u[inside]).astype(int)
    moved = points[inside, 2]
    nearest = np.full(second.z.size, np.inf)
    np.minimum.at(nearest, at, moved)
    there = factor * second.z.ravel()[at].astype(np.float64)
    compared = np.isfinite(there) & (there > 0) & (moved <= HIDDEN * nearest[at])
    if np.count_nonzero(compared) < FEWEST_PIXELS:
        return math.nan
    return float(np.mean(np.abs(moved - there)[compared] / there[compared]))
