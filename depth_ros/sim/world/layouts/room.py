# SPDX-License-Identifier: Apache-2.0
"""Furnished rooms of 2.5 to 12 m: living rooms, bedrooms, kitchens, offices, workshops."""

from __future__ import annotations

import math
from random import Random

from depth_ros.sim.world import materials as m
from depth_ros.sim.world.builder import Builder
from depth_ros.sim.world.layouts import clutter, furniture, shell
from depth_ros.sim.world.layouts.shell import THICK, Wall
from depth_ros.sim.world.scene import Scene

WALLS = (m.plaster, m.plaster, m.wallpaper, m.plaster, m.brick, m.tiles)
FLOORS = (m.planks, m.planks, m.tiles, m.carpet, m.concrete)
#: walls of cellars, garages and workshops
ROUGH_WALLS = (m.concrete, m.blocks, m.brick, m.slats, m.plaster)
ROUGH_FLOORS = (m.concrete, m.concrete, m.planks, m.slabs)
TALL = (furniture.shelf, furniture.cupboard, furniture.counter, clutter.rack)


def room(b: Builder) -> Scene:
    """Room, with the space behind its open door and outside of its windows."""
    rng = b.rng
    wide, deep = (min(12.0, max(2.5, rng.lognormvariate(math.log(4.6), 0.4))) for _ in range(2))
    height = rng.uniform(2.3, 3.2)
    x0, y0, x1, y1 = -wide / 2, -deep / 2, wide / 2, deep / 2
    walls = shell.walls_of(b, x0, y0, x1, y1, height)
    inner = rng.randrange(4)  # the wall with the door to the rest of the house
    ajar = rng.random() < 0.4
    length = walls[inner].length
    shell.door(walls[inner], rng.uniform(-0.5, 0.5) * (length - 1.2), rng, ajar)
    b.sun_inside = rng.random() < 0.3
    bright = _windows(walls, inner, rng, height)
    b.sun_inside &= bright is not None
    if rng.random() < 0.4:  # a second door
        x = rng.uniform(-0.5, 0.5) * (length - 1.2)
        if walls[inner].free(x - 0.7, x + 0.7):
            shell.door(walls[inner], x, rng, False)
    rough = rng.random() < 0.2  # a cellar, a garage, a workshop
    common = rng.choice(ROUGH_WALLS if rough else WALLS)(rng)
    skirting = m.trim(rng) if rng.random() < 0.7 and not rough else None
    floor = rng.choice(ROUGH_FLOORS if rough else FLOORS)(rng)
    for wall in walls:
        shell.hang(wall, rng, rng.choice((0, 1, 1, 2)))
        own = m.plaster(rng) if rng.random() < 0.15 else common
        wall.build(own, skirting)
    inside = _slabs(b, walls[inner], (x0, y0, x1, y1), height, floor, ajar)
    _furnish(b, walls, rng, wide, deep, rough)
    if rough or rng.random() < 0.15:
        _beams(b, rng, wide, deep, height)
    lamp = (rng.uniform(-0.2, 0.2) * wide, rng.uniform(-0.2, 0.2) * deep, height - 0.3)
    if rng.random() < 0.7:
        b.post(lamp[0], lamp[1], lamp[2] + 0.03, 0.12, rng.uniform(0.12, 0.3), m.lamp(rng))
        b.post(lamp[0], lamp[1], lamp[2] + 0.15, 0.15, 0.01, m.metal(rng))
    else:
        b.box(lamp[0], lamp[1], height - 0.06, (1.2, 0.3, 0.06), m.lamp(rng))
    light = shell.lamp_light(rng, lamp, inside, bright)
    if b.sun_inside and bright:
        light = shell.through_windows(light, rng, bright)
    level = -rng.choice((0.3, 0.3, 3.3, 6.3))
    out = b.at(0, 0, level)
    for _ in range(3):  # houses opposite
        angle, far = rng.uniform(0, 2 * math.pi), rng.uniform(18, 60)
        out.box(
            far * math.cos(angle),
            far * math.sin(angle),
            0,
            (rng.uniform(8, 20), rng.uniform(8, 20), 3 * rng.randint(1, 5) + 0.5),
            m.facade(rng),
            angle,
            casts_shadow=False,
        )
    ground = rng.choice((m.grass, m.asphalt, m.slabs))(rng)
    return b.scene('room', ground, light, (x0, y0, x1, y1), level, min(2.0, height - 0.3))


def _windows(
    walls: list[Wall], inner: int, rng: Random, height: float
) -> tuple[float, float] | None:
    """Add windows to the outer walls; returns the direction of their light, or None."""
    towards = None
    for k, wall in enumerate(walls):
        if k == inner or rng.random() < 0.55:
            continue
        low = rng.choice((0.85, 0.9, 0.4))
        high = min(height - 0.15, low + rng.uniform(1.1, 1.5))
        count = max(1, int(wall.length / 2.8))
        for i in range(count):
            width = min(rng.uniform(0.8, 2.0), wall.length / count - 0.7)
            x = (i + 0.5 - count / 2) * wall.length / count
            if width > 0.5:
                shell.window(wall, x, rng, width, low, high)
        towards = (math.sin(wall.spot.yaw), -math.cos(wall.spot.yaw))
    return towards


