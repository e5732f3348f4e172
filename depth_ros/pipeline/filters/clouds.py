# SPDX-License-Identifier: Apache-2.0
"""The filters of point clouds by their parameters: first `ground`, then `voxel`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from torch import Tensor

from depth_ros.core.types import DepthMap
from depth_ros.parameters.settings import Points
from depth_ros.pipeline.filters.ground import without_ground, without_ground_around
from depth_ros.pipeline.filters.voxel import is_kept


def surfaces(depth: DepthMap, points: Points, stride: int) -> DepthMap:
    """The depth map of what a cloud of every `stride`-th column and row has points of."""
    if points.ground == 'keep' or depth.floor is None:
        return depth
    if (lens := depth.lens) is not None:
        ranges = without_ground_around(lens, depth.floor, points.ground_height, stride)
        return replace(depth, lens=replace(lens, ranges=ranges))
    z = without_ground(
        depth.z, depth.camera, depth.floor, points.ground_height, stride, depth.normals
    )
    return replace(depth, z=z)


def thinning(points: Points, *, around: bool = False) -> Callable[[Tensor], Tensor] | None:
    """Which points of a finite cloud (N, >= 3) are kept, (N,) bool; None if all are.

    Args:
        points: the parameters.
        around: the cloud is of a wide lens, and may have points behind the camera.
    """
    if points.voxel <= 0:
        return None
    return partial(is_kept, size=points.voxel, growth=points.voxel_growth, around=around)
