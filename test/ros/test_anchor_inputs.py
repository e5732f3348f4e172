# SPDX-License-Identifier: Apache-2.0
"""Anchors from messages of a real graph, with poses from parameters."""

import math
import sys
import types
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from graph import FRAME, camera, header
from nav_msgs.msg import Odometry
from sensor_msgs.msg import LaserScan, PointCloud2, Range
from test_sensors import cloud

from depth_ros.core.errors import ConfigError
from depth_ros.core.types import Frame, Kind, Prediction
from depth_ros.messages.floor import FloorSource
from depth_ros.parameters.anchors import (
    AnchorSettings,
    OdometrySource,
    PointsSource,
    RangeSource,
    ScanSource,
)
from depth_ros.parameters.layers import with_values
from depth_ros.parameters.settings import FloorSettings, Settings
from depth_ros.pipeline.floor import given_floor
from depth_ros.ros.inputs.anchors import AnchorSources
from depth_ros.ros.inputs.tf import Transforms

CAM = camera(320, 240)
#: of a sensor that looks along x with z up, in the place of the camera
AHEAD = [0.0, 0.0, 0.0, 0.5, -0.5, 0.5, 0.5]
STAMP_NS = 50 * 10**9
VALUES = torch.full(CAM.size, 4.0)


def frame(stamp_ns: int = STAMP_NS) -> Frame:
    return Frame(torch.zeros(*CAM.size, 3, dtype=torch.uint8), CAM, stamp_ns, FRAME)


@pytest.fixture
def sources(graph):
    made = []

    def make(**given) -> AnchorSources:
        found = AnchorSources(
            graph.node, AnchorSettings(**given), FloorSource(partial(Transforms, graph.node))
        )
        made.append((found, found.inputs(graph.node)))
        return found

    yield make
    for found, inputs in made:
        found.close()
        for one in inputs:
            one.close()


def publish_until(graph, publisher, message, sources):
    """Anchors of the message; it is sent again until the subscription exists."""
    found = {}

    def got():
        publisher.publish(message)
        found.update(sources(sources.take(frame()), Prediction(VALUES, Kind.METRIC)))
        return found

    graph.wait(got, f'anchors; {sources.reasons}')
    graph.node.destroy_publisher(publisher)
    return found


def test_points_in_front_of_the_camera_become_anchors(graph, sources):
    made = sources(sources=['points'], points=PointsSource(AHEAD, 0.03))
    assert made(made.take(frame()), Prediction(VALUES, Kind.METRIC)) == {}
    assert made.reasons == {'points': 'no anchors/points yet'}
    message = cloud(np.array([[5.0, 0.0, 0.0], [5.0, 1.0, 0.5], [-5.0, 0.0, 0.0]]))
    message.header = header(STAMP_NS - 10**7, 'lidar')
    found = publish_until(graph, graph.publisher(PointCloud2, 'anchors/points'), message, made)
    anchors = found['points']
    np.testing.assert_allclose(sorted(anchors.z), [5.0, 5.0])
    # y is to the left and z up
    np.testing.assert_allclose(sorted(anchors.u), [CAM.cx - CAM.fx / 5, CAM.cx], atol=1e-6)
    np.testing.assert_allclose(sorted(anchors.v), [CAM.cy - CAM.fy / 10, CAM.cy], atol=1e-6)
    assert set(anchors.sigma) == {0.03} and made.reasons == {}


def test_a_measurement_of_another_time_is_refused_with_the_parameter(graph, sources):
    made = sources(sources=['points'], points=PointsSource(AHEAD, 0.03))
    message = cloud(np.array([[5.0, 0.0, 0.0]]))
    message.header = header(STAMP_NS - 3 * 10**8, 'lidar')
    publisher = graph.publisher(PointCloud2, 'anchors/points')

    def refused():
        publisher.publish(message)
        made(made.take(frame()), Prediction(VALUES, Kind.METRIC))
        return 'anchors.max_offset is 0.1' in made.reasons['points']

    graph.wait(refused, 'a reason')
    assert made.reasons['points'].startswith('anchors/points is 0.3 s older than the image')
    graph.node.destroy_publisher(publisher)


