# SPDX-License-Identifier: Apache-2.0
"""Small and loose objects, lamps, plants, people, steps; each is placed at the centre of `s`."""

from __future__ import annotations

from depth_ros.sim.world import materials as m
from depth_ros.sim.world.builder import Spot
from depth_ros.sim.world.materials import Material


def legs(s: Spot, width: float, depth: float, height: float, thick: float, of: Material) -> None:
    """Four square legs with outer distances `width` and `depth`."""
    for x in (-1, 1):
        for y in (-1, 1):
            px, py = x * (width - thick) / 2, y * (depth - thick) / 2
            s.box(px, py, 0, (thick, thick, height), of)


def small(s: Spot) -> None:
    """A cup, book, bottle, fruit or carton."""
    rng = s.rng
    kind = rng.randrange(5)
    if kind == 0:
        s.post(0, 0, 0, 0.095, 0.04, m.paint(rng))
    elif kind == 1:
        s.box(0, 0, 0, (0.21, 0.15, rng.uniform(0.015, 0.05)), m.paint(rng), rng.uniform(0, 3))
    elif kind == 2:
        s.post(0, 0, 0, 0.21, 0.036, m.glass(rng))
        s.post(0, 0, 0.208, 0.09, 0.014, m.glass(rng))
    elif kind == 3:
        s.ball(0, 0, 0, rng.uniform(0.035, 0.05), m.paint(rng))
    else:
        size = (rng.uniform(0.1, 0.3), rng.uniform(0.08, 0.2), rng.uniform(0.08, 0.25))
        s.box(0, 0, 0, size, m.cardboard(rng), rng.uniform(0, 3))


def lamp(s: Spot) -> None:
    """Standard lamp of 1.6 m."""
    rng = s.rng
    s.post(0, 0, 0, 0.03, 0.14, m.metal(rng))
    s.post(0, 0, 0.03, 1.35, 0.013, m.metal(rng))
    s.post(0, 0, 1.38, 0.25, rng.uniform(0.14, 0.22), m.lamp(rng))


def plant(s: Spot) -> None:
    """Pot of 0.3 m and leaves."""
    rng = s.rng
    s.post(0, 0, 0, 0.3, 0.16, m.paint(rng))
    s.post(0, 0, 0.3, 0.5, 0.02, m.wood(rng))
    for _ in range(rng.randint(2, 4)):
        s.ball(
            rng.gauss(0, 0.1),
            rng.gauss(0, 0.1),
            rng.uniform(0.35, 0.9),
            rng.uniform(0.12, 0.24),
            m.leaves(rng),
        )


def cartons(s: Spot) -> None:
    """One to three stacked cartons."""
    rng, z, side = s.rng, 0.0, 0.6
    for _ in range(rng.randint(1, 3)):
        size = (side * rng.uniform(0.7, 1), side * rng.uniform(0.6, 0.9), rng.uniform(0.2, 0.4))
        s.box(0, 0, z, size, m.cardboard(rng), rng.gauss(0, 0.2))
        z, side = z + size[2], min(size[:2])


def ball(s: Spot) -> None:
    """Football, basketball, or an exercise ball."""
    rng = s.rng
    radius = rng.choice((0.11, 0.12, 0.12, 0.3))
    a, b = m.colour(rng, saturation=(0.3, 0.9)), m.colour(rng)
    s.ball(0, 0, 0, radius, m.stripes(rng, a, b, radius * 0.6, rng.random() < 0.5))


def bin_(s: Spot) -> None:
    """Waste bin of 0.3 to 0.6 m."""
    s.post(0, 0, 0, s.rng.uniform(0.3, 0.6), s.rng.uniform(0.12, 0.18), m.paint(s.rng))


def person(s: Spot) -> None:
    """Standing person of 1.5 to 1.9 m, with a head of 23 cm."""
    rng = s.rng
    height = rng.gauss(1.7, 0.09)
    trousers, shirt = m.cloth(rng), m.cloth(rng)
    skin = m.paint(rng, m.colour(rng, (0.04, 0.09), (0.25, 0.6), (0.3, 0.9)))
    for x in (-0.09, 0.09):
        s.post(x, rng.gauss(0, 0.06), 0, height * 0.52, 0.08, trousers, True)
    s.post(0, 0, height * 0.45, height * 0.4, 0.165, shirt, True)
    for x in (-0.215, 0.215):
        s.post(x, rng.gauss(0, 0.05), height * 0.42, height * 0.38, 0.05, shirt, True)
    s.post(0, 0.01, height - 0.235, 0.235, 0.085, skin, True)
    if rng.random() < 0.8:
        hair = m.paint(rng, m.colour(rng, (0.03, 0.12), (0.2, 0.6), (0.05, 0.5)))
        s.ball(0, -0.02, height - 0.17, 0.09, hair)


def steps(s: Spot) -> None:
    """Three to six steps of 0.17 m, 0.28 m deep, against a wall."""
    rng = s.rng
    of = rng.choice((m.concrete, m.wood, m.tiles))(rng)
    count = rng.randint(3, 6)
    for k in range(count):
        s.box(0, 0.28 * (count / 2 - k - 0.5), 0, (1.2, 0.279, 0.17 * (k + 1)), of)
