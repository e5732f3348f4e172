# SPDX-License-Identifier: Apache-2.0
"""Corridors and warehouses."""

from __future__ import annotations

import math

from depth_ros.sim.world import materials as m
from depth_ros.sim.world.builder import Builder, Spot
from depth_ros.sim.world.layouts import clutter, furniture, objects, shell
from depth_ros.sim.world.layouts.shell import THICK
from depth_ros.sim.world.materials import Material
from depth_ros.sim.world.scene import Scene


def _hull(
    b: Builder, long: float, wide: float, height: float, floor: Material, top: Material
) -> None:
    """Floor and ceiling of a hall along x."""
    size = (long + 2 * THICK, wide + 2 * THICK)
    b.box(0, 0, -0.25, (*size, 0.25), floor, casts_shadow=False)
    b.box(0, 0, height, (*size, 0.2), top, casts_shadow=False)


def corridor(b: Builder) -> Scene:
    """Corridor with doors, lamps and loose objects."""
    rng = b.rng
    long, wide, height = rng.uniform(7, 26), rng.uniform(1.4, 3.0), rng.uniform(2.3, 3.2)
    walls = shell.walls_of(b, -long / 2, -wide / 2, long / 2, wide / 2, height)
    pitch = rng.uniform(2.4, 4.5)
    for wall in (walls[0], walls[2]):
        x = -long / 2 + rng.uniform(0.8, 2.0)
        while x < long / 2 - 0.8:
            if rng.random() < 0.8:
                shell.door(wall, x, rng, False)
            x += pitch
    bright = None
    for k in (1, 3):
        if rng.random() < 0.5:
            shell.window(walls[k], 0.0, rng, min(1.2, wide - 0.5), 0.9, 2.1)
            bright = (1.0 if k == 1 else -1.0, 0.0)
        elif rng.random() < 0.7:
            shell.door(walls[k], 0.0, rng, False)
    common, skirting = (
        rng.choice((m.plaster, m.plaster, m.brick, m.blocks, m.tiles))(rng),
        m.trim(rng),
    )
    for wall in walls:
        shell.hang(wall, rng, rng.choice((0, 1, 3)))
        wall.build(common, skirting)
    floor = rng.choice((m.tiles, m.tiles, m.planks, m.carpet, m.concrete))(rng)
    _hull(
        b,
        long,
        wide,
        height,
        floor,
        m.ceiling_tiles(rng) if rng.random() < 0.5 else m.ceiling(rng),
    )
    glow, count = m.lamp(rng), max(2, int(long / rng.uniform(2.5, 4.5)))
    for k in range(count):
        x = (k + 0.5) * long / count - long / 2
        b.box(
            x,
            0,
            height - 0.04,
            rng.choice(((1.2, 0.3, 0.04), (0.6, 0.6, 0.04))),
            glow,
            casts_shadow=False,
        )
    for wall in (walls[0], walls[2]):
        for start, end, low, _ in wall.holes:
            if low == 0:
                b.claim(wall.spot.at((start + end) / 2, 0.2), end - start, 0.4, 0.0)
    loose = [
        furniture.chair,
        objects.plant,
        objects.cartons,
        objects.bin_,
        objects.person,
        objects.ball,
        clutter.heap,
        clutter.tripod,
        clutter.bicycle,
    ]
    for _ in range(rng.randint(2, 9)):
        add_object = rng.choice(loose)
        width, depth = furniture.FREE[add_object]
        side = rng.choice((walls[0], walls[2]))
        spot = side.spot.at(rng.uniform(-0.45, 0.45) * long, max(width, depth) / 2 + 0.05)
        if wide > 1.6 + depth / 2 and b.claim(spot, width, depth):
            add_object(spot)
    lamp = (rng.uniform(-0.4, 0.4) * long, 0.0, height - 0.12)
    edge = (-long / 2 - THICK, -wide / 2 - THICK, long / 2 + THICK, wide / 2 + THICK, height)
    light = shell.lamp_light(rng, lamp, edge, bright)
    area = (-long / 2, -wide / 2, long / 2, wide / 2)
    level = -rng.choice((0.3, 3.3))
    return b.scene('corridor', m.grass(rng), light, area, level, min(2.0, height - 0.3))


def _pallet(s: Spot, load: bool) -> None:
    """Pallet of 1.2 x 0.8 x 0.144 m with its load."""
    rng = s.rng
    wood = m.wood(rng, m.colour(rng, (0.07, 0.1), (0.3, 0.5), (0.5, 0.75)))
    s.box(0, 0, 0.1, (1.2, 0.8, 0.044), wood)
    for y in (-0.33, 0.0, 0.33):
        s.box(0, y, 0, (1.2, 0.12, 0.1), wood)
    if not load:
        return
    tall = rng.uniform(0.4, 1.1)
    if rng.random() < 0.25:
        blue = m.colour(rng, (0.5, 0.65), (0.5, 0.9), (0.3, 0.8))
        for x in (-0.3, 0.3):
            s.post(x, 0, 0.144, 0.88, 0.29, m.stripes(rng, blue, m.darker(blue, 0.6), 0.3, True))
        return
    carton = m.cardboard(rng)
    one = (0.4, rng.uniform(0.25, 0.4))
    load_of = Material(
        carton.pane,
        m.darker(carton.pane, 0.45),
        cell=one,
        across=(0.01, 0.99),
        along=(0.01, 0.99),
        tone=0.2,
        noise=0.1,
        seed=carton.seed,
    )
    s.box(0, 0, 0.144, (1.18, 0.78, round(tall / one[1]) * one[1] or one[1]), load_of)


