# SPDX-License-Identifier: Apache-2.0
"""Random messages: what a driver can send is decoded right or refused with a remedy."""

import array
import re

import cv2
import numpy as np
import pytest
import torch
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, RegionOfInterest
from std_msgs.msg import Header

from depth_ros.core.camera import MAX_FOCAL, MIN_FOCAL
from depth_ros.core.errors import CameraError, DepthRosError, ImageError
from depth_ros.core.geometry import MIN_COVERED, clear_cache, undistort
from depth_ros.core.types import Frame
from depth_ros.messages.images import ENCODINGS, Upload
from depth_ros.ros.inputs.camera_model import CameraModelSource
from depth_ros.ros.inputs.newest import View

pytest.importorskip('hypothesis', reason='hypothesis comes with the extra test')

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

REMEDY = re.compile(
    r'\b(fix the publisher|set |publish |Publish |correct |Calibrate |Change it in the driver)'
)
USUAL = {
    'deadline': None,
    'database': None,
    'suppress_health_check': list(HealthCheck),
}
#: the same examples at every run, for CI; `make test-slow` draws others each time
FEW = settings(max_examples=400, derandomize=True, **USUAL)
MANY = settings(max_examples=10_000, **USUAL)

sides = st.integers(0, 40) | st.sampled_from([2, 4, 8, 16, 32])
unsigned = st.integers(0, 2**32 - 1) | st.integers(0, 50)
numbers = st.floats() | st.sampled_from([0.0, 1.0, -1.0, 1e-9, 1e9, 20.0, 320.0])
known = st.sampled_from(sorted(ENCODINGS))
names = st.one_of(known, known, known, st.text(max_size=8))
stretches = st.sampled_from([*[1.0] * 9, 0.0, 0.5, 1.5, 2.0])


def some(draw, odds):
    """True once in `odds` times."""
    return draw(st.integers(1, odds)) == 1


@st.composite
def raw_images(draw):
    width, height, encoding = draw(sides), draw(sides), draw(names)
    way = ENCODINGS.get(encoding, ENCODINGS['rgb8'])
    step = width * way.channels * np.dtype(way.dtype).itemsize + draw(st.integers(0, 3))
    step = draw(unsigned) if some(draw, 8) else int(step * draw(stretches))
    rows = height * 3 // 2 if way.planar else height
    size = min(int(step * rows * draw(stretches)), 20_000)
    size += draw(st.integers(-3, 3)) if some(draw, 4) else 0
    data = np.random.default_rng(draw(st.integers(0, 9))).integers(0, 256, max(size, 0), np.uint8)
    return Image(
        width=draw(unsigned) if some(draw, 20) else width,
        height=draw(unsigned) if some(draw, 20) else height,
        encoding=encoding,
        step=step,
        is_bigendian=draw(st.integers(0, 2)),
        data=array.array('B', data.tobytes()),
    )


@st.composite
def compressed_images(draw):
    height, width = max(1, draw(sides)), max(1, draw(sides))
    shape = draw(st.sampled_from([(height, width), (height, width, 3), (height, width, 4)]))
    kind = draw(st.sampled_from([np.uint8, np.uint16, np.float32]))
    pixels = np.random.default_rng(draw(st.integers(0, 9))).integers(0, 4096, shape).astype(kind)
    codec = draw(st.sampled_from(['jpeg', 'png', 'tiff', 'webp', 'bmp']))
    try:
        content = bytearray(cv2.imencode(f'.{codec}', pixels)[1].tobytes())
    except cv2.error:  # no float32 PNG, for example
        content = bytearray(draw(st.binary(max_size=200)))
    for _ in range(draw(st.integers(0, 2))):
        where = draw(st.integers(0, max(len(content) - 1, 0)))
        if some(draw, 2):
            del content[where:]
        elif content:
            content[where] = draw(st.integers(0, 255))
    target = draw(st.sampled_from(['', 'bgr8', 'rgb8', 'mono8', 'bayer_rggb8', 'bgr16']))
    forms = [codec, f'{draw(names)}; {codec} compressed {target}', draw(st.text(max_size=12))]
    return CompressedImage(
        format=draw(st.sampled_from(forms)), data=array.array('B', bytes(content))
    )


