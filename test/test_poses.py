# SPDX-License-Identifier: Apache-2.0
"""Poses between those that were measured."""

import numpy as np
import pytest

from depth_ros.core.errors import ConfigError
from depth_ros.core.rotations import quaternion_from_rotation, rotation_from_quaternion
from depth_ros.core.stamps import nearest
from depth_ros.pipeline.two_views.poses import PoseBuffer, Track, pose_from_quaternion, slerp

S = 10**9


def about_z(degrees, x=0.0):
    half = np.radians(degrees) / 2
    return pose_from_quaternion(x, 0, 0, 0, 0, np.sin(half), np.cos(half))


def angle_of(T):
    return np.degrees(np.arctan2(T[1, 0], T[0, 0]))


def test_a_quaternion_turns_as_ros_means_it():
    np.testing.assert_allclose(about_z(90)[:3, :3] @ [1, 0, 0], [0, 1, 0], atol=1e-12)


def test_every_rotation_comes_back_from_its_quaternion():
    for q in np.random.default_rng(0).normal(size=(200, 4)):
        q = q / np.linalg.norm(q)
        R = rotation_from_quaternion(q)
        np.testing.assert_allclose(R @ R.T, np.eye(3), atol=1e-12)
        np.testing.assert_allclose(
            rotation_from_quaternion(quaternion_from_rotation(R)), R, atol=1e-12
        )
    for q in np.eye(4):  # half turns, where one of the four is all there is
        np.testing.assert_allclose(
            np.abs(quaternion_from_rotation(rotation_from_quaternion(q))), q, atol=1e-12
        )


def test_poses_are_interpolated():
    poses = PoseBuffer()
    poses.add(1 * S, about_z(0, x=1.0))
    poses.add(1 * S + S // 10, about_z(40, x=2.0))
    T = poses.at(1 * S + S // 40)
    assert T[0, 3] == pytest.approx(1.25)
    assert angle_of(T) == pytest.approx(10)
    assert poses.at(1 * S)[0, 3] == 1.0


def test_the_shorter_way_round_is_taken():
    a, b = (quaternion_from_rotation(about_z(d)[:3, :3]) for d in (170, -170))
    middle = rotation_from_quaternion(slerp(a, -b, 0.5))
    np.testing.assert_allclose(middle @ [1, 0, 0], [-1, 0, 0], atol=1e-12)


def test_beyond_and_across_gaps_there_is_no_pose():
    poses = PoseBuffer(keep_s=10, max_gap_s=0.5)
    assert poses.at(1 * S) is None and poses.newest_ns is None
    poses.add(1 * S, about_z(0))
    poses.add(2 * S, about_z(0))
    assert poses.at(1 * S - 1) is None
    assert poses.at(2 * S + 1) is None
    assert poses.at(1 * S + S // 2) is None
    assert poses.at(2 * S) is not None


def test_old_poses_are_dropped_and_time_that_goes_back_resets():
    poses = PoseBuffer(keep_s=1, max_gap_s=10)
    for k in range(50):
        poses.add(k * S // 10, about_z(0, x=k))
    assert len(poses) == 11
    poses.add(48 * S // 10 + 1, about_z(0, x=-1.0))  # too late
    assert len(poses) == 11 and poses.at(48 * S // 10)[0, 3] == 48
    poses.add(0, about_z(0))
    assert len(poses) == 1 and poses.newest_ns == 0


@pytest.mark.parametrize('q', [(0, 0, 0, 0), (1, 1, 0, 0), (float('nan'), 0, 0, 1)])
def test_what_is_no_quaternion_is_refused(q):
    with pytest.raises(ConfigError, match='it must be 1'):
        pose_from_quaternion(0, 0, 0, *q)


def test_a_track_keeps_a_whole_recording():
    track = Track()
    assert track.span_ns is None and track.at(S) is None
    for k in range(36_000):  # an hour
        track.add(k * S // 10, about_z(0, x=k))
    assert track.span_ns == (0, 35_999 * S // 10)
    assert track.at(5 * S // 100)[0, 3] == pytest.approx(0.5)
    assert track.at(-1) is None and track.at(3600 * S) is None


def test_a_track_has_no_gap_where_nothing_moved():
    track = Track(max_gap_s=0.5)
    track.add(1 * S, about_z(0, x=1.0))
    track.add(9 * S, about_z(0, x=1.0))
    track.add(10 * S, about_z(0, x=2.0))
    assert track.at(5 * S)[0, 3] == 1.0
    assert track.at(9 * S + S // 2) is None


def test_a_track_of_a_kilohertz_is_thinned():
    track = Track()
    for k in range(1000):
        track.add(k * S // 1000, about_z(0, x=k))
    assert 200 <= len(track) <= 260
    assert track.at(S // 2)[0, 3] == pytest.approx(500)
    track.add(S // 2, about_z(0))  # late: it is ignored
    assert track.at(S // 2)[0, 3] == pytest.approx(500)


@pytest.mark.parametrize(('at', 'expected'), [(0, 10), (10, 10), (15, 10), (16, 20), (99, 40)])
def test_the_closest_stamp(at, expected):
    assert nearest([10, 20, 40], at) == expected
