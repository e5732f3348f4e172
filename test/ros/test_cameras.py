# SPDX-License-Identifier: Apache-2.0
"""camera_info of every sort of driver -> the camera of the image (REP 104)."""

import math

import numpy as np
import pytest
from graph import header, image, info
from sensor_msgs.msg import CameraInfo, RegionOfInterest

from depth_ros.core.camera import Camera
from depth_ros.core.errors import CameraError
from depth_ros.messages.camera_info import calibration_from, camera_from, named_rectified
from depth_ros.models import PRESETS
from depth_ros.parameters.settings import Undistort
from depth_ros.ros.inputs.camera_info import INFO_WAIT_S, CameraInfoCache, to_message
from depth_ros.ros.inputs.camera_model import CameraModelSource
from depth_ros.ros.inputs.newest import View

RAW = Camera(640, 480, 500.0, 510.0, 322.0, 238.0, 'plumb_bob', (-0.2, 0.05, 0.001, 0.002, 0.0))


def described(**changes):
    message = info(RAW, 0)
    message.p = [480.0, 0.0, 318.0, -24.0, 0.0, 480.0, 241.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    for name, value in changes.items():
        setattr(message, name, value)
    return message


def matrix(fx, fy, cx, cy):
    return [fx, 0.0, cx, 0.0, fy, cy, 0.0, 0.0, 1.0]


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
        (
            {'distortion_model': 'equidistant', 'd': [0.1] * 5},
            (640, 480),
            "'equidistant' has 5 coefficients; it takes 4: set the model that",
        ),
        ({'distortion_model': 'kannala', 'd': [0.1] * 4}, (640, 480), 'image_rect'),
        # zeros do not make a pinhole of a model that is not known
        (
            {'distortion_model': 'kannala', 'd': [0.0] * 4},
            (640, 480),
            'rectification to rectified',
        ),
        ({'distortion_model': 'equidistant', 'd': []}, (640, 480), 'publish its four'),
        ({'k': matrix(1.0, 1.0, 0.0, 0.0)}, (640, 480), 'K of camera_info: .* no lens has'),
        ({'k': matrix(500.0, 1.0, 322.0, 238.0)}, (640, 480), 'fy=1 px .* Calibrate'),
        ({'k': matrix(500.0, -510.0, 322.0, 238.0)}, (640, 480), 'must be positive: correct'),
        ({'k': [math.nan] * 9}, (640, 480), 'not finite .*Calibrate'),
        ({'k': matrix(500.0, 510.0, 2000.0, 238.0)}, (640, 480), 'far outside. Calibrate'),
        ({'d': [math.nan] * 5}, (640, 480), 'not finite .*Calibrate'),
        ({'roi': RegionOfInterest(x_offset=500, width=400, height=300)}, (400, 300), 'not within'),
        ({'binning_x': 999}, (1, 1), 'binning of camera_info is 999x1'),
    ],
)
def test_what_cannot_be_used_is_named(changes, size, said):
    with pytest.raises(CameraError, match=said):
        camera_from(described(**changes), *size, None)


@pytest.mark.parametrize('model', ['equidistant', 'fisheye'])
@pytest.mark.parametrize('rectified', [None, False])
def test_zeros_of_an_equidistant_lens_are_an_ideal_fisheye(model, rectified):
    message = described(distortion_model=model, d=[0.0] * 4, k=matrix(230.0, 230.0, 322.0, 238.0))
    camera = camera_from(message, 640, 480, rectified)
    assert (camera.fx, camera.distortion_model, camera.distortion) == (
        230,
        'equidistant',
        (0,) * 4,
    )
    assert camera.is_distorted
    assert not camera_from(message, 640, 480, True).is_distorted


def test_an_equidistant_lens_without_coefficients_is_ideal_where_the_image_is_raw_by_parameter():
    message = described(distortion_model='equidistant', d=[])
    assert camera_from(message, 640, 480, False).distortion == (0,) * 4


@pytest.mark.parametrize('model', ['', 'plumb_bob', 'rational_polynomial', 'none', 'Plumb_Bob'])
@pytest.mark.parametrize('d', [[], [0.0] * 3, [0.0] * 5])
def test_zeros_of_a_polynomial_lens_are_a_pinhole(model, d):
    camera = camera_from(described(distortion_model=model, d=d), 640, 480, None)
    assert camera.fx == 480 and not camera.is_distorted


