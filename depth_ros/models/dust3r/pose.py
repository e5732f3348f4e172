# SPDX-License-Identifier: Apache-2.0
"""Where a camera stood, from points in another frame and the pixels it sees them at.

Points of the second view in the first's frame P, pixels p of the second: p = project(R^T (P - t)),
with R, t of T_first_second. Random samples find what agrees, Gauss-Newton the best fit to that.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from depth_ros.core.camera import Camera
from depth_ros.core.types import Pose

Array = NDArray[np.float64]

MOST = 4000  # points compared; more cost time and say the same
FEWEST = 50  # inliers of a pose that is believed
TOLERANCE = 0.01  # an inlier is so near its pixel, in long sides of the picture
BLOCKS = 8  # along each side of the picture; errors of pixels of a block are taken as one
FEWEST_BLOCKS = 12  # with inliers, twice the six unknowns
ROUNDS, STEPS = 3, 5  # of choosing inliers, and of Gauss-Newton in each


@dataclass(frozen=True, slots=True)
class _Seen:
    """N points that were compared: where, how surely, and in which block of the picture."""

    points: Array  # (N, 3) in the first frame
    pixels: Array  # (N, 2)
    weights: Array  # (N,)
    blocks: NDArray[np.int64]  # (N,)

    def where(self, keep: NDArray[np.bool_]) -> _Seen:
        return _Seen(self.points[keep], self.pixels[keep], self.weights[keep], self.blocks[keep])


def find_pose(points: Tensor, confidence: Tensor, camera: Camera) -> Pose | None:
    """The pose of the camera that sees `points` at its pixels.

    Args:
        points: (h, w, 3) in the first frame, in any unit.
        confidence: (h, w); the surer half is compared, each point with its confidence as weight.
        camera: undistorted, of h x w.

    Returns:
        None where too few points agree on a pose, or too near each other in the picture.
    """
    seen, unit = _chosen(points, confidence)
    if seen is None:
        return None
    tolerance = TOLERANCE * max(camera.size)
    start = _by_samples(seen, camera, tolerance)
    if start is None:
        return None
    rotation, translation = start
    for _ in range(ROUNDS):
        error = _error(seen, camera, rotation, translation)
        # three medians are 3.5 standard deviations: a nearer cut would hold the fit to its start
        gate = min(max(3 * np.median(error), tolerance), 4 * tolerance)
        fitted = seen.where(error < gate)
        if len(fitted.points) < FEWEST or len(np.unique(fitted.blocks)) < FEWEST_BLOCKS:
            return None
        for _ in range(STEPS):
            residual, jacobian = _linearised(fitted, camera, rotation, translation)
            if not np.isfinite(residual).all():
                return None
            step = _solved(jacobian, residual, fitted.weights)
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
    share = float((_error(seen, camera, rotation, translation) < tolerance).mean())
    return Pose(T, covariance * np.outer(units, units), share, len(seen.points))


def _chosen(points: Tensor, confidence: Tensor) -> tuple[_Seen | None, float]:
    """What is compared, with points in units of their median distance, and that distance."""
    p = points.cpu().double().numpy()
    c = confidence.cpu().double().numpy()
    valid = np.isfinite(p).all(2) & np.isfinite(c) & (c > 0)
    if valid.sum() < FEWEST:
        return None, 1.0
    sure = valid & (c >= np.median(c[valid]))
    v, u = np.nonzero(sure)
    some = np.random.default_rng(0).permutation(len(u))[:MOST]  # always the same
    v, u = v[some], u[some]
    h, w = c.shape
    unit = float(np.median(np.linalg.norm(p[v, u], axis=1))) or 1.0
    blocks = v * BLOCKS // h * BLOCKS + u * BLOCKS // w
    pixels = np.stack((u, v), 1).astype(np.float64)
    return _Seen(p[v, u] / unit, pixels, c[v, u] / c[v, u].mean(), blocks), unit


def _by_samples(seen: _Seen, camera: Camera, tolerance: float) -> tuple[Array, Array] | None:
    """R, t most points agree with, by random samples (always the same)."""
    matrix = np.array([[camera.fx, 0, camera.cx], [0, camera.fy, camera.cy], [0, 0, 1]])
    try:
        found, turn, shift, _ = cv2.solvePnPRansac(
            seen.points,
            seen.pixels,
            matrix,
            None,
            iterationsCount=200,
            reprojectionError=tolerance,
            confidence=0.999,
            flags=cv2.SOLVEPNP_SQPNP,
        )
    except cv2.error:  # a sample nobody can solve
        return None
    if not found:
        return None
    # it gives first -> second
    rotation = np.asarray(cv2.Rodrigues(turn)[0], np.float64).T
    return rotation, -rotation @ np.asarray(shift, np.float64)[:, 0]


def _linearised(
    seen: _Seen, camera: Camera, rotation: Array, translation: Array
) -> tuple[Array, Array]:
    """Residuals pixel - projection (N, 2) [px], and d projection / d state (N, 2, 6).

    The state is geometry_msgs': a step of t, then a turn about the axes of the first frame, which
    comes after R.
    """
    apart = seen.points - translation  # (N, 3) from the camera, in the first frame
    x, y, z = (apart @ rotation).T  # in the second
    z = np.where(z > 1e-6, z, np.nan)
    u, v = camera.fx * x / z + camera.cx, camera.fy * y / z + camera.cy
    zero = np.zeros_like(z)
    by_point = np.stack(
        (camera.fx / z, zero, -camera.fx * x / z**2, zero, camera.fy / z, -camera.fy * y / z**2), 1
    ).reshape(-1, 2, 3)
    by_point = by_point @ rotation.T  # (N, 2, 3) by the point in the first frame
    cross = np.cross(apart[:, None, :], np.eye(3)).transpose(0, 2, 1)  # (N, 3, 3) [apart]x
    residual = seen.pixels - np.stack((u, v), 1)
    return residual, np.concatenate((-by_point, by_point @ cross), 2)


def _error(seen: _Seen, camera: Camera, rotation: Array, translation: Array) -> Array:
    """How far from its pixel each point is seen [px], (N,); infinitely behind the camera."""
    residual, _ = _linearised(seen, camera, rotation, translation)
    error: Array = np.linalg.norm(residual, axis=1)
    return np.nan_to_num(error, nan=np.inf)


def _solved(jacobian: Array, residual: Array, weights: Array) -> Array | None:
    """The step with the least weighted squares, (6,)."""
    weighted = jacobian * weights[:, None, None]
    normal = np.einsum('nij,nik->jk', weighted, jacobian)
    try:
        step: Array = np.linalg.solve(normal, np.einsum('nij,ni->j', weighted, residual))
    except np.linalg.LinAlgError:
        return None
    return step if np.isfinite(step).all() else None


def _covariance(seen: _Seen, camera: Camera, rotation: Array, translation: Array) -> Array | None:
    """Of the state, (6, 6): A^-1 (sum over blocks of g g^T) A^-1, A = J^T W J, g = J^T W r.

    A network's errors are alike in neighbouring pixels, so that thousands of pixels tell no more
    than dozens would: each block's are added up before they are squared. Not seen is what is alike
    over more than a block, and the bias of errors above a pixel or so, which count as small here.

    Source: Liang and Zeger 1986, the sandwich estimator for clusters, with their G / (G - 6).
    """
    residual, jacobian = _linearised(seen, camera, rotation, translation)
    weighted = jacobian * seen.weights[:, None, None]
    normal = np.einsum('nij,nik->jk', weighted, jacobian)
    scores = np.einsum('nij,ni->nj', weighted, residual)  # (N, 6)
    names, which = np.unique(seen.blocks, return_inverse=True)
    by_block = np.zeros((len(names), 6))
    np.add.at(by_block, which, scores)
    try:
        inverse = np.linalg.inv(normal)
    except np.linalg.LinAlgError:
        return None
    covariance: Array = inverse @ (by_block.T @ by_block) @ inverse
    covariance = covariance * (len(names) / (len(names) - 6))
    return covariance if np.isfinite(covariance).all() else None