def _slabs(
    b: Builder,
    wall: Wall,
    bounds: tuple[float, float, float, float],
    height: float,
    floor: m.Material,
    ajar: bool,
) -> tuple[float, float, float, float, float]:
    """Add floor and ceiling, and the passage behind an open door; returns `Light.inside`."""
    rng = b.rng
    x0, y0, x1, y1 = bounds
    ceiling = m.ceiling(rng)
    wide, deep = x1 - x0 + 2 * THICK, y1 - y0 + 2 * THICK
    b.box(0, 0, -0.25, (wide, deep, 0.25), floor, casts_shadow=False)
    b.box(0, 0, height, (wide, deep, 0.2), ceiling, casts_shadow=False)
    if not ajar:
        return (x0 - THICK, y0 - THICK, x1 + THICK, y1 + THICK, height)
    far = rng.uniform(1.2, 4.0)
    s, of = wall.spot.at(0, -THICK), m.plaster(rng)
    length = wall.length + 2 * THICK
    s.box(0, -far / 2, -0.25, (length, far, 0.25), m.planks(rng), casts_shadow=False)
    s.box(0, -far / 2, height, (length, far, 0.2), ceiling, casts_shadow=False)
    s.box(0, -far - 0.05, 0, (length, 0.1, height), of, casts_shadow=False)
    for side in (-1, 1):
        s.box(side * length / 2, -far / 2, 0, (0.1, far, height), of, casts_shadow=False)
    corners = [s.point(side * length / 2, -far) for side in (-1, 1)]
    xs, ys = [x0, x1, *(c[0] for c in corners)], [y0, y1, *(c[1] for c in corners)]
    return (min(xs) - THICK, min(ys) - THICK, max(xs) + THICK, max(ys) + THICK, height)


def _beams(b: Builder, rng: Random, wide: float, deep: float, height: float) -> None:
    """Add beams below the ceiling, and a pipe along a wall."""
    of, pitch = m.wood(rng), rng.uniform(0.5, 1.4)
    thick, tall = rng.uniform(0.05, 0.16), rng.uniform(0.1, 0.22)
    count = int(deep / pitch)
    for k in range(count):
        y = (k + 0.5) * deep / count - deep / 2
        b.box(0, y, height - tall, (wide, thick, tall - 1e-3), of, casts_shadow=False)
    y, z, radius = rng.choice((-1, 1)) * (deep / 2 - 0.12), height - 0.35, rng.uniform(0.02, 0.07)
    b.bar((-wide / 2, y, z), (wide / 2, y, z), radius, m.metal(rng), round_ends=False)


def _wall_shelf(wall: Wall, rng: Random) -> None:
    """Add a shelf with objects to a wall."""
    width, z = rng.uniform(0.5, 1.4), rng.uniform(1.2, 1.7)
    x = rng.uniform(-0.5, 0.5) * (wall.length - width - 0.3)
    if wall.length < width + 0.4 or not wall.free(x - width / 2, x + width / 2):
        return
    wall.spot.box(x, 0.13, z - 0.03, (width, 0.25, 0.03), m.wood(rng))
    for _ in range(rng.randint(2, 6)):
        at = wall.spot.at(x + rng.uniform(-0.42, 0.42) * width, 0.13, z, 0.0)
        clutter.any_object(at, rng.uniform(0.05, 0.25), 0.18, rng.uniform(0.08, 0.35))


def _furnish(
    b: Builder, walls: list[Wall], rng: Random, wide: float, deep: float, rough: bool
) -> None:
    """Add objects against the walls, then in the middle, where there is space."""
    for wall in walls:  # keep doors free
        for start, end, low, _ in wall.holes:
            if low == 0:
                b.claim(wall.spot.at((start + end) / 2, 0.45), end - start, 0.9, 0.0)
    if rng.random() < 0.35:
        size = (min(2.4, wide * 0.6), min(1.7, deep * 0.6), 0.012)
        b.box(rng.uniform(-0.1, 0.1) * wide, 0, 0, size, m.rug(rng), casts_shadow=False)
    crowd = rng.uniform(0.6, 2.6)
    for wall in walls:
        if rng.random() < 0.2 * crowd:
            _wall_shelf(wall, rng)
    against = list(furniture.AGAINST.items())
    if rough:
        against = [(t, size) for t, size in against if t not in (furniture.bed, furniture.sofa)]
    for add_object, (width, depth) in rng.sample(against, len(against)) + rng.sample(against, 4):
        for _ in range(4):
            wall = rng.choice(walls)
            rare = 0.3 if add_object in furniture.RARE else 1.0
            if rng.random() > crowd * rare or wall.length < width + 0.2:
                continue
            x = rng.uniform(-0.5, 0.5) * (wall.length - width - 0.1)
            tall = add_object in TALL
            if tall and not wall.free(x - width / 2, x + width / 2):
                continue
            spot = wall.spot.at(x, depth / 2 + 0.04)
            if add_object is furniture.desk:
                spot = wall.spot.at(x, 0.72)
            if b.claim(wall.spot.at(x, depth / 2), width, depth):
                add_object(spot)
                break
    for add_object, (width, depth) in rng.sample(list(furniture.FREE.items()), 13):
        for _ in range(3):
            rare = 0.25 if add_object in furniture.RARE and not rough else 1.0
            if rng.random() > crowd * 0.6 * rare:
                continue
            turn = rng.uniform(0, 2 * math.pi)
            reach = max(width, depth) / 2 + 0.1
            if min(wide, deep) < 2 * reach + 0.2:
                continue
            x, y = rng.uniform(-1, 1) * (wide / 2 - reach), rng.uniform(-1, 1) * (deep / 2 - reach)
            spot = b.at(x, y, 0, turn)
            if b.claim(spot, width, depth):
                add_object(spot)
                break
    if min(wide, deep) > 6 and rng.random() < 0.5:
        of = m.plaster(rng)
        for x in (-0.25, 0.25):
            if b.claim(b.at(x * wide, 0), 0.4, 0.4):
                b.box(x * wide, 0, 0, (0.35, 0.35, 2.29), of)
