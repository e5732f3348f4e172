# SPDX-License-Identifier: Apache-2.0
"""Intrinsics through resize and crop, and what is refused."""

import math

import cv2
import numpy as np
import pytest

from depth_ros.core.camera import Camera
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
        ({'cy': math.nan}, 'not finite'),
        ({'distortion_model': 'ds', 'distortion': (0.1,)}, "'ds'; known"),
        ({'distortion_model': 'plumb_bob', 'distortion': (0.1,)}, 'takes 4 or 5 or 8'),
    ],
)
def test_what_cannot_be_a_camera_is_refused(changes, said):
    fields = {'width': 640, 'height': 480, 'fx': 1.0, 'fy': 1.0, 'cx': 0.0, 'cy': 0.0}
    with pytest.raises(CameraError, match=said):
        Camera(**{**fields, **changes})
