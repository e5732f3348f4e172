# SPDX-License-Identifier: Apache-2.0
"""Metres from anchors through the live node: each source, and what a sensor can do wrong."""

import math
import time

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import Point, Quaternion
from graph import ACTIVE, FRAME, NodeProcess, Source, camera, depth_of, header, info
from graph import image as image_message
from lifecycle_msgs.msg import Transition
from nav_msgs.msg import Odometry
from sensor_msgs.msg import CameraInfo, Image, LaserScan, PointCloud2, Range
from test_sensors import cloud

CAM = camera(320, 240)
#: of a sensor that looks along x with z up, in the place of the camera
AHEAD = [0.0, 0.0, 0.0, 0.5, -0.5, 0.5, 0.5]
#: network: true depth / FACTOR
FACTOR = 2.5
S = 10**9


def stairs(shift: int = 0) -> np.ndarray:
    """(240, 320) depth [m] of steps; fake_red tells decimetres, so it can see each."""
    steps = 2 + (np.arange(320) + shift) // 40 % 8
    return np.broadcast_to((steps * 3 / 10 + 0.5) * FACTOR, (240, 320))


def picture(z: np.ndarray, factor: float = FACTOR) -> np.ndarray:
    """The image of which fake_red predicts z / factor, with texture in the other colours."""
    rgb = np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)
    rgb[..., 0] = np.round((z / factor - 0.5) * 10)
    return rgb


def lidar_points(z: np.ndarray, count: int = 80, seed: int = 0) -> np.ndarray:
    """(N, 3) points of a sensor AHEAD, on the surfaces that the image shows."""
    rng = np.random.default_rng(seed)
    v, u = rng.integers(0, 240, count), rng.integers(0, 320, count)
    depth = z[v, u]
    return np.stack((depth, -(u - CAM.cx) / CAM.fx * depth, -(v - CAM.cy) / CAM.fy * depth), 1)


