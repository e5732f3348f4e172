# SPDX-License-Identifier: Apache-2.0
"""Lenses: rays and pixels of every model, and the pinholes they are undistorted to."""

import json
import math

import cv2
import numpy as np
import pytest
import torch

from depth_ros.core.camera import ZOOMS, Camera
from depth_ros.core.errors import CameraError
from depth_ros.core.geometry import undistort
from depth_ros.core.lens import (
    field_of_view_deg,
    max_angle,
    pinhole,
    pixel_grid,
    project,
    unproject,
)
from depth_ros.core.types import Frame
from depth_ros.pipeline.build import load

BARREL = Camera(320, 240, 160, 158, 158, 122, 'plumb_bob', (-0.28, 0.074, 2e-4, 2e-5, 0.0))
PINCUSHION = Camera(320, 240, 220, 215, 158, 122, 'plumb_bob', (0.2, 0.05, 1e-3, -1e-3, 0.0))
RATIONAL = Camera(
    320, 240, 220, 215, 158, 122,
    'rational_polynomial', (0.4, 0.1, 1e-3, -1e-3, 0.01, 0.5, 0.12, 0.02),
)  # fmt: skip
EQUIDISTANT = Camera(320, 240, 140, 138, 161, 117, 'equidistant', (-0.01, 0.02, -0.005, 0.001))
FISHEYE_190 = Camera(480, 480, 480 / math.radians(190), 480 / math.radians(190), 239.5, 239.5,
                     'equidistant', (0.0,) * 4)  # fmt: skip
FOV = Camera(320, 240, 150, 148, 161, 117, 'fov', (0.93,))
DOUBLE_SPHERE = Camera(320, 240, 95, 94, 161, 117, 'double_sphere', (-0.2, 0.6))
WIDE_DOUBLE_SPHERE = Camera(480, 480, 150, 150, 239.5, 239.5, 'double_sphere', (-0.2, 0.6))
LENSES = [BARREL, PINCUSHION, RATIONAL, EQUIDISTANT, FOV]


@pytest.mark.parametrize(
    'camera', [*LENSES, FISHEYE_190, DOUBLE_SPHERE, BARREL.undistorted()], ids=str
)
def test_every_pixel_sees_along_its_ray(camera):
    v, u = np.mgrid[0 : camera.height : 7, 0 : camera.width : 7].astype(float)
    rays = unproject(u, v, camera)
    seen = np.isfinite(rays[..., 0])
    assert seen.mean() > 0.99
    np.testing.assert_allclose(np.linalg.norm(rays[seen], axis=-1), 1.0)
    found = project(3.7 * rays, camera)
    np.testing.assert_allclose(found[0][seen], u[seen], atol=1e-5)
    np.testing.assert_allclose(found[1][seen], v[seen], atol=1e-5)


def test_rays_of_an_equidistant_lens_are_those_of_opencv():
    points = np.random.default_rng(0).uniform(-1.0, 1.0, (50, 2))
    k = np.array([[140, 0, 161], [0, 138, 117], [0, 0, 1]], float)
    drawn = cv2.fisheye.distortPoints(points[:, None], k, np.array(EQUIDISTANT.distortion))[:, 0]
    u, v = project(np.concatenate((points, np.ones((50, 1))), 1), EQUIDISTANT)
    np.testing.assert_allclose(np.stack((u, v), 1), drawn, atol=1e-6)


@pytest.mark.parametrize('count', [4, 5, 8, 12, 14])
def test_rays_of_polynomials_are_those_of_opencv(count):
    rng = np.random.default_rng(count)
    d = tuple(rng.uniform(-0.05, 0.05, count))
    lens = Camera(320, 240, 220, 215, 158, 122, 'rational_polynomial', d)
    points = rng.uniform(-0.7, 0.7, (50, 2))
    rays = np.concatenate((points, np.ones((50, 1))), 1)
    k = np.array([[220, 0, 158], [0, 215, 122], [0, 0, 1]], float)
    drawn = cv2.projectPoints(rays, np.zeros(3), np.zeros(3), k, np.array(d))[0][:, 0]
    u, v = project(rays, lens)
    np.testing.assert_allclose(np.stack((u, v), 1), drawn, atol=1e-9)
    found = unproject(u, v, lens)
    np.testing.assert_allclose(found / found[:, 2:], rays, atol=1e-8)