@st.composite
def camera_infos(draw, width, height):
    """Mostly of a camera of this size, with some values changed."""
    factor = draw(st.sampled_from([1, 1, 1, 2]))
    w, h = factor * max(width, 1), factor * max(height, 1)
    f = w * draw(st.sampled_from([0.3, 0.6, 1.2]))
    k = [f, 0.0, w / 2, 0.0, f, h / 2, 0.0, 0.0, 1.0]
    p = [f, 0.0, w / 2, 0.0, 0.0, f, h / 2, 0.0, 0.0, 0.0, 1.0, 0.0]
    p = draw(st.sampled_from([p, [0.0] * 12]))
    for matrix in (k, p):
        for _ in range(draw(st.integers(0, 2)) if some(draw, 3) else 0):
            matrix[draw(st.integers(0, len(matrix) - 1))] = draw(numbers)
    count = draw(st.sampled_from([0, 4, 4, 5, 5, 8, 12]))
    small = st.lists(st.floats(-0.3, 0.3), min_size=count, max_size=count)
    d = draw(small if some(draw, 2) else st.just([0.0] * count))
    if some(draw, 10):
        d = d[1:]
    if d and some(draw, 4):
        d[draw(st.integers(0, len(d) - 1))] = draw(numbers)
    models = ['plumb_bob', 'rational_polynomial', 'equidistant', 'fisheye', '', 'none', 'ds']
    roi = RegionOfInterest()
    if some(draw, 5):
        roi = RegionOfInterest(
            x_offset=draw(unsigned), y_offset=draw(unsigned),
            width=draw(unsigned), height=draw(unsigned),
        )  # fmt: skip
    return CameraInfo(
        width=draw(unsigned) if some(draw, 10) else w,
        height=draw(unsigned) if some(draw, 10) else h,
        distortion_model=draw(st.text(max_size=5) if some(draw, 10) else st.sampled_from(models)),
        d=d, k=k, p=p, roi=roi,
        binning_x=draw(unsigned) if some(draw, 5) else 0,
        binning_y=draw(unsigned) if some(draw, 5) else 0,
    )  # fmt: skip


class Silent:
    """A logger."""

    def info(self, text):
        pass

    warning = info


outcomes = {}  #: what became of the examples -> how many


def with_a_remedy(error):
    assert REMEDY.search(str(error)), f'no remedy in: {error}'
    outcomes[type(error).__name__] = outcomes.get(type(error).__name__, 0) + 1


def sane(camera, message, described):
    height, width = camera.size
    assert all(np.isfinite([camera.fx, camera.fy, camera.cx, camera.cy, *camera.distortion]))
    for f, side in ((camera.fx, width), (camera.fy, height)):
        assert MIN_FOCAL * side * 0.999 <= f
    assert max(camera.fx, camera.fy) <= 2 * MAX_FOCAL * max(described.width, described.height, 40)
    if not described.roi.width * described.roi.height:
        assert -width - 1 <= camera.cx <= 2 * width and -height - 1 <= camera.cy <= 2 * height


class Rooms:
    """Decoding and camera as the node has them for one topic."""

    def __init__(self, topic='/image', rectification='auto'):
        self.upload = Upload(torch.device('cpu'))
        self.source = CameraModelSource(Silent(), '', topic, rectification)

    def decode(self, message):
        """(H, W, 3), or the ImageError with which it is refused."""
        try:
            rgb = self.upload(message)
        except DepthRosError as error:
            assert isinstance(error, ImageError)
            with_a_remedy(error)
            return error
        height, width = rgb.shape[:2]
        assert rgb.dtype == torch.uint8 and rgb.shape == (height, width, 3) and rgb.numel()
        if isinstance(message, Image):
            assert (width, height) == (message.width, message.height)
        return rgb

    def frame(self, message, described, rgb):
        """The undistorted frame and where it is valid, or the CameraError."""
        try:
            camera = self.source.camera_for(View(message, described), rgb)
        except DepthRosError as error:
            assert isinstance(error, CameraError)
            with_a_remedy(error)
            return error
        assert camera.size == rgb.shape[:2]
        sane(camera, message, described)
        frame, valid = undistort(Frame(rgb, camera))
        assert frame.rgb.shape == rgb.shape and not frame.camera.is_distorted
        assert valid is None or valid.float().mean() >= MIN_COVERED
        outcomes['accepted'] = outcomes.get('accepted', 0) + 1
        return frame, valid


def decode(message, data):
    topic = data.draw(st.sampled_from(['/camera/image_raw', '/camera/image_rect']))
    rooms = Rooms(topic, data.draw(st.sampled_from(['auto', 'raw', 'rectified'])))
    rgb = rooms.decode(message)
    if isinstance(rgb, ImageError):
        return
    height, width = rgb.shape[:2]
    described = data.draw(camera_infos(width, height))
    message.header = described.header = Header(frame_id='camera_optical_frame')
    rooms.frame(message, described, rgb)


messages = raw_images() | compressed_images()


@pytest.fixture(autouse=True)
def counted():
    outcomes.clear()
    yield
    clear_cache()
    total = sum(outcomes.values())
    # all three ways are taken, and none is rare
    assert all(outcomes[name] > total / 50 for name in ('ImageError', 'CameraError', 'accepted'))


@FEW
@given(messages, st.data())
def test_a_random_message_is_decoded_or_refused(message, data):
    decode(message, data)


@pytest.mark.slow
@MANY
@given(messages, st.data())
def test_ten_thousand_random_messages_are_decoded_or_refused(message, data):
    decode(message, data)
