# SPDX-License-Identifier: Apache-2.0
"""The views of a scene as a network and the comparison of images need them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
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
            of its recording.
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
    def of(
        cls, recordings: Sequence[Sequence[View]], student: Student, device: torch.device
    ) -> Images:
        """Resize the views of recordings, one after the other.

        Raises:
            ConfigError: there are none, or they are of several cameras.
        """
        views = [view for recording in recordings for view in recording]
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
        poses = []
        for recording in recordings:
            # float32 is exact near the origin only
            first = np.linalg.inv(recording[0].T_world_camera)
            poses += [first @ view.T_world_camera for view in recording]
        return cls(
            torch.stack(rgb).float().to(device),
            camera.resized(size[1], size[0]),
            torch.from_numpy(np.stack(poses)).float().to(device),
            camera.resized(width, height),
        )


def shrunk(rgb: Tensor, size: tuple[int, int]) -> Tensor:
    """Images (B, 3, H, W) at a smaller size."""
    return F.interpolate(rgb, size, mode='area')


def enlarged(log_z: Tensor, size: tuple[int, int]) -> Tensor:
    """Log depth (B, h, w) at another size."""
    return F.interpolate(log_z[:, None], size, mode='bilinear', align_corners=False)[:, 0]
