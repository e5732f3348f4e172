# SPDX-License-Identifier: Apache-2.0
"""Two views, and uncalibrated cameras, through the node."""

import contextlib
import importlib.util
import itertools
import sys
import types

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseWithCovarianceStamped
from graph import FRAME, NodeProcess, Source, camera, depth_of, header, image, info, nanoseconds
from lifecycle_msgs.msg import Transition
from nav_msgs.msg import Odometry
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from test_errors import refused

from depth_ros.core.errors import ConfigError, ScaleError
from depth_ros.messages.poses import fixed_pose
from depth_ros.parameters.layers import with_values
from depth_ros.parameters.settings import Settings
from depth_ros.ros.inputs.second_view import Motion
from depth_ros.ros.inputs.tf import Transforms

CAM = camera(64, 48)
WALL_M, UNIT_M = 2.0, 0.4  # of the fake
PERIOD_NS = 100_000_000
#: the optical frame in a base that looks along x with z up, 0.1 m ahead and 0.2 m above
CAMERA_POSE = [0.1, 0.0, 0.2, -0.5, 0.5, -0.5, 0.5]
NO_TF = importlib.util.find_spec('tf2_ros') is None


def at(centimetres):
    """What the fake sees from a camera that far to the right."""
    return np.full((*CAM.size, 3), centimetres, np.uint8)


class Rig:
    """Two cameras, `right` is 12 cm to the right of the first."""

    def __init__(self, graph, offset_ns=0, prefix=''):
        self.graph = graph
        self.left = Source(graph, topic=f'{prefix}image', info=f'{prefix}camera_info')
        self.right = Source(graph, topic=f'{prefix}image_2', info=f'{prefix}camera_info_2')
        self.right.stamp_ns = self.left.stamp_ns + offset_ns
        self.pictures = at(100), at(112)

    def send(self):
        right, name = self.right, 'right_optical_frame'
        right.stamp_ns += PERIOD_NS
        right.infos.publish(info(CAM, right.stamp_ns, name))
        right.images.publish(image(self.pictures[1], right.stamp_ns, frame_id=name))
        return self.left.send(CAM, self.pictures[0], PERIOD_NS)

    def answer(self, received):
        self.left.ready()
        self.right.ready()
        stamps = []

        def sent():
            stamps.append(self.send())
            found = [m for m in list(received) if nanoseconds(m.header.stamp) in stamps]
            return found and found[-1]

        return self.graph.wait(sent, 'depth of a pair')

    def close(self):
        self.left.close()
        self.right.close()


@pytest.fixture
def rig(graph):
    rig = Rig(graph)
    yield rig
    rig.close()


def status_values(graph, collect, key, text):
    """The values of the status `depth`, once `text` is in the value of `key`."""
    received = collect(DiagnosticArray, '/diagnostics')

    def said():
        for message in list(received):
            for status in message.status:
                values = {v.key: v.value for v in status.values}
                if text in values.get(key, ''):
                    return values
        return None

    return graph.wait(said, f'{key} with {text!r}')


@pytest.mark.parametrize('baseline', [0.12, 0.24])
def test_a_second_camera_at_a_known_distance_gives_metres(node, rig, collect, graph, baseline):
    node(model='fake_two_eyes', two_views__mode='stereo', two_views__baseline=baseline)
    message = rig.answer(collect(Image, 'depth/image'))
    # twice the distance between the cameras, and everything is twice as far
    np.testing.assert_allclose(depth_of(message), WALL_M * baseline / 0.12, rtol=1e-3)
    values = status_values(graph, collect, 'views', 'two cameras')
    assert float(values['baseline scale [m per unit]']) == pytest.approx(UNIT_M * baseline / 0.12)
    assert int(values['pairs accepted for scale']) > 0


def test_relative_pose_is_metric_with_the_header_of_the_first_image(node, rig, collect):
    node(model='fake_two_eyes', two_views__mode='stereo', two_views__baseline=0.12)
    message = rig.answer(collect(PoseWithCovarianceStamped, 'relative_pose'))
    assert message.header.frame_id == FRAME
    pose = message.pose.pose
    found = [pose.position.x, pose.position.y, pose.position.z]
    np.testing.assert_allclose(found, [0.12, 0, 0], atol=1e-3)
    assert (pose.orientation.x, pose.orientation.w) == (0.0, 1.0)
    covariance = np.array(message.pose.covariance).reshape(6, 6)
    # units of the network become metres, its angles stay
    assert covariance[1, 1] == pytest.approx(1e-4 * UNIT_M**2)
    assert covariance[4, 4] == pytest.approx(1e-6)
    # along the way there is the uncertainty of the scale besides
    assert covariance[0, 0] >= covariance[1, 1]


