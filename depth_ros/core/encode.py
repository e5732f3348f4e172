# SPDX-License-Identifier: Apache-2.0
"""Convert a DepthMap to the contents of messages: points, millimetres, colours.

All functions work on the device of the depth map.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from depth_ros.core.camera import Camera
from depth_ros.core.geometry import back_project, lens_rays, rays
from depth_ros.core.types import DepthMap, LensDepth

Bytes = NDArray[np.uint8]

POINT_STEP = 16  #: bytes of a point of a cloud: float32 x y z [m], then rgb
INVALID_COLOR = (0, 0, 0)  #: RGB of invalid (NaN) and too near (-Inf) pixels
FAR_COLOR = (200, 205, 210)  #: RGB of sky and pixels beyond range (+Inf)
#: rows of the colour table: two for pixels without depth, then the colour map
_INVALID, _SKY, _RAMP = 0, 1, 2

_STRIP = 1 << 17  #: pixels that are converted to points at once on a CPU


def cloud(
    depth: DepthMap, stride: int = 1, color: bool = True, out: Tensor | None = None
) -> Tensor:
    """Organised point cloud of 16 bytes per point: x, y, z [m] in the optical frame, and rgb.

    Args:
        depth: depth map with its image, (H, W). Of a wide lens its `lens` is used.
        stride: use every n-th column and row.
        color: fill the fourth float with the colour of the image, else with 0.
        out: (h, w, 4) float32 of `cloud_size` to write to, on the same device.

    Returns:
        (h, w, 4) float32, `out` if given. x, y, z are NaN where depth is not finite; rgb holds
        0x00RRGGBB in the bytes of a float, as in PCL. With a top byte of 255 half of the colours
        would be NaN.
    """
    if out is None:
        shape = (*cloud_size(depth.camera, stride), 4)
        out = torch.empty(shape, dtype=torch.float32, device=depth.z.device)
    if depth.lens is not None:
        return _cloud_of_lens(depth.lens, stride, color, out)
    convert = _cloud_by_opencv if depth.z.device.type == 'cpu' else _cloud_by_torch
    return convert(depth, stride, color, out)


def cloud_size(camera: Camera, stride: int) -> tuple[int, int]:
    """Rows and columns (h, w) of the organised cloud of a camera."""
    return -(-camera.height // stride), -(-camera.width // stride)


def _cloud_of_lens(lens: LensDepth, stride: int, color: bool, out: Tensor) -> Tensor:
    ranges = lens.ranges[::stride, ::stride]
    along = torch.where(torch.isfinite(ranges), ranges, torch.nan)[..., None]
    torch.mul(
        lens_rays(lens.camera, str(ranges.device))[::stride, ::stride], along, out=out[..., :3]
    )
    return _colored(out, lens.rgb, stride, color)


def _cloud_by_torch(depth: DepthMap, stride: int, color: bool, out: Tensor) -> Tensor:
    back_project(depth.z, depth.camera, stride, out)
    return _colored(out, depth.rgb, stride, color)


def _colored(out: Tensor, image: Tensor, stride: int, color: bool) -> Tensor:
    packed = out.view(torch.int32)[..., 3]  # shares the memory
    if color:
        rgb = image[::stride, ::stride].to(torch.int32)
        torch.add(rgb[..., 2], rgb[..., 1], alpha=1 << 8, out=packed)
        packed.add_(rgb[..., 0], alpha=1 << 16)
    else:
        packed.zero_()
    return out


def _cloud_by_opencv(depth: DepthMap, stride: int, color: bool, out: Tensor) -> Tensor:
    """Five times as fast as torch on one core, close to the time of a memcpy.

    Works in strips whose planes fit in the processor's cache; a whole image of 1280x720 at once
    takes half as long again.
    """
    z, rgb, points = depth.z.numpy()[::stride, ::stride], depth.rgb.numpy()[::stride], out.numpy()
    x, y = (ray.numpy() for ray in rays(depth.camera, 'cpu', stride))
    height = max(1, _STRIP // z.shape[1])
    for top in range(0, len(z), height):
        rows = slice(top, top + height)
        packed = _pack_colors(rgb[rows], stride) if color else np.zeros_like(z[rows])
        strip = np.ascontiguousarray(z[rows])
        strip = cv2.addWeighted(strip, 2, strip, -1, 0)  # 2z - z, exactly z; Inf - Inf is NaN
        cv2.merge([strip * x, strip * y[rows], strip, packed], points[rows])
    return out


def _pack_colors(rgb: Bytes, stride: int) -> NDArray[np.float32]:
    """(h, W, 3) -> (h, w): 0x00RRGGBB of every `stride`-th column in the bytes of a float."""
    bgra = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGRA)
    packed = np.ascontiguousarray(bgra.view(np.uint32)[:, ::stride, 0])
    packed &= 0x00FFFFFF
    return packed.view(np.float32)


def dense(
    points: Tensor, z: Tensor | None = None, allocate: Callable[[int, int], Tensor] = torch.empty
) -> Tensor:
    """Remove the invalid points of an organised cloud.

    Args:
        points: (h, w, 4) float32, as returned by `cloud`.
        z: the depth the points were made from, if available: checking it for invalid pixels takes
            a sixteenth of the time of checking the points.
        allocate: (n, 4) -> float32 tensor for n points; called on the CPU, unless all are valid.

    Returns:
        (n, 4) float32, the points whose depth is finite, row by row.
    """
    if z is not None and z.device.type == 'cpu' and np.isfinite(z.numpy()).all():
        return points.reshape(-1, 4)
    if points.device.type == 'cpu':
        return _dense_by_numpy(points.reshape(-1, 4), allocate)
    return _dense_by_torch(points.reshape(-1, 4))


def _dense_by_torch(points: Tensor) -> Tensor:
    return selected(points, ~torch.isnan(points[:, 2]))


def _dense_by_numpy(points: Tensor, allocate: Callable[[int, int], Tensor]) -> Tensor:
    z = points.numpy()[:, 2]
    return selected(points, torch.from_numpy(z == z), allocate)


def selected(
    points: Tensor, mask: Tensor, allocate: Callable[[int, int], Tensor] = torch.empty
) -> Tensor:
    """Some points of a cloud.

    Args:
        points: (N, 4) float32.
        mask: (N,) bool, which of them.
        allocate: (n, 4) -> float32 tensor for n points; called on the CPU, unless all are chosen.

    Returns:
        (n, 4) float32; `points` if all are chosen.
    """
    if points.device.type != 'cpu':
        chosen = torch.nonzero(mask).squeeze(1)
        # selecting rows by index takes less than half the time of selecting them by mask
        return points if len(chosen) == len(points) else points.index_select(0, chosen)
    valid = np.flatnonzero(mask.numpy())
    if len(valid) == len(points):
        return points
    # three times as fast as torch on one core: copies the 16 bytes of a point at once
    some = allocate(len(valid), 4)
    memory, out = points.numpy().view(np.complex128), some.numpy().view(np.complex128)
    np.take(memory, valid, axis=0, mode='clip', out=out)
    return some


def millimetres(z: Tensor) -> Tensor:
    """Depth (H, W) float32 [m] -> (H, W) uint16 [mm], 0 if invalid or over 65.535 m (REP 118)."""
    convert = _millimetres_by_numpy if z.device.type == 'cpu' else _millimetres_by_torch
    return convert(z)


def _millimetres_by_torch(z: Tensor) -> Tensor:
    mm = z * 1000 + 0.5  # the conversion to integers truncates
    return torch.where((mm >= 1) & (mm < 65536), mm, 0).to(torch.int32).to(torch.uint16)


def _millimetres_by_numpy(z: Tensor) -> Tensor:
    """Three times as fast as torch on one core."""
    mm = z.numpy() * np.float32(1000)
    mm += np.float32(0.5)
    fits = (mm >= 1) & (mm < 65536)  # False for NaN
    with np.errstate(invalid='ignore'):
        whole = mm.astype(np.uint16)
    whole *= fits  # an eighth of the time of an assignment by mask
    return torch.from_numpy(whole)


def colorize(z: Tensor, near: float, far: float, colormap: str) -> Tensor:
    """Colour a depth map for display; invalid pixels are black, sky is grey.

    Args:
        z: (H, W) float32 [m], as in `DepthMap`.
        near: depth of the last colour of the map [m].
        far: depth of the first colour of the map [m].
        colormap: name of an OpenCV colour map, in lower case, such as 'turbo'.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    table = _color_table(colormap)  # (256, 3)
    gain = (len(table) - 1 - _RAMP) / max(far - near, 1e-6)
    convert = _colorize_by_opencv if z.device.type == 'cpu' else _colorize_by_torch
    return convert(z, near, far, gain, table)


