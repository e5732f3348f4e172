# SPDX-License-Identifier: Apache-2.0
"""Materials of streets and yards."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from depth_ros.sim.world.materials.surface import Material, colour, darker, grid


def slabs(rng: Random) -> Material:
    """Pavement: square slabs of 0.3 to 0.5 m, or small setts of 0.1 to 0.2 m."""
    size = rng.choice((0.1, 0.2, 0.3, 0.4, 0.5))
    a = colour(rng, hue=(0.0, 0.15), saturation=(0.0, 0.2), value=(0.45, 0.8))
    m = grid(rng, a, darker(a, rng.uniform(0.3, 0.6)), (size, size), rng.uniform(0.006, 0.012))
    return replace(
        m, shift=rng.choice((0.0, 0.5)), tone=rng.uniform(0.05, 0.25), noise=0.2, rough=0.8
    )


def asphalt(rng: Random) -> Material:
    """Dark grey, fine grain, faint stains."""
    rgb = colour(rng, hue=(0.05, 0.65), saturation=(0.0, 0.06), value=(0.25, 0.5))
    return Material(
        rgb, noise=rng.uniform(0.15, 0.3), grain=(0.4, 0.4), rough=0.95, seed=rng.random() * 100
    )


def grass(rng: Random) -> Material:
    """Lawn."""
    rgb = colour(rng, hue=(0.18, 0.34), saturation=(0.35, 0.7), value=(0.3, 0.6))
    return Material(
        rgb, noise=rng.uniform(0.4, 0.7), grain=(0.5, 0.5), rough=0.98, seed=rng.random() * 100
    )


def earth(rng: Random) -> Material:
    """Gravel or bare soil."""
    rgb = colour(rng, hue=(0.06, 0.12), saturation=(0.1, 0.4), value=(0.35, 0.7))
    return Material(rgb, noise=0.45, grain=(0.5, 0.5), rough=0.98, seed=rng.random() * 100)


def leaves(rng: Random) -> Material:
    """Foliage."""
    rgb = colour(rng, hue=(0.16, 0.37), saturation=(0.4, 0.8), value=(0.2, 0.5))
    return Material(rgb, noise=0.85, grain=(0.35, 0.35), rough=0.95, seed=rng.random() * 100)


def facade(rng: Random) -> Material:
    """House wall with windows: storeys of 3 m, a window every 1.8 to 3.6 m, 1 to 1.6 m high."""
    wall = colour(rng, saturation=(0.0, 0.4 if rng.random() < 0.8 else 0.6), value=(0.4, 0.92))
    pitch = rng.uniform(1.8, 3.6)
    width = min(rng.uniform(0.9, 1.8), pitch - 0.6) / pitch / 2
    glass = colour(rng, hue=(0.5, 0.65), saturation=(0.05, 0.4), value=(0.15, 0.4))
    return Material(
        glass,
        wall,
        other=colour(rng, saturation=(0.0, 0.3), value=(0.4, 0.9)),
        cell=(pitch, 3.0),
        across=(0.5 - width, 0.5 + width),
        along=(0.3, rng.uniform(0.66, 0.8)),
        share=rng.uniform(0.0, 0.3),
        tone=0.5,
        noise=0.12,
        grain=(1.5, 1.5),
        rough=0.6,
        seed=rng.random() * 100,
    )


def dashes(rng: Random, road: Material, length: float, gap: float) -> Material:
    """White dashes of `length` [m] with gaps of `gap` [m]; gap 0 is a solid line."""
    white = colour(rng, saturation=(0.0, 0.05), value=(0.75, 0.95))
    share = length / (length + gap)
    return Material(
        white,
        road.pane,
        cell=(length + gap, 50.0),
        across=(0.0, share),
        noise=0.25,
        grain=(0.3, 0.3),
        rough=0.95,
        seed=rng.random() * 100,
    )
