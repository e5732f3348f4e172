# SPDX-License-Identifier: Apache-2.0
"""What a surface is: a row of numbers, at the sizes things are made in.

One pattern serves all: cells of a width and height, each with a pane (a tile, a brick, a window)
inside a border (its joint, the wall), a tone of its own, and noise over both. It is painted in
texture.py.
"""

from __future__ import annotations

import colorsys
from dataclasses import dataclass
from random import Random

Rgb = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Material:
    """A surface.

    Args:
        pane: reflectance of the pane, linear rgb 0..1.
        border: of what is around it.
        other: of some panes instead of `pane`.
        cell: width and height of a cell [m].
        across: where the pane starts and ends along the width, share of the cell.
        along: the same along the height.
        shift: of every second row, share of the width; negative shifts every row at random.
        share: of panes that are `other`; 1 makes a chequerboard.
        tone: how much panes differ in brightness, 0..1.
        noise: strength of the noise, 0..1.
        grain: coarsest wavelength of the noise along width and height [m].
        rough: how much finer waves weigh, 0..1.
        glow: light it gives by itself, in units of its reflectance.
        gloss: of the highlight, 0..1.
        seed: which noise.
    """

    pane: Rgb
    border: Rgb = (0.0, 0.0, 0.0)
    other: Rgb = (0.0, 0.0, 0.0)
    cell: tuple[float, float] = (1.0, 1.0)
    across: tuple[float, float] = (0.0, 1.0)
    along: tuple[float, float] = (0.0, 1.0)
    shift: float = 0.0
    share: float = 0.0
    tone: float = 0.0
    noise: float = 0.05
    grain: tuple[float, float] = (0.5, 0.5)
    rough: float = 0.5
    glow: float = 0.0
    gloss: float = 0.0
    seed: float = 0.0

    def row(self) -> list[float]:
        """The numbers of one column of `Scene.materials`, in the order of the fields."""
        return [
            *self.pane,
            *self.border,
            *self.other,
            *self.cell,
            *self.across,
            *self.along,
            self.shift,
            self.share,
            self.tone,
            self.noise,
            *self.grain,
            self.rough,
            self.glow,
            self.gloss,
            self.seed,
        ]


#: rows of a table of materials
ROWS = len(Material((0, 0, 0)).row())


def colour(
    rng: Random,
    hue: tuple[float, float] = (0.0, 1.0),
    saturation: tuple[float, float] = (0.0, 0.6),
    value: tuple[float, float] = (0.25, 0.9),
) -> Rgb:
    """A random colour; the ranges are of HSV as seen (sRGB), the result is linear rgb.

    Pale ones are commoner, and among all hues the warm ones, as in what people paint and weave.
    """
    turn = rng.uniform(*hue)
    if hue == (0.0, 1.0) and rng.random() < 0.55:
        turn = rng.gauss(0.08, 0.04)
    low, high = saturation
    rgb = colorsys.hsv_to_rgb(
        turn % 1.0, low + (high - low) * rng.random() ** 1.6, rng.uniform(*value)
    )
    return (rgb[0] ** 2.2, rgb[1] ** 2.2, rgb[2] ** 2.2)


def darker(rgb: Rgb, by: float) -> Rgb:
    """`rgb` times `by`, no brighter than 0.95."""
    return (min(rgb[0] * by, 0.95), min(rgb[1] * by, 0.95), min(rgb[2] * by, 0.95))


def _joint(cell: float, joint: float) -> tuple[float, float]:
    """Pane of a cell whose joint is half on either side, so that a wall starts with half of it."""
    return (0.5 * joint / cell, 1.0 - 0.5 * joint / cell)


def grid(rng: Random, pane: Rgb, border: Rgb, size: tuple[float, float], joint: float) -> Material:
    """Cells of `size` [m] whose panes are `joint` [m] apart."""
    return Material(
        pane,
        border,
        cell=size,
        across=_joint(size[0], joint),
        along=_joint(size[1], joint),
        seed=rng.random() * 100,
    )