def _colorize_by_torch(z: Tensor, near: float, far: float, gain: float, table: Bytes) -> Tensor:
    level = _RAMP + (far - z.clamp(near, far)) * gain
    level = torch.where(torch.isfinite(z), level, torch.where(z == torch.inf, _SKY, _INVALID))
    return _table_on_device(table.tobytes(), str(z.device))[level.round().long()]


def _colorize_by_opencv(z: Tensor, near: float, far: float, gain: float, table: Bytes) -> Tensor:
    """Sixteen times as fast as torch on one core."""
    depth = z.numpy()
    # the conversion to bytes saturates at 255, the colour of near; beyond far it would fall below
    # the ramp
    level = cv2.addWeighted(depth, -gain, depth, 0, _RAMP + far * gain, dtype=cv2.CV_8U)
    np.maximum(level, _RAMP, out=level)
    np.copyto(level, _SKY, where=depth == np.inf)
    level *= depth > -np.inf  # _INVALID; also for NaN
    return torch.from_numpy(cv2.applyColorMap(level, table[:, None]))


@lru_cache(maxsize=8)
def _table_on_device(table: bytes, device: str) -> Tensor:
    """(256, 3) uint8, cached: every copy from pageable memory waits for the GPU."""
    return torch.frombuffer(bytearray(table), dtype=torch.uint8).view(-1, 3).to(device)


def clear_cache() -> None:
    """Free the cached colour tables."""
    _color_table.cache_clear()
    _table_on_device.cache_clear()


@lru_cache(maxsize=8)
def _color_table(colormap: str) -> Bytes:
    """(256, 3) uint8 RGB: the rows `_INVALID` and `_SKY`, then the colour map."""
    ramp = np.linspace(0, 255, 256 - _RAMP).round().astype(np.uint8)[:, None]
    bgr = cv2.applyColorMap(ramp, getattr(cv2, f'COLORMAP_{colormap.upper()}'))[:, 0]
    return np.concatenate(([INVALID_COLOR, FAR_COLOR], bgr[:, ::-1])).astype(np.uint8)
