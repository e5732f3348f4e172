# SPDX-License-Identifier: Apache-2.0
"""Anchors from points of another sensor: LiDAR, radar, 2D scan, time of flight, stereo."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from depth_ros.core.camera import Camera
from depth_ros.core.geometry import is_inside, pixel_rays, project
from depth_ros.core.types import Anchors
from depth_ros.pipeline.two_views.poses import Pose4x4

CELL_PX = 4  #: of the points in a square of this side only the nearest is kept
MAX_ANCHORS = 2000  #: more cost time and do not change a fit
#: of neighbourhoods in which something may hide a point [cells]
_RADII = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)

Points = NDArray[np.float64]


def from_points(
    points: Points,
    T_camera_sensor: Pose4x4,
    camera: Camera,
    *,
    sigma: float,
    near: float = 0.1,
    far: float = np.inf,
) -> Anchors:
    """Project points into the image, without those that the camera does not see.

    The sensor looks past an edge from another place than the camera, so that it measures points
    which are hidden in the image. Their pixels would get the depth of the background.

    Args:
        points: (N, 3) float64 in the sensor's frame [m]; NaN where there is none.
        T_camera_sensor: (4, 4), maps the sensor's frame to the optical frame.
        camera: undistorted.
        sigma: standard deviation of the distances [m].
        near: smallest depth used [m].
        far: largest depth used [m].

    Returns:
        At most `MAX_ANCHORS` anchors, and of each square of `CELL_PX` only the nearest.
    """
    u, v, z = (
        _thinned(values) for values in seen_points(points, T_camera_sensor, camera, near, far)
    )
    return Anchors(u, v, z, np.full_like(z, sigma))


def seen_points(
    points: Points,
    T_camera_sensor: Pose4x4,
    camera: Camera,
    near: float = 0.1,
    far: float = np.inf,
) -> tuple[Points, Points, Points]:
    """Points that the camera sees; see `from_points`.

    Returns:
        Columns u, rows v [px] and depths z [m], (N,) float64 each; of each square of `CELL_PX`
        only the nearest.
    """
    points = points[np.isfinite(points).all(1)]
    seen = points @ T_camera_sensor[:3, :3].T + T_camera_sensor[:3, 3]
    z = seen[:, 2]
    seen = seen[(z >= max(near, 1e-3)) & (z <= far)]
    u, v = project(seen, camera)
    inside = is_inside(u, v, camera)
    u, v, z = u[inside], v[inside], seen[inside, 2]
    rows, columns = ((axis + 0.5).astype(np.intp) // CELL_PX for axis in (v, u))
    kept = _nearest_of_cells(rows, columns, z)
    u, v, z = u[kept], v[kept], z[kept]
    rows, columns = rows[kept], columns[kept]
    offset_px = max(camera.fx, camera.fy) * float(np.linalg.norm(T_camera_sensor[:3, 3]))
    visible = ~_hidden(rows, columns, z, camera, offset_px)
    return u[visible], v[visible], z[visible]


def scan_points(
    ranges: NDArray[np.float64], first: float, step: float, near: float, far: float
) -> Points:
    """Points (N, 3) of a planar scan in the frame of the sensor [m], as LaserScan describes it.

    Args:
        ranges: (N,) distances [m].
        first: angle of the first one about the z axis [rad].
        step: angle between two [rad].
        near: smallest distance that is a measurement [m].
        far: largest distance that is a measurement [m].
    """
    valid = (ranges >= near) & (ranges <= far)
    angles, distances = first + step * np.flatnonzero(valid), ranges[valid]
    x, y = distances * np.cos(angles), distances * np.sin(angles)
    return np.stack((x, y, np.zeros_like(x)), 1)


def depth_points(z: NDArray[np.float32], camera: Camera) -> Points:
    """Points (N, 3) of a depth image in its optical frame [m].

    Args:
        z: (H, W), depth along the optical axis [m]; not positive or not finite where unknown.
        camera: of `z`, undistorted.
    """
    rows, columns = np.nonzero(np.isfinite(z) & (z > 0))
    depth = z[rows, columns].astype(np.float64)
    return pixel_rays(columns.astype(np.float64), rows.astype(np.float64), camera) * depth[:, None]


def _nearest_of_cells(
    rows: NDArray[np.intp], columns: NDArray[np.intp], z: NDArray[np.float64]
) -> NDArray[np.intp]:
    """Indices of the nearest point of each cell."""
    order = np.argsort(z, kind='stable')
    cells = rows[order] * (columns.max(initial=0) + 1) + columns[order]
    return order[np.unique(cells, return_index=True)[1]]


def _hidden(
    rows: NDArray[np.intp],
    columns: NDArray[np.intp],
    z: NDArray[np.float64],
    camera: Camera,
    offset_px: float,
) -> NDArray[np.bool_]:
    """(N,) bool, whether something closer may hide the point from the camera.

    Seen from the camera instead of the sensor, a near and a far point move against each other by
    `offset_px` (1 / z_near - 1 / z_far). So a far point may be hidden if a near one is that close.

    Args:
        rows: cell of the point.
        columns: cell of the point.
        z: depth [m].
        camera: for the size of the image.
        offset_px: focal length [px] times the distance of the two sensors [m].
    """
    nearest = np.full((camera.height // CELL_PX + 1, camera.width // CELL_PX + 1), np.inf)
    nearest[rows, columns] = z
    nearest = nearest.astype(np.float32)
    hidden = np.zeros(len(z), bool)
    for radius in _RADII:
        kernel = np.ones((2 * radius + 1, 2 * radius + 1), np.uint8)
        around = cv2.erode(nearest, kernel)[rows, columns]
        moved_cells = offset_px * (1 / around - 1 / z) / CELL_PX
        hidden |= moved_cells >= radius
    return hidden


def _thinned(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Every n-th value, so that at most `MAX_ANCHORS` are left."""
    return values[:: -(-len(values) // MAX_ANCHORS) or 1]
