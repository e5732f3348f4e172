# SPDX-License-Identifier: Apache-2.0
"""The picture of docs/navigation.md: the costmap of `costmap`, from above."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from tools.bench import costmap
from tools.bench.costmap import Array, Walk

AHEAD, SIDE = 5.0, 1.8  #: shown of the map [m], to each side
M = 92  #: pixels of a metre
LEFT, TOP, BETWEEN, TITLE, LEGEND = 84, 40, 28, 58, 44  #: [px]
FINE = 2  #: drawn as many times as large, for smooth lines
INK, PALE, VIEW = '#333333', '#8a8a8a', '#eaf1f8'
RIGHT, WRONG, PERSON = '#4a4a4a', '#e0312f', '#1f6fc4'
#: title of a row -> way to clear, filters
CASES = {
    '/points marks and clears, no filters': (next(iter(costmap.WAYS)), {}),
    '/points marks, /points_clearing clears, filters on': (
        list(costmap.WAYS)[-1],
        costmap.FILTERS,
    ),
}
COLUMNS = ('while the person stands', f'{costmap.AFTER * costmap.PERIOD_S:g} s after they left')


def write(path: Path) -> None:
    """Let the person leave in each case and draw the maps."""
    draw({title: costmap.walk(*case) for title, case in CASES.items()}).save(path, optimize=True)


def draw(walks: dict[str, Walk]) -> Image.Image:
    """A row of two maps for each walk.

    Args:
        walks: by title of the row.
    """
    width, height = round(AHEAD * M), round(2 * SIDE * M)
    size = (
        LEFT + 2 * width + BETWEEN + 16,
        TOP + len(walks) * (TITLE + height) + LEGEND + 18,
    )
    canvas = _Canvas(size)
    for column, text in enumerate(COLUMNS):
        canvas.text(text, (LEFT + column * (width + BETWEEN) + width / 2, 20), 19, anchor='mm')
    for row, (title, walk) in enumerate(walks.items()):
        y = TOP + row * (TITLE + height) + TITLE - 28
        canvas.text(title, (LEFT, y - 12), 17, anchor='lm')
        for column, marked in enumerate((walk.standing, walk.left)):
            corner = LEFT + column * (width + BETWEEN), y
            _map(canvas, corner, marked, there=column == 0, axis=column == 0)
    y = size[1] - LEGEND + 22
    x = float(LEFT)
    for color, text in (
        (RIGHT, 'marked cell at a wall or the person'),
        (WRONG, 'marked cell where nothing is'),
        (PERSON, 'person, and their way'),
        (VIEW, 'field of view'),
        (PALE, 'wall'),
    ):
        canvas.box((x, y - 7, x + 14, y + 7), color, outline=PALE if color == VIEW else None)
        x += 22 + canvas.text(text, (x + 22, y), 16, anchor='lm') + 28
    return canvas.image.resize(size, Image.Resampling.LANCZOS).quantize(256)


def _map(
    canvas: _Canvas, corner: tuple[float, float], marked: Array, *, there: bool, axis: bool
) -> None:
    """One map with its axes.

    Args:
        canvas: to draw on.
        corner: upper left corner [px].
        marked: as in `Walk`.
        there: the person stands there.
        axis: with the numbers of the axis to the left.
    """

    def at(x: float, y: float) -> tuple[float, float]:
        return corner[0] + x * M, corner[1] + (SIDE - y) * M

    camera, (distance, half, _) = costmap.CAMERA, costmap.PERSON
    slope = camera.width / 2 / camera.fx
    far = SIDE / slope
    view = ((0, 0), (far, SIDE), (AHEAD, SIDE), (AHEAD, -SIDE), (far, -SIDE))
    canvas.polygon([at(*p) for p in view], VIEW)
    wall, door = costmap.HALF_WIDTH, (distance - costmap.DOOR, distance + costmap.DOOR)
    for start, end, y in ((0, door[0], wall), (door[1], AHEAD, wall), (0, AHEAD, -wall)):
        canvas.line([at(start, y), at(end, y)], PALE, 2)
    canvas.text('door', at(distance + 0.09, wall), 13, anchor='lm', color=PALE)
    cells = costmap.RESOLUTION
    origin = np.array(marked.shape) * cells / 2
    wrong = 0
    for i, k in np.argwhere(marked):
        x, y = i * cells - origin[0], k * cells - origin[1]
        if not (0 <= x < AHEAD and abs(y + cells / 2) < SIDE):
            continue
        right = is_right(x + cells / 2, y + cells / 2, there)
        wrong += not right
        canvas.box((*at(x, y + cells), *at(x + cells, y)), RIGHT if right else WRONG)
    if there:
        canvas.line([at(distance, -half), at(distance, half)], PERSON, 5)
        canvas.line([at(distance, half), at(distance, wall)], PERSON, 1.5)
        tip = (
            (distance, wall + 0.1),
            (distance - 0.06, wall - 0.05),
            (distance + 0.06, wall - 0.05),
        )
        canvas.polygon([at(*p) for p in tip], PERSON)
    a, b = at(0, SIDE), at(AHEAD, -SIDE)
    canvas.box((*a, *b), None, outline=INK)
    for n in range(round(AHEAD) + 1):
        canvas.line([at(n, -SIDE), (at(n, -SIDE)[0], b[1] + 5)], INK, 1)
        label = f'{n} m ahead' if n == round(AHEAD) else f'{n}'
        canvas.text(label, (at(n, 0)[0] + (0, 8)[n == 0], b[1] + 14), 14,
                    anchor='rm' if n == round(AHEAD) else 'mm')  # fmt: skip
    for n in (-1, 0, 1) if axis else ():
        canvas.line([at(0, n), (a[0] - 5, at(0, n)[1])], INK, 1)
        canvas.text(
            f'{abs(n)} m {("right", "", "left")[n + 1]}' if n else '0',
            (a[0] - 9, at(0, n)[1]),
            14,
            anchor='rm',
        )
    canvas.polygon([at(0.16, 0), at(0, 0.1), at(0, -0.1)], INK)
    canvas.text('camera', (at(0.2, 0)[0], at(0, 0)[1]), 14, anchor='lm')
    canvas.text(f'{wrong} cells marked wrongly', (b[0] - 8, b[1] - 14), 16, anchor='rm',
                color=WRONG if wrong else INK)  # fmt: skip


def is_right(x: float, y: float, there: bool) -> bool:
    """Whether a cell with its centre there may be marked: a wall or the person is near."""
    distance, half, _ = costmap.PERSON
    if there and np.hypot(x - distance, max(0, abs(y) - half)) < costmap.MARGIN:
        return True
    from_wall = abs(abs(y) - costmap.HALF_WIDTH)
    in_door = max(0, costmap.DOOR - abs(x - distance)) if y > 0 else 0
    return bool(np.hypot(in_door, from_wall) < costmap.MARGIN)


class _Canvas:
    """Draws in pixels of the final picture."""

    def __init__(self, size: tuple[int, int]) -> None:
        self.image = Image.new('RGB', (size[0] * FINE, size[1] * FINE), 'white')
        self._draw = ImageDraw.Draw(self.image)

    def polygon(self, points: list[tuple[float, float]], color: str) -> None:
        self._draw.polygon([(x * FINE, y * FINE) for x, y in points], color)

    def line(self, points: list[tuple[float, float]], color: str, width: float) -> None:
        self._draw.line([(x * FINE, y * FINE) for x, y in points], color, round(width * FINE))

    def box(self, box: tuple[float, ...], color: str | None, outline: str | None = None) -> None:
        scaled = [round(n * FINE) for n in box]
        self._draw.rectangle(scaled, color, outline, FINE)

    def text(
        self, text: str, at: tuple[float, float], size: int, anchor: str, color: str = INK
    ) -> float:
        """Write; returns the width."""
        font = ImageFont.load_default(size * FINE)
        self._draw.text((at[0] * FINE, at[1] * FINE), text, color, font, anchor)
        return float(font.getlength(text)) / FINE