@pytest.mark.parametrize(
    ('model', 'd', 'used'),
    [
        ('equidistant', [0.1, 0.2, 0.3, 0.4, 0.0], 4),
        ('plumb_bob', [0.1, 0.2, 0.3, 0.4, 0.5, 0.0], 5),
    ],
)
def test_surplus_coefficients_that_are_zero_are_dropped(model, d, used):
    camera = camera_from(described(distortion_model=model, d=d), 640, 480, None)
    assert camera.distortion == tuple(d[:used])


@pytest.mark.parametrize(
    'p',
    [
        [1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0],
        [math.nan] * 12,
        [-480.0, 0.0, 318.0, 0.0, 0.0, 480.0, 241.0, 0.0, 0.0, 0.0, 1.0, 0.0],
    ],
)
def test_a_good_k_is_preferred_to_a_p_that_cannot_be(p):
    for rectified, d in ((True, RAW.distortion), (None, [0.0] * 5)):
        found = calibration_from(described(p=p, d=list(d)), 640, 480, rectified)
        assert found.camera == RAW.undistorted()
        (doubt,) = found.doubts
        assert doubt.startswith('K of camera_info is used, because P of camera_info:')


def test_where_neither_can_be_p_is_named():
    with pytest.raises(CameraError, match='P of camera_info: focal length is fx=1, fy=1'):
        placeholder = matrix(1.0, 1.0, 0.0, 0.0)
        p = [1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0]
        camera_from(described(k=placeholder, p=p), 640, 480, True)


def test_a_rectified_image_without_p_raises_a_doubt():
    found = calibration_from(described(p=[0.0] * 12), 640, 480, True)
    assert found.camera == RAW.undistorted() and 'P of camera_info is all zeros' in found.doubts[0]
    assert not calibration_from(described(p=[0.0] * 12, d=[]), 640, 480, None).doubts


def test_the_principal_point_of_another_crop_raises_a_doubt_and_a_declared_crop_none():
    crop = described(width=400, height=300)
    (doubt,) = calibration_from(crop, 400, 300, False).doubts
    assert 'principal point is (322, 238) in an image of 400x300' in doubt
    roi = RegionOfInterest(x_offset=240, y_offset=180, width=400, height=300)
    assert not calibration_from(described(roi=roi), 400, 300, False).doubts


def test_the_source_names_the_matrix_and_the_reason():
    assert calibration_from(described(), 640, 480, None).source == (
        'K and D of camera_info (camera_info has distortion)'
    )
    assert calibration_from(described(d=[]), 640, 480, None).source == (
        'P of camera_info (camera_info has no distortion)'
    )
    assert calibration_from(described(), 640, 480, True, 'so').source == 'P of camera_info (so)'


@pytest.mark.parametrize(
    ('topic', 'rectified'),
    [
        ('/camera/image_rect', True),
        ('/camera/image_rect_color', True),
        ('/camera/image_rect/compressed', True),
        ('/camera/infra1/image_rect_raw', True),
        ('/rect', True),
        ('/left_rect/image', True),
        ('/rectified/image', True),
        ('/camera/image_raw', False),
        ('/rectangular_room/image_raw', False),
        ('/non_rectified/image', False),
        ('/unrectified/image', False),
        ('/camera/image_not_rectified', False),
        ('/rectifier/image', False),
        ('/correct/image', False),
    ],
)
def test_a_topic_is_rectified_if_a_part_of_its_name_is_rect(topic, rectified):
    assert named_rectified(topic) is rectified
    log = Log()
    source = CameraModelSource(log, 'front: ', topic, 'auto')
    assert source.from_camera_info(view(), 640, 480).is_distorted is not rectified
    reason = f'the topic {topic} is named so' if rectified else 'camera_info has distortion'
    assert f'of camera_info ({reason})' in log.info.lines[0]


class Lines:
    """A severity of a logger."""

    def __init__(self):
        self.lines = []

    def __call__(self, text):
        self.lines.append(text)


class Log:
    """A logger that keeps its lines."""

    def __init__(self):
        self.info, self.warning = Lines(), Lines()


def view(message=None, stamp_ns=0):
    return View(image(np.zeros((480, 640, 3), np.uint8), stamp_ns), message or described())


