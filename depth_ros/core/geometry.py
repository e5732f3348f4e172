# SPDX-License-Identifier: Apache-2.0
"""Projection, back-projection and undistortion in the optical frame (REP 103).

x points right, y down, z forward.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TypeVar

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from depth_ros.core.camera import Camera
from depth_ros.core.types import Frame

Array = TypeVar('Array', Tensor, NDArray[np.float64])


@lru_cache(maxsize=32)
def rays(camera: Camera, device: str, stride: int = 1) -> tuple[Tensor, Tensor]:
    """Viewing rays of the pixels, scaled to Z = 1; cached.

    Args:
        camera: undistorted.
        device: device of the result; a string, as it is part of the cache key.
        stride: use every n-th column and row.

    Returns:
        x of the columns, (1, w) float32, and y of the rows, (h, 1) float32.
    """
    u = torch.arange(0, camera.width, stride, dtype=torch.float64)
    v = torch.arange(0, camera.height, stride, dtype=torch.float64)
    x = ((u - camera.cx) / camera.fx).to(torch.float32)[None, :]
    y = ((v - camera.cy) / camera.fy).to(torch.float32)[:, None]
    return x.to(device), y.to(device)


def back_project(z: Tensor, camera: Camera, stride: int = 1, out: Tensor | None = None) -> Tensor:
    """Back-project a depth map to points; pixels whose depth is not finite become NaN.

    Args:
        z: (H, W) float32, depth along the optical axis [m].
        camera: undistorted, of the size of `z`.
        stride: use every n-th column and row.
        out: (h, w, >= 3) float32, whose first three channels are written; allocated if absent.

    Returns:
        `out`: (h, w, 3) float32 points [m] in the optical frame.
    """
    z = z[::stride, ::stride]
    x, y = rays(camera, str(z.device), stride)
    out = z.new_empty((*z.shape, 3)) if out is None else out
    # infinite depth would give Inf or NaN depending on the ray; clouds mark invalid points by NaN
    out[..., 2].copy_(z).masked_fill_(~torch.isfinite(z), torch.nan)
    torch.mul(out[..., 2], x, out=out[..., 0])
    torch.mul(out[..., 2], y, out=out[..., 1])
    return out


def project(points: Array, camera: Camera) -> tuple[Array, Array]:
    """Project points to pixels.

    Args:
        points: (..., 3) tensor or array [m] in the optical frame; NaN stays NaN.
        camera: undistorted.

    Returns:
        Columns u and rows v [px], (...) each.
    """
    x, y, z = points[..., 0], points[..., 1], points[..., 2]
    return camera.fx * x / z + camera.cx, camera.fy * y / z + camera.cy


def undistort(frame: Frame) -> tuple[Frame, Tensor | None]:
    """Remove the lens distortion from a frame; intrinsics and size stay.

    Args:
        frame: of any supported distortion model.

    Returns:
        The undistorted frame, and (H, W) bool, True where a pixel has a source in the original
        image. A frame without distortion is returned as it is, with None.
    """
    if not frame.camera.is_distorted:
        return frame, None
    grid, valid = _undistort_grid(frame.camera, str(frame.rgb.device))
    rgb = frame.rgb.permute(2, 0, 1)[None].to(torch.float32)  # (1, 3, H, W)
    rgb = F.grid_sample(rgb, grid, mode='bilinear', padding_mode='border', align_corners=True)
    rgb = rgb[0].round_().to(torch.uint8).permute(1, 2, 0).contiguous()
    return Frame(rgb, frame.camera.undistorted(), frame.stamp_ns, frame.frame_id), valid


def clear_cache() -> None:
    """Free the tables cached for each camera."""
    rays.cache_clear()
    _undistort_grid.cache_clear()


@lru_cache(maxsize=32)
def _undistort_grid(camera: Camera, device: str) -> tuple[Tensor, Tensor]:
    """(1, H, W, 2) grid for grid_sample(align_corners=True); (H, W) bool, pixel has a source."""
    matrix = np.array(
        [[camera.fx, 0, camera.cx], [0, camera.fy, camera.cy], [0, 0, 1]], np.float64
    )
    coefficients = np.array(camera.distortion, np.float64)
    size = (camera.width, camera.height)
    if camera.distortion_model == 'equidistant':
        maps = cv2.fisheye.initUndistortRectifyMap(
            matrix, coefficients, np.eye(3), matrix, size, cv2.CV_32FC1
        )
    else:
        maps = cv2.initUndistortRectifyMap(matrix, coefficients, None, matrix, size, cv2.CV_32FC1)
    x, y = (torch.from_numpy(m) for m in maps)  # (H, W) source columns and rows [px]
    valid = (x >= 0) & (x <= camera.width - 1) & (y >= 0) & (y <= camera.height - 1)
    valid &= _is_monotonic(camera, x, y)
    grid = torch.stack((2 * x / (camera.width - 1) - 1, 2 * y / (camera.height - 1) - 1), -1)
    return grid[None].to(device), valid.to(device)


def _is_monotonic(camera: Camera, x: Tensor, y: Tensor) -> Tensor:
    """(H, W) bool, where the distorted radius still grows with the angle from the optical axis.

    A distortion polynomial decreases beyond some angle, where it would show a mirrored copy of
    the image.

    Args:
        camera: with distortion.
        x: (H, W) source columns [px].
        y: (H, W) source rows [px].
    """
    (x_v, x_u), (y_v, y_u) = torch.gradient(x), torch.gradient(y)
    folded = x_u * y_v <= x_v * y_u  # the mapping changes its orientation
    ray_x, ray_y = rays(camera, str(x.device))
    radius = torch.hypot(ray_x, ray_y)
    return radius < radius[folded].min() if folded.any() else torch.ones_like(folded)
