# SPDX-License-Identifier: Apache-2.0
"""TF as a bag has it."""

import math
from types import SimpleNamespace as Made

import numpy as np
import pytest

from depth_ros.core.errors import ScaleError
from depth_ros.offline.bag_tf import BagTransforms
from depth_ros.pipeline.two_views.poses import Track


def transform(parent, child, xyz=(0, 0, 0), yaw=0.0, at_s=0.0, length=1.0):
    sec, nanosec = divmod(round(at_s * 1e9), 10**9)
    x, y, z = xyz
    turned = Made(x=0.0, y=0.0, z=length * math.sin(yaw / 2), w=length * math.cos(yaw / 2))
    return Made(
        header=Made(frame_id=parent, stamp=Made(sec=sec, nanosec=nanosec)),
        child_frame_id=child,
        transform=Made(translation=Made(x=x, y=y, z=z), rotation=turned),
    )


def tf(*transforms, static=()):
    found = BagTransforms()
    found.put(Made(transforms=static), static=True)
    for one in transforms:
        found.put(Made(transforms=[one]))
    return found


def test_a_chain_over_static_and_moving_frames():
    """base turns left by 90 degrees and moves by 2 m; camera and lidar are fixed on it."""
    found = tf(
        transform('odom', 'base', (0, 0, 0), 0.0, at_s=100),
        transform('odom', 'base', (2, 0, 0), math.pi / 2, at_s=102),
        static=[transform('base', 'camera', (1, 0, 0)), transform('/base', '/lidar', (0, 1, 0))],
    )
    point = np.array([0, 0, 0, 1.0])
    at = found.between('odom', 'camera', 101_000_000_000) @ point
    np.testing.assert_allclose(at[:3], (1 + math.sqrt(0.5), math.sqrt(0.5), 0), atol=1e-9)
    at = found.between('odom', 'camera') @ point
    np.testing.assert_allclose(at[:3], (2, 1, 0), atol=1e-9)
    at = found.between('odom', 'camera', 50_000_000_000) @ point
    np.testing.assert_allclose(at[:3], (1, 0, 0), atol=1e-9)
    at = found.between('odom', 'camera', 150_000_000_000) @ point
    np.testing.assert_allclose(at[:3], (2, 1, 0), atol=1e-9)
    T = found.between('camera', 'lidar', 101_000_000_000)
    np.testing.assert_allclose(T @ point, (-1, 1, 0, 1), atol=1e-9)
    inverse = found.between('lidar', 'camera', 101_000_000_000)
    np.testing.assert_allclose(T @ inverse, np.eye(4), atol=1e-12)


def test_what_is_not_connected_is_named():
    found = tf(transform('odom', 'base'), transform('map', 'marker'))
    with pytest.raises(ScaleError, match="from 'marker' to 'base'; its frames: base,"):
        found.between('base', 'marker')
    with pytest.raises(ScaleError, match='its frames: none'):
        BagTransforms().between('a', 'b')


def test_a_circle_and_a_broken_rotation_end():
    found = tf(transform('a', 'b'), transform('b', 'a'), transform('a', 'c', length=0.5))
    assert np.isfinite(found.between('a', 'b')).all()
    with pytest.raises(ScaleError, match=r"TF of 'c': pose .* has length 0\.5"):
        found.between('a', 'c')


def recorded(*transforms, static=(), only=None):
    found = BagTransforms(Track, only)
    found.put(Made(transforms=static), static=True)
    for one in transforms:
        found.put(Made(transforms=[one]))
    return found


def test_tf_of_a_recording_is_known_only_between_transforms():
    found = recorded(
        transform('odom', 'base', (0, 0, 0), at_s=100.0),
        transform('odom', 'base', (1, 0, 0), at_s=100.4),
        transform('odom', 'base', (5, 0, 0), at_s=102.0),
        transform('base', 'arm', (0, 0, 1), at_s=100.1),
        transform('base', 'arm', (0, 0, 2), at_s=100.3),
        static=[transform('base', 'camera', (0, 1, 0))],
    )
    T = found.interpolated('odom', 'camera', 100_100_000_000)
    np.testing.assert_allclose(T[:3, 3], (0.25, 1, 0), atol=1e-9)
    T = found.interpolated('camera', '/odom', 100_100_000_000)
    np.testing.assert_allclose(T[:3, 3], (-0.25, -1, 0), atol=1e-9)
    for outside_s in (99.9, 101.0, 102.1):  # 101 is in a gap of 1.6 s
        assert found.interpolated('odom', 'camera', round(outside_s * 1e9)) is None
        assert found.between('odom', 'camera', round(outside_s * 1e9)) is not None
    T = found.interpolated('odom', 'arm', 100_200_000_000)
    np.testing.assert_allclose(T[:3, 3], (0.5, 0, 1.5), atol=1e-9)
    assert found.interpolated('odom', 'arm', 100_050_000_000) is None


def test_the_frames_of_a_way():
    found = recorded(
        transform('map', 'odom', at_s=1.0),
        transform('odom', 'base', at_s=1.0),
        static=[transform('base', 'camera'), transform('base', 'lidar')],
    )
    assert found.route('odom', 'camera') == ['camera', 'base']
    assert found.route('lidar', '/camera') == ['camera', 'lidar']
    assert found.above('/camera') == ['base', 'odom', 'map'] and found.above('other') == []
    assert found.frames() == ['base', 'camera', 'lidar', 'map', 'odom']
    assert found.moving('camera') is None and found.moving('base').span_ns == (10**9, 10**9)


def test_only_wanted_transforms_are_kept():
    found = recorded(
        transform('odom', 'base', at_s=1.0), transform('base', 'wheel', at_s=1.0), only=['base']
    )
    assert found.frames() == ['base', 'odom']


def test_a_transform_that_is_no_pose_does_not_hide_the_others():
    found = recorded(
        transform('odom', 'base', (0, 0, 0), at_s=1.0),
        transform('odom', 'base', (1, 0, 0), at_s=1.4),
        transform('odom', 'base', (9, 0, 0), at_s=1.5, length=0.0),
        transform('base', 'arm', at_s=1.0, length=0.0),
    )
    assert found.interpolated('odom', 'base', 1_200_000_000)[0, 3] == pytest.approx(0.5)
    assert not found.reason('base') and 'has length 0' in found.reason('arm')
    assert found.reason('lidar') == "TF of 'lidar': it was not recorded"
