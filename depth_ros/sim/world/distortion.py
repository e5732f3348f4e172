# SPDX-License-Identifier: Apache-2.0
"""Ray directions of the pixels of a camera: the lens distortion, inverted."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from depth_ros.core.camera import Camera

Array = NDArray[np.float64]

STEPS = 30  #: maximum of Newton's method; five to ten suffice
TOLERANCE = 1e-10  #: in normalised image coordinates
DELTA = 1e-6  #: step of numerical derivatives
MAX_ANGLE = np.radians(89.0)  #: from the optical axis; beyond it there is no depth


def ray_directions(camera: Camera) -> tuple[Array, Array]:
    """Ray directions of all pixels of a camera.

    Returns:
        x and y at Z = 1 in the optical frame, (H, W) float64. NaN outside of the image circle:
        beyond the angle at which the distorted radius decreases, or 89 degrees from the axis.
    """
    columns, rows = np.meshgrid(
        np.arange(camera.width, dtype=np.float64), np.arange(camera.height, dtype=np.float64)
    )
    distorted = np.stack(((columns - camera.cx) / camera.fx, (rows - camera.cy) / camera.fy), -1)
    if not camera.is_distorted:
        return distorted[..., 0], distorted[..., 1]
    invert = _fisheye if camera.distortion_model == 'equidistant' else _polynomial
    points = invert(np.array(camera.distortion), distorted.reshape(-1, 2))
    points = points.reshape(distorted.shape)
    return points[..., 0], points[..., 1]


def _polynomial(coefficients: Array, distorted: Array) -> Array:
    """Invert plumb_bob and rational_polynomial by Newton's method, starting at the pixel.

    Distortion grows monotonically with the angle. So the iterates approach the solution from one
    side and do not jump over the angle at which the distorted radius decreases.
    """
    radial = coefficients.copy()
    radial[2:4] = 0.0
    radii = np.linspace(0, np.tan(MAX_ANGLE), 100_000)
    distorted_radii = _distort(radial, np.stack((radii, np.zeros_like(radii)), -1))[:, 0]
    folded = np.flatnonzero(np.diff(distorted_radii) <= 0)
    max_radius = radii[folded[0]] if len(folded) else radii[-1]
    points = distorted.copy()
    left = np.arange(len(points))  # neither solved nor diverged
    for _ in range(STEPS):
        at = points[left]
        value = _distort(coefficients, at)
        error = distorted[left] - value
        unsolved = (np.abs(error) >= TOLERANCE).any(-1)  # not where NaN: diverged
        left, at = left[unsolved], at[unsolved]
        value, error = value[unsolved], error[unsolved]
        if not len(left):
            break
        by_x, by_y = (
            (_distort(coefficients, at + DELTA * axis) - value) / DELTA for axis in np.eye(2)
        )  # (N, 2)
        with np.errstate(divide='ignore', invalid='ignore'):
            determinant = by_x[:, 0] * by_y[:, 1] - by_x[:, 1] * by_y[:, 0]
            step_x = (error[:, 0] * by_y[:, 1] - error[:, 1] * by_y[:, 0]) / determinant
            step_y = (error[:, 1] * by_x[:, 0] - error[:, 0] * by_x[:, 1]) / determinant
        at = at + np.stack((step_x, step_y), -1)
        at[~(np.hypot(*at.T) <= 2 * max_radius)] = np.nan  # diverged: no solution
        points[left] = at
    solved = np.abs(distorted - _distort(coefficients, points)).max(-1) < 10 * TOLERANCE
    points[~(solved & (np.hypot(*points.T) < max_radius))] = np.nan
    return points


def _distort(coefficients: Array, points: Array) -> Array:
    """Distort normalised image points (N, 2) as OpenCV does."""
    points3 = np.concatenate((points, np.ones_like(points[:, :1])), 1)[:, None]
    zero = np.zeros(3)
    image = cv2.projectPoints(points3, zero, zero, np.eye(3), coefficients)[0]
    return np.asarray(image[:, 0], np.float64)


def _fisheye(coefficients: Array, distorted: Array) -> Array:
    """Invert equidistant, which distorts only the angle: by a table, then Newton's method."""
    k = np.concatenate(([1.0], coefficients))
    powers = 2 * np.arange(5) + 1
    angles = np.linspace(0, MAX_ANGLE, 10_000)
    radii = (angles[:, None] ** powers) @ k
    folded = np.flatnonzero(np.diff(radii) <= 0)
    last = folded[0] if len(folded) else len(angles) - 1
    radius = np.hypot(distorted[:, 0], distorted[:, 1])
    angle: Array = np.interp(radius, radii[: last + 1], angles[: last + 1], right=np.nan)
    for _ in range(4):
        slope = (angle[:, None] ** (powers - 1)) @ (k * powers)
        angle = angle + (radius - (angle[:, None] ** powers) @ k) / slope
    scale = np.divide(np.tan(angle), radius, out=np.ones_like(radius), where=radius > 0)
    return np.asarray(distorted * scale[:, None])
