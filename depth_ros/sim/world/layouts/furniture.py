# SPDX-License-Identifier: Apache-2.0
"""Furniture in real sizes.

Each function places its object at the centre of `s`, facing +y. `AGAINST` and `FREE` give the
ground that it needs.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from random import Random

from depth_ros.sim.world import materials as m
from depth_ros.sim.world.builder import Spot
from depth_ros.sim.world.layouts import clutter
from depth_ros.sim.world.layouts.objects import (
    ball,
    bin_,
    cartons,
    lamp,
    legs,
    person,
    plant,
    small,
    steps,
)
from depth_ros.sim.world.materials import Material


def _board(rng: Random) -> Material:
    return m.wood(rng) if rng.random() < 0.6 else m.paint(rng)


def chair(s: Spot) -> None:
    """Seat at 0.45 m, back to 0.9 m."""
    of = _board(s.rng)
    seat, back = s.rng.uniform(0.43, 0.47), s.rng.uniform(0.82, 1.0)
    legs(s, 0.42, 0.42, seat - 0.03, 0.035, of)
    s.box(0, 0, seat - 0.03, (0.44, 0.44, 0.035), m.cloth(s.rng) if s.rng.random() < 0.5 else of)
    low = seat + s.rng.choice((0.006, 0.15))
    s.box(0, -0.205, low, (0.42, 0.025, back - low), of)


def stool(s: Spot) -> None:
    """Round seat at 0.45 or 0.65 m."""
    height = s.rng.choice((0.45, 0.65))
    of = _board(s.rng)
    s.post(0, 0, 0, 0.02, 0.19, of)
    s.post(0, 0, 0.02, height - 0.06, 0.03, of)
    s.post(0, 0, height - 0.04, 0.04, 0.17, m.cloth(s.rng))


def table(s: Spot, width: float = 1.4, depth: float = 0.8) -> None:
    """Top at 0.75 m, with a few objects."""
    rng, of = s.rng, _board(s.rng)
    top = rng.uniform(0.72, 0.77)
    s.box(0, 0, top - 0.03, (width, depth, 0.03), of)
    legs(s, width - 0.06, depth - 0.06, top - 0.03, rng.uniform(0.04, 0.08), of)
    for _ in range(rng.choice((0, 1, 2, 4, 8))):
        small(s.at(rng.uniform(-0.38, 0.38) * width, rng.uniform(-0.3, 0.3) * depth, top))


def dining(s: Spot) -> None:
    """A table with two to four chairs."""
    table(s, 1.4, 0.85)
    for x, y, yaw in (
        (-0.35, -0.62, 0.0),
        (0.35, -0.62, 0.0),
        (-0.3, 0.65, math.pi),
        (0.38, 0.65, math.pi),
    ):
        if s.rng.random() < 0.75:
            chair(s.at(x, y, 0, yaw + s.rng.gauss(0, 0.15)))


def desk(s: Spot) -> None:
    """Desk with its back to the wall, a screen and a chair."""
    rng = s.rng
    of = _board(rng)
    s.box(0, -0.35, 0.71, (1.4, 0.7, 0.03), of)
    for x in (-0.66, 0.66):
        s.box(x, -0.35, 0, (0.04, 0.66, 0.71), of)
    if rng.random() < 0.8:
        screen = m.poster(rng) if rng.random() < 0.5 else m.glass(rng)
        s.box(0, -0.5, 0.745, (0.25, 0.16, 0.012), m.rubber(rng))
        s.box(0, -0.53, 0.75, (0.05, 0.03, 0.12), m.rubber(rng))
        s.box(0, -0.51, 0.84, (0.54, 0.03, 0.32), screen)
        s.box(0, -0.2, 0.74, (0.44, 0.14, 0.02), rng.choice((m.rubber, m.paint))(rng))
    for x in (-0.5, 0.5, 0.35):
        if rng.random() < 0.6:
            small(s.at(x, rng.uniform(-0.6, -0.1), 0.74))
    if rng.random() < 0.8:
        chair(s.at(rng.uniform(-0.2, 0.2), 0.3, 0, math.pi + rng.gauss(0, 0.4)))


def coffee_table(s: Spot) -> None:
    """Top at 0.42 m."""
    of = _board(s.rng)
    s.box(0, 0, 0.38, (1.0, 0.55, 0.035), of)
    legs(s, 0.9, 0.5, 0.38, 0.05, of)
    for x in (-0.3, 0.1, 0.35):
        if s.rng.random() < 0.5:
            small(s.at(x, s.rng.uniform(-0.15, 0.15), 0.415))


def sofa(s: Spot) -> None:
    """Seat at 0.43 m, back to 0.8 m; an armchair if it is short."""
    rng = s.rng
    width = 0.95 if rng.random() < 0.3 else 2.0
    of = m.cloth(rng)
    s.box(0, 0, 0.06, (width, 0.86, 0.26), of)
    s.box(0, -0.35, 0.318, (width - 0.01, 0.2, rng.uniform(0.42, 0.55)), of)
    for side in (-1, 1):
        s.box(side * (width / 2 - 0.09), 0.02, 0.318, (0.18, 0.8, 0.27), of)
    inner = (width - 0.36) / (1 if width < 1.2 else 2)
    for k in range(1 if width < 1.2 else 2):
        x = -((width - 0.36) - inner) / 2 + k * inner
        s.box(x, 0.09, 0.318, (inner - 0.015, 0.67, 0.13), of)
    if rng.random() < 0.5:
        s.box(0.2, -0.14, 0.45, (0.42, 0.14, 0.38), m.cloth(rng), 0.2)


def bed(s: Spot) -> None:
    """Mattress of 2.0 m at 0.5 m, head to the wall."""
    rng = s.rng
    width = rng.choice((0.9, 1.4, 1.6))
    frame, sheet = _board(rng), m.cloth(rng)
    s.box(0, 0, 0.08, (width + 0.06, 2.06, 0.2), frame)
    s.box(
        0, 0, 0.278, (width, 2.0, 0.2), m.paint(rng, m.colour(rng, (0, 1), (0, 0.1), (0.8, 0.95)))
    )
    s.box(0, 0.28, 0.4, (width + 0.04, 1.45, 0.13), sheet)
    s.box(0, -1.05, 0, (width + 0.06, 0.04, rng.uniform(0.7, 1.1)), frame)
    for x in (0.0,) if width < 1 else (-0.4, 0.4):
        s.box(x, -0.75, 0.476, (0.62, 0.4, 0.12), m.cloth(rng), rng.gauss(0, 0.05))


def shelf(s: Spot) -> None:
    """Boards 0.3 to 0.38 m apart, with books and boxes; its back to the wall."""
    rng, of = s.rng, _board(s.rng)
    width, levels = rng.choice((0.6, 0.8, 1.0)), rng.randint(2, 5)
    step = rng.uniform(0.32, 0.38)
    height = levels * step + 0.1
    for side in (-1, 1):
        s.box(side * (width / 2 - 0.01), -0.02, 0, (0.02, 0.28, height), of)
    s.box(0, -0.15, 0, (width - 0.04, 0.012, height), of)
    for k in range(levels + 1):
        z = 0.06 + k * step
        s.box(0, -0.01, z, (width - 0.04, 0.27, 0.02), of)
        if k == levels:
            break
        wide = rng.uniform(0.2, 0.9) * (width - 0.06)
        x = rng.choice((-1, 1)) * (width - 0.06 - wide) / 2
        if rng.random() < 0.65:
            s.box(x, -0.03, z + 0.02, (wide, 0.2, rng.uniform(0.2, 0.28)), m.books(rng))
        elif rng.random() < 0.6:
            small(s.at(x, 0, z + 0.02))


def cupboard(s: Spot) -> None:
    """Wardrobe, sideboard, fridge or chest of drawers; doors have gaps and knobs."""
    rng = s.rng
    width, depth, height = rng.choice(
        ((1.0, 0.58, 2.0), (1.6, 0.42, 0.8), (0.6, 0.62, 1.8), (0.8, 0.45, 0.95), (1.8, 0.6, 2.2))
    )
    of = _board(rng)
    doors = max(1, round(width / 0.5))
    rows = 1 if height > 1.2 else rng.choice((1, 2, 4))
    cell = (width / doors, height / rows)
    front = Material(
        of.pane,
        m.darker(of.pane, 0.3),
        cell=cell,
        across=(0.012, 0.988),
        along=(0.02, 0.98),
        noise=of.noise,
        grain=of.grain,
        seed=of.seed,
    )
    s.box(0, 0, 0, (width, depth, height), front)
    for k in range(doors):
        x = (k + 0.5) * width / doors - width / 2 + 0.15 * (1 if k % 2 == 0 else -1)
        s.box(x, depth / 2 + 0.012, height * 0.5, (0.02, 0.024, 0.14), m.metal(rng))
    if height < 1.2 and rng.random() < 0.7:
        small(s.at(rng.uniform(-0.3, 0.3) * width, 0, height))


def counter(s: Spot) -> None:
    """Kitchen: worktop at 0.9 m, wall cupboards from 1.4 m."""
    rng = s.rng
    width = rng.choice((1.8, 2.4, 3.0))
    cell = (0.6, 0.86)
    of = m.paint(rng, m.colour(rng, saturation=(0, 0.4), value=(0.4, 0.95)))
    front = Material(
        of.pane, m.darker(of.pane, 0.35), cell=cell, across=(0.01, 0.99), along=(0.01, 0.98)
    )
    s.box(0, -0.02, 0.0, (width, 0.56, 0.86), front)
    s.box(0, 0, 0.86, (width + 0.02, 0.62, 0.04), m.wood(rng))
    if rng.random() < 0.7:
        s.box(0, -0.12, 1.42, (width, 0.36, 0.7), front)
    for _ in range(3):
        small(s.at(rng.uniform(-0.4, 0.4) * width, 0.05, 0.9))


#: required ground, width and depth [m]; objects of AGAINST have their back to a wall
AGAINST: dict[Callable[[Spot], None], tuple[float, float]] = {
    sofa: (2.0, 0.9),
    bed: (1.75, 2.12),
    shelf: (1.05, 0.34),
    cupboard: (1.85, 0.66),
    counter: (3.05, 0.64),
    desk: (1.45, 1.4),
    steps: (1.25, 1.75),
    clutter.rack: (1.85, 0.55),
    clutter.workbench: (1.85, 0.85),
}
FREE: dict[Callable[[Spot], None], tuple[float, float]] = {
    dining: (1.6, 2.0),
    coffee_table: (1.05, 0.6),
    chair: (0.5, 0.5),
    stool: (0.4, 0.4),
    lamp: (0.45, 0.45),
    plant: (0.6, 0.6),
    cartons: (0.65, 0.65),
    ball: (0.4, 0.4),
    bin_: (0.4, 0.4),
    person: (0.55, 0.4),
    clutter.heap: (0.95, 0.95),
    clutter.frame_chair: (0.7, 0.95),
    clutter.tripod: (0.9, 0.9),
    clutter.ladder: (0.5, 1.3),
    clutter.bicycle: (1.8, 0.65),
    clutter.motorcycle: (2.2, 0.85),
}
#: rare in rooms other than workshops
RARE = (steps, clutter.ladder, clutter.bicycle, clutter.motorcycle)
