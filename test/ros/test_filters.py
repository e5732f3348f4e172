# SPDX-License-Identifier: Apache-2.0
"""Filters, switched while the node runs."""

import numpy as np
from graph import camera, depth_of, points_of
from sensor_msgs.msg import Image, PointCloud2

CAM = camera(64, 48)


def scene():
    """A near and a far wall with one mixed column between them, and a speck: red is decimetres."""
    rgb = np.zeros((*CAM.size, 3), np.uint8)
    rgb[:, :30, 0], rgb[:, 30, 0], rgb[:, 31:, 0] = 15, 40, 95
    rgb[10, 10, 0] = 200
    return rgb


def test_flying_pixels_and_specks_are_removed_live(node, source, collect):
    running = node(points__stride=1)
    depths, clouds = collect(Image, 'depth/image'), collect(PointCloud2, 'points')

    def answer():
        depth, cloud = source.answer([depths, clouds], CAM, scene())
        return depth_of(depth), points_of(cloud)

    z, points = answer()
    assert np.isfinite(z).all() and (z[:, 30] == 4.5).all() and z[10, 10] == 20.5
    assert running.set(filters__edges=0.006) == []
    z, points = answer()
    assert np.isnan(z[:, 30]).all() and np.isnan(z).sum() == CAM.height
    assert points.shape[1] == CAM.width * CAM.height - CAM.height
    assert running.set(filters__median=1) == []
    z, _ = answer()
    assert z[10, 10] == 2 and np.isnan(z[:, 30]).all()
    assert running.set(filters__median=0, filters__edges=0.0) == []
    z, _ = answer()
    assert np.isfinite(z).all() and z[10, 10] == 20.5
