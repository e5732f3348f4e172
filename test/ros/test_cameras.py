# SPDX-License-Identifier: Apache-2.0
"""camera_info of every sort of driver -> the camera of the image (REP 104)."""

import numpy as np
import pytest
from graph import header, image, info
from sensor_msgs.msg import CameraInfo, RegionOfInterest

from depth_ros.core.camera import Camera
from depth_ros.core.errors import CameraError
from depth_ros.ros.inputs.camera_info import INFO_WAIT_S, CameraInfoCache, camera_from, to_message

RAW = Camera(640, 480, 500.0, 510.0, 322.0, 238.0, 'plumb_bob', (-0.2, 0.05, 0.001, 0.002, 0.0))


def described(**changes):
    message = info(RAW, 0)
    message.p = [480.0, 0.0, 318.0, -24.0, 0.0, 480.0, 241.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    for name, value in changes.items():
        setattr(message, name, value)
    return message


def test_raw_images_take_k_and_d():
    assert camera_from(described(), 640, 480, None) == RAW
    assert camera_from(described(), 640, 480, False) == RAW


def test_rectified_images_take_p_and_no_distortion():
    camera = camera_from(described(), 640, 480, True)
    assert (camera.fx, camera.fy, camera.cx, camera.cy) == (480, 480, 318, 241)
    assert not camera.is_distorted


def test_without_distortion_p_counts_if_it_is_there_else_k():
    assert camera_from(described(d=[0.0] * 5), 640, 480, None).fx == 480
    assert camera_from(described(d=[0.0] * 5, p=[0.0] * 12), 640, 480, None).fx == 500
    assert camera_from(described(d=[0.0] * 5), 640, 480, False).fx == 500


def test_binning_scales_and_region_of_interest_shifts():
    binned = camera_from(described(binning_x=2, binning_y=2), 320, 240, False)
    assert binned == RAW.resized(320, 240)
    roi = RegionOfInterest(x_offset=100, y_offset=60, width=400, height=300)
    window = camera_from(described(roi=roi), 400, 300, False)
    assert window == RAW.cropped(100, 60, 400, 300)
    both = camera_from(described(roi=roi, binning_x=2, binning_y=2), 200, 150, False)
    assert both == RAW.cropped(100, 60, 400, 300).resized(200, 150)


def test_another_size_of_the_same_shape_is_scaled():
    assert camera_from(described(), 320, 240, False) == RAW.resized(320, 240)


@pytest.mark.parametrize(
    ('changes', 'size', 'said'),
    [
        ({'k': [0.0] * 9, 'p': [0.0] * 12}, (640, 480), 'all zeros'),
        ({}, (640, 360), 'image is 640x360 but camera_info says 640x480'),
        ({'d': [0.1] * 3}, (640, 480), "'plumb_bob' has 3 coefficients"),
        ({'distortion_model': 'equidistant'}, (640, 480), "'equidistant' has 5 coefficients"),
        ({'distortion_model': 'kannala', 'd': [0.1] * 4}, (640, 480), 'image_rect'),
    ],
)
def test_what_cannot_be_used_is_named(changes, size, said):
    with pytest.raises(CameraError, match=said):
        camera_from(described(**changes), *size, None)


def test_the_published_camera_info_reads_back_as_the_same_camera():
    camera = RAW.undistorted()
    message = to_message(camera, header(5))
    for rectified in (True, False, None):
        assert camera_from(message, 640, 480, rectified) == camera
    assert message.header == header(5)


def test_the_exact_stamp_is_preferred_then_frame_and_size():
    infos = CameraInfoCache()
    small = info(RAW.resized(320, 240), 3)
    other = info(RAW, 4, 'other_optical_frame')
    for message in (info(RAW, 1), info(RAW, 2), small, other):
        infos.add(message)
    assert infos.exact(header(2)) == info(RAW, 2)
    assert infos.exact(header(9)) is None
    assert infos.nearest(header(9), (640, 480)) == info(RAW, 2)
    assert infos.nearest(header(9), (320, 240)) is small
    assert infos.nearest(header(9)) is small
    assert infos.nearest(header(9, 'unknown')) is other
    assert CameraInfoCache().nearest(header(9)) is None


def test_another_camera_info_is_waited_for_then_taken_and_from_then_on_at_once():
    cache, wide = CameraInfoCache(), image(np.zeros((480, 640, 3), np.uint8), 9)
    cache.add(info(RAW.resized(320, 240), 3))
    assert cache.info_for(wide, 0.05) is None
    cache.add(info(RAW, 9))
    assert cache.info_for(wide, 0.06) == info(RAW, 9)
    cache = CameraInfoCache()
    cache.add(info(RAW.resized(320, 240), 3))
    assert cache.info_for(wide, INFO_WAIT_S) is cache.info_for(wide, 0.0) is not None


def test_received_messages_are_not_changed():
    message = described(binning_x=2, binning_y=2)
    before = CameraInfo(**{f: getattr(message, f) for f in message.get_fields_and_field_types()})
    camera_from(message, 320, 240, None)
    assert message == before
