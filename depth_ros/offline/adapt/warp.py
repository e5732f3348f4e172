# SPDX-License-Identifier: Apache-2.0
"""Move images into another camera, so that gradients reach depth and motion.

B batch; h x w pixels of the target, integer coordinates are pixel centres.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from depth_ros.core.camera import Camera

NEAREST_M = 0.05  #: in front of a camera; closer points are behind it for all that is compared


@dataclass(frozen=True, slots=True)
class Warped:
    """An image as another camera would see it.

    Args:
        rgb: (B, 3, h, w) float32.
        seen: (B, h, w) bool, pixels whose point lies in the image it comes from.
    """

    rgb: Tensor
    seen: Tensor


class Lens(NamedTuple):
    """How a lens differs from the stated one; both have gradients.

    Args:
        focal: () factor on the stated focal length.
        radial: () first coefficient of radial distortion, as k1 of plumb_bob.
    """

    focal: Tensor
    radial: Tensor


def rays(camera: Camera, lens: Lens | None = None) -> Tensor:
    """Rays of the pixels with z = 1, (3, h * w) float32, row by row, of an ideal pinhole.

    Args:
        camera: as stated.
        lens: whose focal length counts.
    """
    v, u = torch.meshgrid(
        torch.arange(camera.height, dtype=torch.float32),
        torch.arange(camera.width, dtype=torch.float32),
        indexing='ij',
    )
    x, y = (u - camera.cx) / camera.fx, (v - camera.cy) / camera.fy
    if lens is not None:
        x, y = x / lens.focal.to(x.device), y / lens.focal.to(x.device)
    return torch.stack((x, y, torch.ones_like(x))).flatten(1)


def rotation(turn: Tensor) -> Tensor:
    """Rotation matrices (B, 3, 3) of rotation vectors (B, 3) [rad], by Rodrigues' formula."""
    angle = turn.square().sum(1).clamp(min=1e-16).sqrt()[:, None, None]
    x, y, z = (turn / angle[:, 0]).unbind(1)
    zero = torch.zeros_like(x)
    cross = torch.stack((zero, -z, y, z, zero, -x, -y, x, zero), dim=1).reshape(-1, 3, 3)
    eye = torch.eye(3, device=turn.device)
    return eye + angle.sin() * cross + (1 - angle.cos()) * (cross @ cross)


def turned(
    rgb: Tensor, camera: Camera, R_camera_view: Tensor, view: Camera, lens: Lens | None = None
) -> Warped:
    """Images as ideal cameras at the same place see them that look elsewhere.

    Args:
        rgb: (B, 3, H, W) float32, of `camera`.
        camera: pinhole.
        R_camera_view: (B, 3, 3), maps directions of the other camera to `camera`.
        view: stated intrinsics of the other camera.
        lens: of all cameras; None for the stated one.
    """
    points = R_camera_view @ rays(view, lens).to(rgb.device)  # (B, 3, n)
    return _sampled(rgb, points, camera, view.size, lens)


def warp(
    rgb: Tensor,
    camera: Camera,
    points: Tensor,
    T_camera_points: Tensor,
    size: tuple[int, int],
    lens: Lens | None = None,
) -> Warped:
    """Images of `camera` at the pixels of another camera.

    Args:
        rgb: (B, 3, H, W) float32, of `camera`.
        camera: pinhole.
        points: (B, 3, h * w) [m], of the pixels of the other camera.
        T_camera_points: (B, 4, 4), maps points to the frame of `camera` [m].
        size: (h, w) of the other camera.
        lens: of `camera`; None for the stated one.
    """
    moved = T_camera_points[:, :3, :3] @ points + T_camera_points[:, :3, 3:]
    return _sampled(rgb, moved, camera, size, lens)


def _sampled(
    rgb: Tensor, points: Tensor, camera: Camera, size: tuple[int, int], lens: Lens | None
) -> Warped:
    # coordinates that are not finite end the process in the gradient of grid_sample
    finite = points.isfinite().all(1, keepdim=True)
    points = torch.where(finite, points, -1.0)  # behind the camera
    z = points[:, 2]
    x, y = points[:, 0] / z.clamp(min=NEAREST_M), points[:, 1] / z.clamp(min=NEAREST_M)
    if lens is not None:
        # no real point is so far to the side; its fourth power must stay finite
        grown = lens.focal * (1 + lens.radial * (x * x + y * y).clamp(max=4.0))
        x, y = grown * x, grown * y
    u, v = camera.fx * x + camera.cx, camera.fy * y + camera.cy
    grid = torch.stack(
        ((u + 0.5) / camera.width * 2 - 1, (v + 0.5) / camera.height * 2 - 1), dim=2
    ).reshape(len(points), *size, 2)
    # between the centres of the outermost pixels
    inside = (u >= 0) & (u <= camera.width - 1) & (v >= 0) & (v <= camera.height - 1)
    seen = (inside & (z > NEAREST_M)).reshape(-1, *size)
    values = F.grid_sample(rgb, grid, align_corners=False, padding_mode='border')
    return Warped(values, seen)
