# SPDX-License-Identifier: Apache-2.0
"""Materials: a row of numbers that describes a pattern in real size.

All materials have the same pattern: cells with a pane (a tile, a brick, a window) inside a border
(its joint, the wall), a different brightness of each pane, and noise over both. texture.py
evaluates it.
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
        pane: reflectance of the pane, linear RGB 0..1.
        border: reflectance of the border.
        other: reflectance of some panes instead of `pane`.
        cell: width and height of a cell [m].
        across: start and end of the pane along the width, as fractions of the cell.
        along: start and end of the pane along the height, as fractions of the cell.
        shift: of every second row, as a fraction of the width; negative: random for each row.
        share: fraction of panes that are `other`; 1 gives a chequerboard.
        tone: variation of brightness between panes, 0..1.
        noise: amplitude of the noise, 0..1.
        grain: longest wavelength of the noise along width and height [m].
        rough: weight of each octave of noise relative to the previous, 0..1.
        glow: emitted light, in units of its reflectance.
        gloss: strength of the highlight, 0..1.
        seed: of the noise.
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
        """The column of `Scene.materials`: all values in the order of the fields."""
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


#: number of rows of `Scene.materials`
ROWS = len(Material((0, 0, 0)).row())


def colour(
    rng: Random,
    hue: tuple[float, float] = (0.0, 1.0),
    saturation: tuple[float, float] = (0.0, 0.6),
    value: tuple[float, float] = (0.25, 0.9),
) -> Rgb:
    """A random colour within ranges of HSV (sRGB), as linear RGB.

    Low saturation is more frequent, and with all hues allowed, warm ones are, as in real objects.
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
    """`rgb` times `by`, at most 0.95."""
    return (min(rgb[0] * by, 0.95), min(rgb[1] * by, 0.95), min(rgb[2] * by, 0.95))


def _joint(cell: float, joint: float) -> tuple[float, float]:
    """Pane of a cell with half of the joint on either side."""
    return (0.5 * joint / cell, 1.0 - 0.5 * joint / cell)


def grid(rng: Random, pane: Rgb, border: Rgb, size: tuple[float, float], joint: float) -> Material:
    """Cells of `size` [m] with joints of `joint` [m]."""
    return Material(
        pane,
        border,
        cell=size,
        across=_joint(size[0], joint),
        along=_joint(size[1], joint),
        seed=rng.random() * 100,
    )