class Lidar:
    """Sends points beside each image."""

    factor = FACTOR

    def __init__(self, graph, source, points, stamp_offset_s: float = 0.0) -> None:
        self.publisher = graph.publisher(PointCloud2, 'anchors/points')
        self.graph, self.source, self.points = graph, source, points
        self.offset_ns = round(stamp_offset_s * S)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.graph.node.destroy_publisher(self.publisher)

    def send(self, stamp_ns: int) -> None:
        if self.points is not None:
            message = cloud(self.points)
            message.header = header(stamp_ns + self.offset_ns, 'lidar')
            self.publisher.publish(message)

    def image(self, z: np.ndarray, period_ns: int = S // 10) -> int:
        """Points, then an image; the stamp of both."""
        self.send(self.source.stamp_ns + period_ns)
        return self.source.send(CAM, picture(z, self.factor), period_ns)


def answers(graph, lidar, depths, z, count=1, period_ns=S // 10):
    """Depth of the next images that get any; one at a time."""
    found = []

    def one():
        stamp = lidar.image(z, period_ns)
        try:
            graph.wait(lambda: depths.stamped(stamp), 'depth', 0.5)
        except AssertionError:
            return False
        found.append(depth_of(depths.stamped(stamp)))
        return len(found) == count

    graph.wait(one, f'{count} depth images', 40)
    return found


def values_of(graph, collect, sends, needed: str) -> dict[str, str]:
    """Values of the depth status of the diagnostics, once `needed` is in its message."""
    reports = collect(DiagnosticArray, '/diagnostics')

    def found():
        sends()
        for report in reversed(list(reports)):
            for status in report.status:
                if status.name.endswith('depth') and needed in status.message:
                    return {v.key: v.value for v in status.values}
        return None

    return graph.wait(found, f'diagnostics with {needed!r}', 30)


@pytest.fixture
def anchored(node):
    """The node with a network that knows depth up to a factor."""

    def start(*sources, **parameters):
        parameters = {
            name if name.startswith('floor') else f'anchors__{name}': value
            for name, value in parameters.items()
        }
        return node(model='fake_scale_invariant', anchors__sources=list(sources), **parameters)

    return start


def test_a_lidar_gives_metres_and_the_log_topic_and_diagnostics_tell(
    anchored, source, collect, graph
):
    running = anchored('points', points__pose=AHEAD)
    said = len(running.lines)
    depths, scales = collect(Image, 'depth/image'), collect(DiagnosticArray, 'depth/scale')
    z = stairs()
    with Lidar(graph, source, lidar_points(z)) as lidar:
        for depth in answers(graph, lidar, depths, z, 3):
            np.testing.assert_allclose(depth, z, rtol=0.02)
        values = values_of(graph, collect, lambda: lidar.image(z), 'active')
    assert float(values['scale']) == pytest.approx(FACTOR, rel=0.02)
    assert values['sources of anchors'] == 'points' and int(values['anchors used']) > 40
    assert values['scaling'] == 'anchors'
    message = scales[-1]
    assert message.header.frame_id == FRAME and depths.stamped(
        message.header.stamp.sec * S + message.header.stamp.nanosec
    )
    (status,) = message.status
    shown = {v.key: v.value for v in status.values}
    assert float(shown['scale']) == pytest.approx(FACTOR, rel=0.02) and status.message == ''
    assert float(shown['scale spread [%]']) < 5
    running.said('; by points', since=said)


def test_before_the_first_anchors_nothing_is_published_and_the_reason_is_told(
    anchored, source, collect, graph
):
    running = anchored('points', points__pose=AHEAD)
    said, depths = len(running.lines), collect(Image, 'depth/image')
    source.send_until(
        lambda: 'points: no anchors/points yet' in ''.join(running.lines[said:]), 'a log line', CAM
    )
    assert depths == []
    source.send_until(
        lambda: 'anchors/points has no publisher' in ''.join(running.lines[said:]),
        'what is missing',
        CAM,
    )


def test_a_silent_sensor_is_held_then_nothing_is_published_and_it_comes_back(
    anchored, source, collect, graph
):
    running = anchored('points', points__pose=AHEAD)
    assert running.set(scaling__max_age=2.0, patience=1.0) == []
    said, depths = len(running.lines), collect(Image, 'depth/image')
    z = stairs()
    with Lidar(graph, source, lidar_points(z)) as lidar:
        answers(graph, lidar, depths, z)
        points, lidar.points = lidar.points, None
        for depth in answers(graph, lidar, depths, z, 15):  # 1.5 s by stamps
            np.testing.assert_allclose(depth, z, rtol=0.02)
        source.send_until(
            lambda: 'scaling.max_age is 2 s' in ''.join(running.lines[said:]), 'the end', CAM
        )
        known = len(depths)
        stamps = [lidar.image(z) for _ in range(5)]
        running.said('no anchors/points for', since=said)
        assert len(depths) == known and not any(depths.stamped(s) for s in stamps)
        assert running.set(scaling__after_max_age='hold') == []
        for depth in answers(graph, lidar, depths, z, 2):
            np.testing.assert_allclose(depth, z, rtol=0.02)
        assert running.set(scaling__after_max_age='stop') == []
        lidar.points = points
        for depth in answers(graph, lidar, depths, z, 2):
            np.testing.assert_allclose(depth, z, rtol=0.02)


def test_a_third_of_lies_is_refused(anchored, source, collect, graph):
    anchored('points', points__pose=AHEAD)
    depths, z = collect(Image, 'depth/image'), stairs()
    points = lidar_points(z)
    points[::3] *= np.random.default_rng(1).uniform(0.3, 3.0, (len(points[::3]), 1))
    with Lidar(graph, source, points) as lidar:
        for depth in answers(graph, lidar, depths, z, 3):
            assert abs(np.median(depth / z) - 1) < 0.03
        values = values_of(graph, collect, lambda: lidar.image(z), 'active')
    assert int(values['anchors refused']) > 10


@pytest.mark.parametrize(
    'pose',
    [
        [0.1, 0.0, 0.0, 0.5, -0.5, 0.5, 0.5],
        # 5 deg about the axis of y
        [0.0, 0.0, 0.0, 0.5213338, -0.4777144, 0.5213338, 0.4777144],
    ],
)
def test_a_calibration_off_by_10_cm_or_5_deg_keeps_the_scale(
    anchored, source, collect, graph, pose
):
    anchored('points', points__pose=pose)
    depths, z = collect(Image, 'depth/image'), stairs()
    with Lidar(graph, source, lidar_points(z, 200)) as lidar:
        found = answers(graph, lidar, depths, z, 3)[-1]
    assert abs(np.median(found / z) - 1) < 0.1


def test_a_jump_of_the_network_is_followed_within_a_second(anchored, source, collect, graph):
    anchored('points', points__pose=AHEAD)
    depths, z = collect(Image, 'depth/image'), stairs()
    with Lidar(graph, source, lidar_points(z)) as lidar:
        answers(graph, lidar, depths, z, 8)
        lidar.points = lidar_points(z) * 0.6  # the truth is now less than the network says
        found = answers(graph, lidar, depths, z, 12)[-1]
    assert abs(np.median(found / z) / 0.6 - 1) < 0.03


def test_a_slow_network_uses_what_was_measured_at_the_image(node, source, collect, graph):
    node(
        model='fake_slow0.1', anchors__sources=['points'], anchors__points__pose=AHEAD,
        anchors__max_offset=0.02,
    )  # fmt: skip
    depths, z = collect(Image, 'depth/image'), stairs()
    with Lidar(graph, source, lidar_points(z)) as lidar:

        def seen():
            lidar.image(z)
            time.sleep(0.05)
            return depths

        graph.wait(seen, 'depth', 20)
    assert abs(np.median(depth_of(depths[0]) / z) - 1) < 0.02


def test_a_late_sensor_is_told_with_the_parameter(anchored, source, collect, graph):
    running = anchored('points', points__pose=AHEAD)
    said, depths, z = len(running.lines), collect(Image, 'depth/image'), stairs()
    with Lidar(graph, source, lidar_points(z), stamp_offset_s=-0.4) as lidar:
        graph.wait(
            lambda: (
                lidar.image(z) and 'anchors.max_offset is 0.1' in ''.join(running.lines[said:])
            ),
            'the reason',
        )
    assert depths == []


def test_a_planar_scanner_and_a_beam_together(anchored, source, collect, graph):
    anchored(
        'scan', 'range', scan__pose=AHEAD, scan__sigma=0.02, range__pose=AHEAD, range__sigma=0.2
    )
    depths, z = collect(Image, 'depth/image'), np.full((240, 320), 2.0 * FACTOR)
    scans = graph.publisher(LaserScan, 'anchors/scan')
    beams = graph.publisher(Range, 'anchors/range')
    angles = np.arange(-0.4, 0.41, 0.01)

    class Both(Lidar):
        def send(self, stamp_ns):
            ranges = [float(2.0 * FACTOR / math.cos(a)) for a in angles]
            scan = LaserScan(
                header=header(stamp_ns, 'laser'), angle_min=float(angles[0]),
                angle_increment=0.01, range_min=0.1, range_max=30.0, ranges=ranges,
            )  # fmt: skip
            beam = Range(
                header=header(stamp_ns, 'sonar'), field_of_view=0.3, min_range=0.1,
                max_range=9.0, range=2.0 * FACTOR,
            )  # fmt: skip
            scans.publish(scan)
            beams.publish(beam)

    with Both(graph, source, None) as sensors:
        for depth in answers(graph, sensors, depths, z, 3):
            np.testing.assert_allclose(depth, z, rtol=0.02)
        values = values_of(graph, collect, lambda: sensors.image(z), 'active')
    assert values['sources of anchors'].split() == ['scan', 'range']
    for publisher in (scans, beams):
        graph.node.destroy_publisher(publisher)


def test_another_depth_camera_gives_metres(anchored, source, collect, graph):
    anchored('depth', depth__pose=[0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0])
    depths, z = collect(Image, 'depth/image'), stairs()
    images = graph.publisher(Image, 'anchors/depth')
    infos = graph.publisher(CameraInfo, 'anchors/depth/camera_info')
    small = CAM.resized(64, 48)

    class Sensor(Lidar):
        def send(self, stamp_ns):
            infos.publish(info(small, stamp_ns, 'tof'))
            millimetres = (z[2::5, 2::5] * 1000).astype(np.uint16)
            images.publish(image_message(millimetres, stamp_ns, '16UC1', 'tof'))

    with Sensor(graph, source, None) as sensor:
        for depth in answers(graph, sensor, depths, z, 3):
            assert abs(np.median(depth / z) - 1) < 0.02
    for publisher in (images, infos):
        graph.node.destroy_publisher(publisher)


def test_the_height_of_the_camera_gives_metres(anchored, source, collect, graph):
    running = anchored('height', floor__height=0.6, floor__pitch=20.0)
    depths = collect(Image, 'depth/image')
    pitch, v = math.radians(20), np.arange(240)[:, None] * np.ones(320)
    down = (v - CAM.cy) / CAM.fy * math.cos(pitch) + math.sin(pitch)
    z = np.minimum(0.6 / np.maximum(down, 1e-3), 3.0)
    with Lidar(graph, source, None) as nothing:
        nothing.factor = 1 / 8  # in steps of 1.25 cm
        for depth in answers(graph, nothing, depths, z, 3):
            assert abs(np.median((depth / z)[150:]) - 1) < 0.03
        assert running.set(floor__height=1.2) == []
        graph.wait(
            lambda: abs(np.median((answers(graph, nothing, depths, z)[0] / z)[150:]) - 2) < 0.06,
            'twice the depth',
        )


def test_odometry_gives_metres_and_they_stay_while_the_robot_rests(
    anchored, source, collect, graph
):
    """The camera moves sideways in front of a wall with steps."""
    anchored('odometry', odometry__camera_pose=[0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0])
    depths, odometry = collect(Image, 'depth/image'), graph.publisher(Odometry, 'odom')
    depth_m = 2.0 * FACTOR
    wide = np.random.default_rng(3).integers(0, 256, (60, 200, 3), np.uint8)
    wide = np.kron(wide, np.ones((4, 4, 1), np.uint8))
    wide[..., 0] = 15

    class Moving(Lidar):
        at_px = 0

        def send(self, stamp_ns):
            message = Odometry(header=header(stamp_ns, 'odom'), child_frame_id='base')
            message.pose.pose.position = Point(x=self.at_px * depth_m / CAM.fx, y=0.0, z=0.0)
            message.pose.pose.orientation = Quaternion(x=0.0, y=0.0, z=0.0, w=1.0)
            odometry.publish(message)

        def image(self, z, period_ns=S // 10):
            self.send(self.source.stamp_ns + period_ns)
            view = np.ascontiguousarray(wide[:240, self.at_px : self.at_px + 320])
            self.at_px += self.step
            return self.source.send(CAM, view, period_ns)

    with Moving(graph, source, None) as robot:
        robot.step = 4
        for depth in answers(graph, robot, depths, None, 5):
            assert abs(np.median(depth) / depth_m - 1) < 0.05
        robot.step = 0
        for depth in answers(graph, robot, depths, None, 90):  # 9 s by stamps; max_age is 5
            assert abs(np.median(depth) / depth_m - 1) < 0.05
    graph.node.destroy_publisher(odometry)


def test_the_method_is_changed_live_and_the_scale_forgotten_with_the_activation(
    anchored, source, collect, graph
):
    running = anchored('points', points__pose=AHEAD)
    depths, z = collect(Image, 'depth/image'), stairs()
    with Lidar(graph, source, lidar_points(z)) as lidar:
        answers(graph, lidar, depths, z)
        assert running.set(scaling__method='constant', scaling__scale=0.5) == []
        graph.wait(
            lambda: np.allclose(answers(graph, lidar, depths, z)[0], z / FACTOR / 2, rtol=1e-3),
            'the constant',
        )
        assert running.set(scaling__scale=1.0) == []
        assert running.set(scaling__method='auto') == []
        graph.wait(
            lambda: np.allclose(answers(graph, lidar, depths, z)[0], z, rtol=0.02), 'the anchors'
        )
        assert running.change(Transition.TRANSITION_DEACTIVATE)
        assert running.change(Transition.TRANSITION_ACTIVATE)
        lidar.points, said = None, len(running.lines)
        graph.wait(
            lambda: (
                lidar.image(z) and 'points: no anchors/points yet' in ''.join(running.lines[said:])
            ),
            'a scale that is not known',
        )


@pytest.mark.parametrize(
    ('parameters', 'expected'),
    [
        ({'scaling.method': 'anchors'}, 'anchors.sources names none'),
        (
            {'anchors.sources': ['points'], 'anchors.points.pose': AHEAD, 'scaling.scale': 2.0},
            "scaling.method 'anchors' measures them",
        ),
        (
            {
                'anchors.sources': ['points'],
                'anchors.points.pose': AHEAD,
                'cameras': ['front', 'rear'],
            },
            'publish their poses on TF',
        ),
        ({'anchors.sources': ['points']}, 'tf2_ros is not installed: set anchors.points.pose'),
        ({'anchors.sources': ['height']}, 'set floor.height'),
    ],
)
def test_what_cannot_work_is_refused_with_the_remedy(process, parameters, expected):
    from depth_ros.parameters import layers

    try:
        import tf2_ros  # noqa: F401
    except ImportError:
        pass
    else:
        if 'tf2' in expected or 'height' in expected:
            pytest.skip('tf2_ros is installed')
    defaults = {p.name.replace('.', '__'): p.default for p in layers.parameters()}
    given = {name.replace('.', '__'): value for name, value in parameters.items()}
    said = len(process.lines)
    if process.state == ACTIVE:
        assert process.change(4) and process.change(2)
    refused = process.set(
        **{**defaults, 'model': 'fake_scale_invariant', 'autostart': False, **given}
    )
    if refused:
        assert expected in refused[0]
        return
    assert not process.configure()
    process.said(expected, since=said)


def test_two_cameras_share_a_lidar_with_poses_from_tf(graph, collect, tf):
    # the LiDAR is between the cameras, of which one looks back
    poses = {'front': (0.5, -0.5, 0.5, 0.5), 'rear': (0.5, 0.5, -0.5, 0.5)}
    tf(
        {(name, 'lidar'): (0.0, 0.0, 0.0, *turned) for name, turned in poses.items()},
        'assert time.nanoseconds > 0',
    )
    process = NodeProcess(
        graph, name='fleet', model='fake_scale_invariant', cameras='[front,rear]',
        anchors__sources='[points]',
    )  # fmt: skip
    factors = {'front': FACTOR, 'rear': 0.6 * FACTOR}
    true = {'front': stairs(), 'rear': stairs(80) * 0.6}
    ahead, behind = lidar_points(true['front']), lidar_points(true['rear'], seed=1)
    points = np.concatenate((ahead, behind * (-1, -1, 1)))
    sources = {c: Source(graph, topic=f'{c}/image', info=f'{c}/camera_info') for c in true}
    depths = {c: collect(Image, f'{c}/depth/image') for c in true}
    try:
        with Lidar(graph, sources['front'], points) as lidar:

            def both():
                stamp = sources['front'].stamp_ns + S // 10
                lidar.send(stamp)
                for camera_name, source in sources.items():
                    source.stamp_ns = stamp
                    source.infos.publish(info(CAM, stamp, camera_name))
                    rgb = picture(true[camera_name], factors[camera_name])
                    source.images.publish(image_message(rgb, stamp, frame_id=camera_name))
                time.sleep(0.1)
                return all(len(of_one) >= 3 for of_one in depths.values())

            graph.wait(both, 'depth of both')
        for camera_name, z in true.items():
            np.testing.assert_allclose(depth_of(depths[camera_name][-1]), z, rtol=0.02)
    finally:
        for source in sources.values():
            source.close()
        assert process.stop() == 0, process.log
