# SPDX-License-Identifier: Apache-2.0
"""The views of a scene as a network and the comparison of images need them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from depth_ros.core.camera import Camera
from depth_ros.core.errors import ConfigError
from depth_ros.core.resample import downscale
from depth_ros.offline.adapt.student import Student
from depth_ros.offline.adapt.views import View

#: side of the images that are compared over that of the input of the network; but at most the
#: side of the recorded images
FINER = 2


@dataclass(frozen=True, slots=True)
class Images:
    """All views of one camera, on one device.

    Args:
        rgb: (N, 3, H, W) float32 in 0..1.
        camera: pinhole of `rgb`.
        poses: (N, 4, 4) float32, T_world_camera [m], of a world whose origin is the first view
            of its recording; NaN where it is not known.
        input: camera of the input of the network.
    """

    rgb: Tensor
    camera: Camera
    poses: Tensor
    input: Camera

    def __len__(self) -> int:
        """Number of views."""
        return len(self.rgb)

    @classmethod
    def of(cls, views: Sequence[View], student: Student, device: torch.device) -> Images:
        """Resize the views.

        Raises:
            ConfigError: there are none, or they are of several cameras.
        """
        cameras = {view.camera for view in views}
        if len(cameras) != 1:
            shown = ', '.join(sorted(map(str, cameras))) or 'none'
            raise ConfigError(
                f'{len(views)} images of {len(cameras)} cameras ({shown}): give images of one '
                'camera'
            )
        (camera,) = cameras
        height, width = student.size(camera)
        finer = min(FINER, camera.height / height, camera.width / width)
        size = round(finer * height), round(finer * width)
        rgb = [downscale(view.rgb, size).permute(2, 0, 1) / 255 for view in views]
        return cls(
            torch.stack(rgb).float().to(device),
            camera.resized(size[1], size[0]),
            torch.from_numpy(near_origin(views)).float().to(device),
            camera.resized(width, height),
        )


def near_origin(views: Sequence[View]) -> NDArray[np.float64]:
    """Poses (N, 4, 4) from the first one of each recording: float32 is exact near 0 only."""
    origins: dict[int, NDArray[np.float64]] = {}
    poses = np.full((len(views), 4, 4), np.nan)
    for k, view in enumerate(views):
        if view.T_world_camera is not None:
            T = view.T_world_camera
            if view.recording not in origins:
                origins[view.recording] = np.linalg.inv(T).astype(np.float64)
            poses[k] = origins[view.recording] @ T
    return poses


def shrunk(rgb: Tensor, size: tuple[int, int]) -> Tensor:
    """Images (B, 3, H, W) at the size of an input, which is usually smaller."""
    if size[0] <= rgb.shape[2] and size[1] <= rgb.shape[3]:
        return F.interpolate(rgb, size, mode='area')
    return F.interpolate(rgb, size, mode='bilinear', align_corners=False)


def recoloured(rgb: Tensor, share: float, random: torch.Generator) -> Tensor:
    """Images (B, 3, h, w) in other light, as an exposure or white balance changes them.

    Brightness, contrast and saturation each change by a random factor, and each channel by one of
    half the range. What is compared stays as it is: Godard et al. 2019 (arXiv 1806.01260).

    Args:
        rgb: in 0..1.
        share: largest change, 0..1.
        random: on the CPU.
    """

    def factor(channels: int, most: float) -> Tensor:
        values = torch.rand(len(rgb), channels, 1, 1, generator=random) * 2 - 1
        return (1 + most * values).to(rgb.device)

    rgb = rgb * factor(1, share) * factor(3, share / 2)
    mean = rgb.mean((1, 2, 3), keepdim=True)
    rgb = (rgb - mean) * factor(1, share) + mean
    grey = rgb.mean(1, keepdim=True)
    return ((rgb - grey) * factor(1, share) + grey).clamp(0, 1)


def enlarged(log_z: Tensor, size: tuple[int, int]) -> Tensor:
    """Log depth (B, h, w) at another size."""
    return F.interpolate(log_z[:, None], size, mode='bilinear', align_corners=False)[:, 0]
