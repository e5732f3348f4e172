# SPDX-License-Identifier: Apache-2.0
"""Nano as a student: all of its layers learn."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from depth_ros import models
from depth_ros.core.camera import Camera
from depth_ros.models import PRESETS, ModelOptions
from depth_ros.models.nano.network import FOCAL, MEAN, STD, slopes
from depth_ros.offline.adapt.students.low_rank import plain


class NanoStudent:
    """Nano in fp32, with the statistics of its normalisation layers as they are.

    Args:
        options: device, input size, and weights; None for the packaged ones.
    """

    preset = 'nano'
    batch = 8

    def __init__(self, options: ModelOptions) -> None:
        weights = options.weights or PRESETS['nano'].source.packaged
        model: Any = models.load(
            'nano',
            ModelOptions(weights=weights, device=options.device, input_size=options.input_size),
        )
        self._model = model
        self.network: nn.Module = model.network
        self.network.requires_grad_(True)

    def size(self, camera: Camera) -> tuple[int, int]:
        """As the model takes it."""
        found: tuple[int, int] = self._model.network_size(*camera.size)
        return found

    def log_depth(self, rgb: Tensor, camera: Camera) -> Tensor:
        """See `Student`; depth is proportional to the focal length."""
        along = slopes(camera, rgb.device).expand(len(rgb), -1, -1, -1)
        log_z: Tensor = self.network(torch.cat(((rgb - MEAN) / STD, along), dim=1))[0]
        return log_z + math.log(camera.fx / FOCAL)

    @torch.no_grad()
    def rescale(self, factor: float, at: float = 1.0) -> None:
        """See `Student`; exact everywhere."""
        self._model.network.head[-1].bias[0] += math.log(factor)

    def state(self) -> dict[str, Tensor]:
        """See `Student`."""
        return plain(self.network.state_dict())