def test_relative_pose_has_the_quality_of_service_of_the_other_outputs(node, graph):
    node(
        model='fake_two_eyes', two_views__mode='stereo', two_views__baseline=0.12,
        output_reliability='best_effort',
    )  # fmt: skip

    def reliabilities():
        topics = ('/relative_pose', '/depth/image')
        offers = [graph.node.get_publishers_info_by_topic(topic) for topic in topics]
        return all(offers) and {o.qos_profile.reliability.name for of in offers for o in of}

    graph.wait(lambda: reliabilities() == {'BEST_EFFORT'}, 'best-effort outputs')


def test_a_reactivated_node_continues_with_pairs(node, rig, collect):
    running = node(model='fake_two_eyes', two_views__mode='stereo', two_views__baseline=0.12)
    depths = collect(Image, 'depth/image')
    rig.answer(depths)
    assert running.change(Transition.TRANSITION_DEACTIVATE)
    assert running.change(Transition.TRANSITION_ACTIVATE)
    rig.left.stamp_ns += PERIOD_NS * 10
    rig.right.stamp_ns += PERIOD_NS * 10
    depths.clear()
    rig.answer(depths)


def test_images_that_are_not_synchronised_are_refused_with_the_reason(node, graph, collect):
    running = node(
        model='fake_two_eyes', two_views__mode='stereo', two_views__baseline=0.12, patience=0.5
    )
    depths = collect(Image, 'depth/image')
    rig = Rig(graph, offset_ns=20_000_000)
    expected = (
        'stamps of image and image_2 differ by 0.02 s at least, two_views.max_offset is 0.01'
    )
    before = len(running.lines)
    rig.left.ready()
    rig.right.ready()
    try:
        graph.wait(lambda: rig.send() and expected in ''.join(running.lines[before:]), expected)
        assert not depths
    finally:
        rig.close()
    running = node(
        model='fake_two_eyes',
        two_views__mode='stereo',
        two_views__baseline=0.12,
        two_views__max_offset=0.03,
    )
    rig = Rig(graph, offset_ns=20_000_000)
    try:
        rig.answer(depths)
    finally:
        rig.close()


def test_a_silent_second_camera_is_named(node, source, collect):
    running = node(
        model='fake_two_eyes', two_views__mode='stereo', two_views__baseline=0.12, patience=0.5
    )
    before = len(running.lines)
    source.ready()
    source.send(CAM, at(100))
    running.said('no image_2 for', since=before)
    assert '/image_2 has no publisher' in ''.join(running.lines[before:])