def test_fov_and_double_sphere_are_those_of_their_papers():
    ray = np.array([0.4, -0.7, 0.5])
    # Devernay and Faugeras: r_d = atan(2 r tan(w / 2)) / w
    r, w = np.hypot(0.8, -1.4), 0.93
    scale = math.atan(2 * r * math.tan(w / 2)) / w / r
    expected = 161 + 150 * 0.8 * scale, 117 - 148 * 1.4 * scale
    np.testing.assert_allclose(project(ray, FOV), expected)
    # Usenko et al., equations 40 to 43
    xi, alpha = -0.2, 0.6
    d1 = np.linalg.norm(ray)
    d2 = math.hypot(0.4, -0.7, xi * d1 + 0.5)
    below = alpha * d2 + (1 - alpha) * (xi * d1 + 0.5)
    expected = 161 + 95 * 0.4 / below, 117 - 94 * 0.7 / below
    np.testing.assert_allclose(project(ray, DOUBLE_SPHERE), expected)


def test_double_sphere_reaches_to_the_turning_point_of_its_radius():
    # on the second sphere that is at an angle whose cosine is -(1 - alpha) / alpha
    xi, alpha = -0.2, 0.6
    angle = max_angle(DOUBLE_SPHERE)
    shifted = xi + math.cos(angle)
    cosine = shifted / math.hypot(math.sin(angle), shifted)
    assert cosine == pytest.approx(-(1 - alpha) / alpha, abs=1e-3)


@pytest.mark.parametrize(
    ('model', 'd'), [('fov', (4.0,)), ('double_sphere', (0.6, 1.7)), ('double_sphere', (0.6,))]
)
def test_coefficients_of_another_model_are_refused(model, d):
    with pytest.raises(CameraError, match=f"distortion_model '{model}'"):
        Camera(320, 240, 150, 148, 161, 117, model, d)


def test_a_fisheye_lens_looks_backwards():
    degrees = np.radians(94)
    behind = np.array([np.sin(degrees), 0.0, np.cos(degrees)])
    u, v = project(behind, FISHEYE_190)
    assert (u, v) == (pytest.approx(239.5 + FISHEYE_190.fx * degrees), pytest.approx(239.5))
    np.testing.assert_allclose(unproject(u, v, FISHEYE_190), behind, atol=1e-9)
    assert field_of_view_deg(FISHEYE_190) == pytest.approx((190, 190), abs=0.5)
    assert np.isnan(project(behind, BARREL)[0])


def test_beyond_the_turning_point_of_a_lens_there_are_no_rays():
    lens = Camera(160, 120, 100, 100, 79.5, 59.5, 'plumb_bob', (-0.35, 0, 0, 0, 0))
    assert math.tan(max_angle(lens)) == pytest.approx(0.976, abs=0.001)
    assert np.isnan(project(np.array([1.0, 0.0, 1.0]), lens)[0])
    assert np.isnan(unproject(np.array(79.5 + 70.0), np.array(59.5), lens)).all()


@pytest.mark.parametrize('camera', LENSES, ids=str)
def test_keep_all_has_every_pixel_of_the_lens_and_touches_one(camera):
    target = pinhole(camera, 'keep_all')
    rays = pixel_grid(camera)
    u, v = project(rays, target)
    assert u.min() > -0.01 and u.max() < camera.width - 0.99
    assert v.min() > -0.01 and v.max() < camera.height - 0.99
    tight = (u.min() < 0.01 and u.max() > camera.width - 1.01) or (
        v.min() < 0.01 and v.max() > camera.height - 1.01
    )
    assert tight and target.fx / target.fy == pytest.approx(camera.fx / camera.fy)


