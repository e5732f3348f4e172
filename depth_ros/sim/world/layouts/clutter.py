# SPDX-License-Identifier: Apache-2.0
"""Cluttered objects of homes and workshops: open racks, heaps, bicycles, frames of bars.

Each function places its object at the centre of `s`, in real sizes.
"""

from __future__ import annotations

import math
from itertools import pairwise
from random import Random

from depth_ros.sim.world import materials as m
from depth_ros.sim.world.builder import Spot
from depth_ros.sim.world.layouts.objects import legs, small
from depth_ros.sim.world.materials import Material


def any_material(rng: Random) -> Material:
    """Random surface: printed, woven, painted, black or white."""
    pick = rng.random()
    if pick < 0.2:
        return m.poster(rng)
    if pick < 0.35:
        return m.paint(rng, m.colour(rng, saturation=(0.0, 0.3), value=(0.03, 0.25)))
    if pick < 0.45:
        return m.paint(rng, m.colour(rng, saturation=(0.0, 0.06), value=(0.88, 1.0)))
    if pick < 0.6:
        return m.paint(rng, m.colour(rng, saturation=(0.3, 1.0), value=(0.2, 0.95)))
    return rng.choice((m.cloth, m.wood, m.metal, m.cardboard, m.books, m.paint))(rng)


def any_object(s: Spot, width: float, depth: float, height: float) -> float:
    """A box, tin, ball or lying cylinder of at most the given size; returns its height."""
    rng, of = s.rng, any_material(s.rng)
    kind = rng.random()
    if kind < 0.6:
        s.box(0, 0, 0, (width, depth, height), of, rng.gauss(0, 0.15))
        return height
    radius = min(width, depth) / 2
    if kind < 0.8:
        s.post(0, 0, 0, height, radius, of)
        return height
    if kind < 0.9:
        s.ball(0, 0, 0, min(radius, height / 2), of)
        return 2 * min(radius, height / 2)
    radius = min(depth, height) / 2
    s.bar((-width / 2, 0, radius), (width / 2, 0, radius), radius, of, round_ends=False)
    return 2 * radius


def heap(s: Spot) -> None:
    """Stacked bags, boxes and tools, up to 1.2 m high, on 0.9 x 0.9 m."""
    rng = s.rng
    for _ in range(rng.randint(3, 7)):
        x, y, z = rng.uniform(-0.28, 0.28), rng.uniform(-0.28, 0.28), 0.0
        side = rng.uniform(0.15, 0.45)
        for _ in range(rng.choice((1, 1, 2, 3))):
            size = (side, side * rng.uniform(0.5, 1.0), side * rng.uniform(0.3, 1.1))
            z += any_object(s.at(x, y, z, rng.uniform(0, 3)), *size) - 0.002
            side *= rng.uniform(0.6, 0.95)


def rack(s: Spot) -> None:
    """Open rack of 1 to 2.4 m with objects; its back to the wall."""
    rng = s.rng
    width, depth = rng.choice((0.9, 1.2, 1.8)), rng.uniform(0.3, 0.5)
    levels, step = rng.randint(2, 5), rng.uniform(0.32, 0.5)
    of = rng.choice((m.wood, m.metal, m.paint))(rng)
    legs(s, width, depth, 0.1 + (levels - 1) * step + 0.12, 0.04, of)
    for k in range(levels):
        z = 0.1 + k * step
        s.box(0, 0, z - 0.025, (width - 0.085, depth, 0.025), of)
        x, end = -width / 2 + 0.05, width / 2 - 0.05
        while x < end - 0.08:
            wide = min(rng.uniform(0.08, 0.5), end - x)
            if rng.random() < 0.85:
                tall = rng.uniform(0.25, 0.95) * (step - 0.05)
                middle, y = x + wide / 2, rng.uniform(-0.05, 0.05)
                any_object(s.at(middle, y, z), wide * 0.92, depth * rng.uniform(0.5, 0.85), tall)
            x += wide


def _ring(s: Spot, x: float, z: float, radius: float, thick: float, of: Material) -> None:
    """Upright tyre in the x-z plane, made of bars."""
    count = 14
    at = [
        (x + radius * math.cos(a), 0.0, z + radius * math.sin(a))
        for a in (2 * math.pi * k / count for k in range(count))
    ]
    for p, q in zip(at, at[1:] + at[:1], strict=True):
        s.bar(p, q, thick, of)


def bicycle(s: Spot) -> None:
    """Wheels of 0.68 m, 1.05 m apart, saddle and handlebar at about a metre."""
    rng = s.rng
    frame, tyre = m.metal(rng), m.rubber(rng)
    r = 0.34
    rear, front, crank = (-0.52, 0.0, r), (0.53, 0.0, r), (-0.1, 0.0, 0.28)
    seat, head = (-0.24, 0.0, 0.8), (0.36, 0.0, 0.86)
    for x in (rear[0], front[0]):
        _ring(s, x, r, r - 0.02, 0.02, tyre)
    lines = (
        (rear, crank),
        (rear, seat),
        (crank, seat),
        (crank, head),
        (seat, head),
        (front, head),
    )
    for p, q in lines:
        s.bar(p, q, 0.016, frame)
    s.bar((-0.26, 0, 0.94), (-0.24, 0, 0.78), 0.013, frame)
    s.bar((-0.36, 0, 0.96), (-0.14, 0, 0.96), 0.05, m.rubber(rng))
    s.bar((0.36, 0, 0.84), (0.34, 0, 1.02), 0.014, frame)
    s.bar((0.34, -0.29, 1.02), (0.34, 0.29, 1.02), 0.014, frame)