class Robot:
    """One camera, with odometry around each of its images."""

    def __init__(self, graph, prefix=''):
        self.graph = graph
        self.camera = Source(graph, topic=f'{prefix}image', info=f'{prefix}camera_info')
        self.odom = graph.publisher(Odometry, f'{prefix}odom', depth=50)

    def ready(self):
        self.camera.ready()
        self.graph.wait(self.odom.get_subscription_count, 'the node to subscribe odom')

    def send_pose(self, stamp_ns, metres):
        message = Odometry(header=header(stamp_ns, 'odom'), child_frame_id='base_link')
        message.pose.pose.position.y = -metres  # to the right
        message.pose.pose.orientation.w = 1.0
        self.odom.publish(message)

    def send_odometry(self, stamp_ns, centimetres):
        """Poses around it; what lies between is interpolated."""
        self.send_pose(stamp_ns - PERIOD_NS // 4, centimetres / 100 - 0.01)
        self.send_pose(stamp_ns + PERIOD_NS // 4, centimetres / 100 + 0.01)

    def send(self, centimetres, odometry=True, rgb=None):
        stamp_ns = self.camera.stamp_ns + PERIOD_NS
        if odometry:
            self.send_odometry(stamp_ns, centimetres)
        rgb = at(centimetres) if rgb is None else rgb
        return self.camera.send(CAM, rgb, PERIOD_NS)

    def walk(self, done, what):
        """To the right, and back, until `done()`; not faster than the node sees it."""
        places = itertools.cycle([*range(0, 200, 4), *range(200, 0, -4)])

        def step():
            self.send(next(places))
            with contextlib.suppress(AssertionError):
                self.graph.wait(done, what, 0.1)
            return done()

        self.graph.wait(step, what)

    def close(self):
        self.camera.close()
        self.graph.node.destroy_publisher(self.odom)


@pytest.fixture
def robot(graph):
    robot = Robot(graph)
    yield robot
    robot.close()


MOTION = {
    'model': 'fake_two_eyes',
    'two_views__mode': 'motion',
    'two_views__camera_pose': CAMERA_POSE,
}


def test_a_moving_camera_finds_metres_and_keeps_them_at_rest(node, robot, collect, graph):
    running = node(**MOTION)
    depths = collect(Image, 'depth/image')
    poses = collect(PoseWithCovarianceStamped, 'relative_pose')
    robot.ready()
    # without motion there is no scale, and nothing is published
    still = 'no earlier frame sees the scene with 1.5 to 25 deg of parallax'
    before = len(running.lines)
    graph.wait(lambda: robot.send(0) and still in ''.join(running.lines[before:]), 'the reason')
    values = status_values(graph, collect, 'latest pair refused for scale', still)
    assert values['baseline scale [m per unit]'] == 'not known yet'
    assert not depths and not poses
    robot.walk(lambda: poses and depths, 'a relative pose')
    assert abs(poses[-1].pose.pose.position.x) > 0.05
    assert poses[-1].header.frame_id == FRAME
    np.testing.assert_allclose(depth_of(depths[-1]), WALL_M, rtol=0.02)
    # without odometry: one view, scaled with what is known
    depths.clear()
    stamp_ns = robot.send(200, odometry=False)
    message = graph.wait(lambda: depths.stamped(stamp_ns), 'depth without odometry')
    np.testing.assert_allclose(depth_of(message), WALL_M, rtol=0.02)
    status_values(graph, collect, 'views', "one: no odometry around the image's stamp")


def test_missing_odometry_is_named(node, robot, source, collect):
    running = node(**{**MOTION, 'patience': 0.5})
    depths = collect(Image, 'depth/image')
    before = len(running.lines)
    robot.ready()
    running.said('no odom for', since=before)
    wanted = 'no depth is published before its scale is known: no odometry yet'
    robot.camera.send_until(
        lambda: wanted in ''.join(running.lines[before:]), wanted, CAM, rgb=at(0)
    )
    assert not depths


def test_odometry_without_a_rotation_is_named(node, robot, collect):
    running = node(**MOTION)
    collect(Image, 'depth/image')
    before = len(running.lines)
    robot.ready()

    def reported():
        message = Odometry(header=header(robot.camera.stamp_ns, 'odom'))
        message.pose.pose.orientation.w = 0.0
        robot.odom.publish(message)
        robot.send(0, odometry=False)
        return 'odom: pose 0 0 0, quaternion 0 0 0 0 is invalid' in ''.join(running.lines[before:])

    robot.graph.wait(reported, 'the reason')


@pytest.mark.parametrize(
    ('parameters', 'expected'),
    [
        ({'intrinsics': 'estimated'}, ["'fake_red' cannot estimate a camera", 'depth_pro']),
        (
            {'two_views__mode': 'stereo', 'two_views__baseline': 0.1},
            ["'fake_red' takes one view", 'dust3r_224_linear'],
        ),
        (
            {'model': 'fake_two_eyes', 'scaling__method': 'baseline'},
            ["two_views.mode is 'off'", 'stereo', 'motion'],
        ),
        (
            {'model': 'fake_two_eyes'},
            ['scale_invariant: its output is not metric', "scaling.method to 'constant'"],
        ),
        (
            {'model': 'fake_two_eyes', 'two_views__mode': 'stereo', 'two_views__baseline': 0.01},
            ['two_views.baseline is 0.01 m but two_views.min_baseline is 0.05'],
        ),
        (
            {**MOTION, 'two_views__camera_pose': [0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0]},
            ['two_views.camera_pose', 'it must be 1'],
        ),
        ({**MOTION, 'two_views__camera_pose': [1.0, 2.0]}, ['x y z qx qy qz qw']),
        (
            {**MOTION, 'model': 'dust3r_224_linear', 'two_views__views': 3},
            ['two_views.views is 3 but', 'takes 2 views', 'depth_anything_v3_small or'],
        ),
        (
            {
                'model': 'depth_anything_v3_small',
                'two_views__mode': 'stereo',
                'two_views__baseline': 0.1,
                'engine': 'onnxruntime',
            },
            ['runs in torch only', 'several views at once'],
        ),
        ({**MOTION, 'scaling__scale': 2.0}, ['scaling.scale is 2', 'measures them']),
        pytest.param(
            {'model': 'fake_two_eyes', 'two_views__mode': 'stereo'},
            ['tf2_ros is not installed', 'set two_views.baseline'],
            marks=pytest.mark.skipif(not NO_TF, reason='tf2_ros is installed'),
        ),
        pytest.param(
            {'model': 'fake_two_eyes', 'two_views__mode': 'motion'},
            ['tf2_ros is not installed', 'set two_views.camera_pose'],
            marks=pytest.mark.skipif(not NO_TF, reason='tf2_ros is installed'),
        ),
    ],
)
def test_what_cannot_work_is_refused_with_the_reason(process, parameters, expected):
    said = refused(process, **parameters)
    for text in expected:
        assert text in said


def test_two_views_are_not_changed_while_the_node_runs(node):
    running = node(model='fake_two_eyes', two_views__mode='stereo', two_views__baseline=0.12)
    (reason,) = running.set(two_views__baseline=0.2)
    assert 'fixed while the node is configured' in reason
    assert running.set(scaling__method='constant', scaling__scale=3.0) == []


def test_a_camera_without_camera_info_is_estimated_and_then_held(node, source, collect, graph):
    running = node(model='fake_eye', intrinsics='estimated', patience=0.5)
    infos, depths = collect(CameraInfo, 'depth/camera_info'), collect(Image, 'depth/image')
    clouds = collect(PointCloud2, 'points')
    graph.wait(source.images.get_subscription_count, 'the node to subscribe')
    graph.wait(lambda: not source.infos.get_subscription_count(), 'no wish for camera_info')
    before = len(running.lines)
    # estimates of 110, 120, ... 200: their median is 155, at the first 110, 115, 120
    focal = []
    for k in range(12):
        source.stamp_ns += PERIOD_NS
        source.images.publish(image(at(10 * (k + 1)), source.stamp_ns))
        message = graph.wait(lambda: infos.stamped(source.stamp_ns), 'camera_info')
        focal.append(message.k[0])
    assert focal[:3] == [110, 115, 120]
    assert focal[9:] == [155, 155, 155]
    assert message.k[2] == 31.5 and message.p[0] == 155 and not any(message.d)
    depth = graph.wait(lambda: depths.stamped(source.stamp_ns), 'depth')
    np.testing.assert_allclose(depth_of(depth), (120 / 10 + 0.5) * 155 / 300, rtol=1e-5)
    assert clouds
    running.said('K is estimated by the network', since=before)
    running.said('from 10 images, frozen', since=before)
    status_values(graph, collect, 'intrinsics', 'from 10 images, frozen')
    assert 'no camera_info' not in ''.join(running.lines[before:])


class Looked:
    """tf2_ros as far as it is used."""

    def __init__(self, known):
        self.Buffer = lambda: self
        self.TransformListener = lambda buffer, node: types.SimpleNamespace(unregister=list)
        self.known = known

    def lookup_transform(self, target, source, time):
        if (target, source) != self.known:
            raise LookupError('unconnected trees')
        message = PoseWithCovarianceStamped().pose.pose
        message.position.x, message.orientation.w = 0.12, 1.0
        transform = types.SimpleNamespace(
            translation=message.position, rotation=message.orientation
        )
        return types.SimpleNamespace(transform=transform)


def test_the_pose_from_tf_or_the_reason_for_its_absence(monkeypatch):
    monkeypatch.setitem(sys.modules, 'tf2_ros', Looked(('left', 'right')))
    transforms = Transforms(None, 'something')
    assert transforms.between('left', 'right')[0, 3] == 0.12
    with pytest.raises(
        ScaleError, match="TF has no transform from 'up' to 'left': unconnected trees"
    ):
        transforms.between('left', 'up')
    with pytest.raises(ScaleError, match="both frame_ids are 'left'"):
        transforms.between('left', 'left')
    transforms.close()


@pytest.mark.parametrize('mode', ['stereo', 'motion'])
def test_camera_poses_come_from_tf(graph, collect, tf, mode):
    right = (0.12, 0, 0, 0, 0, 0, 1)
    tf({(FRAME, 'right_optical_frame'): right, ('base_link', FRAME): tuple(CAMERA_POSE)})
    process = NodeProcess(
        graph, '-r', '__ns:=/tf', name=mode, model='fake_two_eyes', two_views__mode=mode
    )
    depths = collect(Image, '/tf/depth/image')
    made = Rig(graph, prefix='/tf/') if mode == 'stereo' else Robot(graph, prefix='/tf/')
    try:
        if mode == 'stereo':
            made.answer(depths)
        else:
            made.ready()
            made.walk(lambda: depths, 'depth')
        np.testing.assert_allclose(depth_of(depths[-1]), WALL_M, rtol=0.02)
    finally:
        made.close()
        assert process.stop() == 0, process.log


def test_without_nav_msgs_motion_is_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, 'nav_msgs.msg', None)
    settings = with_values(Settings(), {'two_views.mode': 'motion'})
    with pytest.raises(ConfigError, match='ros-nav-msgs'):
        Motion(None, None, settings)


def test_no_camera_pose_is_none():
    assert fixed_pose('x', [0.0] * 7) is None
    # the optical axis is the base's x
    np.testing.assert_allclose(fixed_pose('x', CAMERA_POSE)[:3, 2], [1, 0, 0], atol=1e-12)
