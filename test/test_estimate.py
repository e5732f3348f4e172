# SPDX-License-Identifier: Apache-2.0
"""A camera from pictures that does not jitter."""

import torch

from depth_ros.core.camera import Camera
from depth_ros.pipeline.steady_camera import SteadyCamera


def picture(width=64, height=48):
    return torch.zeros(height, width, 3, dtype=torch.uint8)


def estimates(*focal):
    """Of these focal lengths in turn; running out of them is an error."""
    rest = iter(focal)

    def estimate(rgb):
        h, w = rgb.shape[:2]
        f = float(next(rest))
        return Camera(w, h, f, f, (w - 1) / 2, (h - 1) / 2)

    return estimate


def test_the_median_so_far_is_taken_and_then_held(caplog):
    caplog.set_level('INFO')
    camera = SteadyCamera(estimates(100, 300, 110, 104), samples=4)
    found = [camera(picture()).fx for _ in range(7)]  # the network is not asked any more
    assert found == [100, 200, 110, 107, 107, 107, 107]
    assert 'frozen' in camera.state
    assert caplog.text.count('frozen') == 1 and '200.0 %' in caplog.text


def test_each_image_size_has_its_own_estimate():
    camera = SteadyCamera(estimates(100, 200, 102), samples=2)
    assert camera(picture()).fx == 100
    assert camera(picture(128, 96)).fx == 200
    assert camera(picture()).fx == 101
    assert camera(picture()).size == (48, 64)
