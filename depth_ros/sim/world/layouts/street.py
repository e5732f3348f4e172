# SPDX-License-Identifier: Apache-2.0
"""A street along x: lanes, kerbs, pavements, houses, cars, trees, people."""

from __future__ import annotations

import math

from depth_ros.sim.world import materials as m
from depth_ros.sim.world.builder import Builder, Spot
from depth_ros.sim.world.layouts import objects, outside
from depth_ros.sim.world.scene import Scene

LONG = 240.0  #: of the street [m]
KERB = 0.12  #: height of the pavement [m]


def street(b: Builder) -> Scene:
    """Street with lanes of 3 to 3.5 m between pavements; the camera is on either."""
    rng = b.rng
    lane = rng.uniform(3.0, 3.5)
    lanes = rng.choice((1, 2, 2, 2, 3))
    half = lane * lanes / 2 + rng.choice((0.0, 1.0, 2.1)) / 2
    asphalt = m.asphalt(rng)
    for k in range(1, lanes):
        y = (k - lanes / 2) * lane
        pattern = rng.choice(((3.0, 6.0), (3.0, 3.0), (6.0, 3.0), (3.0, 0.0)))
        b.box(0, y, 0, (LONG, 0.12, 0.004), m.dashes(rng, asphalt, *pattern), casts_shadow=False)
    if rng.random() < 0.25:  # a crossing: bars of 0.5 m
        x = rng.uniform(-4, 14)
        bars = m.stripes(rng, (0.75, 0.75, 0.75), asphalt.pane, 0.5, True)
        b.box(x, 0, 0, (3.5, 2 * half - 0.6, 0.005), bars, casts_shadow=False)
    setback = 0.0
    for side in (-1, 1):
        setback = max(setback, _side(b.at(0, side * half, 0, 0 if side > 0 else math.pi)))
    for _ in range(rng.randint(0, 3)):
        y = (rng.randrange(lanes) + 0.5 - lanes / 2) * lane
        spot = b.at(rng.uniform(-35, 50), y, 0, 0.0 if y <= 0 else math.pi)
        if abs(spot.x) > 5 and b.claim(spot, 4.6, 2.0):
            outside.car(spot)
    if rng.random() < 0.3:
        spot = b.at(
            rng.uniform(3, 15) * rng.choice((-1, 1)),
            rng.uniform(-half, half),
            0,
            rng.uniform(0, 6),
        )
        if b.claim(spot, 0.6, 0.6):
            objects.person(spot)
    for end in (-1, 1):  # houses at both ends
        outside.house(
            b.at(end * 128.0, rng.uniform(-9, 9), 0, end * math.pi / 2), 22, 9, rng.randint(2, 5)
        )
    area = (-14.0, -half - 2.0, 14.0, half + 2.0)
    return b.scene('street', asphalt, outside.sunlight(rng), area)


def _side(s: Spot) -> float:
    """Add one side of the street, x along and y away from it; returns the houses' distance."""
    rng, b = s.rng, s.world
    wide = rng.uniform(1.5, 4.0)
    kerb = m.concrete(rng, 1.0)
    s.box(0, 0.06, 0, (LONG, 0.12, KERB), kerb, casts_shadow=False)
    s.box(
        0,
        wide / 2 + 0.12,
        0,
        (LONG, wide, KERB - 0.004),
        rng.choice((m.slabs, m.slabs, m.asphalt))(rng),
        casts_shadow=False,
    )
    back = rng.choice((0.0, 0.0, 2.0, 5.0))
    lawn = m.grass(rng)
    s.box(0, wide + 30.12, 0, (LONG, 60.0, KERB - 0.008), lawn, casts_shadow=False)
    if back:
        outside.fence(s.at(0, wide + 0.3, KERB), 160.0)
    built = rng.random() < 0.8
    x = -55.0 - rng.uniform(0, 8)
    while x < 75:
        width, depth = rng.uniform(7, 16), rng.uniform(8, 12)
        if built and rng.random() < 0.85:
            turned = s.at(x + width / 2, wide + 0.12 + back + depth / 2, KERB, math.pi)
            outside.house(turned, width, depth, rng.choice((1, 2, 2, 3, 4, 5)))
        elif rng.random() < 0.6:
            outside.tree(s.at(x + width / 2, wide + 4.0, KERB))
        x += width + rng.choice((0.3, 0.3, 3.0, 6.0))
    cars = rng.random() < 0.6
    for k in range(-5, 8):
        spot = s.at(
            k * rng.uniform(5.6, 6.4), -1.05, 0, rng.choice((0.0, math.pi)) + rng.gauss(0, 0.02)
        )
        if cars and rng.random() < 0.5 and b.claim(spot, 4.6, 1.9):
            outside.car(spot)
    trees = rng.random() < 0.5
    for k in range(-3, 5):
        spot = s.at(k * 9.0 + rng.uniform(-1, 1), 0.65, KERB)
        if b.claim(spot, 0.5, 0.5):
            if trees and rng.random() < 0.7:
                outside.tree(spot, wide + back - 0.65)  # keeps the crown out of the houses
            else:
                outside.pole(spot)
    for _ in range(rng.randint(1, 6)):
        spot = s.at(rng.uniform(-20, 30), rng.uniform(0.6, wide - 0.2), KERB, rng.uniform(0, 6.28))
        add_object = rng.choice(
            (objects.person, objects.person, outside.dustbin, outside.bench, objects.cartons)
        )
        if b.claim(spot, 0.7, 0.7):
            add_object(spot)
    return wide + back