def test_scan_and_range_are_used_together(graph, sources):
    made = sources(
        sources=['scan', 'range'], scan=ScanSource(AHEAD, 0.02), range=RangeSource(AHEAD, 0.1)
    )
    scan = LaserScan(
        header=header(STAMP_NS, 'laser'), angle_min=-0.2, angle_increment=0.1,
        range_min=0.1, range_max=20.0, ranges=[3.0] * 5,
    )  # fmt: skip
    beam = Range(
        header=header(STAMP_NS, 'sonar'),
        field_of_view=0.3,
        min_range=0.1,
        max_range=9.0,
        range=2.5,
    )
    publishers = (
        graph.publisher(LaserScan, 'anchors/scan'),
        graph.publisher(Range, 'anchors/range'),
    )
    found = {}

    def both():
        for publisher, message in zip(publishers, (scan, beam), strict=True):
            publisher.publish(message)
        found.update(made(made.take(frame()), Prediction(VALUES, Kind.METRIC)))
        return len(found) == 2

    graph.wait(both, 'anchors of both')
    np.testing.assert_allclose(
        sorted(found['scan'].z), sorted(3 * np.cos([-0.2, -0.1, 0, 0.1, 0.2])), rtol=1e-6
    )
    assert len(found['range']) == 1 and found['range'].z[0] == pytest.approx(2.5, rel=0.02)
    for publisher in publishers:
        graph.node.destroy_publisher(publisher)


def test_the_floor_has_its_depth_from_the_height(sources):
    made = sources(sources=['height'])
    floor = given_floor(FloorSettings(0.5, 20.0))
    _, v = np.meshgrid(np.arange(320), np.arange(240))
    pitch = math.radians(20)
    towards = (v - CAM.cy) / CAM.fy * math.cos(pitch) + math.sin(pitch)
    z = np.where(towards > 0, 0.5 / np.maximum(towards, 1e-3), 50.0)
    prediction = Prediction(torch.from_numpy(3 * z), Kind.SCALE_INVARIANT)
    found = made(replace(frame(), floor=floor), prediction)['height']
    rows, columns = found.v.astype(int), found.u.astype(int)
    np.testing.assert_allclose(found.z, z[rows, columns], rtol=1e-6)
    assert made(replace(frame(), floor=floor), Prediction(VALUES, Kind.METRIC)) == {}
    assert made.reasons['height'].startswith('no floor: a plane')


def test_without_odometry_the_reason_is_named(graph, sources):
    made = sources(sources=['odometry'], odometry=OdometrySource(AHEAD))
    taken = made.take(frame())
    assert taken.T_odom_camera is None
    assert made(taken, Prediction(VALUES, Kind.METRIC)) == {}
    assert made.reasons == {'odometry': 'no odometry yet'}
    publisher = graph.publisher(Odometry, 'odom', depth=50)

    def known():
        for offset_ns in (-(10**7), 10**7):
            message = Odometry(header=header(STAMP_NS + offset_ns, 'odom'))
            message.pose.pose.orientation.w = 1.0
            publisher.publish(message)
        made(made.take(frame()), Prediction(VALUES, Kind.METRIC))
        return 'has not moved enough' in made.reasons['odometry']

    graph.wait(known, 'a pose')
    assert made.take(frame()).T_odom_camera.shape == (4, 4)
    graph.node.destroy_publisher(publisher)


