# SPDX-License-Identifier: Apache-2.0
"""Rays, points and lenses."""

import json

import cv2
import numpy as np
import pytest
import torch

from depth_ros.core.camera import Camera
from depth_ros.core.errors import CameraError
from depth_ros.core.geometry import (
    _by_torch,
    back_project,
    check_undistortion,
    clear_cache,
    project,
    undistort,
)
from depth_ros.core.types import Frame

CAM = Camera(160, 120, 130.0, 131.0, 77.3, 61.9)


def test_wall_back_projects_to_a_plane_and_projects_to_its_pixels():
    points = back_project(torch.full(CAM.size, 3.0), CAM)
    assert (points[..., 2] == 3).all()
    v, u = torch.meshgrid(torch.arange(120.0), torch.arange(160.0), indexing='ij')
    torch.testing.assert_close(project(points, CAM), (u, v), atol=1e-3, rtol=0)


def test_a_slanted_plane_stays_a_plane_at_any_stride():
    normal, d = np.array([0.2, -0.5, 0.84]), 4.0  # n . p = d
    x, y = (np.arange(160) - CAM.cx) / CAM.fx, (np.arange(120) - CAM.cy) / CAM.fy
    z = d / (normal[0] * x[None] + normal[1] * y[:, None] + normal[2])
    for stride in (1, 2, 7):
        points = back_project(torch.from_numpy(z).float(), CAM, stride).double().numpy()
        np.testing.assert_allclose(points @ normal, d, atol=1e-3)


def test_infinite_depth_is_no_point():
    z = torch.tensor([[torch.inf, -torch.inf, torch.nan, 1.0]])
    points = back_project(z, Camera(4, 1, 1, 1, 3, 0))
    assert torch.isnan(points[0, :3]).all() and torch.isfinite(points[0, 3]).all()


LENSES = [
    ('plumb_bob', (-0.28, 0.074, 2e-4, 2e-5, 0.01)),
    ('plumb_bob', (-0.28, 0.074, 2e-4, 2e-5)),
    ('rational_polynomial', (0.4, 0.1, 1e-3, -1e-3, 0.01, 0.5, 0.12, 0.02)),
    ('equidistant', (-0.01, 0.02, -0.005, 0.001)),
]


@pytest.mark.parametrize(('model', 'coefficients'), LENSES)
def test_straight_lines_of_a_distorted_picture_become_straight(model, coefficients):
    cam = Camera(320, 240, 220, 215, 158, 122, model, coefficients)
    k = np.array([[cam.fx, 0, cam.cx], [0, cam.fy, cam.cy], [0, 0, 1]], np.float64)
    # dots on a grid of rays, drawn where the lens puts them
    rays = np.stack(np.meshgrid(np.linspace(-0.4, 0.4, 5), np.linspace(-0.3, 0.3, 5)), -1).reshape(
        -1, 1, 2
    )
    d = np.array(coefficients)
    if model == 'equidistant':
        drawn = cv2.fisheye.distortPoints(rays, k, d)
    else:
        drawn, _ = cv2.projectPoints(
            np.dstack((rays, np.ones((25, 1, 1)))), np.zeros(3), np.zeros(3), k, d
        )
    v, u = np.mgrid[0:240, 0:320]
    picture = np.zeros((240, 320))
    for x, y in drawn.reshape(-1, 2):
        picture += 255 * np.exp(-((u - x) ** 2 + (v - y) ** 2) / 8)
    rgb = torch.from_numpy(np.repeat(picture.clip(0, 255).astype(np.uint8)[..., None], 3, 2))
    frame, seen = undistort(Frame(rgb, cam))
    assert not frame.camera.is_distorted and seen.shape == cam.size
    straight = frame.rgb[..., 0].double().numpy()
    for x, y in rays.reshape(-1, 2) * (cam.fx, cam.fy) + (cam.cx, cam.cy):
        weight = straight * ((abs(u - x) < 6) & (abs(v - y) < 6))
        centre = (weight * u).sum() / weight.sum(), (weight * v).sum() / weight.sum()
        np.testing.assert_allclose(centre, (x, y), atol=0.15)


def test_what_the_lens_did_not_see_is_marked():
    pincushion = Camera(160, 120, 130, 130, 80, 60, 'plumb_bob', (0.3, 0.1, 0, 0, 0))
    rgb = torch.zeros((120, 160, 3), dtype=torch.uint8)
    _, seen = undistort(Frame(rgb, pincushion))
    assert not seen[0, 0] and not seen[-1, -1] and seen[60, 80]


def test_beyond_the_turning_point_of_a_lens_nothing_was_seen():
    # r (1 - 0.35 r^2) grows up to r = 0.976; f = 100 looks out to r = 1.0 at the corners
    cam = Camera(160, 120, 100, 100, 79.5, 59.5, 'plumb_bob', (-0.35, 0, 0, 0, 0))
    _, seen = undistort(Frame(torch.zeros((120, 160, 3), dtype=torch.uint8), cam))
    v, u = torch.meshgrid(torch.arange(120.0) - 59.5, torch.arange(160.0) - 79.5, indexing='ij')
    radius = torch.hypot(u, v) / 100
    assert not seen[radius > 0.99].any() and seen[radius < 0.95].all()


