# SPDX-License-Identifier: Apache-2.0
"""Scenes of boxes whose distances along any ray are known, and a network that knows them."""

import numpy as np
import torch

from depth_ros.core.lens import pixel_grid
from depth_ros.core.types import Kind, Prediction
from depth_ros.pipeline.wide.layout import layout


def outside_box(low, high, rays):
    """Distances (...) to a box that the origin is outside of; Inf where a ray misses it."""
    with np.errstate(divide='ignore', invalid='ignore'):
        a, b = np.asarray(low) / rays, np.asarray(high) / rays
    enter, leave = np.fmin(a, b).max(-1), np.fmax(a, b).min(-1)
    return np.where((enter <= leave) & (enter > 0), enter, np.inf)


class Scene:
    """Surfaces; called with unit rays (..., 3), the distances (...) to the nearest one.

    Args:
        surfaces: functions of rays that give distances.
    """

    def __init__(self, *surfaces):
        self._surfaces = surfaces

    def __call__(self, rays):
        with np.errstate(invalid='ignore', divide='ignore'):
            return np.fmin.reduce([surface(rays) for surface in self._surfaces])

    def which(self, rays):
        """Number (...) of the surface that is seen; that of all for the sky."""
        with np.errstate(invalid='ignore', divide='ignore'):
            found = np.stack([surface(rays) for surface in self._surfaces])
        found = np.where(np.isnan(found), np.inf, found)
        return np.where(np.isinf(found.min(0)), len(found), found.argmin(0))


def plane(axis, at):
    """A wall, floor or ceiling across an axis."""
    return lambda rays: np.where(rays[..., axis] * at > 0, at / rays[..., axis], np.inf)


def outside(low, high):
    return lambda rays: outside_box(low, high, rays)


def front(x, roof):
    """An endless wall at the side, up to a height above the camera."""

    def surface(rays):
        distance = np.where(rays[..., 0] * x > 0, x / rays[..., 0], np.inf)
        return np.where(-distance * rays[..., 1] > roof, np.inf, distance)

    return surface


#: 4 x 2.6 x 6 m, the camera 1.4 m above the floor, with a cupboard at the left; x right, y down
room = Scene(
    *(plane(0, -1.7), plane(0, 2.3), plane(1, -1.2), plane(1, 1.4), plane(2, -2.5), plane(2, 3.5)),
    outside((-1.7, -0.6, 0.6), (-1.2, 1.4, 1.6)),
)
#: between two fronts, the camera 1.5 m above the ground, with two cars and open sky
street = Scene(
    *(plane(1, 1.5), front(-6.0, 8.0), front(9.0, 8.0)),
    outside((-4.0, -0.1, -1.0), (-2.2, 1.5, 3.0)),
    outside((2.0, -0.1, 5.0), (3.8, 1.5, 9.0)),
)
SCENES = {'room': room, 'street': street}


class Oracle:
    """A network that knows the distances of a scene in the tiles of a lens.

    Args:
        scene: distances (...) of unit rays (..., 3).
        camera: of the lens.
        settings: its `undistort` parameters.
        kind: of the predictions.
        factors: of each tile, on its depth; all 1 if absent.
    """

    def __init__(self, scene, camera, settings, kind=Kind.METRIC, factors=None):
        self.scene, self.kind = scene, kind
        self.tiles = layout(camera, settings.tile_fov, settings.max_angle)
        self.factors = np.ones(len(self.tiles)) if factors is None else factors
        self.batches = []

    def predict_many(self, frames):
        self.batches.append(len(frames))
        return [self._predicted(frame, k % len(self.tiles)) for k, frame in enumerate(frames)]

    def predict(self, frame):
        return self._predicted(frame, 0)

    def _predicted(self, frame, k):
        tile = self.tiles[k]
        assert frame.camera == tile.camera
        rays = pixel_grid(tile.camera)
        z = self.scene(rays @ tile.R_lens_tile.T) * rays[..., 2] * self.factors[k]
        sky = torch.from_numpy(np.isinf(z))
        z = torch.from_numpy(np.where(np.isinf(z), 1e3, z).astype(np.float32))
        focal = None
        if self.kind is Kind.CANONICAL:
            focal = (frame.camera.fx / 2.0, frame.camera.fy / 2.0)
            z = z / 2.0
        z, sky = z.to(frame.rgb.device), sky.to(frame.rgb.device)
        return Prediction(z, self.kind, focal, confidence=torch.ones_like(z), sky=sky)