def motorcycle(s: Spot) -> None:
    """Wheels of 0.62 m, 1.4 m apart, seat at 0.78 m, handlebar at 1.05 m."""
    rng = s.rng
    body, steel, black = m.metal(rng), m.metal(rng), m.rubber(rng)
    r = 0.31
    for x in (-0.7, 0.7):
        _ring(s, x, r, r - 0.05, 0.055, black)
        s.wheel(x, 0, r - 0.1, 0.02, steel, z=0.1)
    s.box(0.0, 0, 0.22, (0.42, 0.34, 0.3), steel)  # the engine
    s.bar((-0.75, 0.16, 0.3), (0.1, 0.16, 0.28), 0.045, steel)
    s.bar((-0.7, 0, r), (-0.3, 0, 0.68), 0.03, body)
    s.bar((-0.75, 0, 0.74), (-0.15, 0, 0.74), 0.1, black)  # its seat
    s.bar((-0.1, 0, 0.78), (0.25, 0, 0.84), 0.14, body)  # its tank
    s.bar((0.05, 0, 0.3), (0.4, 0, 0.85), 0.035, body)
    for y in (-0.09, 0.09):
        s.bar((0.7, y, r), (0.42, y, 0.95), 0.028, steel)
    s.bar((0.36, -0.38, 1.05), (0.36, 0.38, 1.05), 0.016, steel)
    s.ball(0.52, 0, 0.78, 0.095, steel)
    s.bar((-0.95, 0, 0.6), (-0.6, 0, 0.66), 0.05, body)


def ladder(s: Spot) -> None:
    """Stepladder of 1.15 to 2.15 m, with steps 0.25 m apart."""
    rng, of = s.rng, _frame(s.rng)
    count = rng.randint(4, 8)
    top = 0.25 * count + 0.15
    lean = 0.28 * top
    for x in (-0.22, 0.22):
        s.bar((x, -lean, 0), (x * 0.7, 0, top), 0.022, of)
        s.bar((x, lean, 0), (x * 0.7, 0, top), 0.018, of)
    for k in range(1, count + 1):
        z = 0.25 * k
        s.box(0, -lean * (1 - z / top), z - 0.02, (0.42 - 0.12 * z / top, 0.08, 0.03), of)


def _frame(rng: Random) -> Material:
    """Wood, steel or paint."""
    return rng.choice((m.wood, m.metal, m.paint))(rng)


def frame_chair(s: Spot) -> None:
    """Easy chair with a frame of bars."""
    rng = s.rng
    of, seat = _frame(rng), m.cloth(rng)
    side = 0.3
    for x in (-side, side):
        corner = ((x, -0.35, 0.04), (x, 0.4, 0.04), (x, 0.38, 0.5), (x, -0.3, 0.55))
        for p, q in pairwise(corner):
            s.bar(p, q, 0.022, of)
        s.bar((x, -0.3, 0.55), (x, -0.35, 0.04), 0.022, of)
    s.bar((-side, 0.3, 0.36), (-side, -0.28, 0.32), 0.02, of)
    s.bar((side, 0.3, 0.36), (side, -0.28, 0.32), 0.02, of)
    s.box(0, 0.03, 0.33, (0.56, 0.56, 0.07), seat)
    for k in range(4):  # inclined back
        s.box(0, -0.3 - 0.05 * k, 0.38 + 0.15 * k, (0.56, 0.07, 0.17), seat)


def tripod(s: Spot) -> None:
    """Tripod of 1.0 to 1.6 m with an object on top."""
    rng, of = s.rng, m.metal(s.rng)
    top = rng.uniform(1.0, 1.6)
    for k in range(3):
        a = 2 * math.pi * k / 3
        s.bar((0.4 * math.cos(a), 0.4 * math.sin(a), 0), (0, 0, top), 0.014, of)
    any_object(s.at(0, 0, top), 0.16, 0.12, 0.14)


def workbench(s: Spot) -> None:
    """Desk or workbench of 0.72 to 0.9 m, covered with objects."""
    rng = s.rng
    of, top = _frame(rng), rng.uniform(0.72, 0.9)
    width, depth = rng.choice((1.2, 1.5, 1.8)), rng.uniform(0.6, 0.8)
    s.box(0, 0, top - 0.04, (width, depth, 0.04), of)
    legs(s, width - 0.07, depth - 0.07, top - 0.04, 0.05, of)
    for _ in range(rng.randint(4, 12)):
        x, y = rng.uniform(-0.45, 0.45) * width, rng.uniform(-0.42, 0.42) * depth
        if rng.random() < 0.4:
            small(s.at(x, y, top))
        else:
            side = rng.uniform(0.05, 0.3)
            any_object(
                s.at(x, y, top, rng.uniform(0, 3)), side, side * 0.7, side * rng.uniform(0.1, 1.2)
            )
    if rng.random() < 0.5:  # a screen and its keyboard
        x = rng.uniform(-0.3, 0.3) * width
        s.box(x, -0.1, top, (0.24, 0.2, 0.015), m.rubber(rng))
        s.box(x, -0.12, top + 0.01, (0.05, 0.03, 0.1), m.rubber(rng))
        s.box(x, -0.1, top + 0.09, (0.5, rng.choice((0.03, 0.2)), 0.34), m.glass(rng))
        s.box(x, 0.2, top, (0.45, 0.15, 0.025), rng.choice((m.rubber, m.paint))(rng))