@pytest.mark.parametrize('camera', [*LENSES, FISHEYE_190], ids=str)
def test_keep_valid_has_a_source_for_every_pixel(camera):
    target = pinhole(camera, 'keep_valid')
    frame, seen = undistort(
        Frame(torch.zeros((*camera.size, 3), dtype=torch.uint8), camera), target
    )
    assert seen.all() and frame.camera == target
    assert target.fx / target.fy == pytest.approx(camera.fx / camera.fy)
    wider = Camera(
        *(target.width, target.height, 0.96 * target.fx, 0.96 * target.fy),
        *(target.width / 2 + 0.96 * (target.cx - target.width / 2),
          target.height / 2 + 0.96 * (target.cy - target.height / 2)),
    )  # fmt: skip
    if camera != FISHEYE_190:  # whose square image sees more than any pinhole
        assert not undistort(Frame(frame.rgb, camera), wider)[1].all()


@pytest.mark.parametrize('camera', [BARREL, RATIONAL], ids=str)
@pytest.mark.parametrize(('zoom', 'alpha'), [('keep_valid', 0), ('keep_all', 1)])
def test_the_axis_that_decides_is_scaled_as_by_opencv(camera, zoom, alpha):
    k = np.array([[camera.fx, 0, camera.cx], [0, camera.fy, camera.cy], [0, 0, 1]])
    d = np.array(camera.distortion)
    theirs, _ = cv2.getOptimalNewCameraMatrix(k, d, (camera.width, camera.height), alpha)
    ours = pinhole(camera, zoom)
    # OpenCV looks at 9 x 9 points and scales the other axis as well
    ratios = ours.fx / theirs[0, 0], ours.fy / theirs[1, 1]
    assert min(abs(ratio - 1) for ratio in ratios) < 0.02
    assert all(ratio < 1.02 if alpha else ratio > 0.98 for ratio in ratios)


def test_no_pinhole_shows_all_of_a_fisheye_lens():
    with pytest.raises(CameraError, match="keep_all', but the image of this equidistant") as error:
        pinhole(FISHEYE_190, 'keep_all')
    assert 'reaches 134 deg' in str(error.value) and 'keep_valid' in str(error.value)


@pytest.mark.parametrize('zoom', ZOOMS)
def test_a_camera_without_distortion_is_its_own_pinhole(zoom):
    camera = Camera(160, 120, 130.0, 131.0, 77.3, 61.9)
    assert pinhole(camera, zoom) == camera


@pytest.mark.parametrize('zoom', ZOOMS)
def test_zooms_of_a_real_picture_show_the_same_scene(data, zoom):
    folder = data / 'images' / 'euroc_v101_micro'
    k = json.loads((folder / 'intrinsics.json').read_text())
    d = tuple(k['distortion'])
    camera = Camera(k['width'], k['height'], k['fx'], k['fy'], k['cx'], k['cy'], 'plumb_bob', d)
    picture = cv2.imread(str(folder / 'rgb.png'))
    target = pinhole(camera, zoom)
    frame, seen = undistort(Frame(torch.from_numpy(picture), camera), target)
    # OpenCV undistorts to the same camera
    matrix, new = (
        np.array([[c.fx, 0, c.cx], [0, c.fy, c.cy], [0, 0, 1]]) for c in (camera, target)
    )
    theirs = cv2.undistort(picture, matrix, np.array(d), newCameraMatrix=new)
    difference = np.abs(frame.rgb.numpy().astype(int) - theirs)[seen.numpy()]
    assert np.percentile(difference, 99) <= 1
    share = {'keep_k': (0.9, 1.0), 'keep_valid': (1.0, 1.0), 'keep_all': (0.7, 0.95)}[zoom]
    assert share[0] <= seen.float().mean() <= share[1]


def test_a_camera_without_a_pinhole_of_its_zoom_costs_the_others_nothing():
    fisheye = Camera(64, 48, 20.0, 20.0, 31.5, 23.5, 'equidistant', (0.0,) * 4)
    frames = [
        Frame(torch.zeros((48, 64, 3), dtype=torch.uint8), camera)
        for camera in (fisheye, fisheye.undistorted())
    ]
    pipeline, _ = load({'model': 'flat_wall', 'undistort.zoom': 'keep_all'})
    error, depth = pipeline.many(frames, pipeline.snapshot)
    assert isinstance(error, CameraError) and (depth.z == 2.0).all()
