# SPDX-License-Identifier: Apache-2.0
"""Plot time series with OpenCV, which is a dependency anyway."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 900, 360, 80, 40, 40
INK, GRID = (60, 60, 60), (225, 225, 225)
COLORS = ((180, 90, 20), (30, 120, 200))  # BGR


def write(path: Path, title: str, lines: dict[str, list[float]], period_s: float) -> None:
    """Plot lines over minutes.

    Args:
        path: of the PNG.
        title: of the plot.
        lines: name -> values at intervals of `period_s`.
        period_s: interval between two values [s].

    Raises:
        OSError: the file cannot be written.
    """
    canvas = np.full((HEIGHT, WIDTH, 3), 255, np.uint8)
    values = np.concatenate([np.asarray(line, np.float64) for line in lines.values()])
    low, high = float(values.min()), float(values.max())
    margin = max(0.1 * (high - low), 1.0)
    low, high = low - margin, high + margin
    count = max(2, *(len(line) for line in lines.values()))

    def at(k: float, value: float) -> tuple[int, int]:
        x = LEFT + k / (count - 1) * (WIDTH - LEFT - 20)
        return round(x), round(HEIGHT - BOTTOM - (value - low) / (high - low) * (HEIGHT - 90))

    for fraction in np.linspace(0, 1, 5):
        value, k = low + fraction * (high - low), fraction * (count - 1)
        cv2.line(canvas, at(0, value), at(count - 1, value), GRID, 1)
        _text(canvas, f'{value:.1f}', (8, at(0, value)[1] + 5))
        _text(canvas, f'{k * period_s / 60:.1f}', (at(k, low)[0] - 14, HEIGHT - 12))
    _text(canvas, title, (LEFT, TOP - 14))
    for k, (name, line) in enumerate(lines.items()):
        color = COLORS[k % len(COLORS)]
        points = np.array([at(i, value) for i, value in enumerate(line)], np.int32)
        cv2.polylines(canvas, [points], False, color, 2, cv2.LINE_AA)
        _text(canvas, name, (WIDTH - 110, TOP - 14 + 18 * k), color)
    if not cv2.imwrite(str(path), canvas):
        raise OSError(f'{path} cannot be written; its folder must exist and be writable')


def _text(
    canvas: np.ndarray, text: str, at: tuple[int, int], color: tuple[int, int, int] = INK
) -> None:
    cv2.putText(canvas, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.45, color, 1, cv2.LINE_AA)
