# SPDX-License-Identifier: Apache-2.0
"""Depth Anything 3 with several views through the node, with weights from a formula.

These weights give a pose that has nothing to do with the pictures, so the limits of what is
believed are wide open where a scale is wanted.
"""

import time

import numpy as np
import pytest
import torch
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseWithCovarianceStamped
from graph import FRAME, NodeProcess, depth_of
from parity import picture
from sensor_msgs.msg import Image
from stand_ins import write
from test_two_views import CAM, CAMERA_POSE, MOTION, PERIOD_NS, WALL_M, Rig, Robot, status_values

from depth_ros import models
from depth_ros.core.types import Frame
from depth_ros.models import PRESETS, ModelOptions
from depth_ros.parameters.layers import with_values
from depth_ros.parameters.settings import Settings
from depth_ros.pipeline.depth_pipeline import Pipeline
from depth_ros.pipeline.two_views.views import EarlierFrame

S = 10**9
NAME, SIDE = 'depth_anything_v3_small', 70
BELIEVED = {
    'two_views__min_inliers': 0.0,
    'two_views__max_direction_error': 180.0,
    'two_views__max_rotation_error': 180.0,
}


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
    path = write(PRESETS[NAME], tmp_path_factory.mktemp('weights'))
    yield path
    path.unlink()


@pytest.fixture(scope='module')
def network(weights):
    """The network of the node, in this process."""
    options = ModelOptions(weights=weights, input_size=SIDE, views=2)
    return models.load(NAME, options)


def shown(column):
    """A part of the picture that looks as if the camera had moved."""
    return np.ascontiguousarray(picture()[200:248, column : column + 64])


def frame(rgb, stamp_ns=0):
    return Frame(torch.from_numpy(rgb), CAM, stamp_ns, FRAME)


def views_in(reports):
    """All values of the key `views` in messages of /diagnostics."""
    statuses = [status for report in list(reports) for status in report.status]
    return [v.value for status in statuses for v in status.values if v.key == 'views']


def pose(x):
    T = np.eye(4)
    T[0, 3] = x
    return T


@pytest.mark.parametrize('metres', [0.12, 0.24])
def test_the_known_pose_of_a_second_camera_gives_metres(
    graph, collect, tf, weights, network, metres
):
    tf({(FRAME, 'right_optical_frame'): (metres, 0, 0, 0, 0, 0, 1)})
    process = NodeProcess(
        graph, '-r', '__ns:=/known', name='known', model=NAME, weights=weights, input_size=SIDE,
        two_views__mode='stereo', **BELIEVED,
    )  # fmt: skip
    depths = collect(Image, '/known/depth/image')
    poses = collect(PoseWithCovarianceStamped, '/known/relative_pose')
    rig = Rig(graph, prefix='/known/')
    rig.pictures = shown(250), shown(256)
    try:
        message = rig.answer(depths)
        position = graph.wait(lambda: poses.stamped(rig.left.stamp_ns), 'pose').pose.pose.position
    finally:
        rig.close()
        assert process.stop() == 0, process.log
    # the network gets the pose in a unit of its own: twice as far apart is twice the depth
    found = network.predict_views([frame(rgb) for rgb in rig.pictures], [pose(0.12)])
    expected = found.z.numpy() * metres / found.poses[0].length
    np.testing.assert_allclose(depth_of(message), expected, rtol=1e-3)
    assert np.linalg.norm([position.x, position.y, position.z]) == pytest.approx(metres, rel=1e-3)


def test_a_pose_that_contradicts_the_known_one_gives_no_metres(graph, collect, tf, weights):
    tf({(FRAME, 'right_optical_frame'): (0.12, 0, 0, 0, 0, 0, 1)})
    process = NodeProcess(
        graph, '-r', '__ns:=/apart', name='apart', model=NAME, weights=weights, input_size=SIDE,
        two_views__mode='stereo', **{**BELIEVED, 'two_views__max_rotation_error': 10.0},
    )  # fmt: skip
    depths = collect(Image, '/apart/depth/image')
    rig = Rig(graph, prefix='/apart/')
    rig.pictures = shown(250), shown(256)
    expected = 'estimated axes are turned by'
    try:
        rig.left.ready()
        rig.right.ready()
        graph.wait(lambda: rig.send() and expected in process.log, expected)
        assert not depths
    finally:
        rig.close()
        assert process.stop() == 0, process.log


def test_a_moving_camera_shows_the_network_several_images(graph, node, collect, weights, network):
    """With a factor of the user's, as there is depth from the first image on."""
    values = {
        'model': NAME,
        'weights': str(weights),
        'input_size': SIDE,
        'two_views__mode': 'motion',
        'two_views__views': 4,
        'scaling__method': 'constant',
        'scaling__scale': 0.5,
    }
    node(**values, two_views__camera_pose=CAMERA_POSE)
    settings = with_values(Settings(), {k.replace('__', '.'): v for k, v in values.items()})
    alone = EarlierFrame(Pipeline(network, settings), settings.two_views)
    robot = Robot(graph)
    depths = collect(Image, 'depth/image')
    reports = collect(DiagnosticArray, '/diagnostics')
    try:
        robot.ready()
        robot.walk(
            lambda: 'deg of parallax' in ' '.join(views_in(reports)), 'images with odometry'
        )
        robot.camera.stamp_ns += 20 * S  # what was seen before is too old to be used
        for k in range(6):
            centimetres, rgb = 20 * k, shown(250 + 6 * k)
            stamp_ns = robot.camera.stamp_ns + PERIOD_NS
            robot.send_odometry(stamp_ns, centimetres)
            time.sleep(0.3)  # odometry and images are different topics
            robot.send(centimetres, odometry=False, rgb=rgb)
            message = graph.wait(lambda stamp=stamp_ns: depths.stamped(stamp), 'depth')
            T = pose(centimetres / 100)
            here = alone(frame(rgb, stamp_ns), T, alone.pipeline.snapshot).z.numpy()
            np.testing.assert_allclose(depth_of(message), here, rtol=1e-3)
        assert alone.views.startswith('4, ')
        status_values(graph, collect, 'views', alone.views)
    finally:
        robot.close()


def test_several_earlier_images_give_one_scale(graph, node, collect):
    node(**{**MOTION, 'two_views__views': 3})
    robot = Robot(graph)
    depths, reports = collect(Image, 'depth/image'), collect(DiagnosticArray, '/diagnostics')
    try:
        robot.ready()
        robot.walk(lambda: any(v.startswith('3, ') for v in views_in(reports)), 'three views')
        np.testing.assert_allclose(depth_of(depths[-1]), WALL_M, rtol=0.02)
    finally:
        robot.close()