def test_undistorting_a_real_picture_is_opencvs_undistort(data):
    folder = data / 'images' / 'euroc_v101_micro'
    k = json.loads((folder / 'intrinsics.json').read_text())
    d = (-0.28340811, 0.07395907, 0.00019359, 1.76187114e-05)
    picture = cv2.cvtColor(cv2.imread(str(folder / 'rgb.png')), cv2.COLOR_BGR2RGB)
    cam = Camera(k['width'], k['height'], k['fx'], k['fy'], k['cx'], k['cy'], 'plumb_bob', d)
    frame, _ = undistort(Frame(torch.from_numpy(picture), cam))
    matrix = np.array([[cam.fx, 0, cam.cx], [0, cam.fy, cam.cy], [0, 0, 1]])
    theirs = cv2.undistort(picture, matrix, np.array(d))
    difference = np.abs(frame.rgb.numpy().astype(int) - theirs)
    assert np.percentile(difference, 99) <= 1  # OpenCV rounds its map to 1/32 px


def test_a_rectified_frame_is_left_as_it_is():
    frame = Frame(torch.zeros((120, 160, 3), dtype=torch.uint8), CAM)
    assert undistort(frame) == (frame, None)


def test_an_ideal_fisheye_is_undistorted():
    # r = f theta: the pixel that a pinhole sees at 45 deg lies 0.785 f from the centre
    cam = Camera(640, 480, 230, 230, 319.5, 239.5, 'equidistant', (0.0,) * 4)
    columns = np.tile(np.arange(640) // 3, (480, 1)).astype(np.uint8)
    frame, _ = undistort(Frame(torch.from_numpy(np.repeat(columns[..., None], 3, 2)), cam))
    v, u = 239, 319.5 + 230 * np.tan(np.radians(45))
    seen = 3 * frame.rgb[v, round(u), 0].item()
    assert seen == pytest.approx(319.5 + 230 * np.radians(45), abs=4)


@pytest.mark.parametrize(('model', 'coefficients'), LENSES)
def test_opencv_undistorts_as_torch_does(model, coefficients):
    cam = Camera(320, 240, 220, 215, 158, 122, model, coefficients)
    noise = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    rgb = torch.from_numpy(cv2.resize(noise, (320, 240)))
    frame, _ = undistort(Frame(rgb, cam))
    difference = (frame.rgb.int() - _by_torch(rgb, cam, cam.undistorted()).int()).abs()
    # OpenCV 4 rounds source pixels to 1/32 px
    assert difference.max() <= 4 and (difference > 1).float().mean() < 0.01


def test_a_frame_whose_rows_are_padded_is_undistorted():
    cam = Camera(160, 120, 130, 130, 80, 60, 'plumb_bob', (-0.2, 0.05, 0, 0, 0))
    padded = torch.randint(0, 256, (120, 170, 3), dtype=torch.uint8)
    expected, _ = undistort(Frame(padded[:, :160].contiguous(), cam))
    frame, _ = undistort(Frame(padded[:, :160], cam))
    assert torch.equal(frame.rgb, expected.rgb)


WRONG = [
    # (coefficients, what is left)
    ((2000.0, 1500.0, 0.0, 0.0, 0.0), '% of the pixels have a source'),
    ((1e30, 0.0, 0.0, 0.0, 0.0), 'after undistortion 0 % of the pixels have a source'),
    ((0.0, 0.0, 0.0, 0.0, 0.0, 1e4, 0.0, 0.0), '% of the camera image is left'),  # all is centre
]


@pytest.mark.parametrize(('coefficients', 'said'), WRONG)
def test_coefficients_that_leave_nothing_of_the_image_are_refused(coefficients, said):
    cam = Camera(160, 120, 130, 130, 79.5, 59.5, 'plumb_bob', coefficients)
    for _ in range(2):
        with pytest.raises(CameraError, match=said) as error:
            undistort(Frame(torch.zeros((120, 160, 3), dtype=torch.uint8), cam))
        assert 'Calibrate the camera' in str(error.value)
    clear_cache()


def test_coefficients_that_leave_half_of_the_image_raise_a_doubt():
    # r (1 - r^2) grows up to r = 0.577; the corners are at r = 1
    cam = Camera(160, 120, 100, 100, 79.5, 59.5, 'plumb_bob', (-1.0, 0.0, 0.0, 0.0, 0.0))
    (doubt,) = check_undistortion(cam)
    _, seen = undistort(Frame(torch.zeros((120, 160, 3), dtype=torch.uint8), cam))
    assert f'{100 * seen.float().mean():.2g} % of the pixels have a source' in doubt


@pytest.mark.parametrize(('model', 'coefficients'), LENSES)
def test_real_lenses_raise_no_doubt(model, coefficients):
    assert check_undistortion(Camera(320, 240, 220, 215, 158, 122, model, coefficients)) == []


def test_a_360_degree_fisheye_is_no_warning():
    cam = Camera(800, 800, 127.0, 127.0, 399.5, 399.5, 'equidistant', (0.0,) * 4)
    assert check_undistortion(cam) == []


@pytest.mark.parametrize('size', [(1, 1), (1, 8), (8, 1), (2, 2)])
def test_an_image_of_a_few_pixels_is_undistorted(size):
    cam = Camera(*size, 4.0, 4.0, 0.0, 0.0, 'plumb_bob', (-0.1, 0.0, 0.0, 0.0, 0.0))
    frame, _ = undistort(Frame(torch.full((*cam.size, 3), 7, dtype=torch.uint8), cam))
    assert (frame.rgb == 7).all()
