# SPDX-License-Identifier: Apache-2.0
"""Every row of docs/bad-input.md about camera_info and images, on the real decoder."""

import array

import bad_input
import cv2
import numpy as np
import pytest
import torch
from bad_input import REFUSED, USED, WARNED
from graph import header, image
from sensor_msgs.msg import CompressedImage, RegionOfInterest
from test_cameras import Log, described
from test_decode import with_size

from depth_ros.core.errors import CameraError, ImageError
from depth_ros.messages.images import Upload
from depth_ros.ros.inputs.camera_model import CameraModelSource
from depth_ros.ros.inputs.newest import View


def given(row):
    return row.given


def camera_info(values):
    """The camera_info of a row, from its short forms of K, P and roi."""
    changes = dict(values)
    if 'k' in changes:
        fx, fy, cx, cy = changes['k']
        changes['k'] = [fx, 0.0, cx, 0.0, fy, cy, 0.0, 0.0, 0.0 if fx == 0 else 1.0]
    if 'p' in changes:
        fx, fy, cx, cy = changes['p']
        changes['p'] = [fx, 0.0, cx, 0.0, 0.0, fy, cy, 0.0, 0.0, 0.0, 0.0 if fx == 0 else 1.0, 0.0]
    if 'roi' in changes:
        x, y, width, height = changes['roi']
        changes['roi'] = RegionOfInterest(x_offset=x, y_offset=y, width=width, height=height)
    if 'd' in changes:
        changes['d'] = list(changes['d'])
    return described(**changes)


@pytest.mark.parametrize('row', bad_input.CAMERAS, ids=given)
def test_camera_info(row):
    values = dict(row.values)
    width, height = values.pop('size', (640, 480))
    topic = values.pop('topic', '/camera/image_raw')
    frame_id = values.pop('frame_id', 'camera_optical_frame')
    info_frame_id = values.pop('info_frame_id', frame_id)
    message = camera_info(values)
    message.header = header(1, info_frame_id)
    log = Log()
    source = CameraModelSource(log, '', topic, 'auto')
    view = View(image(np.zeros((height, width, 3), np.uint8), 1, frame_id=frame_id), message)
    if row.does == REFUSED:
        with pytest.raises(CameraError) as error:
            source.from_camera_info(view, width, height)
        assert row.message in str(error.value)
        return
    assert source.from_camera_info(view, width, height).size == (height, width)
    lines = {WARNED: log.warning.lines, USED: log.info.lines}[row.does]
    assert any(row.message in line for line in lines), lines
    assert row.does == WARNED or not log.warning.lines


def decoded(row, message, caplog):
    caplog.set_level('INFO', logger='depth_ros')
    upload = Upload(torch.device('cpu'))
    if row.does == REFUSED:
        with pytest.raises(ImageError) as error:
            upload(message)
        assert row.message in str(error.value)
        return None
    rgb = upload(message)
    assert row.does == USED and row.message in caplog.text
    return rgb


@pytest.mark.parametrize('row', bad_input.IMAGES, ids=given)
def test_image(row, caplog):
    values = dict(row.values)
    message = image(np.zeros((12, 16, 3), np.uint8), 1)
    if most := values.pop('most', None):
        order = '>u2' if values.get('is_bigendian') else '<u2'
        grey = np.linspace(0, most, 192).astype(order).reshape(12, 16)
        message.data = array.array('B', grey.tobytes())
    if length := values.pop('length', None):
        message.data = array.array('B', bytes(length))
    for name, value in values.items():
        setattr(message, name, value)
    rgb = decoded(row, message, caplog)
    if rgb is not None:
        assert rgb.shape == (message.height, message.width, 3)
        assert not most or rgb.max() == 255


@pytest.mark.parametrize('row', bad_input.COMPRESSED, ids=given)
def test_compressed_image(row, caplog):
    values = row.values
    content = values.get('content')
    if content is None:
        shape = (30, 40, 3) if values.get('channels', 3) == 3 else (30, 40)
        pixels = np.random.default_rng(0).integers(0, 256, shape)
        pixels = (pixels * (16 if values.get('dtype') == 'u2' else 1)).astype(
            values.get('dtype', 'u1')
        )
        _, file = cv2.imencode(f'.{values["codec"]}', pixels)
        content = file.tobytes()[: int(len(file) * values.get('part', 1))]
        if 'stated' in values:
            content = with_size(content, *values['stated'])
    message = CompressedImage(format=values['format'], data=array.array('B', content))
    rgb = decoded(row, message, caplog)
    assert rgb is None or (rgb.shape == (30, 40, 3) and rgb.max() > 200)


def test_every_row_is_unique_and_has_a_section():
    for rows in bad_input.SECTIONS.values():
        names = [row.given for row in rows]
        assert len(set(names)) == len(names)
        assert all(row.message or row.does == USED for row in rows)
