# SPDX-License-Identifier: Apache-2.0
"""Outdoor objects, and the sun."""

from __future__ import annotations

import math
from random import Random

from depth_ros.sim.world import materials as m
from depth_ros.sim.world.builder import Spot
from depth_ros.sim.world.layouts.shell import daylight
from depth_ros.sim.world.materials import Material
from depth_ros.sim.world.scene import Light


def sunlight(rng: Random) -> Light:
    """Sun at 20 to 70 degrees, from none (overcast) to bright, with a matching sky."""
    sky = daylight(rng)
    turn, height = rng.uniform(0, 2 * math.pi), math.radians(rng.uniform(20, 70))
    far = 3000.0
    clear = rng.random() < 0.7
    if clear:
        sky['cover'] = rng.uniform(0.0, 0.6)
        sky['zenith'] = m.colour(rng, hue=(0.56, 0.62), saturation=(0.45, 0.8), value=(0.6, 0.95))
        sky['horizon'] = m.colour(
            rng, hue=(0.54, 0.6), saturation=(0.05, 0.25), value=(0.85, 0.97)
        )
    bright = rng.uniform(1.3, 3.0) if clear else rng.uniform(0.0, 0.4)
    warm = 1 - math.sin(height)
    soft = rng.uniform(0.22, 0.45) + (0.0 if clear else 0.35)
    return Light(
        position=(
            far * math.cos(height) * math.cos(turn),
            far * math.cos(height) * math.sin(turn),
            far * math.sin(height),
        ),
        rgb=(bright, bright * (1 - 0.18 * warm), bright * (1 - 0.45 * warm)),
        above=(soft * 0.85, soft * 0.97, soft * 1.15),
        below=(soft * 0.5, soft * 0.48, soft * 0.44),
        haze=math.exp(rng.uniform(math.log(80), math.log(3000))),
        **sky,  # type: ignore[arg-type]
    )


def car(s: Spot) -> None:
    """Car of about 4.2 x 1.8 x 1.45 m: two boxes, windows and wheels; length along x."""
    rng = s.rng
    paint = m.metal(rng)
    long, wide, high = rng.gauss(4.2, 0.25), rng.gauss(1.8, 0.05), rng.gauss(1.47, 0.07)
    van = rng.random() < 0.15
    if van:
        long, high = 5.0, 2.0
    waist = rng.uniform(0.82, 0.92)
    s.box(0, 0, 0.22, (long, wide, waist - 0.22), paint)
    cabin = long * (0.85 if van else rng.uniform(0.5, 0.62))
    shift = -long * (0.05 if van else rng.uniform(0.02, 0.1))
    inner = wide - 0.2
    windows = Material(
        (0.015, 0.02, 0.025),
        paint.pane,
        cell=(cabin / rng.choice((2, 2, 3)), high - waist + 0.05),
        across=(0.06, 0.94),
        along=(0.08, 0.85),
        noise=0.08,
        gloss=0.7,
    )
    s.box(shift, 0, waist, (cabin, inner, high - waist - 0.04), windows)
    s.box(shift, 0, high - 0.04, (cabin - 0.1, inner - 0.06, 0.04), paint)
    tyre, radius = m.rubber(rng), rng.uniform(0.3, 0.34)
    for x in (-0.31, 0.31):
        for side in (-1, 1):
            s.wheel(x * long, side * (wide / 2 - 0.09), radius, 0.2, tyre)
    white, red = m.paint(rng, (0.8, 0.8, 0.75)), m.paint(rng, (0.5, 0.02, 0.02))
    for y in (-0.6, 0.6):
        s.box(long / 2, y, 0.6, (0.03, 0.32, 0.13), white)
        s.box(-long / 2, y, 0.62, (0.03, 0.25, 0.15), red)


def tree(s: Spot, reach: float = 2.8) -> None:
    """Trunk of 2 to 3.5 m and a crown of spheres within `reach` [m] of it."""
    rng = s.rng
    trunk, of = rng.uniform(1.8, 3.5), m.leaves(rng)
    bark = m.wood(rng, m.colour(rng, (0.05, 0.1), (0.2, 0.4), (0.2, 0.45)))
    s.post(0, 0, 0, trunk + 0.6, rng.uniform(0.08, 0.22), bark)
    radius = min(rng.uniform(0.9, 1.6), reach / (0.9 + 0.85))
    s.ball(0, 0, trunk, radius, of)
    for _ in range(rng.randint(3, 6)):
        r = radius * rng.uniform(0.45, 0.85)
        turn, out = rng.uniform(0, 2 * math.pi), radius * rng.uniform(0.4, 0.9)
        s.ball(
            out * math.cos(turn),
            out * math.sin(turn),
            trunk + rng.uniform(-0.1, 1.2) * radius,
            r,
            of,
        )


def bush(s: Spot) -> None:
    """Two or three spheres, partly in the ground."""
    of = m.leaves(s.rng)
    for _ in range(s.rng.randint(2, 3)):
        r = s.rng.uniform(0.3, 0.6)
        s.ball(s.rng.gauss(0, 0.25), s.rng.gauss(0, 0.25), -0.3 * r, r, of)


