# SPDX-License-Identifier: Apache-2.0
"""Where the pixels of a camera look, through its lens: distortion inverted."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from depth_ros.core.camera import Camera

Array = NDArray[np.float64]

STEPS = 30  #: of Newton's method; five to ten do
MISS = 1e-10  #: at the end, at most, in normalised image coordinates
DELTA = 1e-6  #: for slopes
WIDEST = np.radians(89.0)  #: off the axis: beyond it nothing has a depth


def directions(camera: Camera) -> tuple[Array, Array]:
    """Where pixels look at Z = 1.

    Returns:
        x and y, (H, W) float64; NaN where the lens shows nothing, as outside the image circle of a
        real one: beyond the angle at which its polynomial turns back, or 89 degrees off the axis.
    """
    columns, rows = np.meshgrid(
        np.arange(camera.width, dtype=np.float64), np.arange(camera.height, dtype=np.float64)
    )
    seen = np.stack(((columns - camera.cx) / camera.fx, (rows - camera.cy) / camera.fy), -1)
    if not camera.is_distorted:
        return seen[..., 0], seen[..., 1]
    invert = _fisheye if camera.distortion_model == 'equidistant' else _polynomial
    at = invert(np.array(camera.distortion), seen.reshape(-1, 2)).reshape(seen.shape)
    return at[..., 0], at[..., 1]


def _polynomial(lens: Array, seen: Array) -> Array:
    """plumb_bob and rational_polynomial, by Newton's method from the picture inwards or outwards.

    A lens bends more and more or less and less with the angle: Newton's steps then come from one
    side and do not leap over the angle at which it turns back.
    """
    radial = lens.copy()
    radial[2:4] = 0.0
    radii = np.linspace(0, np.tan(WIDEST), 100_000)
    bent = _bent(radial, np.stack((radii, np.zeros_like(radii)), -1))[:, 0]
    turned = np.flatnonzero(np.diff(bent) <= 0)
    widest = radii[turned[0]] if len(turned) else radii[-1]
    at = seen.copy()
    for _ in range(STEPS):
        here = _bent(lens, at)
        miss = seen - here
        if not (np.abs(miss) >= MISS).any():  # NaN has no answer, and is done
            break
        along_x, along_y = (
            (_bent(lens, at + DELTA * axis) - here) / DELTA for axis in np.eye(2)
        )  # (N, 2)
        with np.errstate(divide='ignore', invalid='ignore'):
            area = along_x[:, 0] * along_y[:, 1] - along_x[:, 1] * along_y[:, 0]
            step_x = (miss[:, 0] * along_y[:, 1] - miss[:, 1] * along_y[:, 0]) / area
            step_y = (miss[:, 1] * along_x[:, 0] - miss[:, 0] * along_x[:, 1]) / area
        at = at + np.stack((step_x, step_y), -1)
        at[~(np.hypot(*at.T) <= 2 * widest)] = np.nan  # it has turned back: there is no answer
    found = np.abs(seen - _bent(lens, at)).max(-1) < 10 * MISS
    at[~(found & (np.hypot(*at.T) < widest))] = np.nan
    return at


def _bent(lens: Array, at: Array) -> Array:
    """Normalised image points (N, 2) of directions (N, 2), as OpenCV has it."""
    points = np.concatenate((at, np.ones_like(at[:, :1])), 1)[:, None]
    zero = np.zeros(3)
    image = cv2.projectPoints(points, zero, zero, np.eye(3), lens)[0]
    return np.asarray(image[:, 0], np.float64)


def _fisheye(lens: Array, seen: Array) -> Array:
    """equidistant, where the angle alone is bent: from a table, then by Newton's method."""
    k = np.concatenate(([1.0], lens))
    powers = 2 * np.arange(5) + 1
    angles = np.linspace(0, WIDEST, 10_000)
    bent = (angles[:, None] ** powers) @ k
    turned = np.flatnonzero(np.diff(bent) <= 0)
    last = turned[0] if len(turned) else len(angles) - 1
    radius = np.hypot(seen[:, 0], seen[:, 1])
    angle: Array = np.interp(radius, bent[: last + 1], angles[: last + 1], right=np.nan)
    for _ in range(4):
        slope = (angle[:, None] ** (powers - 1)) @ (k * powers)
        angle = angle + (radius - (angle[:, None] ** powers) @ k) / slope
    scale = np.divide(np.tan(angle), radius, out=np.ones_like(radius), where=radius > 0)
    return np.asarray(seen * scale[:, None])