@pytest.mark.parametrize(
    ('given', 'words'),
    [
        ({'sources': ['points']}, 'tf2_ros is not installed: set anchors.points.pose to'),
        (
            {'sources': ['scan'], 'scan': ScanSource([0.0] * 6 + [2.0], 0.1)},
            'anchors.scan.pose: pose 0 0 0, quaternion 0 0 0 2 is invalid',
        ),
    ],
)
def test_a_pose_that_is_missing_or_none_is_named(graph, monkeypatch, given, words):
    monkeypatch.setitem(sys.modules, 'tf2_ros', None)
    with pytest.raises(ConfigError, match=words):
        AnchorSources(
            graph.node, AnchorSettings(**given), FloorSource(partial(Transforms, graph.node))
        )


class Mounted:
    """tf2_ros with a camera that looks 30 deg down, at some height above base_footprint."""

    height_m = 0.8

    def __init__(self):
        self.Buffer = lambda: self
        self.TransformListener = lambda buffer, node: types.SimpleNamespace(unregister=list)

    def can_transform(self, target, source, time):
        return time.nanoseconds == STAMP_NS

    def lookup_transform(self, target, source, time):
        if (target, source) != ('base_footprint', FRAME):
            raise LookupError('unconnected trees')
        self.looked_up_ns = time.nanoseconds
        half = math.radians(-90 - 30) / 2
        turned = np.array((math.sin(half), 0.0, 0.0, math.cos(half)))  # about x
        rotation = dict(zip('xyzw', turned, strict=True))
        translation = types.SimpleNamespace(x=0.3, y=0.0, z=self.height_m)
        return types.SimpleNamespace(
            transform=types.SimpleNamespace(
                translation=translation, rotation=types.SimpleNamespace(**rotation)
            )
        )


@pytest.mark.parametrize('user', [{'points.ground': 'drop'}, {'anchors.sources': ['height']}])
def test_height_and_tilt_of_the_camera_come_from_tf(monkeypatch, user):
    tf = Mounted()
    monkeypatch.setitem(sys.modules, 'tf2_ros', tf)
    settings, floor = with_values(Settings(), user), FloorSource(partial(Transforms, None))
    floor.listen(settings)
    found = floor(frame(), settings)
    assert found.height == 0.8 and tf.looked_up_ns == STAMP_NS and floor.reason == ''
    pitch = math.radians(30)
    np.testing.assert_allclose(found.down, (0, math.cos(pitch), math.sin(pitch)), atol=1e-12)
    same = given_floor(FloorSettings(0.8, 30.0))
    np.testing.assert_allclose(found.down, same.down, atol=1e-12)
    assert floor(frame(), Settings()) is None and floor.reason == '', 'nothing needs it'
    other = with_values(settings, {'floor.frame': 'odom'})
    assert floor(frame(), other) is None
    assert floor.reason == f"TF has no transform from '{FRAME}' to 'odom': unconnected trees"
    tf.height_m = -0.1
    assert floor(frame(), settings) is None
    assert floor.reason.startswith(
        'TF has the camera -0.1 m above base_footprint; set floor.frame'
    )
    given = with_values(settings, {'floor.height': 1.5})
    assert floor(frame(), given).height == 1.5 and floor.reason == ''
    sources = AnchorSources(None, AnchorSettings(['height']), floor)
    assert floor(frame(), settings) is None
    assert sources(frame(), Prediction(VALUES, Kind.METRIC)) == {}
    assert sources.reasons == {'height': floor.reason}
    sources.close()
    floor.close()


@pytest.mark.parametrize('user', [{'points.ground': 'drop'}, {'anchors.sources': ['height']}])
def test_a_floor_that_nothing_can_tell_is_refused(monkeypatch, user):
    monkeypatch.setitem(sys.modules, 'tf2_ros', None)
    floor, settings = FloorSource(partial(Transforms, None)), with_values(Settings(), user)
    with pytest.raises(ConfigError, match=r'tf2_ros is not installed: set floor\.height to'):
        floor.listen(settings)
    floor.listen(with_values(settings, {'floor.height': 1.0}))
    floor.listen(Settings())
