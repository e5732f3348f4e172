# SPDX-License-Identifier: Apache-2.0
"""Draw depth and clouds for the demo; all images are RGB, (H, W, 3) uint8."""

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
from depth_ros.offline.evaluation.drawing import (
    BACKGROUND,
    FOOT,
    WIDTH,
    Image8,
    colour_range,
    colourise,
    depth_legend,
    error_image,
    error_legend,
    median_depth,
    resize_to_width,
    write_text,
)

GAP, BAR = 12, 34  #: gaps and captions [px]
#: position and target of the virtual camera, in medians of depth, in the optical frame
EYE, TARGET = (0.66, -0.52, -0.46), (-0.02, -0.04, 0.95)
SWAY = math.radians(7)  #: unit of the rotation of the virtual camera around TARGET


def draw_cloud(
    points: NDArray[np.float32],
    rgb: Image8,
    camera: Camera,
    distance: float,
    sway: float = 0.0,
    stride: int = 1,
    width: int = WIDTH,
) -> Image8:
    """Draw a coloured cloud from the side, and the camera it belongs to.

    Args:
        points: (N, 3) [m] in the optical frame of the camera; those not finite are ignored.
        rgb: (N, 3) uint8.
        camera: of the cloud; the result has its aspect ratio.
        distance: median depth of the points [m], which scales the position of the virtual camera.
        sway: rotation of the virtual camera, in units of `SWAY`; negative is left.
        stride: of the cloud.
        width: of the result [px].
    """
    # drawn at twice the size, and downscaled at the end
    width, height = 2 * width, 2 * round(width * camera.height / camera.width)
    target = np.array(TARGET) * distance
    c, s = math.cos(SWAY * sway), math.sin(SWAY * sway)
    rotation = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    eye = target + rotation @ (np.array(EYE) * distance - target)
    forward = (target - eye) / np.linalg.norm(target - eye)
    right = np.cross((0.0, 1.0, 0.0), forward)
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(forward, right), forward])  # right, down, forward
    focal = width / 2 / math.tan(math.radians(58) / 2)

    def project(at: NDArray[np.floating]) -> NDArray[np.float64]:
        view = (at - eye) @ rotation.T
        view[:, :2] = view[:, :2] / np.maximum(view[:, 2:], 1e-6) * focal + (width / 2, height / 2)
        return view

    canvas = np.full((height, width, 3), BACKGROUND, np.uint8)
    near = np.isfinite(points).all(1) & (points[:, 2] < 6 * distance)
    points, rgb = points[near].astype(np.float64), rgb[near]
    pixels = project(points)  # (N, 3) column, row, depth
    # a point covers the gap to its neighbours, so its size grows with its depth
    size = 1.6 * focal * stride / camera.fx * points[:, 2] / np.maximum(pixels[:, 2], 1e-6)
    size = np.clip(np.ceil(size), 1, 8).astype(int)
    corner = np.rint(pixels[:, :2] - (size[:, None] - 1) / 2).astype(int)
    cells, owners = [], []
    for dy, dx in np.ndindex(8, 8):
        u, v = corner[:, 0] + dx, corner[:, 1] + dy
        covered = (size > max(dx, dy)) & (pixels[:, 2] > 0.1 * distance)
        inside = np.flatnonzero(covered & (u >= 0) & (u < width) & (v >= 0) & (v < height))
        cells.append(v[inside] * width + u[inside])
        owners.append(inside)
    cell, owner = np.concatenate(cells), np.concatenate(owners)
    order = np.argsort(-pixels[owner, 2], kind='stable')  # far first, as the last write wins
    canvas.reshape(-1, 3)[cell[order]] = rgb[owner[order]]
    x, y = camera.width / 2 / camera.fx, camera.height / 2 / camera.fy
    ends = np.array([(0, 0, 0), (-x, -y, 1), (x, -y, 1), (x, y, 1), (-x, y, 1)]) * 0.16 * distance
    corners = [(round(u * 16), round(v * 16)) for u, v, _ in project(ends)]
    for i, j in ((0, 1), (0, 2), (0, 3), (0, 4), (1, 2), (2, 3), (3, 4), (4, 1)):
        cv2.line(canvas, corners[i], corners[j], (255, 214, 90), 3, cv2.LINE_AA, shift=4)
    return cv2.resize(canvas, (width // 2, height // 2), interpolation=cv2.INTER_AREA)


def panel(caption: str, image: Image8, legend: Image8 | None = None, width: int = WIDTH) -> Image8:
    """Image with its caption above, and its legend, or empty space, below."""
    head = np.full((BAR, width, 3), BACKGROUND, np.uint8)
    write_text(head, caption, (2, BAR - 11), 0.62)
    foot = np.full((FOOT, width, 3), BACKGROUND, np.uint8) if legend is None else legend
    return np.concatenate((head, resize_to_width(image, width), foot))


def sheet(rows: Sequence[Sequence[Image8]]) -> Image8:
    """Arrange panels of one size in rows."""
    gap = np.full((rows[0][0].shape[0], GAP, 3), BACKGROUND, np.uint8)
    lines = []
    for row in rows:
        parts = [gap]
        for item in row:
            parts += [item, gap]
        lines.append(np.concatenate(parts, 1))
    return np.concatenate(lines)


@dataclass(frozen=True, slots=True)
class FrameImages:
    """Images that show one frame.

    Args:
        rgb: image of the camera.
        depth: coloured depth.
        truth: coloured exact depth.
        error: coloured error of depth.
        cloud: cloud from the side.
        exact: cloud of the exact depth, from the side.
        near: depth of the red end of the colours [m].
        far: depth of the blue end of the colours [m].
        distance: median of the exact depth [m].
    """

    rgb: Image8
    depth: Image8
    truth: Image8
    error: Image8
    cloud: Image8
    exact: Image8
    near: float
    far: float
    distance: float

    def panels(self) -> list[tuple[str, Image8, Image8 | None]]:
        """Caption, image and legend of each panel, for two rows of three."""
        colours = depth_legend(self.near, self.far)
        return [
            ('image', self.rgb, None),
            ('depth/image', self.depth, colours),
            ('points, from the side', self.cloud, None),
            ('error of depth/image', self.error, error_legend()),
            ('exact depth', self.truth, colours),
            ('exact points', self.exact, None),
        ]

    def sheet(self) -> Image8:
        """All panels in two rows."""
        panels = [panel(*item) for item in self.panels()]
        return sheet([panels[:3], panels[3:]])


def draw_frame(snapshot: Mapping[str, NDArray[Any]], camera: Camera) -> FrameImages:
    """Draw the last frame in the arrays of snapshot.npz."""
    rgb, depth, truth = snapshot['rgb'], snapshot['depth'][-1], snapshot['truth'][-1]
    near, far = colour_range(truth)
    distance = median_depth(truth)
    camera = camera.undistorted()
    stride = max(1, round(math.sqrt(depth.size / max(1, len(snapshot['points'])))))
    exact = back_project(torch.from_numpy(truth), camera).reshape(-1, 3).numpy()
    return FrameImages(
        rgb,
        colourise(depth, near, far),
        colourise(truth, near, far),
        error_image(depth, truth),
        draw_cloud(snapshot['points'], snapshot['colours'], camera, distance, stride=stride),
        draw_cloud(exact, rgb.reshape(-1, 3), camera, distance),
        near,
        far,
        distance,
    )


def write(path: Path, image: Image8) -> None:
    """Write a PNG.

    Raises:
        OSError: the file cannot be written.
    """
    if not cv2.imwrite(str(path), cv2.cvtColor(image, cv2.COLOR_RGB2BGR)):
        raise OSError(f'{path} cannot be written; its folder must exist and be writable')
