# SPDX-License-Identifier: Apache-2.0
"""Builds scenes: local frames in which layouts place solids, and a check of occupied ground."""

from __future__ import annotations

import math
from random import Random

import torch

from depth_ros.sim.world.materials import ROWS, Material
from depth_ros.sim.world.primitives import KINDS
from depth_ros.sim.world.scene import Light, Scene


class Spot:
    """A local frame, rotated by `yaw`, z up. Objects are placed by the centre of their base.

    Args:
        world: collects the solids.
        x: of the origin [m].
        y: of the origin [m].
        z: of the origin [m].
        yaw: of the axes [rad].
    """

    def __init__(self, world: Builder, x: float, y: float, z: float, yaw: float) -> None:
        self.world, self.x, self.y, self.z, self.yaw = world, x, y, z, yaw
        self.rng: Random = world.rng
        self._c, self._s = math.cos(yaw), math.sin(yaw)

    def at(self, x: float, y: float, z: float = 0.0, yaw: float = 0.0) -> Spot:
        """A frame relative to this one."""
        px, py = self.point(x, y)
        return Spot(self.world, px, py, self.z + z, self.yaw + yaw)

    def point(self, x: float, y: float) -> tuple[float, float]:
        """World x and y of a point in this frame."""
        return self.x + self._c * x - self._s * y, self.y + self._s * x + self._c * y

    def box(
        self,
        x: float,
        y: float,
        z: float,
        size: tuple[float, float, float],
        material: Material,
        yaw: float = 0.0,
        casts_shadow: bool = True,
    ) -> None:
        """Add a box of `size` [m] with its base at height `z` and its centre above (x, y).

        `casts_shadow` is False for walls, floors and flat objects: every shadow ray would test
        them, without a visible shadow.
        """
        px, py = self.point(x, y)
        turn = self.yaw + yaw
        half = [s / 2 for s in size]
        self.world.add(
            'box',
            [px, py, self.z + z + half[2], *half, math.cos(turn), math.sin(turn)],
            material,
            casts_shadow,
        )

    def ball(self, x: float, y: float, z: float, radius: float, material: Material) -> None:
        """Add a sphere whose lowest point is at height `z`."""
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
        """Add a vertical cylinder or, with `round_ends`, a capsule of total height `height`."""
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
        """Add a capsule or, without `round_ends`, a cylinder between two points of this frame."""
        (x0, y0), (x1, y1) = self.point(*start[:2]), self.point(*end[:2])
        along = (x1 - x0, y1 - y0, end[2] - start[2])
        length = math.hypot(*along)
        middle = ((x0 + x1) / 2, (y0 + y1) / 2, self.z + (start[2] + end[2]) / 2)
        row = [*middle, *(a / length for a in along), length / 2, radius]
        self.world.add('capsule' if round_ends else 'rod', row, material)

    def wheel(
        self, x: float, y: float, radius: float, width: float, material: Material, z: float = 0.0
    ) -> None:
        """Add a horizontal cylinder along y whose lowest point is at height `z`."""
        px, py = self.point(x, y)
        row = [px, py, self.z + z + radius, -self._s, self._c, 0.0, width / 2, radius]
        self.world.add('rod', row, material)


class Builder(Spot):
    """Collects the solids of a scene; its local frame is the world frame.

    Args:
        seed: of the scene and of `rng`.

    Attributes:
        sun_inside: sunlight enters through windows, so that walls and ceilings cast shadows.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.rng = Random(seed)
        super().__init__(self, 0.0, 0.0, 0.0, 0.0)
        self.sun_inside = False
        self._rows: dict[str, list[list[float]]] = {k: [] for k in KINDS}
        self._materials: dict[str, list[list[float]]] = {k: [] for k in KINDS}
        self._casts_shadow: dict[str, list[bool]] = {k: [] for k in KINDS}
        self._occupied: list[tuple[float, float, float, float]] = []

    def add(
        self, kind: str, fields: list[float], material: Material, casts_shadow: bool = True
    ) -> None:
        """Add a solid of a kind of `primitives.KINDS`, with the values of its fields."""
        self._casts_shadow[kind].append(casts_shadow or self.sun_inside)
        self._rows[kind].append(fields)
        self._materials[kind].append(material.row())

    def claim(self, spot: Spot, width: float, depth: float, gap: float = 0.05) -> bool:
        """Reserve ground of `width` x `depth` [m] around `spot`; False if it is occupied."""
        c, s = abs(math.cos(spot.yaw)), abs(math.sin(spot.yaw))
        hx, hy = (c * width + s * depth) / 2 + gap, (s * width + c * depth) / 2 + gap
        bounds = (spot.x - hx, spot.y - hy, spot.x + hx, spot.y + hy)
        for other in self._occupied:
            if (
                bounds[0] < other[2]
                and other[0] < bounds[2]
                and bounds[1] < other[3]
                and other[1] < bounds[3]
            ):
                return False
        self._occupied.append(bounds)
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
        """The scene of all solids added, above an infinite ground plane at height `level` [m]."""
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
            {k: torch.tensor(v, dtype=torch.bool) for k, v in self._casts_shadow.items()},
            level,
            light,
            area,
            ceiling,
        )
