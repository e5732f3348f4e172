# SPDX-License-Identifier: Apache-2.0
"""Projection, back-projection and undistortion in the optical frame (REP 103).

x points right, y down, z forward.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, TypeVar

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from depth_ros.core.camera import Camera
from depth_ros.core.errors import CameraError
from depth_ros.core.lens import pixel_grid
from depth_ros.core.lens import project as lens_project
from depth_ros.core.types import Frame

Array = TypeVar('Array', Tensor, NDArray[np.float64])
Floats = NDArray[np.float64]

#: of the undistorted image's pixels, those with a source; and of the original image, the part
#: that the undistorted one shows: with less the coefficients are wrong
MIN_COVERED, MIN_SHOWN = 0.1, 0.01
#: with less they may be right: a fisheye lens of 360 deg shows 0.2 of its image
FEW_COVERED, FEW_SHOWN = 0.75, 0.1
#: cached cameras with distortion; 1920x1080 takes 31 MB, and a zooming camera is always a new one
TABLES = 8
CV2_SIDE = 2**15  #: `cv2.remap` takes sides below it


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


@lru_cache(maxsize=4)
def lens_rays(camera: Camera, device: str) -> Tensor:
    """(H, W, 3) float32 unit viewing rays of a lens; NaN where it has no image. Cached.

    Args:
        camera: of any distortion model.
        device: of the result; a string, as it is part of the cache key.
    """
    return torch.from_numpy(pixel_grid(camera).astype(np.float32)).to(device)


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


def pixel_rays(u: Floats, v: Floats, camera: Camera) -> Floats:
    """Viewing rays of some pixels, scaled to Z = 1.

    Args:
        u: (...) columns [px].
        v: (...) rows [px].
        camera: undistorted.

    Returns:
        (..., 3) float64.
    """
    x, y = (u - camera.cx) / camera.fx, (v - camera.cy) / camera.fy
    return np.stack((x, y, np.ones_like(x)), -1)


def is_inside(u: Floats, v: Floats, camera: Camera) -> NDArray[np.bool_]:
    """(...) bool, whether columns u and rows v [px] are in the image; NaN is not."""
    inside: NDArray[np.bool_] = (np.abs(u - (camera.width - 1) / 2) < camera.width / 2) & (
        np.abs(v - (camera.height - 1) / 2) < camera.height / 2
    )
    return inside


def undistort(frame: Frame, target: Camera | None = None) -> tuple[Frame, Tensor | None]:
    """Remove the lens distortion from a frame.

    Args:
        frame: of any supported distortion model.
        target: pinhole of the undistorted frame, of the same size, such as `lens.pinhole` gives;
            None for the intrinsics of the lens.

    Returns:
        The undistorted frame, and (H, W) bool, True where a pixel has a source in the original
        image. A frame without distortion is returned as it is, with None.

    Raises:
        CameraError: next to nothing of the image is left.
    """
    camera = frame.camera
    if not camera.is_distorted:
        return frame, None
    check_undistortion(camera)
    on_cpu = frame.rgb.device.type == 'cpu'
    # OpenCV takes a quarter to a half of torch's time on a CPU
    remap = _by_opencv if on_cpu and max(camera.size) < CV2_SIDE else _by_torch
    target = camera.undistorted() if target is None else target
    rgb = remap(frame.rgb, camera, target)
    valid = _valid(camera, target, str(frame.rgb.device))
    return replace(frame, rgb=rgb, camera=target), valid


def undistort_depth(z: NDArray[np.float32], camera: Camera) -> NDArray[np.float32]:
    """Depth in the pixels of the undistorted camera, each from the nearest original pixel.

    Depth along the optical axis is the same with and without distortion: only pixels move.

    Args:
        z: (H, W) [m], in the pixels of `camera`.
        camera: of any supported distortion model.

    Returns:
        (H, W) [m]; NaN where a pixel has no source. `z` itself for a camera without distortion.

    Raises:
        CameraError: next to nothing of the image is left.
    """
    if not camera.is_distorted:
        return z
    check_undistortion(camera)
    table = _undistortion(camera, camera.undistorted())
    moved = z[np.rint(table.y).astype(np.intp), np.rint(table.x).astype(np.intp)]
    return np.where(table.valid, moved, np.float32(np.nan))


def check_undistortion(camera: Camera) -> list[str]:
    """Judge what undistortion with the intrinsics of the lens leaves of its images; cached.

    Args:
        camera: with distortion.

    Returns:
        What is possible but unlikely, with value and remedy.

    Raises:
        CameraError: next to nothing is left.
    """
    table = _undistortion(camera, camera.undistorted())
    text = (
        f'after undistortion {_percent(table.covered)} of the pixels have a source, and '
        f'{_percent(table.shown)} of the camera image is left: {camera.distortion_model} '
        f'coefficients {", ".join(f"{d:g}" for d in camera.distortion)} '
    )
    remedy = (
        'Calibrate the camera (camera_calibration); if the images are rectified, set '
        'rectification to rectified.'
    )
    if table.covered < MIN_COVERED or table.shown < MIN_SHOWN:
        raise CameraError(f'{text}are wrong. {remedy}')
    if table.covered < FEW_COVERED or table.shown < FEW_SHOWN:
        return [f'{text}may be wrong. {remedy}']
    return []


def clear_cache() -> None:
    """Free the tables cached for each camera."""
    for table in (rays, lens_rays, _undistortion, _fixed_point, _valid, _grid):
        table.cache_clear()


@dataclass(frozen=True, slots=True, eq=False)
class _Undistortion:
    """Where the pixels of the undistorted image come from.

    Args:
        x: (H, W) float32, source columns [px], of the border where there is no source.
        y: (H, W) float32, source rows.
        valid: (H, W) bool, pixel has a source.
        covered: share of valid pixels, 0..1.
        shown: share of the original image that the valid pixels show.
    """

    x: NDArray[np.float32]
    y: NDArray[np.float32]
    valid: NDArray[np.bool_]
    covered: float
    shown: float


def _by_opencv(rgb: Tensor, camera: Camera, target: Camera) -> Tensor:
    pixels = np.ascontiguousarray(rgb.numpy())
    remapped: Any = cv2.remap(
        pixels, *_fixed_point(camera, target), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return torch.from_numpy(remapped)


def _by_torch(rgb: Tensor, camera: Camera, target: Camera) -> Tensor:
    grid = _grid(camera, target, str(rgb.device))
    image = rgb.permute(2, 0, 1)[None].to(torch.float32)  # (1, 3, H, W)
    image = F.grid_sample(image, grid, mode='bilinear', padding_mode='border', align_corners=True)
    return image[0].round_().to(torch.uint8).permute(1, 2, 0).contiguous()


@lru_cache(maxsize=TABLES)
def _fixed_point(camera: Camera, target: Camera) -> tuple[Any, Any]:
    """Sources in 1/32 px, with which `cv2.remap` takes a sixth to a fourth less time."""
    table = _undistortion(camera, target)
    return cv2.convertMaps(table.x, table.y, cv2.CV_16SC2)


@lru_cache(maxsize=TABLES)
def _valid(camera: Camera, target: Camera, device: str) -> Tensor:
    """(H, W) bool, pixel has a source."""
    return torch.from_numpy(_undistortion(camera, target).valid).to(device)


@lru_cache(maxsize=TABLES)
def _grid(camera: Camera, target: Camera, device: str) -> Tensor:
    """(1, H, W, 2) grid for grid_sample(align_corners=True)."""
    table = _undistortion(camera, target)
    x = 2 * table.x / max(camera.width - 1, 1) - 1
    y = 2 * table.y / max(camera.height - 1, 1) - 1
    return torch.from_numpy(np.stack((x, y), -1))[None].to(device)


@lru_cache(maxsize=TABLES)
def _undistortion(camera: Camera, target: Camera) -> _Undistortion:
    x, y = _sources(camera, target)
    with np.errstate(invalid='ignore', over='ignore'):  # coefficients may be anything
        valid = (x >= 0) & (x <= camera.width - 1) & (y >= 0) & (y <= camera.height - 1)
        area = _area(x, y)
        valid &= _is_monotonic(target, area)
    return _Undistortion(
        x=_inside(x, camera.width),
        y=_inside(y, camera.height),
        valid=valid,
        covered=float(valid.mean()),
        shown=float(np.abs(area[valid]).sum(dtype=np.float64)) / valid.size,
    )


def _sources(camera: Camera, target: Camera) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Source columns and rows (H, W) of the pixels of `target` [px]."""
    if camera.distortion_model in ('fov', 'double_sphere'):  # OpenCV does not know them
        u, v = lens_project(pixel_grid(target), camera)
        return u.astype(np.float32), v.astype(np.float32)
    matrix, new = (
        np.array([[c.fx, 0, c.cx], [0, c.fy, c.cy], [0, 0, 1]], np.float64)
        for c in (camera, target)
    )
    coefficients = np.array(camera.distortion, np.float64)
    size = (target.width, target.height)
    maps: Any
    if camera.distortion_model == 'equidistant':
        maps = cv2.fisheye.initUndistortRectifyMap(
            matrix, coefficients, np.eye(3), new, size, cv2.CV_32FC1
        )
    else:
        maps = cv2.initUndistortRectifyMap(matrix, coefficients, None, new, size, cv2.CV_32FC1)
    x, y = maps
    return x, y


