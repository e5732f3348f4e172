# SPDX-License-Identifier: Apache-2.0
"""Building parts: walls with doors and windows, light of rooms and sky."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from random import Random

from depth_ros.sim.world import materials as m
from depth_ros.sim.world.builder import Builder, Spot
from depth_ros.sim.world.materials import Material, Rgb
from depth_ros.sim.world.scene import Light

THICK = 0.16  #: thickness of walls [m]


@dataclass(slots=True)
class Wall:
    """A wall; x is along it from its centre, y points into the room.

    Args:
        spot: frame at the centre of its base.
        length: along x [m].
        height: along z [m].
        holes: start, end, lower and upper edge of openings [m].
    """

    spot: Spot
    length: float
    height: float
    holes: list[tuple[float, float, float, float]] = field(default_factory=list)

    def free(self, start: float, end: float) -> bool:
        """Whether there is no opening between two coordinates along the wall [m]."""
        return all(end < h[0] or h[1] < start for h in self.holes)

    def build(self, of: Material, skirting: Material | None) -> None:
        """Add the boxes around the openings to the scene."""
        at = -self.length / 2 - THICK  # walls meet at the corners
        for start, end, low, high in sorted(self.holes):
            self._piece(at, start, 0.0, self.height, of, skirting)
            if low > 0:
                self._piece(start, end, 0.0, low, of, skirting)
            self._piece(start, end, high, self.height, of, None)
            at = end
        self._piece(at, self.length / 2, 0.0, self.height, of, skirting)

    def _piece(
        self, x0: float, x1: float, z0: float, z1: float, of: Material, skirting: Material | None
    ) -> None:
        if x1 - x0 < 1e-3 or z1 - z0 < 1e-3:
            return
        x, size = (x0 + x1) / 2, (x1 - x0, THICK, z1 - z0)
        self.spot.box(x, -THICK / 2, z0, size, of, casts_shadow=False)
        if skirting:
            self.spot.box(x, 0.006, 0.0, (x1 - x0, 0.014, 0.08), skirting, casts_shadow=False)


def walls_of(b: Builder, x0: float, y0: float, x1: float, y1: float, height: float) -> list[Wall]:
    """South, east, north and west wall of a rectangle."""
    cx, cy, wide, deep = (x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0
    return [
        Wall(b.at(cx, y0), wide, height),
        Wall(b.at(x1, cy, 0, math.pi / 2), deep, height),
        Wall(b.at(cx, y1, 0, math.pi), wide, height),
        Wall(b.at(x0, cy, 0, -math.pi / 2), deep, height),
    ]


def door(wall: Wall, x: float, rng: Random, ajar: bool) -> None:
    """Add a door of 2.0 x 0.85 m with its frame; `ajar` leaves it open."""
    width, height = 0.85 + rng.uniform(-0.05, 0.05), 2.0 + rng.uniform(-0.02, 0.08)
    wall.holes.append((x - width / 2, x + width / 2, 0.0, height))
    s, frame = wall.spot, m.trim(rng)
    for side in (-1, 1):
        s.box(
            x + side * (width / 2 + 0.03),
            0.01,
            0,
            (0.07, 0.025, height + 0.06),
            frame,
            casts_shadow=False,
        )
    s.box(x, 0.01, height, (width + 0.12, 0.024, 0.065), frame, casts_shadow=False)
    leaf = m.wood(rng) if rng.random() < 0.5 else m.paint(rng)
    if not ajar:
        s.box(x, -0.05, 0, (width, 0.04, height), leaf, casts_shadow=False)
        s.box(
            x + (width / 2 - 0.08) * rng.choice((-1, 1)),
            -0.012,
            1.02,
            (0.12, 0.04, 0.02),
            m.metal(rng),
        )
    elif rng.random() < 0.5:  # open door leaf
        s.box(x + width / 2 - 0.03, -THICK - width / 2, 0, (0.04, width, height), leaf)


def window(wall: Wall, x: float, rng: Random, width: float, low: float, high: float) -> None:
    """Add a window with frame and sill, sometimes with radiator, blind and curtains."""
    wall.holes.append((x - width / 2, x + width / 2, low, high))
    s, frame = wall.spot, m.trim(rng)
    bar = 0.06
    for side in (-1, 1):
        s.box(
            x + side * (width - bar) / 2,
            -0.1,
            low,
            (bar, 0.06, high - low),
            frame,
            casts_shadow=False,
        )
    for z in (low, high - bar):
        s.box(x, -0.1, z, (width - 2 * bar, 0.06, bar), frame, casts_shadow=False)
    if width > 1.0:
        s.box(x, -0.1, low + bar, (0.05, 0.05, high - low - 2 * bar), frame, casts_shadow=False)
    s.box(x, 0.03, low - 0.03, (width + 0.1, 0.14, 0.03), frame)
    if low > 0.6 and rng.random() < 0.6:
        white = m.paint(rng, m.colour(rng, saturation=(0, 0.05), value=(0.8, 0.95)))
        ribs = m.stripes(rng, white.pane, m.darker(white.pane, 0.6), 0.03)
        s.box(x, 0.06, 0.12, (width * 0.9, 0.08, low - 0.3), ribs)
    if rng.random() < 0.25:  # a blind, partly closed, translucent
        down = rng.uniform(0.3, 1.0) * (high - low)
        s.box(x, 0.02, high - down, (width + 0.04, 0.01, down), m.blind(rng), casts_shadow=False)
    if rng.random() < 0.4:
        cloth = m.cloth(rng)
        for side in (-1, 1):
            s.box(x + side * (width / 2 + 0.1), 0.13, 0.05, (0.3, 0.06, high + 0.05), cloth)


def hang(wall: Wall, rng: Random, count: int) -> None:
    """Add posters to the free parts of a wall."""
    for _ in range(count):
        width, height = rng.uniform(0.25, 1.2), rng.uniform(0.25, 0.9)
        x = rng.uniform(-0.5, 0.5) * (wall.length - width - 0.3)
        if wall.length > width + 0.4 and wall.free(x - width / 2 - 0.15, x + width / 2 + 0.15):
            z = 1.55 - height / 2 + rng.gauss(0, 0.08)
            wall.spot.box(x, 0.012, z, (width, 0.025, height), m.poster(rng), casts_shadow=False)
            wall.holes.append((x - width / 2, x + width / 2, -1.0, -1.0))
    # remove the posters, which were entered to keep them apart
    wall.holes[:] = [h for h in wall.holes if h[2] >= 0]


def daylight(rng: Random) -> dict[str, Rgb | float]:
    """Random sky, from blue to overcast: fields of `Light`."""
    grey = rng.random()
    blue = m.colour(rng, hue=(0.56, 0.62), saturation=(0.3, 0.7), value=(0.55, 0.95))
    even = (0.5 + 0.3 * grey,) * 3
    zenith = tuple(b * (1 - grey) + e * grey for b, e in zip(blue, even, strict=True))
    horizon = m.colour(rng, hue=(0.08, 0.6), saturation=(0.0, 0.15), value=(0.8, 0.98))
    white = rng.uniform(0.6, 1.0)
    return {
        'zenith': (zenith[0], zenith[1], zenith[2]),
        'horizon': horizon,
        'cloud': (white, white, white * 1.02),
        'cover': rng.uniform(0.0, 1.0),
    }


def lamp_light(
    rng: Random,
    lamp: tuple[float, float, float],
    inside: tuple[float, float, float, float, float],
    window_from: tuple[float, float] | None,
) -> Light:
    """Light of a room: a ceiling lamp, ambient light, and light of windows."""
    warm = rng.uniform(-0.25, 0.35)
    tint = (1 + 0.35 * warm, 1.0, 1 - 0.6 * warm)
    strength, soft = rng.uniform(0.3, 1.3), rng.uniform(0.16, 0.45)
    day = rng.uniform(0.2, 0.9) if window_from else 0.0
    fill = (day * 0.9, day * 0.97, day * 1.08)
    angle = math.atan2(window_from[1], window_from[0]) if window_from else 0.0
    return Light(
        position=lamp,
        rgb=(tint[0] * strength, tint[1] * strength, tint[2] * strength),
        reach=rng.uniform(1.6, 2.6) * max(1.0, lamp[2] / 2.6),
        radius=rng.uniform(0.05, 0.35),
        above=(soft * tint[0] * 0.9, soft * 0.9, soft * tint[2] * 0.9),
        below=(soft * tint[0] * 0.8, soft * 0.78, soft * tint[2] * 0.75),
        fill=fill,
        fill_from=(math.cos(angle) * 0.95, math.sin(angle) * 0.95, 0.3),
        daylight=rng.uniform(2.0, 10.0),
        inside=inside,
        **daylight(rng),  # type: ignore[arg-type]
    )


def through_windows(light: Light, rng: Random, window_from: tuple[float, float]) -> Light:
    """Light of the room with the lamp off and the sun shining through the windows."""
    turn = math.atan2(window_from[1], window_from[0]) + rng.uniform(-0.7, 0.7)
    height, far = math.radians(rng.uniform(18, 50)), 3000.0
    strength = rng.uniform(1.5, 5.0)
    return replace(
        light,
        position=(
            far * math.cos(height) * math.cos(turn),
            far * math.cos(height) * math.sin(turn),
            far * math.sin(height),
        ),
        rgb=(strength, strength * 0.93, strength * 0.8),
        reach=0.0,
        radius=0.0,
    )
