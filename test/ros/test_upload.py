# SPDX-License-Identifier: Apache-2.0
"""What a device decodes is what OpenCV decodes."""

import numpy as np
import pytest
import torch
from graph import image
from sensor_msgs.msg import Image

from depth_ros.core.errors import ImageError
from depth_ros.messages.images import ENCODINGS, Upload, in_order, to_rgb

DEVICES = ['cpu', pytest.param('cuda', marks=pytest.mark.gpu)]


def message(encoding, count, height=6, width=10, padding=0):
    rng = np.random.default_rng(0)
    step = width * count + padding
    data = rng.integers(0, 256, height * step, dtype=np.uint8).tobytes()
    return Image(height=height, width=width, encoding=encoding, step=step, data=data)


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('padding', [0, 7])
@pytest.mark.parametrize('encoding', [name for name, e in ENCODINGS.items() if e.rgb])
def test_channels_are_put_in_order_as_opencv_does(encoding, padding, device):
    count, order = ENCODINGS[encoding].channels, ENCODINGS[encoding].rgb
    given = message(encoding, count, padding=padding)
    expected = torch.from_numpy(np.array(to_rgb(given)))
    raw = np.frombuffer(given.data, np.uint8).reshape(6, -1)[:, : 10 * count].reshape(6, 10, count)
    assert torch.equal(in_order(torch.from_numpy(raw.copy()), order), expected)
    upload = Upload(torch.device(device))
    for _ in range(2):
        pixels = upload(given)
        assert pixels.device.type == device and torch.equal(pixels.cpu(), expected)


@pytest.mark.parametrize('device', DEVICES)
def test_what_is_more_than_an_order_opencv_decodes(device):
    given = message('yuv422_yuy2', 2)
    expected = torch.from_numpy(to_rgb(given))
    assert torch.equal(Upload(torch.device(device))(given).cpu(), expected)


@pytest.mark.parametrize('device', DEVICES)
def test_data_that_do_not_fit_are_refused(device):
    given = image(np.zeros((4, 4, 3), np.uint8), 0)
    given.height = 5
    with pytest.raises(ImageError, match='data are 48 bytes'):
        Upload(torch.device(device))(given)
