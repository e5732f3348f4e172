# SPDX-License-Identifier: Apache-2.0
"""How layouts put solids into a scene: spots with their own axes, and ground taken only once."""

from __future__ import annotations

import math
from random import Random

import torch

from depth_ros.sim.world.materials import ROWS, Material
from depth_ros.sim.world.primitives import KINDS
from depth_ros.sim.world.scene import Light, Scene


class Spot:
    """A place with axes: x and y are turned by `yaw`, z is up. Things are given by their foot.

    Args:
        world: where solids go.
        x: of the place [m].
        y: of it [m].
        z: of it [m].
        yaw: of its axes [rad].
    """

    def __init__(self, world: Builder, x: float, y: float, z: float, yaw: float) -> None:
        self.world, self.x, self.y, self.z, self.yaw = world, x, y, z, yaw
        self.rng: Random = world.rng
        self._c, self._s = math.cos(yaw), math.sin(yaw)

    def at(self, x: float, y: float, z: float = 0.0, yaw: float = 0.0) -> Spot:
        """A place within this one."""
        px, py = self.point(x, y)
        return Spot(self.world, px, py, self.z + z, self.yaw + yaw)

    def point(self, x: float, y: float) -> tuple[float, float]:
        """World x and y of a point of this place."""
        return self.x + self._c * x - self._s * y, self.y + self._s * x + self._c * y

    def box(
        self,
        x: float,
        y: float,
        z: float,
        size: tuple[float, float, float],
        material: Material,
        yaw: float = 0.0,
        shades: bool = True,
    ) -> None:
        """A box of `size` standing at height `z`, its middle over (x, y).

        `shades` False is for what encloses or lies flat: it would be tried by every shadow ray,
        and shade nothing.
        """
        px, py = self.point(x, y)
        turn = self.yaw + yaw
        half = [s / 2 for s in size]
        self.world.add(
            'box',
            [px, py, self.z + z + half[2], *half, math.cos(turn), math.sin(turn)],
            material,
            shades,
        )

    def ball(self, x: float, y: float, z: float, radius: float, material: Material) -> None:
        """A ball whose lowest point is at height `z`."""
        px, py = self.point(x, y)
        self.world.add('ball', [px, py, self.z + z + radius, radius], material)

    def post(
        self,
        x: float,
        y: float,
        z: float,
        height: float,
        radius: float,
        material: Material,
        round_ends: bool = False,
    ) -> None:
        """A standing cylinder or, with `round_ends`, a capsule; `height` is its whole height."""
        px, py = self.point(x, y)
        half = height / 2 - (radius if round_ends else 0.0)
        row = [px, py, self.z + z + height / 2, 0.0, 0.0, 1.0, max(half, 1e-3), radius]
        self.world.add('capsule' if round_ends else 'rod', row, material)

    def bar(
        self,
        start: tuple[float, float, float],
        end: tuple[float, float, float],
        radius: float,
        material: Material,
        round_ends: bool = True,
    ) -> None:
        """A capsule or, without `round_ends`, a cylinder between two points of this place."""
        (x0, y0), (x1, y1) = self.point(*start[:2]), self.point(*end[:2])
        along = (x1 - x0, y1 - y0, end[2] - start[2])
        length = math.hypot(*along)
        middle = ((x0 + x1) / 2, (y0 + y1) / 2, self.z + (start[2] + end[2]) / 2)
        row = [*middle, *(a / length for a in along), length / 2, radius]
        self.world.add('capsule' if round_ends else 'rod', row, material)

    def wheel(
        self, x: float, y: float, radius: float, width: float, material: Material, z: float = 0.0
    ) -> None:
        """A cylinder lying along y, its lowest point at height `z`."""
        px, py = self.point(x, y)
        row = [px, py, self.z + z + radius, -self._s, self._c, 0.0, width / 2, radius]
        self.world.add('rod', row, material)


class Builder(Spot):
    """Collects solids; the spot at the world's origin."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.rng = Random(seed)
        super().__init__(self, 0.0, 0.0, 0.0, 0.0)
        self.sun_comes_in = False  #: then walls and ceilings throw shadows too
        self._rows: dict[str, list[list[float]]] = {k: [] for k in KINDS}
        self._materials: dict[str, list[list[float]]] = {k: [] for k in KINDS}
        self._shades: dict[str, list[bool]] = {k: [] for k in KINDS}
        self._taken: list[tuple[float, float, float, float]] = []

    def add(self, kind: str, fields: list[float], material: Material, shades: bool = True) -> None:
        """One solid."""
        self._shades[kind].append(shades or self.sun_comes_in)
        self._rows[kind].append(fields)
        self._materials[kind].append(material.row())

    def claim(self, spot: Spot, width: float, depth: float, gap: float = 0.05) -> bool:
        """Take the ground of `width` x `depth` [m] about `spot` if nobody has it."""
        c, s = abs(math.cos(spot.yaw)), abs(math.sin(spot.yaw))
        hx, hy = (c * width + s * depth) / 2 + gap, (s * width + c * depth) / 2 + gap
        mine = (spot.x - hx, spot.y - hy, spot.x + hx, spot.y + hy)
        for other in self._taken:
            if (
                mine[0] < other[2]
                and other[0] < mine[2]
                and mine[1] < other[3]
                and other[1] < mine[3]
            ):
                return False
        self._taken.append(mine)
        return True

    def scene(
        self,
        kind: str,
        ground: Material,
        light: Light,
        area: tuple[float, float, float, float],
        level: float = 0.0,
        ceiling: float = 2.0,
    ) -> Scene:
        """What has been collected, over an endless ground at height `level`."""
        solids = {
            k: torch.tensor(rows, dtype=torch.float64).reshape(-1, len(KINDS[k].fields)).T
            for k, rows in self._rows.items()
        }
        materials = {
            k: torch.tensor(rows, dtype=torch.float32).reshape(-1, ROWS).T
            for k, rows in {**self._materials, 'ground': [ground.row()]}.items()
        }
        return Scene(
            kind,
            self.seed,
            {k: v.contiguous() for k, v in solids.items()},
            {k: v.contiguous() for k, v in materials.items()},
            {k: torch.tensor(v, dtype=torch.bool) for k, v in self._shades.items()},
            level,
            light,
            area,
            ceiling,
        )
