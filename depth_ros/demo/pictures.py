# SPDX-License-Identifier: Apache-2.0
"""Pictures of depth and clouds for the demo; all of them rgb, (H, W, 3) uint8."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]

NEAR, FAR = 1.0, 20.0  #: depth at the red and at the blue end of the colours [m]
SKY = (205, 205, 205)
BACKGROUND = (24, 26, 30)
#: The cloud's onlooker: (x, y, z) [m] in the optical frame, and the point looked at.
EYE, TARGET = (2.2, -4.2, -4.6), (0.3, 0.6, 5.0)


def colourise(depth: NDArray[np.float32]) -> Picture:
    """Turbo over the logarithm of NEAR..FAR [m], near is red; invalid is black, sky light grey."""
    known = np.clip(np.nan_to_num(depth, nan=NEAR), NEAR, FAR)
    level = 242 - 224 * np.log(known / NEAR) / math.log(FAR / NEAR)  # without turbo's dark ends
    bgr = cv2.applyColorMap(level.astype(np.uint8), cv2.COLORMAP_TURBO)
    picture = cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)
    picture[np.isnan(depth) | (depth <= 0)] = 0
    picture[np.isposinf(depth)] = SKY
    return picture


def draw_cloud(
    points: NDArray[np.float32], rgb: Picture, width: int = 640, height: int = 480
) -> Picture:
    """A coloured cloud seen obliquely from above and behind the camera.

    Args:
        points: (N, 3) [m] in the camera's optical frame; non-finite ones are left out.
        rgb: (N, 3) uint8.
        width: of the picture [px].
        height: of the picture [px].
    """
    eye, target = np.array(EYE), np.array(TARGET)
    forward = (target - eye) / np.linalg.norm(target - eye)
    right = np.cross((0.0, 1.0, 0.0), forward)
    right /= np.linalg.norm(right)
    turn = np.stack([right, np.cross(forward, right), forward])  # rows: right, down, forward
    focal = width / 2 / math.tan(math.radians(62) / 2)

    def project(at: NDArray[np.floating]) -> NDArray[np.float64]:
        seen = (at - eye) @ turn.T
        seen[:, :2] = seen[:, :2] / np.maximum(seen[:, 2:], 1e-6) * focal + (width / 2, height / 2)
        return seen

    canvas = np.full((height, width, 3), BACKGROUND, np.uint8)
    near = np.isfinite(points).all(1) & (np.abs(points) < 30).all(1)
    points, rgb = points[near].astype(np.float64), rgb[near]
    seen = project(points)
    # a point covers what lies between it and its neighbours, so its size grows with its own depth
    size = focal / 130 * np.maximum(points[:, 2], 2) / seen[:, 2]
    size = np.clip(np.ceil(size), 1, 4).astype(int)
    corner = np.rint(seen[:, :2] - (size[:, None] - 1) / 2).astype(int)
    cells, owners = [], []
    for dy, dx in np.ndindex(4, 4):
        u, v = corner[:, 0] + dx, corner[:, 1] + dy
        covered = (size > max(dx, dy)) & (seen[:, 2] > 0.2)
        own = np.flatnonzero(covered & (u >= 0) & (u < width) & (v >= 0) & (v < height))
        cells.append(v[own] * width + u[own])
        owners.append(own)
    cell, owner = np.concatenate(cells), np.concatenate(owners)
    order = np.argsort(-seen[owner, 2], kind='stable')  # far first: the last write to a pixel wins
    canvas.reshape(-1, 3)[cell[order]] = rgb[owner[order]]
    ends = ((0, 0, 0), (-0.7, -0.5, 1), (0.7, -0.5, 1), (0.7, 0.5, 1), (-0.7, 0.5, 1))
    corners = [(round(u * 16), round(v * 16)) for u, v, _ in project(np.array(ends))]
    for i, j in ((0, 1), (0, 2), (0, 3), (0, 4), (1, 2), (2, 3), (3, 4), (4, 1)):
        cv2.line(canvas, corners[i], corners[j], (255, 214, 90), 1, cv2.LINE_AA, shift=4)
    return canvas


def contact_sheet(pictures: list[tuple[str, Picture]], columns: int = 2) -> Picture:
    """The pictures in rows of `columns`, each under its caption, all as wide as the first one."""
    height, width = pictures[0][1].shape[:2]
    scale = max(width / 640, 1.0)
    width, height = max(width, 640), round(height * max(1.0, 640 / width))
    bar, gap = round(34 * scale), round(8 * scale)
    rows = math.ceil(len(pictures) / columns)
    sheet = np.full(
        (rows * (height + bar) + gap, columns * (width + gap) + gap, 3), BACKGROUND, np.uint8
    )
    for i, (caption, picture) in enumerate(pictures):
        top, left = (i // columns) * (height + bar), gap + (i % columns) * (width + gap)
        if picture.shape[:2] != (height, width):
            how = cv2.INTER_AREA if picture.shape[1] > width else cv2.INTER_NEAREST
            picture = cv2.resize(picture, (width, height), interpolation=how)
        sheet[top + bar : top + bar + height, left : left + width] = picture
        at = (left + gap // 2, top + bar - round(11 * scale))
        font, thick = cv2.FONT_HERSHEY_SIMPLEX, max(1, round(scale))
        cv2.putText(sheet, caption, at, font, 0.52 * scale, (235, 235, 235), thick, cv2.LINE_AA)
    return sheet


def write(path: Path, picture: Picture) -> None:
    """Write a PNG.

    Raises:
        OSError: it could not be written.
    """
    if not cv2.imwrite(str(path), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)):
        raise OSError(f'{path} could not be written; is its folder there and writable?')
