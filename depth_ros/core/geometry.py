# SPDX-License-Identifier: Apache-2.0
"""Pixels, rays and points in the optical frame: x right, y down, z forward (REP 103)."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from depth_ros.core.camera import Camera
from depth_ros.core.types import Frame


@lru_cache(maxsize=32)
def rays(camera: Camera, device: str, stride: int = 1) -> tuple[Tensor, Tensor]:
    """Where pixels look, at Z = 1: ((1, w) x of the columns, (h, 1) y of the rows), float32.

    Args:
        camera: undistorted.
        device: where the result lives; a string so that it can be a cache key.
        stride: every n-th column and row only.
    """
    u = torch.arange(0, camera.width, stride, dtype=torch.float64)
    v = torch.arange(0, camera.height, stride, dtype=torch.float64)
    x = ((u - camera.cx) / camera.fx).to(torch.float32)[None, :]
    y = ((v - camera.cy) / camera.fy).to(torch.float32)[:, None]
    return x.to(device), y.to(device)


def back_project(z: Tensor, camera: Camera, stride: int = 1, out: Tensor | None = None) -> Tensor:
    """Pixels with depth -> points; every pixel whose depth is not finite becomes NaN.

    Args:
        z: (H, W) float32 [m], depth along the optical axis.
        camera: undistorted, of `z`'s size.
        stride: every n-th column and row only.
        out: (h, w, >= 3) float32 whose first three channels are written; made if absent.

    Returns:
        `out`, (h, w, 3) points [m] in the optical frame.
    """
    z = z[::stride, ::stride]
    x, y = rays(camera, str(z.device), stride)
    out = z.new_empty((*z.shape, 3)) if out is None else out
    # Inf times a ray is Inf or NaN by chance; readers of clouds know only NaN
    out[..., 2].copy_(z).masked_fill_(~torch.isfinite(z), torch.nan)
    torch.mul(out[..., 2], x, out=out[..., 0])
    torch.mul(out[..., 2], y, out=out[..., 1])
    return out


def project(points: Tensor, camera: Camera) -> Tensor:
    """Points (..., 3) [m] in the optical frame -> pixels (..., 2), column then row; no lens."""
    x, y, z = points.unbind(-1)
    return torch.stack((x / z * camera.fx + camera.cx, y / z * camera.fy + camera.cy), -1)


def undistort(frame: Frame) -> tuple[Frame, Tensor | None]:
    """The frame a pinhole with the same intrinsics would have taken.

    Returns:
        That frame and (H, W) bool, True where the lens saw something; the frame itself and None if
        there is nothing to do.
    """
    if not frame.camera.is_distorted:
        return frame, None
    grid, seen = _undistort_grid(frame.camera, str(frame.rgb.device))
    rgb = frame.rgb.permute(2, 0, 1)[None].to(torch.float32)  # (1, 3, H, W)
    rgb = F.grid_sample(rgb, grid, mode='bilinear', padding_mode='border', align_corners=True)
    rgb = rgb[0].round_().to(torch.uint8).permute(1, 2, 0).contiguous()
    return Frame(rgb, frame.camera.undistorted(), frame.stamp_ns, frame.frame_id), seen


def clear_cache() -> None:
    """Free what is kept for each camera."""
    rays.cache_clear()
    _undistort_grid.cache_clear()


@lru_cache(maxsize=32)
def _undistort_grid(camera: Camera, device: str) -> tuple[Tensor, Tensor]:
    """(1, H, W, 2) grid for grid_sample(align_corners=True), and which pixels have a source."""
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
    seen = (x >= 0) & (x <= camera.width - 1) & (y >= 0) & (y <= camera.height - 1)
    seen &= _before_the_fold(camera, x, y)
    grid = torch.stack((2 * x / (camera.width - 1) - 1, 2 * y / (camera.height - 1) - 1), -1)
    return grid[None].to(device), seen.to(device)


def _before_the_fold(camera: Camera, x: Tensor, y: Tensor) -> Tensor:
    """Where the lens model still grows outwards: (H, W) bool.

    A polynomial turns back at some angle; beyond it the picture would be repeated inside out.

    Args:
        camera: with distortion.
        x: (H, W) source columns.
        y: (H, W) source rows.
    """
    (x_v, x_u), (y_v, y_u) = torch.gradient(x), torch.gradient(y)
    turned = x_u * y_v <= x_v * y_u  # the map no longer keeps its orientation
    slope_x, slope_y = rays(camera, str(x.device))
    radius = torch.hypot(slope_x, slope_y)
    return radius < radius[turned].min() if turned.any() else torch.ones_like(turned)