def test_what_is_unlikely_is_logged_once_and_kept_for_the_diagnostics():
    log = Log()
    source = CameraModelSource(log, 'front: ', '/image_raw', 'auto')
    for _ in range(3):
        source.from_camera_info(view(described(k=matrix(500.0, 1000.0, 322.0, 238.0))), 640, 480)
    (doubt,) = source.doubts
    assert 'pixels are seldom so far from square' in doubt
    assert log.warning.lines == [f'front: {doubt}'] and len(log.info.lines) == 1
    source.from_camera_info(view(), 640, 480)
    assert source.doubts == ()


@pytest.mark.parametrize(
    ('preset', 'f', 'undistort', 'warned'),
    [
        # 60 x 47 deg (Hypersim), for an image of 640 x 480
        ('depth_anything_v2_metric_indoor_small', 500.0, Undistort(), ''),
        ('depth_anything_v2_metric_indoor_small', 250.0, Undistort(), 'it sees 104 x 88 deg'),
        ('depth_anything_v2_metric_indoor_small', 250.0,
         Undistort(projection='wide', tile_fov=75.0), ''),
        ('depth_anything_v2_metric_indoor_small', 250.0,
         Undistort(projection='wide', tile_fov=90.0), 'try a smaller undistort.tile_fov'),
        ('nano', 300.0, Undistort(), ''),
        ('depth_anything_v3_metric_large', 250.0, Undistort(), ''),  # of many cameras
    ],
)  # fmt: skip
def test_a_field_of_view_far_beyond_that_of_training_is_a_warning(preset, f, undistort, warned):
    log = Log()
    source = CameraModelSource(
        log, '', '/image_raw', 'auto', undistort=undistort, preset=PRESETS[preset]
    )
    for _ in range(3):
        plain = described(k=matrix(f, f, 319.5, 239.5), d=[0.0] * 5, p=[0.0] * 12)
        source.from_camera_info(view(plain), 640, 480)
    found = [line for line in log.warning.lines if 'was trained with a field of view' in line]
    assert len(found) == bool(warned) and all(warned in line for line in found)


@pytest.mark.parametrize(
    ('name', 'model', 'd'),
    [
        ('fisheye', 'equidistant', (0.1, 0.02, 0.0, 0.01)),
        ('fov', 'fov', (0.93,)),
        ('ATAN', 'fov', (0.93, 0.0, 0.0, 0.0, 0.0)),
        ('double_sphere', 'double_sphere', (-0.2, 0.6)),
        ('ds', 'double_sphere', (-0.2, 0.6, 0.0, 0.0, 0.0)),
    ],
)
def test_lenses_have_the_names_of_those_who_calibrate_them(name, model, d):
    message = described(distortion_model=name, d=list(d))
    camera = camera_from(message, 640, 480, None)
    assert camera.distortion_model == model and camera.distortion == d[: len(camera.distortion)]
    # the published camera_info says the same
    assert camera_from(to_message(camera, message.header), 640, 480, None) == camera


def test_coefficients_that_leave_nothing_are_refused_at_every_image():
    source = CameraModelSource(Log(), '', '/image_raw', 'auto')
    wrong = described(d=[2000.0, 1500.0, 0.0, 0.0, 0.0])
    for _ in range(2):
        with pytest.raises(CameraError, match=r'pixels have a source.*are wrong\. Calibrate'):
            source.from_camera_info(view(wrong), 640, 480)
    assert source.camera is None


def test_a_calibration_that_follows_a_placeholder_at_once_is_logged():
    log = Log()
    source = CameraModelSource(log, '', '/image_raw', 'auto')
    for f in (400.0, 500.0):
        source.from_camera_info(view(described(k=matrix(f, f, 322.0, 238.0))), 640, 480)
    assert ['fx 400.0' in log.info.lines[0], 'fx 500.0' in log.info.lines[1]] == [True, True]


def test_of_a_camera_that_zooms_the_last_state_is_logged_in_the_end(monkeypatch):
    log, now_s = Log(), [100.0]
    monkeypatch.setattr('time.monotonic', lambda: now_s[0])
    source = CameraModelSource(log, '', '/image_raw', 'auto')
    for f in range(400, 500):
        now_s[0] += 0.01
        zoomed = view(described(k=matrix(float(f), float(f), 322.0, 238.0)))
        source.from_camera_info(zoomed, 640, 480)
    assert len(log.info.lines) == 3
    now_s[0] += 5.0
    source.from_camera_info(zoomed, 640, 480)
    source.from_camera_info(zoomed, 640, 480)
    assert len(log.info.lines) == 4 and 'fx 499.0' in log.info.lines[-1]


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
