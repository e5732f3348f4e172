# SPDX-License-Identifier: Apache-2.0
"""Depth of a wall or a level floor, computed without a network; for tests and benchmarks."""

from __future__ import annotations

import torch

from depth_ros.core.geometry import rays
from depth_ros.core.types import Frame, Kind, Prediction
from depth_ros.models.interface import ModelOptions, Preset

NOT_EXPORTED = 'it has no network'  #: why other engines than torch cannot run it
WALL_Z = 2.0  #: depth of the wall [m]
CAMERA_HEIGHT = 1.2  #: height of the camera above the floor [m]


class Flat:
    """Metric depth from geometry.

    'wall' is a plane at Z = `WALL_Z`. 'ground' is a level floor, `CAMERA_HEIGHT` below a level
    camera: Z = h / y, where y is the slope of the ray; above the horizon is sky.

    Args:
        variant: 'wall' or 'ground'.
    """

    kind = Kind.METRIC

    def __init__(self, variant: str) -> None:
        self.variant = variant

    def predict(self, frame: Frame) -> Prediction:
        """Depth (H, W) float32 [m] of the plane as seen by the camera of `frame`."""
        camera, device = frame.camera, frame.rgb.device
        if self.variant == 'wall':
            return Prediction(torch.full(camera.size, WALL_Z, device=device), self.kind)
        slope = rays(camera, str(device))[1].expand(camera.size)  # (H, W) y / z of the rays
        return Prediction(CAMERA_HEIGHT / slope.clamp(min=1e-6), self.kind, sky=slope <= 0)


def load(preset: Preset, options: ModelOptions) -> Flat:
    """The plane of the preset; it has no weights."""
    return Flat(preset.variant)
