# SPDX-License-Identifier: Apache-2.0
"""Yards, gardens, parks and squares with loose objects."""

from __future__ import annotations

import math

from depth_ros.sim.world import materials as m
from depth_ros.sim.world.builder import Builder
from depth_ros.sim.world.layouts import clutter, furniture, objects, outside
from depth_ros.sim.world.scene import Scene

OBJECTS = (
    (outside.crates, 1.1),
    (outside.crates, 1.1),
    (outside.barrel, 0.7),
    (outside.dustbin, 0.7),
    (outside.bench, 1.7),
    (outside.bush, 1.2),
    (outside.tree, 1.6),
    (outside.pole, 0.6),
    (outside.car, 4.6),
    (objects.person, 0.6),
    (objects.cartons, 0.8),
    (objects.ball, 0.5),
    (furniture.chair, 0.6),
    (objects.steps, 1.9),
    (clutter.heap, 1.0),
    (clutter.bicycle, 1.8),
    (clutter.motorcycle, 2.2),
    (clutter.workbench, 1.9),
    (clutter.ladder, 1.4),
)


def yard(b: Builder) -> Scene:
    """Ground of 8 to 30 m, enclosed on some sides by walls, fences, hedges or houses."""
    rng = b.rng
    wide, deep = rng.uniform(8, 30), rng.uniform(8, 30)
    ground = rng.choice((m.slabs, m.slabs, m.grass, m.asphalt, m.earth, m.concrete))(rng)
    for k, (x, y, long) in enumerate(
        ((0, -deep / 2, wide), (wide / 2, 0, deep), (0, deep / 2, wide), (-wide / 2, 0, deep))
    ):
        side, pick = b.at(x, y, 0, k * math.pi / 2), rng.random()
        if pick < 0.3:
            outside.house(side.at(0, -5.05), long, 10.0, rng.randint(1, 4))
        elif pick < 0.75:
            outside.fence(side, long)
    outside.backdrop(b, 32.0, 90.0)
    if rng.random() < 0.5:  # a path or a bed
        of = rng.choice((m.slabs, m.grass, m.earth, m.planks))(rng)
        size = (
            (rng.uniform(1.2, 4), deep * 0.9) if rng.random() < 0.5 else (wide * 0.5, deep * 0.4)
        )
        b.box(
            rng.uniform(-0.2, 0.2) * wide,
            0,
            0,
            (*size, rng.choice((0.02, 0.05, 0.15))),
            of,
            casts_shadow=False,
        )
    if rng.random() < 0.3:  # a roof on columns
        of, spot = m.concrete(rng), b.at(rng.uniform(-0.2, 0.2) * wide, 0.3 * deep)
        if b.claim(spot, 5.2, 3.2):
            for px in (-2.3, 0.0, 2.3):
                for py in (-1.3, 1.3):
                    spot.post(px, py, 0, 2.5, 0.12, of)
            spot.box(0, 0, 2.5, (5.2, 3.2, 0.2), m.slats(rng))
    for _ in range(rng.randint(8, 30)):
        add_object, width = rng.choice(OBJECTS)
        spot = b.at(
            rng.uniform(-0.45, 0.45) * wide,
            rng.uniform(-0.45, 0.45) * deep,
            0,
            rng.uniform(0, 6.28),
        )
        if width < 0.4 * min(wide, deep) and b.claim(spot, width, width, 0.1):
            add_object(spot)
    area = (-wide / 2, -deep / 2, wide / 2, deep / 2)
    return b.scene('yard', ground, outside.sunlight(rng), area)
