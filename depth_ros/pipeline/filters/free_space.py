# SPDX-License-Identifier: Apache-2.0
"""Cloud filter `free_space`: where the rays end along which there is nothing.

Nav2 clears a costmap along the rays to finite points only. Sky and what is beyond the range have
none, so their rays get an end point here.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import torch
from torch import Tensor

from depth_ros.core.camera import Camera
from depth_ros.core.geometry import rays
from depth_ros.core.types import DepthMap


def free_space(depth: DepthMap, length: float) -> DepthMap:
    """The depth map whose points are the ends of the rays, no longer than a length [m]."""
    if (lens := depth.lens) is not None:
        return replace(depth, lens=replace(lens, ranges=lens.free_ranges.clamp(max=length)))
    free_z = depth.z if depth.free_z is None else depth.free_z
    return replace(depth, z=ray_ends(free_z, depth.camera, length))


def ray_ends(z: Tensor, camera: Camera, length: float) -> Tensor:
    """Depth of the end of each ray: that of the pixel, but not beyond a length.

    Args:
        z: (H, W) float32 [m], as in `DepthMap`.
        camera: of `z`.
        length: of the longest ray [m], along the ray.

    Returns:
        (H, W) float32 [m], at most `length` from the camera. +Inf gets an end; NaN and -Inf stay:
        nothing is known along their rays.
    """
    return torch.minimum(z, _longest(camera, str(z.device), length))


@lru_cache(maxsize=8)
def _longest(camera: Camera, device: str, length: float) -> Tensor:
    """(H, W) depth at which the rays of the pixels are `length` long; cached."""
    x, y = rays(camera, device)
    return length / torch.sqrt(1 + x**2 + y**2)


def clear_cache() -> None:
    """Free the table of each camera."""
    _longest.cache_clear()
