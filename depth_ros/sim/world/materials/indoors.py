# SPDX-License-Identifier: Apache-2.0
"""Materials of rooms."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from depth_ros.sim.world.materials.common import paint, wood, wood_colour
from depth_ros.sim.world.materials.surface import Material, colour, darker, grid


def trim(rng: Random) -> Material:
    """Frames and skirtings: mostly white, grey or wood."""
    pick = rng.random()
    if pick < 0.55:
        return paint(rng, colour(rng, saturation=(0.0, 0.08), value=(0.7, 0.97)))
    if pick < 0.8:
        return wood(rng)
    return paint(rng, colour(rng, saturation=(0.0, 0.4), value=(0.15, 0.8)))


def plaster(rng: Random) -> Material:
    """Painted wall of a room: mostly light, sometimes saturated."""
    bold = rng.random() < 0.25
    rgb = colour(
        rng, saturation=(0.0, 0.55 if bold else 0.18), value=(0.45 if bold else 0.7, 0.95)
    )
    return paint(rng, rgb, noise=rng.uniform(0.03, 0.12))


def ceiling(rng: Random) -> Material:
    """White, sometimes tinted or wooden."""
    pick = rng.random()
    if pick < 0.8:
        return paint(rng, colour(rng, saturation=(0.0, 0.08), value=(0.78, 0.98)), noise=0.04)
    return ceiling_tiles(rng) if pick < 0.9 else planks(rng)


def wallpaper(rng: Random) -> Material:
    """Stripes 8 to 30 cm wide, or a small pattern."""
    a = colour(rng, saturation=(0.05, 0.4), value=(0.55, 0.95))
    width = rng.uniform(0.08, 0.3)
    dots = rng.random() < 0.4
    return Material(
        a,
        darker(a, rng.uniform(0.7, 0.93)),
        cell=(width, width if dots else 50.0),
        across=(0.0, 0.5) if not dots else (0.25, 0.75),
        along=(0.25, 0.75) if dots else (0.0, 1.0),
        shift=0.5 if dots else 0.0,
        noise=0.05,
        seed=rng.random() * 100,
    )


def tiles(rng: Random, side: float | None = None) -> Material:
    """Tiles of 0.3 to 0.6 m, or of `side` [m], with joints of 3 to 8 mm; some chequered."""
    side = side or rng.choice((0.3, 0.3, 0.33, 0.45, 0.6))
    a = colour(rng, saturation=(0.0, 0.3), value=(0.4, 0.95))
    m = grid(rng, a, darker(a, rng.uniform(0.25, 0.7)), (side, side), rng.uniform(0.003, 0.008))
    chequered = rng.random() < 0.25
    return replace(
        m,
        other=colour(rng, saturation=(0.0, 0.35), value=(0.1, 0.6)) if chequered else a,
        share=1.0 if chequered else 0.0,
        tone=rng.uniform(0.02, 0.12),
        noise=rng.uniform(0.03, 0.14),
        grain=(0.3, 0.3),
        gloss=rng.uniform(0.1, 0.6),
    )


def planks(rng: Random, width: float | None = None) -> Material:
    """Floor boards of 0.1 to 0.2 m width, or parquet strips of 7 cm."""
    width = width or rng.choice((0.07, 0.1, 0.12, 0.15, 0.2))
    a = wood_colour(rng)
    length = rng.uniform(1.2, 2.4) if width > 0.08 else rng.uniform(0.35, 0.6)
    m = grid(rng, a, darker(a, 0.35), (length, width), rng.uniform(0.002, 0.004))
    return replace(
        m,
        shift=-1.0,
        tone=rng.uniform(0.1, 0.4),
        noise=rng.uniform(0.1, 0.3),
        grain=(0.8, 0.04),
        rough=0.6,
        gloss=rng.uniform(0.0, 0.4),
    )


def carpet(rng: Random) -> Material:
    """Fine noise of one colour."""
    rgb = colour(rng, saturation=(0.0, 0.6), value=(0.2, 0.7))
    return Material(
        rgb, noise=rng.uniform(0.15, 0.4), grain=(0.12, 0.12), rough=0.95, seed=rng.random() * 100
    )


def rug(rng: Random) -> Material:
    """Bands or diamonds 8 to 25 cm apart."""
    size = rng.uniform(0.08, 0.25)
    return Material(
        colour(rng, saturation=(0.2, 0.8)),
        colour(rng, saturation=(0.1, 0.7)),
        cell=(size, size * rng.choice((1.0, 1.0, 20.0))),
        across=(0.0, rng.uniform(0.3, 0.6)),
        noise=0.25,
        grain=(0.06, 0.06),
        rough=0.95,
        seed=rng.random() * 100,
    )


def cloth(rng: Random) -> Material:
    """Upholstery, bedding, clothes."""
    rgb = colour(rng, saturation=(0.0, 0.8), value=(0.15, 0.9))
    if rng.random() < 0.25:
        size = rng.uniform(0.04, 0.12)
        return Material(
            rgb,
            darker(rgb, rng.uniform(0.4, 0.9)),
            cell=(size, size * rng.choice((1, 40))),
            across=(0.0, 0.5),
            noise=0.12,
            seed=rng.random() * 100,
        )
    return Material(rgb, noise=0.2, grain=(0.25, 0.25), rough=0.7, seed=rng.random() * 100)


def books(rng: Random) -> Material:
    """Spines 2 to 5 cm wide and about 25 cm high."""
    return Material(
        colour(rng, saturation=(0.2, 0.8)),
        (0.02, 0.02, 0.02),
        other=colour(rng, saturation=(0.1, 0.8)),
        cell=(rng.uniform(0.02, 0.05), 5.0),
        across=(0.05, 0.95),
        share=0.5,
        tone=0.8,
        noise=0.1,
        seed=rng.random() * 100,
    )


def ceiling_tiles(rng: Random) -> Material:
    """White panels of 0.6 m, as in offices."""
    a = colour(rng, saturation=(0.0, 0.04), value=(0.8, 0.97))
    m = grid(rng, a, darker(a, 0.6), (0.6, 0.6), 0.02)
    return replace(m, tone=0.04, noise=0.1, grain=(0.05, 0.05))


def blind(rng: Random) -> Material:
    """Translucent cloth or slats in front of a window."""
    rgb = colour(rng, saturation=(0.0, 0.25), value=(0.7, 0.97))
    level = rng.uniform(0.025, 0.06)
    return Material(
        rgb,
        darker(rgb, rng.uniform(0.5, 1.0)),
        cell=(100.0, level),
        along=(0.15, 1.0),
        noise=0.05,
        glow=rng.choice((0.0, 0.5, 1.0, 3.0)),
        seed=rng.random() * 100,
    )


def lamp(rng: Random) -> Material:
    """Glowing lampshade."""
    rgb = colour(rng, hue=(0.08, 0.14), saturation=(0.0, 0.25), value=(0.95, 1.0))
    return Material(rgb, noise=0.0, glow=rng.uniform(2.0, 6.0))