def _rack(s: Spot, bays: int, levels: int) -> None:
    """Pallet rack: bays of 2.7 m, 1.0 m deep, beams every 1.5 m, two pallets per bay."""
    rng = s.rng
    post = m.paint(rng, m.colour(rng, (0.55, 0.65), (0.5, 0.9), (0.3, 0.7)))
    beam = m.paint(rng, m.colour(rng, (0.03, 0.12), (0.7, 1.0), (0.7, 0.95)))
    long = bays * 2.7
    for k in range(bays + 1):
        for y in (-0.5, 0.5):
            s.box(k * 2.7 - long / 2, y, 0, (0.09, 0.08, levels * 1.5 + 0.3), post)
    for level in range(levels):
        if level:
            for y in (-0.5, 0.5):
                s.box(0, y, level * 1.5 - 0.12, (long, 0.05, 0.12), beam)
        for k in range(bays):
            for j in (-1, 1):
                if rng.random() < 0.7:
                    x = (k + 0.5) * 2.7 - long / 2 + j * 0.64
                    if level:
                        _crate(s.at(x, 0, level * 1.5 + 0.002))
                    else:
                        _pallet(s.at(x, rng.gauss(0, 0.03)), rng.random() < 0.9)


def _crate(s: Spot) -> None:
    """Pallet and load on the higher beams, as two boxes."""
    rng = s.rng
    s.box(0, 0, 0, (1.2, 1.04, 0.144), m.slats(rng, 0.03))
    tall = rng.uniform(0.35, 1.1)
    of = m.cardboard(rng) if rng.random() < 0.6 else m.cloth(rng)
    s.box(0, 0, 0.144, (1.18, 0.95, tall), of)


def warehouse(b: Builder) -> Scene:
    """Hall with racks, pallets, barrels and floor markings."""
    rng = b.rng
    long, wide, height = rng.uniform(14, 30), rng.uniform(9, 20), rng.uniform(4.5, 8)
    walls = shell.walls_of(b, -long / 2, -wide / 2, long / 2, wide / 2, height)
    sheet = m.stripes(rng, (0.55, 0.56, 0.58), (0.42, 0.43, 0.45), 0.125)
    common = rng.choice((m.blocks(rng), m.brick(rng), sheet, m.plaster(rng)))
    shell.door(walls[1], rng.uniform(-3, 3), rng, False)
    rgb = m.colour(rng, (0.5, 0.66), (0, 0.5))
    gate = m.stripes(rng, rgb, m.darker(rgb, 0.6), 0.25, True)
    walls[3].spot.box(rng.uniform(-2, 2), 0.03, 0, (3.5, 0.08, 4.0), gate, casts_shadow=False)
    for wall in walls:
        wall.build(common, None)
    floor = m.concrete(rng, rng.choice((None, 3.0, 5.0)))
    _hull(b, long, wide, height, floor, m.stripes(rng, (0.6,) * 3, (0.5,) * 3, 0.2))
    rows = max(2, int(wide / rng.uniform(4.0, 5.5)))
    bays = rng.randint(2, 4)
    for k in range(rows):
        y = (k + 0.5) * wide / rows - wide / 2
        if rng.random() < 0.75:
            spot = b.at(rng.uniform(-0.15, 0.15) * long, y)
            if b.claim(spot, bays * 2.7 + 0.2, 1.3, 0.0):
                _rack(spot, bays, rng.randint(2, max(2, min(4, int((height - 1) / 1.5)))))
        yellow = m.dashes(rng, floor, 1.0, 0.0)
        line = Material((0.75, 0.55, 0.05), noise=0.3, rough=0.9, seed=yellow.seed)
        b.box(0, y + 0.95, 0, (long * 0.9, 0.1, 0.003), line, casts_shadow=False)
    for _ in range(rng.randint(3, 9)):
        spot = b.at(
            rng.uniform(-0.45, 0.45) * long,
            rng.uniform(-0.45, 0.45) * wide,
            0,
            rng.choice((0, math.pi / 2)) + rng.gauss(0, 0.1),
        )
        pick = rng.random()
        if pick < 0.5 and b.claim(spot, 1.25, 0.85):
            _pallet(spot, rng.random() < 0.8)
        elif pick < 0.7 and b.claim(spot, 0.6, 0.5):
            objects.person(spot)
        elif b.claim(spot, 0.7, 0.7):
            objects.cartons(spot)
    lamp = (rng.uniform(-0.3, 0.3) * long, rng.uniform(-0.3, 0.3) * wide, height - 0.4)
    glow = m.lamp(rng)
    for x in (-0.35, 0.0, 0.35):
        for y in (-0.25, 0.25):
            b.box(x * long, y * wide, height - 0.3, (1.5, 0.25, 0.08), glow, casts_shadow=False)
    edge = (-long / 2 - THICK, -wide / 2 - THICK, long / 2 + THICK, wide / 2 + THICK, height)
    light = shell.lamp_light(rng, lamp, edge, None)
    area = (-long / 2, -wide / 2, long / 2, wide / 2)
    return b.scene('warehouse', m.asphalt(rng), light, area, -0.3, 2.0)
