# SPDX-License-Identifier: Apache-2.0
"""Networks that can learn from a recording."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor, nn

from depth_ros import models
from depth_ros.core.camera import Camera
from depth_ros.models import PRESETS, ModelOptions
from depth_ros.models.nano.network import FOCAL, MEAN, STD, slopes


class Student(Protocol):
    """A network whose depth in metres has gradients.

    Attributes:
        preset: its name.
        network: whose parameters with `requires_grad` learn.
    """

    preset: str
    network: nn.Module

    def size(self, camera: Camera) -> tuple[int, int]:
        """(h, w) of its input for images of a camera."""
        ...

    def log_depth(self, rgb: Tensor, camera: Camera) -> Tensor:
        """Logarithm of the depth along the optical axis [m], (B, h, w).

        Args:
            rgb: (B, 3, h, w) float32 in 0..1.
            camera: pinhole of exactly these images.
        """
        ...

    def state(self) -> dict[str, Tensor]:
        """All tensors on the CPU in fp32, under the names that the family loads."""
        ...


class NanoStudent:
    """Nano in fp32, with the statistics of its normalisation layers as they are.

    Args:
        options: device, and weights; None for the packaged ones.
    """

    preset = 'nano'

    def __init__(self, options: ModelOptions) -> None:
        preset = PRESETS['nano']
        weights = options.weights or preset.source.packaged
        self._model: Any = models.load(
            'nano', ModelOptions(weights=weights, device=options.device, threads=options.threads)
        )
        self.network: nn.Module = self._model.network
        # new statistics of a few images of one room would forget all others
        self.network.eval().requires_grad_(True)

    def size(self, camera: Camera) -> tuple[int, int]:
        """As the model takes it."""
        found: tuple[int, int] = self._model.network_size(*camera.size)
        return found

    def log_depth(self, rgb: Tensor, camera: Camera) -> Tensor:
        """See `Student`; depth is proportional to the focal length."""
        along = slopes(camera, rgb.device).expand(len(rgb), -1, -1, -1)
        log_z: Tensor = self.network(torch.cat(((rgb - MEAN) / STD, along), dim=1))[0]
        return log_z + torch.log(torch.tensor(camera.fx / FOCAL))

    def state(self) -> dict[str, Tensor]:
        """See `Student`."""
        return {k: v.detach().float().cpu() for k, v in self.network.state_dict().items()}