def _inside(values: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """Source columns or rows, limited to the image; what is not finite becomes its border."""
    limited: NDArray[np.float32] = np.nan_to_num(values).clip(0, side - 1)
    return limited


def _area(x: NDArray[np.float32], y: NDArray[np.float32]) -> NDArray[np.float32]:
    """(H, W) area in the original image of a pixel [px^2]; negative where it is mirrored.

    Args:
        x: (H, W) source columns [px].
        y: (H, W) source rows [px].
    """
    if min(x.shape) < 2:
        return np.ones_like(x)
    (x_v, x_u), (y_v, y_u) = np.gradient(x), np.gradient(y)
    return np.asarray(x_u * y_v - x_v * y_u, np.float32)


def _is_monotonic(target: Camera, area: NDArray[np.float32]) -> NDArray[np.bool_]:
    """(H, W) bool, where the distorted radius still grows with the angle from the optical axis.

    A distortion polynomial decreases beyond some angle, where it would show a mirrored copy of
    the image.

    Args:
        target: the pinhole.
        area: (H, W), negative where the mapping changes its orientation.
    """
    folded = ~(area > 0)
    if not folded.any():
        return np.ones_like(folded)
    ray_x, ray_y = (axis.numpy() for axis in rays(target, 'cpu'))
    radius = np.hypot(ray_x, ray_y)
    monotonic: NDArray[np.bool_] = radius < radius[folded].min()
    return monotonic


def _percent(share: float) -> str:
    return f'{100 * share:.2g} %'
