# SPDX-License-Identifier: Apache-2.0
"""How well an estimated pose agrees with the depth of both views.

The network estimates poses without an uncertainty. But it also estimates the depth of every view:
where the points of another view, moved by the pose, are at the depth that the first view has at
their pixels, all of these agree. How far they are apart gives the uncertainty.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from depth_ros.core.camera import Camera
from depth_ros.core.geometry import is_inside, pixel_rays, project
from depth_ros.core.types import Pose

Array = NDArray[np.float64]

MAX_POINTS = 4000  # compared; more take longer without a better result
TOLERANCE = 0.1  # relative difference of depths that agree
MIN_SEEN = 0.1  # fraction of the compared points that the first view must show, too
BLOCKS = 8  # along each side of the image; errors within a block are taken as correlated
MIN_BLOCKS = 4  # with points that agree


def compared(
    T_first_other: Array,
    first: tuple[Tensor, Camera],
    other: tuple[Tensor, Camera],
    confidence: Tensor,
) -> Pose | None:
    """Compare an estimated pose with the depth of both views.

    Args:
        T_first_other: (4, 4) estimated pose of the other camera, in the unit of the depth.
        first: depth (h, w) of the first view, and its undistorted camera of that size.
        other: those of the other view.
        confidence: (h, w) of the other view; only points above the median are compared.

    Returns:
        The pose with the fraction of points that agree and a covariance; None if the first view
        shows too few of them. A shift along the optical axis changes all depths alike, so its
        standard deviation is that of their mean; the covariance has it for all directions, and,
        over the median depth, for all rotations.
    """
    z_first, z_other = (z.double().cpu().numpy() for z, _ in (first, other))
    certain = confidence.double().cpu().numpy()
    h, w = z_other.shape
    step = max(1, math.ceil(math.sqrt(h * w / MAX_POINTS)))
    v, u = (axis.ravel() for axis in np.mgrid[:h:step, :w:step])
    keep = certain[v, u] >= np.median(certain)
    v, u = v[keep], u[keep]
    points = pixel_rays(u, v, other[1]) * z_other[v, u, None]  # (N, 3) in the other frame
    points = points @ T_first_other[:3, :3].T + T_first_other[:3, 3]
    points = points[points[:, 2] > 0]
    columns, rows = project(points, first[1])
    seen = is_inside(columns, rows, first[1])
    if seen.sum() < MIN_SEEN * len(u):
        return None
    columns, rows = (np.rint(x[seen]).astype(np.int64) for x in (columns, rows))
    error = np.log(points[seen, 2] / z_first[rows, columns])
    agree = np.abs(error) < TOLERANCE
    h, w = z_first.shape
    blocks = np.unique(rows[agree] * BLOCKS // h * BLOCKS + columns[agree] * BLOCKS // w)
    if len(blocks) < MIN_BLOCKS:
        return None
    variance = float(np.mean(error[agree] ** 2)) / len(blocks)  # of a mean, relative
    unit = float(np.median(z_first[rows[agree], columns[agree]]))
    covariance = np.diag([variance * unit**2] * 3 + [variance] * 3)
    return Pose(T_first_other, covariance, float(agree.mean()), len(agree))