def pole(s: Spot) -> None:
    """Street lamp of 5 m, sign of 2.2 m, or a bollard of 0.9 m."""
    rng = s.rng
    kind = rng.randrange(4)
    steel = m.metal(rng)
    if kind <= 1:
        s.post(0, 0, 0, 5.0, 0.06, steel)
        s.box(0, 0.5, 4.9, (0.12, 1.2, 0.08), steel)
    elif kind == 2:
        s.post(0, 0, 0, 2.6, 0.03, steel)
        s.box(0, 0.045, 1.95, (0.6, 0.02, 0.6), m.poster(rng))
    else:
        red = m.stripes(rng, (0.6, 0.03, 0.03), (0.8, 0.8, 0.8), 0.15, True)
        s.post(0, 0, 0, 0.9, 0.06, red if rng.random() < 0.5 else steel)


def bench(s: Spot) -> None:
    """Seat at 0.45 m, 1.6 m wide."""
    of = m.wood(s.rng)
    for x in (-0.65, 0.65):
        s.box(x, 0, 0, (0.08, 0.42, 0.41), m.concrete(s.rng))
    s.box(0, 0, 0.41, (1.6, 0.45, 0.05), of)
    s.box(0, -0.2, 0.52, (1.6, 0.04, 0.3), of)


def dustbin(s: Spot) -> None:
    """Wheeled bin of 1.05 x 0.58 x 0.55 m."""
    of = m.paint(s.rng, m.colour(s.rng, saturation=(0.2, 0.8), value=(0.1, 0.5)))
    s.box(0, 0, 0.02, (0.56, 0.5, 0.96), of)
    s.box(0, 0.02, 0.98, (0.59, 0.56, 0.06), of)


def crates(s: Spot) -> None:
    """Wooden crate of 0.4 to 1 m, sometimes with a second one on top."""
    rng = s.rng
    side = rng.uniform(0.4, 1.0)
    wood = m.slats(rng)
    s.box(0, 0, 0, (side, side, side), wood)
    if rng.random() < 0.4:
        s.box(0, 0, side, (side * 0.7, side * 0.7, side * 0.7), wood, rng.uniform(0, 1))


def barrel(s: Spot) -> None:
    """Drum of 0.88 x 0.58 m."""
    a = m.colour(s.rng, saturation=(0.3, 0.9))
    s.post(0, 0, 0, 0.88, 0.29, m.stripes(s.rng, a, m.darker(a, 0.7), 0.147, True))


def house(s: Spot, width: float, depth: float, storeys: int) -> None:
    """House with its front towards +y: storeys of 3 m with windows, a door of 2 m, eaves."""
    rng = s.rng
    wall, trim = m.facade(rng), m.trim(rng)
    high = storeys * 3.0 + rng.uniform(0.2, 0.8)
    pitch = wall.cell[0]
    width = max(2, round(width / pitch)) * pitch  # whole windows
    s.box(0, 0, 0, (width, depth, high), wall)
    s.box(0, 0, high, (width + 0.6, depth + 0.6, rng.uniform(0.15, 0.4)), trim)
    if rng.random() < 0.6:
        base = rng.choice((m.brick, m.concrete, m.blocks))(rng)
        s.box(0, depth / 2 + 0.02, 0, (width, 0.04, 0.6), base)
    x = rng.uniform(-0.4, 0.4) * width
    s.box(x, depth / 2 + 0.05, 0, (1.1, 0.08, 2.15), trim)
    s.box(
        x,
        depth / 2 + 0.08,
        0,
        (0.9, 0.06, 2.02),
        m.wood(rng) if rng.random() < 0.5 else m.paint(rng),
    )
    if rng.random() < 0.5:
        s.box(x, depth / 2 + 0.3, 0, (1.4, 0.6, 0.17), m.concrete(rng))


def fence(s: Spot, length: float) -> None:
    """Fence, hedge or brick wall along x, 0.9 to 2.4 m high."""
    rng = s.rng
    pick = rng.random()
    if pick < 0.45:
        s.box(0, 0, 0, (length, 0.25, rng.uniform(0.9, 2.4)), m.brick(rng))
    elif pick < 0.85:
        s.box(0, 0, 0.05, (length, 0.03, rng.uniform(0.9, 1.8)), m.slats(rng))
    else:
        high = rng.uniform(1.0, 1.6)
        s.box(0, 0, 0, (length, 0.7, high), m.leaves(rng))


def backdrop(s: Spot, near: float, far: float) -> None:
    """Distant houses, rows of trees and hills."""
    rng = s.rng
    count = rng.randint(7, 13)
    lawn, start = m.leaves(rng), rng.uniform(0, 6.28)
    for k in range(count):
        turn = start + (k + rng.uniform(-0.3, 0.3)) * 2 * math.pi / count
        out = rng.uniform(near, far)
        place = s.at(out * math.cos(turn), out * math.sin(turn), 0, turn + math.pi / 2)
        pick = rng.random()
        if pick < 0.5:
            house(place, rng.uniform(9, 24), rng.uniform(8, 12), rng.randint(1, 6))
        elif pick < 0.8:
            for x in (-5.0, 0.5, 6.0):
                r = rng.uniform(2.0, 3.5)
                place.ball(x, rng.gauss(0, 1), rng.uniform(-1.0, 1.5), r, lawn)
        else:
            place.box(0, 0, 0, (rng.uniform(15, 30), 1.0, rng.uniform(1.5, 3.0)), lawn)
    for _ in range(2):
        turn, out, r = rng.uniform(0, 6.28), rng.uniform(250, 500), rng.uniform(120, 260)
        s.ball(out * math.cos(turn), out * math.sin(turn), -1.75 * r, r, lawn)
