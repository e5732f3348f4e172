# SPDX-License-Identifier: Apache-2.0
"""From a DepthMap to what messages hold: a cloud, millimetres, a picture. On the device."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
import torch
from torch import Tensor

from depth_ros.data import DepthMap
from depth_ros.geometry import back_project

INVALID_COLOR = (0, 0, 0)  #: of NaN and of too near
FAR_COLOR = (200, 205, 210)  #: of nothing in range


def cloud(depth: DepthMap, stride: int = 1, color: bool = True) -> Tensor:
    """Organised cloud, 16 bytes a point: x, y, z [m] in the optical frame, and rgb.

    Args:
        depth: (H, W) depth and picture.
        stride: every n-th column and row.
        color: fill the fourth float with the picture's colour, else with 0.

    Returns:
        (h, w, 4) float32; x, y, z NaN where depth is not finite; rgb is 0x00RRGGBB in a float's
        bytes, as PCL packs it. The top byte must be 0: with 255 half of the colours are a NaN.
    """
    h, w = -(-depth.camera.height // stride), -(-depth.camera.width // stride)
    out = torch.empty((h, w, 4), dtype=torch.float32, device=depth.z.device)
    back_project(depth.z, depth.camera, stride, out)
    packed = out.view(torch.int32)[..., 3]  # the same memory
    if color:
        rgb = depth.rgb[::stride, ::stride].to(torch.int32)
        torch.add(rgb[..., 2], rgb[..., 1], alpha=1 << 8, out=packed)
        packed.add_(rgb[..., 0], alpha=1 << 16)
    else:
        packed.zero_()
    return out


def dense(points: Tensor) -> Tensor:
    """The valid points of an organised cloud: (h, w, 4) -> (n, 4)."""
    flat = points.reshape(-1, 4)
    valid = torch.nonzero(~torch.isnan(flat[:, 2])).squeeze(1)
    # rows by index are gathered in less than half the time of rows by mask
    return flat if len(valid) == len(flat) else flat.index_select(0, valid)


def millimetres(z: Tensor) -> Tensor:
    """(H, W) depth [m] -> (H, W) uint16 [mm]; 0 where invalid or beyond 65.535 m (REP 118)."""
    mm = torch.round(z * 1000)
    return torch.where((mm >= 1) & (mm <= 65535), mm, 0).to(torch.int32).to(torch.uint16)


def colorize(z: Tensor, near: float, far: float, colormap: str) -> Tensor:
    """(H, W) depth [m] -> (H, W, 3) uint8 RGB; near is hot, invalid black, sky grey."""
    table = _colors(colormap, str(z.device))  # (258, 3)
    index = 255 - ((z - near) * (255 / max(far - near, 1e-6))).clamp(0, 255)
    index = torch.where(torch.isfinite(z), index, torch.where(z == torch.inf, 257, 256))
    return table[index.long()]


def forget() -> None:
    """Free the colours."""
    _colors.cache_clear()


@lru_cache(maxsize=8)
def _colors(colormap: str, device: str) -> Tensor:
    ramp = np.arange(256, dtype=np.uint8)[:, None]
    bgr = cv2.applyColorMap(ramp, getattr(cv2, f'COLORMAP_{colormap.upper()}'))[:, 0]
    table = np.concatenate((bgr[:, ::-1], [INVALID_COLOR, FAR_COLOR])).astype(np.uint8)
    return torch.from_numpy(table).to(device)
