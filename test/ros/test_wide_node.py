# SPDX-License-Identifier: Apache-2.0
"""depth_node with a raw fisheye camera whose whole view is used."""

import math

import cv2
import numpy as np
import pytest
from graph import depth_of, points_of
from sensor_msgs.msg import CameraInfo, Image, PointCloud2

from depth_ros.core.camera import Camera
from depth_ros.core.lens import pinhole, pixel_grid, project
from depth_ros.messages.camera_info import camera_from

F = 240 / math.radians(190)
EQUIDISTANT = Camera(240, 240, F, F, 119.5, 119.5, 'equidistant', (0.0,) * 4)
DOUBLE_SPHERE = Camera(240, 240, 62, 62, 119.5, 119.5, 'double_sphere', (-0.2, 0.6))
WIDE = {
    'model': 'fake_around',
    'undistort__projection': 'wide',
    'undistort__max_angle': 94.0,
    'points__stride': 1,
    'points__organized': True,
}


def picture():
    """Smooth, as it is resampled twice; its red is a distance of 0.5 to 26 m."""
    coarse = np.random.default_rng(0).integers(20, 236, (4, 4, 3), np.uint8)
    return cv2.resize(coarse, (240, 240), interpolation=cv2.INTER_CUBIC)


@pytest.mark.parametrize('lens', [EQUIDISTANT, DOUBLE_SPHERE], ids=str)
def test_the_cloud_of_a_fisheye_camera_has_all_rays(node, source, collect, lens):
    running = node(**WIDE, undistort__depth_image='lens')
    outputs = [
        collect(Image, 'depth/image'),
        collect(CameraInfo, 'depth/camera_info'),
        collect(PointCloud2, 'points'),
    ]
    rgb = picture()
    depth, camera_info, cloud = source.answer(outputs, lens, rgb)
    points, rays = points_of(cloud)[..., :3], pixel_grid(lens)
    distances = rgb[..., 0] / 10 + 0.5
    for degrees in (-93, -85, 0, 85, 93):
        angle = math.radians(degrees)
        for ray in ((math.sin(angle), 0, math.cos(angle)), (0, math.sin(angle), math.cos(angle))):
            u, v = project(np.array(ray), lens)
            at = round(float(v)), round(float(u))
            np.testing.assert_allclose(points[at], rays[at] * distances[at], rtol=0.02, atol=0.02)
    known = np.isfinite(points[..., 0])
    assert known[rays[..., 2] > math.cos(math.radians(93.9))].all()
    ratio = np.linalg.norm(points[known], axis=-1) / distances[known]
    assert np.abs(ratio - 1).max() < 0.05 and np.abs(ratio - 1).mean() < 0.01
    # the depth image has the pixels of the camera, and a camera_info that says so
    z = depth_of(depth)
    assert camera_from(camera_info, 240, 240, None) == lens
    assert np.isnan(z[rays[..., 2] <= 0]).all()
    np.testing.assert_allclose(z[known & (z > 0)], points[known & (z > 0), 2], rtol=1e-5)
    assert 'seen by the network as 7 pinholes of 90 deg' in running.log


def test_depth_of_a_wide_camera_is_published_for_its_pinhole(node, source, collect):
    node(**WIDE, undistort__zoom='keep_valid')
    outputs = [collect(Image, 'depth/image'), collect(CameraInfo, 'depth/camera_info')]
    clouds = collect(PointCloud2, 'points')
    depth, camera_info, cloud = source.answer([*outputs, clouds], EQUIDISTANT, picture())
    target = pinhole(EQUIDISTANT, 'keep_valid')
    assert camera_from(camera_info, 240, 240, None) == target
    z, rays = depth_of(depth), pixel_grid(target)
    assert np.isfinite(z).all()
    # the same surfaces as in the cloud
    u, v = project(rays, EQUIDISTANT)
    nearest = points_of(cloud)[np.rint(v).astype(int), np.rint(u).astype(int), :3]
    assert np.abs(z / rays[..., 2] / np.linalg.norm(nearest, axis=-1) - 1).mean() < 0.02
