# SPDX-License-Identifier: Apache-2.0
"""Materials used indoors and outdoors."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from depth_ros.sim.world.materials.surface import Material, Rgb, colour, darker, grid


def paint(rng: Random, rgb: Rgb | None = None, noise: float = 0.06) -> Material:
    """Paint, plastic or lacquer: almost uniform."""
    rgb = rgb or colour(rng)
    return Material(
        rgb, noise=noise, grain=(rng.uniform(0.3, 1.5),) * 2, rough=0.6, seed=rng.random() * 100
    )


def metal(rng: Random) -> Material:
    """Sheet steel, painted or bare."""
    rgb = colour(rng, saturation=(0.0, 0.7), value=(0.2, 0.8))
    return Material(rgb, noise=0.06, grain=(0.6, 0.6), gloss=0.6, seed=rng.random() * 100)


def glass(rng: Random) -> Material:
    """Dark glass of cars and screens."""
    rgb = colour(rng, hue=(0.5, 0.65), saturation=(0.0, 0.3), value=(0.05, 0.25))
    return Material(rgb, noise=0.1, grain=(0.8, 0.8), gloss=0.8, seed=rng.random() * 100)


def stripes(rng: Random, a: Rgb, b: Rgb, width: float, level: bool = False) -> Material:
    """Stripes of `a` and `b`, each `width` [m]; horizontal if `level`, else vertical."""
    return Material(
        a,
        b,
        cell=(100.0, 2 * width) if level else (2 * width, 100.0),
        across=(0.0, 1.0) if level else (0.0, 0.5),
        along=(0.0, 0.5) if level else (0.0, 1.0),
        noise=0.08,
        seed=rng.random() * 100,
    )


def wood_colour(rng: Random) -> Rgb:
    """From birch to walnut and mahogany."""
    dark = rng.random() < 0.25
    return colour(
        rng,
        hue=(0.01 if dark else 0.055, 0.1),
        saturation=(0.3, 0.65),
        value=(0.12, 0.4) if dark else (0.3, 0.85),
    )


def wood(rng: Random, rgb: Rgb | None = None) -> Material:
    """Furniture board with a grain along its length."""
    return Material(
        rgb or wood_colour(rng),
        noise=rng.uniform(0.08, 0.3),
        grain=(0.7, 0.05),
        rough=0.6,
        gloss=rng.uniform(0, 0.3),
        seed=rng.random() * 100,
    )


def concrete(rng: Random, slab: float | None = None) -> Material:
    """Grey with stains; with joints every `slab` [m] if given."""
    a = colour(rng, hue=(0.05, 0.65), saturation=(0.0, 0.08), value=(0.4, 0.8))
    m = grid(rng, a, darker(a, 0.4), (slab or 3.0,) * 2, 0.015 if slab else 0.0)
    return replace(m, noise=rng.uniform(0.1, 0.35), grain=(1.2, 1.2), rough=0.75, tone=0.06)


def poster(rng: Random) -> Material:
    """Poster, painting or screen content: large shapes in a few colours."""
    w, h = rng.uniform(0.1, 0.5), rng.uniform(0.1, 0.5)
    return Material(
        colour(rng, saturation=(0.1, 0.9), value=(0.1, 0.95)),
        colour(rng, saturation=(0.1, 0.9), value=(0.1, 0.95)),
        other=colour(rng, saturation=(0.1, 0.9), value=(0.1, 0.95)),
        cell=(w, h),
        across=(rng.uniform(0, 0.4), rng.uniform(0.5, 1)),
        along=(rng.uniform(0, 0.4), rng.uniform(0.5, 1)),
        share=0.4,
        tone=0.5,
        noise=0.5,
        grain=(0.3, 0.3),
        seed=rng.random() * 100,
    )


def rubber(rng: Random) -> Material:
    """Tyres, skirtings, feet."""
    return Material((0.02, 0.02, 0.022), noise=0.1, seed=rng.random() * 100)


def slats(rng: Random, gap: float = 0.01) -> Material:
    """Vertical boards of 0.09 to 0.15 m with dark gaps, as in fences."""
    width = rng.uniform(0.09, 0.15)
    a = wood_colour(rng) if rng.random() < 0.7 else colour(rng)
    m = grid(rng, a, darker(a, 0.2), (width, 50.0), gap)
    return replace(m, along=(0.0, 1.0), tone=0.25, noise=0.25, grain=(0.05, 0.6), rough=0.7)


def brick(rng: Random) -> Material:
    """Bricks of 0.25 x 0.075 m with joints; every second row is shifted by half."""
    if rng.random() < 0.7:
        a = colour(rng, hue=(0.0, 0.07), saturation=(0.35, 0.65), value=(0.4, 0.75))
    else:
        a = colour(rng, hue=(0.08, 0.14), saturation=(0.05, 0.4), value=(0.5, 0.85))
    joint = colour(rng, saturation=(0.0, 0.08), value=(0.45, 0.8))
    m = grid(rng, a, joint, (0.25, 0.075), 0.01)
    return replace(
        m, shift=0.5, tone=rng.uniform(0.15, 0.4), noise=0.15, grain=(0.4, 0.4), rough=0.8
    )


def blocks(rng: Random) -> Material:
    """Concrete blocks of 0.4 x 0.2 m."""
    a = colour(rng, saturation=(0.0, 0.1), value=(0.5, 0.8))
    m = grid(rng, a, darker(a, 0.6), (0.4, 0.2), 0.01)
    return replace(m, shift=0.5, tone=0.15, noise=0.12, grain=(0.2, 0.2), rough=0.9)


def cardboard(rng: Random) -> Material:
    """Cardboard."""
    rgb = colour(rng, hue=(0.07, 0.1), saturation=(0.3, 0.5), value=(0.5, 0.8))
    return Material(
        rgb,
        darker(rgb, 1.25),
        cell=(100.0, 0.6),
        along=(0.06, 1.0),
        noise=0.08,
        grain=(0.4, 0.4),
        seed=rng.random() * 100,
    )
