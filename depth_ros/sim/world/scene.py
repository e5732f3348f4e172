# SPDX-License-Identifier: Apache-2.0
"""A scene: solids, what they are made of, the light, and where a camera may be.

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

LAST_SEED = 2**46  #: times 100 003 it fits into 64 bits, for the noise of every frame


def check_seed(seed: int) -> None:
    """Refuse what would repeat another's scene (Random takes -7 for 7) or overflow in torch.

    Raises:
        ConfigError: no scene has this seed.
    """
    if not isinstance(seed, int) or not 0 <= seed <= LAST_SEED:
        raise ConfigError(f'seed is {seed!r}; a scene has a whole one of 0 to {LAST_SEED}')


@dataclass(frozen=True, slots=True)
class Light:
    """One light that casts shadows, and everything softer than that.

    Args:
        position: of the lamp, or a point far away in the direction of the sun [m].
        rgb: irradiance it gives a surface that faces it from `reach` metres.
        reach: distance at which a lamp gives `rgb` [m]; 0 for the sun, which never fades.
        radius: of a lamp, which softens its shadows [m].
        above: ambient light from above.
        below: ambient light from below.
        fill: second light without shadows, from `fill_from`.
        fill_from: unit vector towards it.
        daylight: factor on ambient light outside `inside`.
        inside: x0, y0, x1, y1, z1 of a building's rooms [m], or None outdoors.
        horizon: colour of the sky at the horizon, also of the haze.
        zenith: colour of the sky above.
        cloud: rgb of clouds.
        cover: share of the sky with clouds, 0..1.
        haze: distance at which haze takes 63 % of the contrast [m].
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
    """Everything there is to see.

    Args:
        kind: name of the layout that made it.
        seed: it was made with.
        solids: per kind of `primitives.KINDS`, (fields, N) float64.
        materials: per kind, and 'ground', (materials.ROWS, N) float32.
        shades: per kind, (N,) bool, which solids throw shadows.
        ground: height of the endless ground [m].
        light: as it falls.
        area: x0, y0, x1, y1 where a camera may be [m].
        ceiling: greatest height of a camera [m].
    """

    kind: str
    seed: int
    solids: Mapping[str, Tensor]
    materials: Mapping[str, Tensor]
    shades: Mapping[str, Tensor]
    ground: float
    light: Light
    area: tuple[float, float, float, float]
    ceiling: float = 2.0

    @property
    def device(self) -> torch.device:
        """Where its tensors live."""
        return self.materials['ground'].device

    def to(self, device: torch.device | str) -> Scene:
        """The same scene on `device`."""
        return replace(
            self,
            solids={k: v.to(device) for k, v in self.solids.items()},
            materials={k: v.to(device) for k, v in self.materials.items()},
            shades={k: v.to(device) for k, v in self.shades.items()},
        )

    def clearance(self, points: Tensor) -> Tensor:
        """Distance from `points` (N, 3) to the nearest surface, negative inside one; (N,) [m]."""
        points = points.to(self.device, torch.float64)
        least = points[:, 2] - self.ground
        p = [points[:, i, None] for i in range(3)]
        for name, kind in KINDS.items():
            f = self.solids[name]
            if f.shape[1]:
                least = torch.minimum(least, kind.distance([r[None] for r in f], p).amin(1))
        return least
