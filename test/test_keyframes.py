# SPDX-License-Identifier: Apache-2.0
"""Which earlier frame makes a good second view, on made-up ways of a camera."""

import math

import cv2
import numpy as np
import pytest
import torch

from depth_ros.core.camera import Camera
from depth_ros.core.types import Frame
from depth_ros.pipeline.two_views.keyframes import Keyframes, relative_pose

CAMERA = Camera(64, 48, 55.0, 55.0, 31.5, 23.5)  # 60 deg wide


def frame(t_s):
    return Frame(torch.zeros(48, 64, 3, dtype=torch.uint8), CAMERA, round(t_s * 1e9))


def at(x=0.0, y=0.0, z=0.0, yaw_deg=0.0):
    T = np.eye(4)
    T[:3, :3] = cv2.Rodrigues(np.array([0, math.radians(yaw_deg), 0]))[0]
    T[:3, 3] = x, y, z
    return T


def walked(keyframes, poses, dt_s=0.1):
    """The frames of a way, all but the last added; what is best for the last."""
    for i, T in enumerate(poses[:-1]):
        keyframes.add(frame(i * dt_s), T)
    return one(keyframes.best(frame((len(poses) - 1) * dt_s), poses[-1], 3.0))


def one(matches):
    """The only one; None if there is none."""
    assert len(matches) <= 1
    return matches[0] if matches else None


def test_between_maps_points_of_the_second_into_the_first():
    T_first, T_second = at(1, 2, 3, 20), at(-1, 0, 2, -35)
    point = np.array([0.3, -0.2, 2.0, 1.0])
    np.testing.assert_allclose(
        T_first @ relative_pose(T_first, T_second) @ point, T_second @ point
    )


def test_the_nearest_to_the_wanted_parallax_is_taken():
    match = walked(Keyframes(capacity=100), [at(x=0.05 * i) for i in range(40)])
    # 7 deg at 3 m are 0.37 m; the corners are farther from the camera than the middle
    assert np.linalg.norm(match.T_first_second[:3, 3]) == pytest.approx(0.40, abs=0.06)
    assert match.T_first_second[0, 3] < 0  # the earlier camera stood to the left
    assert match.parallax_deg == pytest.approx(7, abs=0.5)
    assert match.overlap > 0.7


@pytest.mark.parametrize('depth', [1.5, 6.0])
def test_a_deeper_scene_needs_a_longer_baseline(depth):
    keyframes = Keyframes(capacity=100)
    for i in range(40):
        keyframes.add(frame(0.1 * i), at(x=0.05 * i))
    match = one(keyframes.best(frame(4), at(x=2.0), depth))
    assert np.linalg.norm(match.T_first_second[:3, 3]) == pytest.approx(0.133 * depth, abs=0.06)


def test_an_unknown_depth_is_guessed():
    keyframes = Keyframes(first_depth_m=6.0)
    for i in range(10):
        keyframes.add(frame(0.1 * i), at(x=0.2 * i))
    guessed = one(keyframes.best(frame(1), at(x=2.0)))
    assert guessed.keyframe is one(keyframes.best(frame(1), at(x=2.0), 6.0)).keyframe
    assert guessed.keyframe is one(keyframes.best(frame(1), at(x=2.0), math.nan)).keyframe


def test_a_camera_without_translation_has_no_second_view():
    assert walked(Keyframes(), [at()] * 20) is None
    keyframes = Keyframes()
    assert walked(keyframes, [at(yaw_deg=2 * i) for i in range(20)]) is None
    assert len(keyframes) == 1


def test_a_frame_that_shows_another_side_is_none():
    assert walked(Keyframes(), [at(), at(x=0.4)]) is not None
    assert walked(Keyframes(), [at(), at(x=0.4, yaw_deg=50)]) is None
    assert walked(Keyframes(), [at(), at(x=0.4, yaw_deg=180)]) is None


def test_driving_straight_ahead_gives_parallax_at_the_sides():
    match = walked(Keyframes(), [at(z=0.1 * i) for i in range(15)])
    assert match is not None and match.T_first_second[2, 3] < -0.5


@pytest.mark.parametrize('count', [2, 3, 5])
def test_several_views_see_the_scene_from_places_far_apart(count):
    keyframes = Keyframes(capacity=100)
    for i in range(40):
        keyframes.add(frame(0.1 * i), at(x=0.05 * i))
    present = at(x=2.0)
    matches = keyframes.best(frame(4), present, 3.0, count)
    assert len(matches) == count
    assert matches[0].keyframe is one(keyframes.best(frame(4), present, 3.0)).keyframe
    for match in matches:
        assert 1.5 <= match.parallax_deg <= 25 and match.overlap >= 0.5
    x = np.sort([0, *(match.T_first_second[0, 3] for match in matches)])
    assert np.diff(x).min() > 0.15
    # the farthest that the limits allow is among them
    assert x[0] == pytest.approx(-1.3, abs=0.2)


def test_fewer_views_than_wanted_are_better_than_two_from_one_place():
    keyframes = Keyframes(min_motion_m=0.1)
    for i in range(6):  # to and fro
        keyframes.add(frame(0.1 * i), at(x=0.4 * (i % 2)))
    matches = keyframes.best(frame(1), at(x=0.8), 3.0, 5)
    assert sorted(match.T_first_second[0, 3] for match in matches) == pytest.approx([-0.8, -0.4])
    assert [match.keyframe.frame.stamp_ns for match in matches] == [500_000_000, 400_000_000]


def test_few_places_are_enough_for_near_and_far():
    keyframes = Keyframes(capacity=6, max_age_s=1000)
    for i in range(200):
        keyframes.add(frame(0.1 * i), at(x=0.05 * i))
    assert len(keyframes) == 6
    x = sorted(k.T_odom_camera[0, 3] for k in keyframes._frames)
    assert x[0] == 0 and x[-1] == pytest.approx(9.95)
    # from 1.5 deg to 25 deg there is something at whatever depth
    assert all(one(keyframes.best(frame(20), at(x=10.0), z)) for z in (1.0, 5.0, 20.0))


def test_old_frames_are_dropped():
    keyframes = Keyframes(max_age_s=5)
    keyframes.add(frame(0), at())
    assert one(keyframes.best(frame(4.9), at(x=0.4), 3.0)) is not None
    assert one(keyframes.best(frame(5.1), at(x=0.4), 3.0)) is None
    assert len(keyframes) == 0


def test_time_that_goes_back_clears_the_keyframes(caplog):
    caplog.set_level('INFO')
    keyframes = Keyframes()
    keyframes.add(frame(100), at())
    keyframes.add(frame(101), at(x=0.4))
    assert one(keyframes.best(frame(3), at(x=0.4), 3.0)) is None
    assert 'time went back: 2 earlier frames dropped' in caplog.text
    assert keyframes.add(frame(3), at(x=0.4)) and len(keyframes) == 1
