# SPDX-License-Identifier: Apache-2.0
"""A scene: solids, their materials, the light, and the space for a camera.

World axes: x forward, y left, z up (REP 103). A pose is T_world_camera, (4, 4) float64 on the CPU,
of the optical frame (x right, y down, z forward).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from depth_ros.core.errors import ConfigError
from depth_ros.sim.world.materials import Rgb
from depth_ros.sim.world.primitives import KINDS

LAST_SEED = 2**46  #: times 100 003 it fits into 64 bits, for the noise of each image


def check_seed(seed: int) -> None:
    """Check the seed of a scene: Random treats -7 as 7, and torch overflows at large ones.

    Raises:
        ConfigError: the seed is not in 0..`LAST_SEED`.
    """
    if not isinstance(seed, int) or not 0 <= seed <= LAST_SEED:
        raise ConfigError(f'seed is {seed!r}; it must be an integer of 0 to {LAST_SEED}')


@dataclass(frozen=True, slots=True)
class Light:
    """A lamp or sun that casts shadows, and ambient light.

    Args:
        position: of the lamp, or a distant point in the direction of the sun [m].
        rgb: irradiance of a surface that faces the light at distance `reach`.
        reach: distance at which a lamp gives `rgb` [m]; 0 for the sun, which does not fall off.
        radius: of the lamp, for soft shadows [m].
        above: ambient light from above.
        below: ambient light from below.
        fill: second light without shadows, from `fill_from`.
        fill_from: unit vector towards the second light.
        daylight: factor on ambient light outside of `inside`.
        inside: x0, y0, x1, y1, z1 of the building [m]; z1 is -1e6 outdoors.
        horizon: colour of haze and of the sky at the horizon.
        zenith: colour of the sky at the zenith.
        cloud: colour of clouds.
        cover: fraction of the sky with clouds, 0..1.
        haze: distance at which haze removes 63 % of the contrast [m].
    """

    position: tuple[float, float, float]
    rgb: Rgb
    reach: float = 0.0
    radius: float = 0.0
    above: Rgb = (0.4, 0.4, 0.4)
    below: Rgb = (0.2, 0.2, 0.2)
    fill: Rgb = (0.0, 0.0, 0.0)
    fill_from: tuple[float, float, float] = (1.0, 0.0, 0.0)
    daylight: float = 1.0
    inside: tuple[float, float, float, float, float] = (0.0, 0.0, 0.0, 0.0, -1e6)
    horizon: Rgb = (0.7, 0.75, 0.8)
    zenith: Rgb = (0.15, 0.3, 0.6)
    cloud: Rgb = (0.8, 0.8, 0.8)
    cover: float = 0.3
    haze: float = 1e5


@dataclass(frozen=True, slots=True)
class Scene:
    """Solids, materials and light of a scene.

    Args:
        kind: name of its layout.
        seed: seed of its layout.
        solids: for each kind of `primitives.KINDS`, (fields, N) float64.
        materials: for each kind and 'ground', (materials.ROWS, N) float32.
        casts_shadow: for each kind, (N,) bool.
        ground: height of the infinite ground plane [m].
        light: lamp or sun, and ambient light.
        area: x0, y0, x1, y1 where a camera may be [m].
        ceiling: maximum height of a camera [m].
    """

    kind: str
    seed: int
    solids: Mapping[str, Tensor]
    materials: Mapping[str, Tensor]
    casts_shadow: Mapping[str, Tensor]
    ground: float
    light: Light
    area: tuple[float, float, float, float]
    ceiling: float = 2.0

    @property
    def device(self) -> torch.device:
        """Device of its tensors."""
        return self.materials['ground'].device

    def to(self, device: torch.device | str) -> Scene:
        """A copy of the scene on `device`."""
        return replace(
            self,
            solids={k: v.to(device) for k, v in self.solids.items()},
            materials={k: v.to(device) for k, v in self.materials.items()},
            casts_shadow={k: v.to(device) for k, v in self.casts_shadow.items()},
        )

    def clearance(self, points: Tensor) -> Tensor:
        """Distance of `points` (N, 3) to the nearest surface, (N,) [m]; negative in a solid."""
        points = points.to(self.device, torch.float64)
        nearest = points[:, 2] - self.ground
        p = [points[:, i, None] for i in range(3)]
        for name, kind in KINDS.items():
            f = self.solids[name]
            if f.shape[1]:
                nearest = torch.minimum(nearest, kind.distance([r[None] for r in f], p).amin(1))
        return nearest
