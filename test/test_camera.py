# SPDX-License-Identifier: Apache-2.0
"""Intrinsics through resize and crop, and what is refused."""

import math

import cv2
import numpy as np
import pytest

from depth_ros.core.camera import Camera, check_calibration
from depth_ros.core.errors import CameraError

CAM = Camera(640, 480, 525.0, 530.0, 317.3, 244.8)


def test_resized_intrinsics_see_a_point_at_the_same_place_of_the_picture():
    u, v = 100.25, 331.5  # of pixel centres
    half = CAM.resized(320, 240)
    ray = (u - CAM.cx) / CAM.fx, (v - CAM.cy) / CAM.fy
    # the left edge of the picture is at -0.5, whatever its size
    assert ray[0] * half.fx + half.cx == pytest.approx((u + 0.5) / 2 - 0.5)
    assert ray[1] * half.fy + half.cy == pytest.approx((v + 0.5) / 2 - 0.5)


def test_resized_agrees_with_cv2_resize():
    ramp = np.tile(np.arange(640, dtype=np.float32), (4, 1))  # each pixel holds its column
    small = cv2.resize(ramp, (160, 1), interpolation=cv2.INTER_AREA)[0]
    cam = CAM.resized(160, 120)
    columns = (np.arange(160) - cam.cx) / cam.fx * CAM.fx + CAM.cx
    np.testing.assert_allclose(columns, small, atol=1e-3)


def test_resizing_there_and_back_is_the_identity():
    back = CAM.resized(333, 77).resized(640, 480)
    for name in ('fx', 'fy', 'cx', 'cy'):
        assert getattr(back, name) == pytest.approx(getattr(CAM, name))


def test_crop_moves_the_principal_point_only():
    window = CAM.cropped(10, 20, 300, 200)
    assert (window.cx, window.cy) == (CAM.cx - 10, CAM.cy - 20)
    assert (window.fx, window.fy, window.size) == (CAM.fx, CAM.fy, (200, 300))


def test_field_of_view_of_a_centred_camera():
    f = 320 / math.tan(math.radians(35))
    assert Camera(640, 480, f, f, 319.5, 239.5).hfov_deg == pytest.approx(70)


@pytest.mark.parametrize(
    ('changes', 'said'),
    [
        ({'width': 0}, '0x480'),
        ({'fx': 0.0}, 'not calibrated'),
        ({'cy': math.nan}, r'not finite \(500 510 320 nan\). Calibrate'),
        ({'fx': math.inf}, 'not finite'),
        ({'fy': -510.0}, 'fy=-510; it must be positive: correct the sign in the driver'),
        # what drivers publish before anyone has calibrated them
        ({'fx': 1.0, 'fy': 1.0}, 'fx=1, fy=1 px for an image of 640x480, which no lens has'),
        ({'fy': 1.0}, 'fx=500, fy=1 px for an image of 640x480, which no lens has'),
        ({'fx': 5e8, 'fy': 5e8}, 'may not be in pixels. Calibrate'),
        ({'distortion_model': 'ds', 'distortion': (0.1,)}, "'ds'; known"),
        ({'distortion_model': 'plumb_bob', 'distortion': (0.1,)}, 'takes 4 or 5 or 8'),
        ({'distortion_model': 'plumb_bob', 'distortion': (math.nan,) * 5}, 'not finite'),
    ],
)
def test_what_cannot_be_a_camera_is_refused(changes, said):
    fields = {'width': 640, 'height': 480, 'fx': 500.0, 'fy': 510.0, 'cx': 320.0, 'cy': 240.0}
    with pytest.raises(CameraError, match=said):
        Camera(**{**fields, **changes})


@pytest.mark.parametrize(
    ('changes', 'said'),
    [
        ({'width': 12, 'height': 9, 'fx': 1.0, 'fy': 1.0}, 'a default of the driver. Calibrate'),
        ({'fx': 2100.0}, 'never so far from square. Calibrate'),
        ({'cx': 1300.0}, r'principal point is \(1300, 240\) in an image of 640x480, far outside'),
    ],
)
def test_what_cannot_be_a_calibration_is_refused(changes, said):
    fields = {'width': 640, 'height': 480, 'fx': 500.0, 'fy': 510.0, 'cx': 320.0, 'cy': 240.0}
    with pytest.raises(CameraError, match=said):
        check_calibration(Camera(**{**fields, **changes}))


@pytest.mark.parametrize(
    ('changes', 'said'),
    [
        ({'fy': 1000.0}, 'fx=500, fy=1000 px for an image of 640x480: pixels are seldom'),
        ({'cx': 700.0}, 'principal point is (700, 240) in an image of 640x480, outside'),
        # a crop of 400x300 with the principal point of the whole image
        ({'width': 400, 'height': 300}, '(320, 240) in an image of 400x300, far from the middle'),
        ({'fx': 40.0, 'fy': 40.0}, 'a horizontal field of view of 166 deg'),
        ({'fx': 40000.0, 'fy': 40000.0}, 'a vertical field of view of 0.688 deg'),
    ],
)
def test_what_is_unlikely_is_named_with_a_remedy(changes, said):
    fields = {'width': 640, 'height': 480, 'fx': 500.0, 'fy': 510.0, 'cx': 320.0, 'cy': 240.0}
    doubts = '; '.join(check_calibration(Camera(**{**fields, **changes})))
    assert said in doubts
    assert 'check that' in doubts or 'set roi in camera_info, else calibrate again' in doubts


@pytest.mark.parametrize(
    'camera',
    [
        CAM,
        Camera(1242, 375, 721.5, 721.5, 609.6, 172.9),  # a car's wide strip
        Camera(752, 480, 458.7, 457.3, 367.2, 248.4),
        Camera(640, 480, 230.0, 230.0, 320.0, 240.0, 'equidistant', (0.0,) * 4),  # 160 deg
        Camera(1600, 1200, 255.0, 255.0, 800.0, 600.0, 'equidistant', (0.0,) * 4),  # 360 deg
        Camera(1920, 1080, 9000.0, 9000.0, 960.0, 540.0),  # 12 deg, a telephoto lens
    ],
)
def test_real_cameras_raise_no_doubt(camera):
    assert check_calibration(camera) == []


def test_parts_and_squeezed_images_of_a_camera_are_cameras():
    corner = CAM.cropped(600, 440, 40, 40)
    assert corner.cx < 0
    assert CAM.resized(640, 32).fy == pytest.approx(CAM.fy / 15)


def test_an_ideal_fisheye_is_no_pinhole():
    assert Camera(640, 480, 230, 230, 320, 240, 'equidistant', (0.0,) * 4).is_distorted
    assert not Camera(640, 480, 230, 230, 320, 240, 'plumb_bob', (0.0,) * 5).is_distorted
