# SPDX-License-Identifier: Apache-2.0
"""No network: a wall, or a level floor. For the demo, the tests and measuring the node itself."""

from __future__ import annotations

import torch

from depth_ros.core.geometry import rays
from depth_ros.core.types import Frame, Kind, Prediction
from depth_ros.models.interface import ModelOptions, Preset

WALL_Z = 2.0  #: distance of the wall [m]
CAMERA_HEIGHT = 1.2  #: of a level camera above the floor [m]


class Flat:
    """Metres from geometry.

    'wall' stands everywhere at `WALL_Z`. 'ground' is a level floor `CAMERA_HEIGHT` below a level
    camera: Z = h / y, y the ray's slope, and nothing in range above the horizon.
    """

    kind = Kind.METRIC

    def __init__(self, variant: str) -> None:
        """Take 'wall' or 'ground'."""
        self.variant = variant

    def predict(self, frame: Frame) -> Prediction:
        """(H, W) metres."""
        camera, device = frame.camera, frame.rgb.device
        if self.variant == 'wall':
            return Prediction(torch.full(camera.size, WALL_Z, device=device), self.kind)
        slope = rays(camera, str(device))[1].expand(camera.size)  # (H, W) y / z of the ray
        return Prediction(CAMERA_HEIGHT / slope.clamp(min=1e-6), self.kind, sky=slope <= 0)


def load(preset: Preset, options: ModelOptions) -> Flat:
    """The preset's surface; no weights."""
    return Flat(preset.variant)
