# SPDX-License-Identifier: Apache-2.0
"""One anchor from a sensor with a single wide beam: ultrasonic, infrared, time of flight."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from depth_ros.core.camera import Camera
from depth_ros.core.errors import ScaleError
from depth_ros.core.geometry import is_inside, project
from depth_ros.core.types import Anchors
from depth_ros.pipeline.two_views.poses import Pose4x4

SAMPLES = 15  #: pixels compared along each side of the square around the beam


def from_beam(
    values: Tensor,
    distance: float,
    field_of_view: float,
    T_camera_sensor: Pose4x4,
    camera: Camera,
    *,
    sigma: float,
) -> Anchors:
    """The measured distance, for the pixel of median prediction within the beam.

    Args:
        values: (H, W), a prediction; NaN where there is none.
        distance: measured along the beam [m].
        field_of_view: angle of the cone [rad].
        T_camera_sensor: (4, 4), maps the sensor's frame, x along the beam, to the optical frame.
        camera: of `values`, undistorted.
        sigma: standard deviation of `distance` [m].

    Returns:
        One anchor.

    Raises:
        ScaleError: the beam is not in the image.
    """
    angles = np.linspace(-field_of_view / 2, field_of_view / 2, SAMPLES)
    y, z = (axis.ravel() for axis in np.meshgrid(angles, angles))
    within = np.hypot(y, z) <= field_of_view / 2
    y, z = y[within], z[within]
    points = distance * np.stack((np.cos(np.hypot(y, z)), np.sin(y), np.sin(z)), 1)
    points = points @ T_camera_sensor[:3, :3].T + T_camera_sensor[:3, 3]
    points = points[points[:, 2] > 1e-3]
    u, v = project(points, camera)
    inside = is_inside(u, v, camera)
    if not len(inside) or inside.mean() <= 0.5:
        raise ScaleError('the beam of the range sensor is outside of the image')
    u, v, depth = u[inside].round(), v[inside].round(), points[inside, 2]
    rows, columns = (torch.from_numpy(a.astype(np.int64)).to(values.device) for a in (v, u))
    sampled = values[rows, columns].cpu().numpy()
    known = np.flatnonzero(np.isfinite(sampled))
    if not len(known):
        raise ScaleError('the network has no depth in the beam of the range sensor')
    k = known[np.argsort(sampled[known])[len(known) // 2]]
    return Anchors(*(np.array([float(x)]) for x in (u[k], v[k], depth[k], sigma)))
