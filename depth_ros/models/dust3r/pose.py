# SPDX-License-Identifier: Apache-2.0
"""Estimate the pose of the second camera from its points in the frame of the first.

With points P of the second view in the frame of the first, and pixels p of the second view:
p = project(R^T (P - t)), where R and t are those of T_first_second. RANSAC finds a first estimate
and its inliers, Gauss-Newton refines it.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from depth_ros.core.camera import Camera
from depth_ros.core.geometry import project
from depth_ros.core.types import Pose

Array = NDArray[np.float64]

MAX_POINTS = 4000  # compared; more take longer without a better result
MIN_INLIERS = 50  # of an accepted pose
TOLERANCE = 0.01  # reprojection error of an inlier, in longer sides of the image
BLOCKS = 8  # along each side of the image; errors within a block are taken as correlated
MIN_BLOCKS = 12  # with inliers; twice the six unknowns
ROUNDS, STEPS = 3, 5  # selections of inliers, and Gauss-Newton steps in each


@dataclass(frozen=True, slots=True)
class _Samples:
    """N points to be compared, with their pixels, weights and blocks of the image."""

    points: Array  # (N, 3) in the frame of the first camera
    pixels: Array  # (N, 2)
    weights: Array  # (N,)
    blocks: NDArray[np.int64]  # (N,)

    def select(self, keep: NDArray[np.bool_]) -> _Samples:
        return _Samples(
            self.points[keep], self.pixels[keep], self.weights[keep], self.blocks[keep]
        )


def find_pose(points: Tensor, confidence: Tensor, camera: Camera) -> Pose | None:
    """Estimate the pose of the camera whose pixels show `points`.

    Args:
        points: (h, w, 3) in the frame of the first camera, in any unit.
        confidence: (h, w), weights of the points; only those above the median are used.
        camera: undistorted, of h x w pixels.

    Returns:
        The pose in the unit of `points`; None if it has too few inliers, or inliers in too small a
        part of the image.
    """
    samples, unit = _choose_samples(points, confidence)
    if samples is None:
        return None
    tolerance = TOLERANCE * max(camera.size)
    start = _ransac(samples, camera, tolerance)
    if start is None:
        return None
    rotation, translation = start
    for _ in range(ROUNDS):
        error = _error(samples, camera, rotation, translation)
        # three medians are 3.5 standard deviations; a smaller gate would bias the fit to its start
        gate = min(max(3 * np.median(error), tolerance), 4 * tolerance)
        fitted = samples.select(error < gate)
        if len(fitted.points) < MIN_INLIERS or len(np.unique(fitted.blocks)) < MIN_BLOCKS:
            return None
        for _ in range(STEPS):
            residual, jacobian = _linearise(fitted, camera, rotation, translation)
            if not np.isfinite(residual).all():
                return None
            step = _solve(jacobian, residual, fitted.weights)
            if step is None:
                return None
            translation = translation + step[:3]
            rotation = cv2.Rodrigues(step[3:])[0] @ rotation
    covariance = _covariance(fitted, camera, rotation, translation)
    if covariance is None:
        return None
    T = np.eye(4)
    T[:3, :3], T[:3, 3] = rotation, translation * unit
    units = np.array([unit] * 3 + [1.0] * 3)
    share = float((_error(samples, camera, rotation, translation) < tolerance).mean())
    return Pose(T, covariance * np.outer(units, units), share, len(samples.points))


def _choose_samples(points: Tensor, confidence: Tensor) -> tuple[_Samples | None, float]:
    """Samples with points in units of their median distance, and that distance."""
    p = points.cpu().double().numpy()
    c = confidence.cpu().double().numpy()
    valid = np.isfinite(p).all(2) & np.isfinite(c) & (c > 0)
    if valid.sum() < MIN_INLIERS:
        return None, 1.0
    certain = valid & (c >= np.median(c[valid]))
    v, u = np.nonzero(certain)
    chosen = np.random.default_rng(0).permutation(len(u))[:MAX_POINTS]  # deterministic
    v, u = v[chosen], u[chosen]
    h, w = c.shape
    unit = float(np.median(np.linalg.norm(p[v, u], axis=1))) or 1.0
    blocks = v * BLOCKS // h * BLOCKS + u * BLOCKS // w
    pixels = np.stack((u, v), 1).astype(np.float64)
    return _Samples(p[v, u] / unit, pixels, c[v, u] / c[v, u].mean(), blocks), unit


def _ransac(samples: _Samples, camera: Camera, tolerance: float) -> tuple[Array, Array] | None:
    """R and t with the most inliers; deterministic."""
    matrix = np.array([[camera.fx, 0, camera.cx], [0, camera.fy, camera.cy], [0, 0, 1]])
    try:
        found, rvec, tvec, _ = cv2.solvePnPRansac(
            samples.points,
            samples.pixels,
            matrix,
            None,
            iterationsCount=200,
            reprojectionError=tolerance,
            confidence=0.999,
            flags=cv2.SOLVEPNP_SQPNP,
        )
    except cv2.error:  # degenerate points
        return None
    if not found:
        return None
    # OpenCV returns T_second_first
    rotation = np.asarray(cv2.Rodrigues(rvec)[0], np.float64).T
    return rotation, -rotation @ np.asarray(tvec, np.float64)[:, 0]


def _linearise(
    samples: _Samples, camera: Camera, rotation: Array, translation: Array
) -> tuple[Array, Array]:
    """Residuals pixel - projection, (N, 2) [px], and d projection / d state, (N, 2, 6).

    The state is ordered as in geometry_msgs: a step of t, then a rotation about the axes of the
    first frame, applied after R.
    """
    offset = samples.points - translation  # (N, 3) from the camera, in the first frame
    points = offset @ rotation  # in the second
    x, y, z = points.T
    z[z <= 1e-6] = np.nan
    u, v = project(points, camera)
    zero = np.zeros_like(z)
    by_point = np.stack(
        (camera.fx / z, zero, -camera.fx * x / z**2, zero, camera.fy / z, -camera.fy * y / z**2), 1
    ).reshape(-1, 2, 3)
    by_point = by_point @ rotation.T  # (N, 2, 3) d projection / d point, in the first frame
    cross = np.cross(offset[:, None, :], np.eye(3)).transpose(0, 2, 1)  # (N, 3, 3) [offset]x
    residual = samples.pixels - np.stack((u, v), 1)
    return residual, np.concatenate((-by_point, by_point @ cross), 2)


def _error(samples: _Samples, camera: Camera, rotation: Array, translation: Array) -> Array:
    """Reprojection error of each point, (N,) [px]; infinite behind the camera."""
    residual, _ = _linearise(samples, camera, rotation, translation)
    error: Array = np.linalg.norm(residual, axis=1)
    return np.nan_to_num(error, nan=np.inf)


def _solve(jacobian: Array, residual: Array, weights: Array) -> Array | None:
    """Step of the weighted least squares problem, (6,); None if it is singular."""
    weighted = jacobian * weights[:, None, None]
    normal = np.einsum('nij,nik->jk', weighted, jacobian)
    try:
        step: Array = np.linalg.solve(normal, np.einsum('nij,ni->j', weighted, residual))
    except np.linalg.LinAlgError:
        return None
    return step if np.isfinite(step).all() else None


def _covariance(
    samples: _Samples, camera: Camera, rotation: Array, translation: Array
) -> Array | None:
    """Covariance of the state, (6, 6): A^-1 (sum of g g^T) A^-1, A = J^T W J, g = J^T W r.

    The sum is over blocks of the image, as errors of a network are correlated between neighbouring
    pixels: thousands of pixels have no more information than dozens. Correlation over longer
    distances, and bias by errors beyond the linear range, are not included.

    Source: Liang and Zeger 1986, the sandwich estimator for clusters, with their G / (G - 6).
    """
    residual, jacobian = _linearise(samples, camera, rotation, translation)
    weighted = jacobian * samples.weights[:, None, None]
    normal = np.einsum('nij,nik->jk', weighted, jacobian)
    scores = np.einsum('nij,ni->nj', weighted, residual)  # (N, 6)
    names, which = np.unique(samples.blocks, return_inverse=True)
    by_block = np.zeros((len(names), 6))
    np.add.at(by_block, which, scores)
    try:
        inverse = np.linalg.inv(normal)
    except np.linalg.LinAlgError:
        return None
    covariance: Array = inverse @ (by_block.T @ by_block) @ inverse
    covariance = covariance * (len(names) / (len(names) - 6))
    return covariance if np.isfinite(covariance).all() else None
