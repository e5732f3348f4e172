# SPDX-License-Identifier: Apache-2.0
"""Pictures of depth and clouds for the demo; all of them rgb, (H, W, 3) uint8."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from depth_ros.core.camera import Camera
from depth_ros.core.geometry import back_project

Picture = NDArray[np.uint8]
Depth = NDArray[np.float32]

SKY = (205, 208, 214)
BACKGROUND = (22, 24, 29)
INK = (226, 229, 235)
WIDTH, GAP, BAR, FOOT = 480, 12, 34, 46  #: of a panel, between two, of captions and legends [px]
NICE = (0.3, 0.5, 0.7, 1, 1.5, 2, 3, 4, 6, 8, 10, 15, 20, 30, 40, 60, 80)  #: ticks [m]
WORST = 0.5  #: relative error that gets the full colour
#: where the onlooker of a cloud stands and looks, in medians of its depth, optical frame
EYE, TARGET = (0.66, -0.52, -0.46), (-0.02, -0.04, 0.95)
SWAY = math.radians(7)  #: of the onlooker around TARGET, to both sides


def span(truth: Depth) -> tuple[float, float]:
    """Depths [m] between which colours differ: round numbers around most of `truth`."""
    seen = truth[np.isfinite(truth)]
    low, high = np.percentile(seen, (2, 95)) if seen.size else (1, 10)
    near = max((n for n in NICE if n <= low), default=NICE[0])
    return float(near), float(min((n for n in NICE if n >= max(high, 2 * near)), default=NICE[-1]))


def middle(truth: Depth) -> float:
    """Median of `truth` [m], whatever its shape; 5 where all is sky."""
    seen = truth[np.isfinite(truth)]
    return float(np.median(seen)) if seen.size else 5.0


def colourise(depth: Depth, near: float, far: float) -> Picture:
    """Colours of log depth between `near` and `far` [m]; invalid is black, sky light grey."""
    known = np.clip(np.nan_to_num(depth, nan=near), near, far)
    picture = _hue(np.log(known / near) / math.log(far / near))
    picture[np.isnan(depth) | (depth <= 0)] = 0
    picture[np.isposinf(depth)] = SKY
    return picture


def _hue(level: NDArray[np.floating]) -> Picture:
    """0 near, red; 1 far, blue: turbo without its dark ends."""
    index = (238 - 216 * level).astype(np.uint8)
    turbo = cv2.applyColorMap(index, cv2.COLORMAP_TURBO)
    return cv2.cvtColor(turbo, cv2.COLOR_BGR2RGB)


def error_picture(depth: Depth, truth: Depth) -> Picture:
    """Relative error of (H, W) depth: white for none, red too far, blue too near, grey sky."""
    with np.errstate(invalid='ignore', divide='ignore'):
        off = depth / truth - 1
    picture = _diverging(np.nan_to_num(off / WORST, nan=0.0, posinf=1.0))
    picture[np.isnan(depth)] = 0
    picture[np.isinf(truth)] = SKY
    return picture


def _diverging(level: NDArray[np.floating]) -> Picture:
    """-1 blue, 0 white, 1 red."""
    level = np.clip(level, -1, 1)[..., None]
    ends = np.where(level > 0, (196, 30, 58), (33, 88, 188))
    return np.rint(255 + (ends - 255) * np.abs(level)).astype(np.uint8)


def depth_legend(near: float, far: float) -> Picture:
    """What `colourise` means, as wide as a panel."""
    ticks = [n for n in NICE if near <= n <= far]
    marks = [
        (math.log(n / near) / math.log(far / near), f'{n:g}')
        for n in ticks[:: -(-len(ticks) // 8)]
    ]
    return _legend(_hue(np.linspace(0, 1, WIDTH)[None]), marks, 'm')


def error_legend() -> Picture:
    """What `error_picture` means, as wide as a panel."""
    percent = round(100 * WORST)
    marks = [(0.0, f'{percent} % too near'), (0.5, '0'), (1.0, f'{percent} % too far')]
    return _legend(_diverging(np.linspace(-1, 1, WIDTH)[None]), marks, '')


def _legend(colours: Picture, marks: Sequence[tuple[float, str]], unit: str) -> Picture:
    strip = np.full((FOOT, WIDTH, 3), BACKGROUND, np.uint8)
    left, right = 8, WIDTH - (44 if unit else 8)
    strip[8:18, left:right] = cv2.resize(colours, (right - left, 10))
    for share, text in marks:
        x = left + share * (right - left)
        _write(strip, text, (x, 39), 0.52, share if len(marks) < 4 else 0.5)
    if unit:
        _write(strip, unit, (WIDTH - 8, 39), 0.52, 1)
    return strip


def _write(
    picture: Picture, text: str, at: tuple[float, float], size: float, align: float = 0.0
) -> None:
    """Text whose baseline is at `at`, of which `align` of its width lies to the left of it."""
    (width, _), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size, 1)
    x = min(max(at[0] - align * width, 2), picture.shape[1] - width - 2)
    corner = round(x), round(at[1])
    cv2.putText(picture, text, corner, cv2.FONT_HERSHEY_SIMPLEX, size, INK, 1, cv2.LINE_AA)


def draw_cloud(
    points: NDArray[np.float32],
    rgb: Picture,
    camera: Camera,
    distance: float,
    sway: float = 0.0,
    stride: int = 1,
    width: int = WIDTH,
) -> Picture:
    """A coloured cloud seen from the side, and the camera it came from.

    Args:
        points: (N, 3) [m] in the camera's optical frame; non-finite ones are left out.
        rgb: (N, 3) uint8.
        camera: that took them; the picture has its aspect.
        distance: of most points [m], which says where to look from.
        sway: position of the viewer around the cloud, in units of `SWAY`; negative is left.
        stride: of the points.
        width: of the picture [px].
    """
    # smoothed below
    width, height = 2 * width, 2 * round(width * camera.height / camera.width)
    target = np.array(TARGET) * distance
    c, s = math.cos(SWAY * sway), math.sin(SWAY * sway)
    turn = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    eye = target + turn @ (np.array(EYE) * distance - target)
    forward = (target - eye) / np.linalg.norm(target - eye)
    right = np.cross((0.0, 1.0, 0.0), forward)
    right /= np.linalg.norm(right)
    turn = np.stack([right, np.cross(forward, right), forward])  # rows: right, down, forward
    focal = width / 2 / math.tan(math.radians(58) / 2)

    def project(at: NDArray[np.floating]) -> NDArray[np.float64]:
        seen = (at - eye) @ turn.T
        seen[:, :2] = seen[:, :2] / np.maximum(seen[:, 2:], 1e-6) * focal + (width / 2, height / 2)
        return seen

    canvas = np.full((height, width, 3), BACKGROUND, np.uint8)
    near = np.isfinite(points).all(1) & (points[:, 2] < 6 * distance)
    points, rgb = points[near].astype(np.float64), rgb[near]
    seen = project(points)
    # a point covers what lies between it and its neighbours, so its size grows with its own depth
    size = 1.6 * focal * stride / camera.fx * points[:, 2] / np.maximum(seen[:, 2], 1e-6)
    size = np.clip(np.ceil(size), 1, 8).astype(int)
    corner = np.rint(seen[:, :2] - (size[:, None] - 1) / 2).astype(int)
    cells, owners = [], []
    for dy, dx in np.ndindex(8, 8):
        u, v = corner[:, 0] + dx, corner[:, 1] + dy
        covered = (size > max(dx, dy)) & (seen[:, 2] > 0.1 * distance)
        own = np.flatnonzero(covered & (u >= 0) & (u < width) & (v >= 0) & (v < height))
        cells.append(v[own] * width + u[own])
        owners.append(own)
    cell, owner = np.concatenate(cells), np.concatenate(owners)
    order = np.argsort(-seen[owner, 2], kind='stable')  # far first: the last write to a pixel wins
    canvas.reshape(-1, 3)[cell[order]] = rgb[owner[order]]
    x, y = camera.width / 2 / camera.fx, camera.height / 2 / camera.fy
    ends = np.array([(0, 0, 0), (-x, -y, 1), (x, -y, 1), (x, y, 1), (-x, y, 1)]) * 0.16 * distance
    corners = [(round(u * 16), round(v * 16)) for u, v, _ in project(ends)]
    for i, j in ((0, 1), (0, 2), (0, 3), (0, 4), (1, 2), (2, 3), (3, 4), (4, 1)):
        cv2.line(canvas, corners[i], corners[j], (255, 214, 90), 3, cv2.LINE_AA, shift=4)
    return cv2.resize(canvas, (width // 2, height // 2), interpolation=cv2.INTER_AREA)


def fitted(picture: Picture, width: int = WIDTH) -> Picture:
    """The picture `width` wide."""
    how = cv2.INTER_AREA if picture.shape[1] > width else cv2.INTER_CUBIC
    height = round(width * picture.shape[0] / picture.shape[1])
    return cv2.resize(picture, (width, height), interpolation=how)


def panel(
    caption: str, picture: Picture, legend: Picture | None = None, width: int = WIDTH
) -> Picture:
    """A picture `width` wide between its caption and its legend, or room for one."""
    head = np.full((BAR, width, 3), BACKGROUND, np.uint8)
    _write(head, caption, (2, BAR - 11), 0.62)
    foot = np.full((FOOT, width, 3), BACKGROUND, np.uint8) if legend is None else legend
    return np.concatenate((head, fitted(picture, width), foot))


def sheet(rows: Sequence[Sequence[Picture]]) -> Picture:
    """Panels in rows, all of one size."""
    gap = np.full((rows[0][0].shape[0], GAP, 3), BACKGROUND, np.uint8)
    lines = []
    for row in rows:
        parts = [gap]
        for one in row:
            parts += [one, gap]
        lines.append(np.concatenate(parts, 1))
    return np.concatenate(lines)


@dataclass(frozen=True, slots=True)
class Drawn:
    """One frame for people.

    Args:
        rgb: the image.
        depth: colours of depth.
        truth: colours of the exact depth.
        error: colours of what is between them.
        cloud: the points from the side.
        exact: the points of the exact depth.
        near: depth at the red end of the colours [m].
        far: depth at the blue end of the colours [m].
        distance: median of the exact depth [m].
    """

    rgb: Picture
    depth: Picture
    truth: Picture
    error: Picture
    cloud: Picture
    exact: Picture
    near: float
    far: float
    distance: float

    def panels(self) -> list[tuple[str, Picture, Picture | None]]:
        """Caption, picture and its legend, to be read in two rows of three."""
        colours = depth_legend(self.near, self.far)
        return [
            ('image', self.rgb, None),
            ('depth/image', self.depth, colours),
            ('points, from the side', self.cloud, None),
            ('error of depth/image', self.error, error_legend()),
            ('exact depth', self.truth, colours),
            ('exact points', self.exact, None),
        ]

    def sheet(self) -> Picture:
        """All of it in two rows."""
        panels = [panel(*one) for one in self.panels()]
        return sheet([panels[:3], panels[3:]])


def of(shot: Mapping[str, NDArray[Any]], camera: Camera) -> Drawn:
    """Pictures of the last frame in the arrays of snapshot.npz."""
    rgb, depth, truth = shot['rgb'], shot['depth'][-1], shot['truth'][-1]
    near, far = span(truth)
    distance = middle(truth)
    camera = camera.undistorted()
    stride = max(1, round(math.sqrt(depth.size / max(1, len(shot['points'])))))
    exact = back_project(torch.from_numpy(truth), camera).reshape(-1, 3).numpy()
    return Drawn(
        rgb,
        colourise(depth, near, far),
        colourise(truth, near, far),
        error_picture(depth, truth),
        draw_cloud(shot['points'], shot['colours'], camera, distance, stride=stride),
        draw_cloud(exact, rgb.reshape(-1, 3), camera, distance),
        near,
        far,
        distance,
    )


def write(path: Path, picture: Picture) -> None:
    """Write a PNG.

    Raises:
        OSError: it could not be written.
    """
    if not cv2.imwrite(str(path), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)):
        raise OSError(f'{path} could not be written; is its folder there and writable?')
