# SPDX-License-Identifier: Apache-2.0
"""How many flying pixels the filter `edges` removes, and how many good ones it keeps.

True depth with sharp edges is blurred as a network blurs it. A point of the blurred depth is bad
if no true surface is within 3 cm of it. Surfaces are the true points, sampled once per pixel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from depth_ros.core.camera import Camera
from depth_ros.core.geometry import back_project
from depth_ros.pipeline.filters.edges import without_flying_pixels
from tools.train import real

IMAGE = 'middlebury2014_motorcycle'
BAD_M, GOOD_M = 0.03, 0.01  #: from the nearest surface: farther is bad, nearer is well placed
STEPS = (0.006, 0.008, 0.01)  #: of `filters.edges`

Depth = NDArray[np.float32]


def rows() -> Iterator[dict[str, Any]]:
    """A row for each blur and step."""
    ((_, frame, measured),) = real.load_images(names=(IMAGE,))
    known = measured.numpy()
    true = filled(known)
    for name, blur in BLURS.items():
        blurred = 1 / blur(1 / true)
        distance = from_surface(blurred, true, frame.camera)
        for step in STEPS:
            z = without_flying_pixels(torch.from_numpy(blurred), step).numpy()
            yield {'blur': name, 'step': step, **scores(np.isnan(z), distance, np.isfinite(known))}


def gaussian(sigma_px: float) -> Callable[[Depth], Depth]:
    """Blur of a standard deviation [px]."""
    return lambda x: np.asarray(cv2.GaussianBlur(x, (0, 0), sigma_px), np.float32)


def coarser(factor: int) -> Callable[[Depth], Depth]:
    """Blur of a network whose output has 1 / `factor` of the size."""

    def blur(x: Depth) -> Depth:
        height, width = x.shape
        size = round(width / factor), round(height / factor)
        small = cv2.resize(x, size, interpolation=cv2.INTER_AREA)
        return np.asarray(cv2.resize(small, (width, height)), np.float32)

    return blur


BLURS = {
    'Gaussian, 1 px': gaussian(1.0),
    'Gaussian, 1.5 px': gaussian(1.5),
    'Gaussian, 2 px': gaussian(2.0),
    'output of half the size': coarser(2),
    'output of a quarter of the size': coarser(4),
}


def scores(
    removed: NDArray[np.bool_], distance: Depth, compared: NDArray[np.bool_]
) -> dict[str, float]:
    """Percentages of the points: bad ones, of them removed; of the others and the good ones kept.

    Args:
        removed: (H, W), by the filter.
        distance: (H, W) from the nearest surface [m].
        compared: (H, W), where depth was measured.
    """
    bad, good = compared & (distance > BAD_M), compared & (distance <= GOOD_M)
    return {
        'bad_percent': percent(bad[compared]),
        'removed_percent': percent(removed[bad]),
        'others_kept_percent': percent(~removed[compared & ~bad]),
        'good_kept_percent': percent(~removed[good]),
    }


def percent(share: NDArray[np.bool_]) -> float:
    """The mean of booleans in percent."""
    return round(100 * float(share.mean()), 1)


def filled(z: Depth) -> Depth:
    """Depth with its holes filled from the farther side, where the background goes on."""
    sides = []
    for step in (1, -1):
        turned = z[:, ::step]
        last = np.maximum.accumulate(
            np.where(np.isfinite(turned), np.arange(z.shape[1]), 0), axis=1
        )
        sides.append(np.take_along_axis(turned, last, 1)[:, ::step])
    return np.where(np.isfinite(z), z, np.fmax(*sides)).astype(np.float32)


def from_surface(z: Depth, true: Depth, camera: Camera) -> Depth:
    """(H, W) distance of each point from the nearest true one [m], as far as `BAD_M` and more.

    Args:
        z: (H, W) [m].
        true: (H, W) [m].
        camera: of both.
    """
    points, surface = (back_project(torch.from_numpy(d), camera).numpy() for d in (z, true))
    best = np.linalg.norm(points - surface, axis=2)
    # a neighbour can only be nearer; all within 4 cm are looked at where that matters
    v, u = np.nonzero(best > GOOD_M)
    reach = int(np.ceil(0.04 * camera.fx / float(true.min())))
    found = best[v, u]
    for dv in range(-reach, reach + 1):
        for du in range(-reach, reach + 1):
            there = np.clip(v + dv, 0, z.shape[0] - 1), np.clip(u + du, 0, z.shape[1] - 1)
            np.minimum(found, np.linalg.norm(points[v, u] - surface[there], axis=1), out=found)
    best[v, u] = found
    return np.asarray(best, np.float32)
