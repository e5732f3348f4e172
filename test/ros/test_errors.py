# SPDX-License-Identifier: Apache-2.0
"""What a user can do wrong, through the node: the reason is logged, and the node continues."""

import dataclasses
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import rclpy
import torch
from diagnostic_msgs.msg import DiagnosticArray
from graph import ACTIVE, UNCONFIGURED, NodeProcess, Source, camera, image, info, noise
from lifecycle_msgs.msg import Transition
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2

from depth_ros.parameters import layers
from depth_ros.ros.inputs import subscription
from depth_ros.ros.inputs.subscription import INFO_PATIENCE_S, LATCHED, camera_size
from tools.demo.processes import end_with_parent

CAM = camera(64, 48)
HERE = Path(__file__).parent


def refused(process, **parameters):
    """Configure with these parameters must fail; what the log says of it."""
    if process.state == ACTIVE:
        assert process.change(Transition.TRANSITION_DEACTIVATE)
    if process.state != UNCONFIGURED:
        assert process.change(Transition.TRANSITION_CLEANUP)
    defaults = {p.name.replace('.', '__'): p.default for p in layers.parameters()}
    assert process.set(**{**defaults, 'model': 'fake_red', 'autostart': False, **parameters}) == []
    before = len(process.lines)
    assert not process.configure()
    process.said('cannot configure', since=before)
    assert process.state == UNCONFIGURED
    return ''.join(process.lines[before:])


@pytest.mark.parametrize(
    ('parameters', 'expected'),
    [
        (
            {'model': 'fake_rde'},
            ["'fake_rde' is not a preset", "did you mean 'fake_red'", 'depth_anything_v2_small'],
        ),
        ({'device': 'cuda'}, ["device is 'cuda'", 'set device to auto or cpu']),
        ({'device': 'tpu'}, ["device is 'tpu'", 'auto, cpu, cuda or cuda:N']),
        ({'device': 'gpu'}, ["device is 'gpu'", 'set engine to', 'a GPU of NVIDIA is cuda']),
        ({'precision': 'fp16'}, ["precision is 'fp16'", 'set it to auto']),
        ({'model': 'fake_scale_invariant'}, ['scale_invariant', "scaling.method to 'constant'"]),
        ({'model': 'fake_affine_inverse'}, ['affine_inverse', "scaling.method to 'constant'"]),
        (
            {'model': 'fake_canonical', 'scaling__method': 'as_is'},
            ["'as_is' cannot use canonical", 'canonical_focal'],
        ),
        ({'scaling__shift': 0.5}, ['scaling.shift', 'set it to 0']),
        ({'model': 'fake_always_nan'}, ['no finite value']),
        ({'model': 'onnx'}, ['weights', '.onnx', '.tflite']),
        ({'model': 'onnx', 'weights': '/no/such/net.onnx'}, ['/no/such/net.onnx']),
        (
            {'model': 'depth_anything_v2_metric_indoor_small', 'weights': '/no/such/file.pth'},
            ['/no/such/file.pth'],
        ),
    ],
)
def test_configure_is_refused_with_the_reason_and_can_be_tried_again(
    process, node, source, collect, parameters, expected
):
    if parameters.get('device') == 'cuda' and torch.cuda.is_available():
        pytest.skip('this machine has a GPU')
    said = refused(process, **parameters)
    for text in expected:
        assert text in said
    node()
    source.answer(collect(Image, 'depth/image'), CAM)


def test_values_out_of_range_are_refused_with_the_reason(node):
    running = node()
    for values, reason in [
        ({'points__stride': 0}, 'Min: 1, Max: 64, value: 0'),
        ({'range__min': -1.0}, 'Min: 0.0, Max: 10000.0, value: -1.0'),
        ({'range__min': float('nan')}, 'value: nan'),
        ({'depth_encoding': '64FC1'}, '32FC1, 16UC1'),
        ({'rate': 'fast'}, 'it is of type float'),
        ({'points__stride': 1.5}, 'it is of type int'),
        ({'model': 'flat_wall'}, 'fixed while the node is configured'),
        ({'scaling__method': 'canonical_focal'}, 'cannot use metric'),
    ]:
        (said,) = running.set(**values)
        assert reason in said
    assert running.get('points.stride', 'model', 'scaling.method') == [2, 'fake_red', 'auto']


def test_a_whole_number_is_taken_for_a_real_one(node):
    running = node()
    assert running.set(rate=5) == []


def test_unknown_parameters_of_a_file_are_refused(graph, tmp_path):
    file = tmp_path / 'mine.yaml'
    file.write_text(
        '/**:\n  ros__parameters:\n    pionts: {stride: 4}\n    rate: 5\n    range: {max: nine}\n'
    )
    process = NodeProcess(
        graph, '--params-file', str(file), name='unknowing', model='fake_red', autostart=False
    )
    try:
        assert not process.configure()
        process.said('pionts.stride is not a parameter of depth_node; did you mean points.stride?')
        assert "range.max is 'nine', str; it is of type float" in process.log
        assert process.state == UNCONFIGURED
        assert process.get('rate') == [5.0]
    finally:
        assert process.stop() == 0


def test_parameters_of_other_nodes_in_the_same_file_are_a_warning(graph, tmp_path):
    file = tmp_path / 'robot.yaml'
    file.write_text(
        '/**:\n  ros__parameters:\n    points: {stride: 4}\n    camera_name: front\n'
        '    voxel_layer: {z_voxels: 16}\n    mode: fast\n    range_min: 0.45\n'
    )
    process = NodeProcess(
        graph, '--params-file', str(file), name='one_of_many', model='fake_red', autostart=False
    )
    try:
        assert process.configure(), process.log
        (line,) = (line for line in process.lines if 'has no such parameters' in line)
        assert 'WARN' in line
        assert (
            'camera_name, mode (is model meant?), range_min (is range.min meant?), '
            'voxel_layer.z_voxels. If they'
        ) in line
        assert process.get('points.stride') == [4]
    finally:
        assert process.stop() == 0, process.log


def test_a_parameter_that_the_network_cannot_use_is_one_warning(graph):
    process = NodeProcess(
        graph, name='unsure', model='fake_red', min_confidence=0.5, input_size=99, autostart=False
    )

    def warnings():
        return [line for line in process.lines if 'has no effect' in line]

    try:
        for _ in range(2):
            assert process.configure() and process.change(Transition.TRANSITION_CLEANUP)
        assert len(warnings()) == 2 and all('WARN' in line for line in warnings())
        process.said('min_confidence is 0.5 but has no effect: fake_red has no confidence; ')
        process.said('input_size is 99 but has no effect: fake_red does not use it; ')
        assert process.configure()
        assert process.set(min_confidence=0.25) == []
        process.said('min_confidence is 0.25 but has no effect')
        assert process.change(Transition.TRANSITION_CLEANUP)
        assert process.set(model='fake_confident', input_size=0) == [] and process.configure()
        assert len(warnings()) == 3, process.log
    finally:
        assert process.stop() == 0, process.log


def trouble(graph, collect, text, name='depth_node'):
    """Wait until the camera's diagnostics say `text`; its level."""
    received = collect(DiagnosticArray, '/diagnostics')

    def said():
        for message in list(received):
            for status in message.status:
                if status.name == f'/{name}: camera' and text in status.message:
                    return status
        return None

    return graph.wait(said, f'diagnostics saying {text!r}')


def bad_info(**changes):
    message = info(CAM, 0)
    for name, value in changes.items():
        setattr(message, name, value)
    return message


@pytest.mark.parametrize(
    ('make_image', 'make_info', 'expected'),
    [
        (None, bad_info(k=[0.0] * 9), 'all zeros: the camera is not calibrated'),
        (None, bad_info(width=100, height=20), 'camera_info says 100x20, another shape'),
        (
            None,
            bad_info(distortion_model='weird', d=[0.1, 0.0, 0.0, 0.0]),
            "distortion_model is 'weird'",
        ),
        (None, bad_info(k=[float('nan')] * 9), 'not finite'),
        ({'encoding': '32SC4'}, None, "encoding '32SC4' is not supported; supported: rgb8"),
        (
            {'data': b'\0' * 99},
            None,
            'image data are 99 bytes but 64x48 rgb8 with step 192 takes 9216',
        ),
        ({'step': 7}, None, 'image step is 7 but a row of 64 px rgb8 takes 192'),
        ({'width': 0, 'height': 0}, None, 'it is empty'),
    ],
)
def test_a_bad_input_is_reported_and_the_next_frame_works(
    node, source, collect, graph, make_image, make_info, expected
):
    running = node()
    depths = collect(Image, 'depth/image')
    if make_info is None:
        source.answer(depths, CAM)
    source.ready()
    graph.wait(lambda: depths.subscription.get_publisher_count(), 'the output')
    before, count = len(running.lines), len(depths)
    reports = []
    for _ in range(40):
        source.stamp_ns += 10**9
        message = image(noise(CAM), source.stamp_ns)
        if make_image:
            for name, value in make_image.items():
                setattr(message, name, value)
        described = info(CAM, source.stamp_ns)
        if make_info is not None:
            described = make_info
            described.header = message.header
        source.infos.publish(described)
        source.images.publish(message)
        try:
            reports = graph.wait(
                lambda: expected in ''.join(running.lines[before:]), expected, 0.5
            )
            break
        except AssertionError:
            continue
    assert reports, running.log
    assert len(depths) == count, 'depth of a broken frame was published'
    status = trouble_while_sending(source, collect, graph, message, described, expected)
    assert status.level == status.ERROR
    source.stamp_ns += 10**9
    source.answer(depths, CAM)


def trouble_while_sending(source, collect, graph, message, described, expected):
    received = collect(DiagnosticArray, '/diagnostics')

    def said():
        source.infos.publish(described)
        source.images.publish(message)
        for report in list(received):
            for status in report.status:
                if status.name == '/depth_node: camera' and expected in status.message:
                    return status
        return None

    return graph.wait(said, f'diagnostics saying {expected!r}')


@pytest.mark.parametrize(
    ('model', 'expected'),
    [
        ('fake_late_nan', 'no finite value'),
        ('fake_late_empty', 'the network returned (0,) for a frame of (48, 64)'),
    ],
)
def test_a_network_that_fails_is_reported_and_the_node_lives(
    node, source, collect, graph, model, expected
):
    running = node(model=model)
    depths = collect(Image, 'depth/image')
    source.send_until(lambda: expected in running.log, expected, CAM)
    assert not depths
    assert running.set(points__stride=3) == []


def test_one_crash_of_the_network_costs_one_frame(node, source, collect, graph):
    running = node(model='fake_late_crash')  # its third call; the first is the trial
    depths = collect(Image, 'depth/image')
    source.answer(depths, CAM)
    graph.wait(lambda: depths.stamped(source.stamp_ns) or crashes(running), 'the last image')
    missing = [source.stamp_ns] if crashes(running) else []
    for _ in range(4):
        stamp, before = source.send(CAM), crashes(running)
        graph.wait(lambda s=stamp, b=before: depths.stamped(s) or crashes(running) > b, 'an image')
        if not depths.stamped(stamp):
            missing.append(stamp)
    assert len(missing) == crashes(running) == 1
    assert not depths.stamped(missing[0])
    assert {'failed': '1', 'dropped': '0'}.items() <= values_of(graph, collect).items()


def crashes(running):
    return running.log.count('the crash of the third call')


def values_of(graph, collect, name='depth'):
    received = collect(DiagnosticArray, '/diagnostics')
    message = graph.wait(lambda: received and received[-1], 'diagnostics')
    status = next(s for s in message.status if s.name == f'/depth_node: {name}')
    return {v.key: v.value for v in status.values}


def test_an_uncalibrated_camera_is_reported_without_subscribers(node, source):
    running = node()
    source.ready()
    before = len(running.lines)
    for _ in range(20):
        source.stamp_ns += 10**9
        source.infos.publish(bad_info(k=[0.0] * 9))
        source.images.publish(image(noise(CAM), source.stamp_ns))
        try:
            running.said('the camera is not calibrated', 0.5, since=before)
            break
        except AssertionError:
            continue
    assert 'the camera is not calibrated' in ''.join(running.lines[before:])


ISOLATED = ['unshare', '--mount', 'sh', '-c', 'mount -t tmpfs none /dev/shm && exec "$@"', 'sh']


def test_a_camera_with_another_shared_memory_is_explained(graph, collect):
    if subprocess.run([*ISOLATED, 'true'], capture_output=True).returncode:
        pytest.skip('a /dev/shm for one process takes root')
    running = NodeProcess(graph, '-r', '__ns:=/apart', model='fake_red', patience=1.0)
    script = [sys.executable, str(HERE / 'lone_camera.py'), '--ros-args', '-r', '__ns:=/apart']
    source = subprocess.Popen([*ISOLATED, *script], preexec_fn=end_with_parent)
    depths = collect(Image, '/apart/depth/image')
    try:
        running.said('publisher(s) of /apart/camera_info match but nothing arrives')
        assert 'FASTDDS_BUILTIN_TRANSPORTS=UDPv4 in the environment of either' in running.log
        assert 'ROS_AUTOMATIC_DISCOVERY_RANGE' in running.log  # LOCALHOST has its own transports
        assert not depths
    finally:
        source.kill()
        source.wait()
        assert running.stop() == 0, running.log


def test_silence_is_explained_within_seconds(graph, collect):
    process = NodeProcess(
        graph, '-r', 'image:=/front/image', name='silent', model='fake_red', patience=0.5
    )
    other = graph.publisher(Image, '/elsewhere/image')
    try:
        process.said(
            '/front/image has no publisher; Image topics with publishers: /elsewhere/image'
        )
        source = Source(graph, topic='/front/image', info='/unheard')
        source.stamp_ns += 1
        process.said('no camera_info for')
        before = len(process.lines)
        graph.wait(lambda: source.images.get_subscription_count(), 'subscription')
        process.said('1 publisher(s) of /front/image match but nothing arrives', since=before)
        status = trouble(graph, collect, 'FASTDDS_DEFAULT_PROFILES_FILE', 'silent')
        assert status.level == status.ERROR
        source.close()
        # the likeliest first, and none of the node's own
        assert '/silent' not in process.log and '/depth/image' not in process.log
    finally:
        graph.node.destroy_publisher(other)
        assert process.stop() == 0, process.log


@pytest.mark.parametrize(
    ('kind', 'topic', 'remapped', 'transport', 'expected'),
    [
        (
            CompressedImage, '/front/image_raw/compressed', 'image:=/front/image_raw', 'raw',
            '/front/image_raw has no publisher, but /front/image_raw/compressed publishes '
            'CompressedImage: set the parameter image_transport:=compressed and remap '
            'image/compressed:=/front/image_raw/compressed, and start the node again',
        ),
        (
            CompressedImage, '/image/compressed', 'image_2:=/unused', 'raw',
            '/image has no publisher, but /image/compressed publishes CompressedImage: '
            'set the parameter image_transport:=compressed, and start the node again',
        ),
        (
            CompressedImage, '/front/image', 'image:=/front/image', 'raw',
            '/front/image carries sensor_msgs/msg/CompressedImage, not sensor_msgs/msg/Image: '
            'set the parameter image_transport:=compressed and remap '
            'image/compressed:=/front/image',
        ),
        (
            Image, '/front/image_raw', 'image/compressed:=/front/image_raw/compressed',
            'compressed',
            '/front/image_raw publishes Image: set the parameter image_transport:=raw and remap '
            'image:=/front/image_raw',
        ),
    ],
)  # fmt: skip
def test_images_of_the_other_transport_are_named_with_the_parameter(
    graph, kind, topic, remapped, transport, expected
):
    publisher = graph.publisher(kind, topic)
    process = NodeProcess(
        graph, '-r', remapped, name='waiting', model='fake_red', patience=0.5,
        image_transport=transport,
    )  # fmt: skip
    try:
        process.said(expected)
    finally:
        graph.node.destroy_publisher(publisher)
        assert process.stop() == 0, process.log


def test_incompatible_quality_of_service_is_named(graph):
    process = NodeProcess(
        graph, name='reliable', model='fake_red', patience=0.5, image_reliability='reliable'
    )
    source = Source(graph, 'best_effort')
    try:
        process.said(
            '/image is published best effort but subscribed reliable, which never connects'
        )
        assert 'set image_reliability to auto' in process.log
    finally:
        source.close()
        assert process.stop() == 0, process.log


@pytest.mark.parametrize('watched', [True, False], ids=['images arrive', 'no image'])
def test_a_subscriber_that_asks_for_another_quality_of_service_is_logged(graph, watched):
    process = NodeProcess(
        graph, name='unreliable', model='fake_red', output_reliability='best_effort'
    )
    source, demanding = Source(graph, 'reliable'), graph.collect(PointCloud2, 'points')
    images = graph.collect(Image, 'depth/image', 'best_effort')
    try:
        if watched:
            source.answer(images, CAM)
        process.said("points', requesting incompatible QoS")
    finally:
        for end in (images, demanding, source):
            end.close()
        assert process.stop() == 0, process.log


def test_camera_info_of_a_scaled_stream_is_scaled_with_a_warning(node, source, collect, graph):
    running = node()
    infos = collect(CameraInfo, 'depth/camera_info')
    source.answer(infos, CAM)
    full = CAM.resized(128, 96)

    warning = 'camera_info says 128x96, the image is 64x48: the intrinsics are scaled'

    def send():
        source.stamp_ns += 10**9
        source.infos.publish(info(full, source.stamp_ns))
        source.images.publish(image(noise(CAM), source.stamp_ns))
        # an image that arrives before its camera_info still has the one before
        return warning in running.log and infos.stamped(source.stamp_ns - 10**9)

    message = graph.wait(send, 'camera_info')
    np.testing.assert_allclose(
        np.array(message.k)[[0, 2, 4, 5]], [CAM.fx, CAM.cx, CAM.fy, CAM.cy], atol=1e-9
    )


def test_a_frame_that_is_not_optical_is_a_warning(node, source, collect):
    running = node()
    source.answer(collect(Image, 'depth/image'), CAM)
    before = len(running.lines)
    source.ready()

    def said():
        source.stamp_ns += 10**9
        source.infos.publish(info(CAM, source.stamp_ns, 'camera_link'))
        source.images.publish(image(noise(CAM), source.stamp_ns, frame_id='camera_link'))
        return "frame_id 'camera_link' does not say optical" in ''.join(running.lines[before:])

    source.graph.wait(said, 'the warning')


def test_broken_images_do_not_flood_the_log(node, source, collect):
    running = node()
    collect(Image, 'depth/image')
    source.ready()
    before = len(running.lines)
    for k in range(60):
        source.stamp_ns += 33_333_333
        source.infos.publish(info(CAM, source.stamp_ns))
        message = image(noise(CAM), source.stamp_ns)
        message.data = message.data[: 100 + k]  # another text every time
        source.images.publish(message)
        time.sleep(0.02)
    assert 1 <= sum('[ERROR]' in line for line in running.lines[before:]) <= 2


def test_lists_of_the_wrong_kind_are_refused_and_the_node_lives(process, node):
    running = node()
    (reason,) = running.set(onnx__mean=['a', 'b', 'c'])
    assert 'a list of float' in reason
    assert running.set(points__stride=3) == []


def test_coefficients_without_a_model_name_are_not_dropped(node, source, collect):
    running = node()
    infos = collect(CameraInfo, 'depth/camera_info')

    def said():
        source.stamp_ns += 10**9
        described = info(CAM, source.stamp_ns)
        described.d = [-0.3, 0.1, 0.0, 0.0, 0.0]
        source.infos.publish(described)
        source.images.publish(image(noise(CAM), source.stamp_ns))
        return "distortion_model '' with 5 coefficients, used as plumb_bob" in running.log

    source.ready()
    source.graph.wait(said, 'the warning')
    source.graph.wait(lambda: infos, 'an answer')
    assert 'undistorting' in running.log


def test_unlikely_intrinsics_are_used_and_the_diagnostics_warn(node, source, collect, graph):
    node()
    depths, reports = collect(Image, 'depth/image'), collect(DiagnosticArray, '/diagnostics')
    fx = 2 * CAM.fy
    source.ready()

    def warned():
        source.stamp_ns += 10**9
        described = info(dataclasses.replace(CAM, fx=fx), source.stamp_ns)
        source.infos.publish(described)
        source.images.publish(image(noise(CAM), source.stamp_ns))
        statuses = [s for report in list(reports) for s in report.status]
        return any(
            s.level == s.WARN and f'fx={fx:g}' in s.message and 'seldom so far' in s.message
            for s in statuses
        )

    graph.wait(warned, 'the warning')
    graph.wait(lambda: depths, 'depth')


@pytest.mark.parametrize('latched', [True, False])
def test_the_size_of_a_camera_is_received_latched_or_not(graph, latched):
    durability = 'TRANSIENT_LOCAL' if latched else 'VOLATILE'
    profile = QoSProfile(
        depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy[durability]
    )
    publisher = graph.node.create_publisher(CameraInfo, '/early/camera_info', profile)
    node = rclpy.create_node('configuring', context=graph.node.context)
    halt = threading.Event()

    def run():
        publisher.publish(info(CAM, 1))
        while not latched and not halt.wait(0.05):
            publisher.publish(info(CAM, 1))

    thread = threading.Thread(target=run)
    thread.start()
    try:
        assert camera_size(node, '/early/camera_info', 60.0) == (CAM.width, CAM.height)
    finally:
        halt.set()
        thread.join()
        node.destroy_node()
        graph.node.destroy_publisher(publisher)


@pytest.mark.parametrize('has_publisher', [True, False])
def test_the_size_of_a_silent_camera_is_waited_for_no_longer_than_a_second(
    graph, monkeypatch, has_publisher
):
    if has_publisher:
        publisher = graph.publisher(CameraInfo, '/silent/camera_info')
    node = rclpy.create_node('configuring', context=graph.node.context)
    if has_publisher:
        graph.wait(lambda: node.count_publishers('/silent/camera_info'), 'the publisher')
    clock_s, end_s = [0.0], INFO_PATIENCE_S

    def sleep(seconds):
        clock_s[0] += seconds
        assert clock_s[0] <= end_s + 0.02

    clock = SimpleNamespace(monotonic=lambda: clock_s[0], sleep=sleep)
    monkeypatch.setattr(subscription, 'time', clock)
    try:
        assert camera_size(node, '/silent/camera_info') is None
        assert end_s - 0.02 < clock_s[0] and end_s <= 1.0
    finally:
        node.destroy_node()
        if has_publisher:
            graph.node.destroy_publisher(publisher)


def test_a_latched_camera_info_arrives_beside_a_publisher_that_is_not(node, graph, collect):
    """The driver offers an uncalibrated topic that it never uses; a calibration is latched."""
    latched = graph.node.create_publisher(CameraInfo, 'camera_info', LATCHED)
    latched.publish(info(CAM, 1))
    driver = Source(graph)
    running = node()
    began = len(running.lines)
    depths = collect(Image, 'depth/image')
    reports = collect(DiagnosticArray, '/diagnostics')

    def depth_came():
        driver.stamp_ns += 33_333_333
        driver.images.publish(image(noise(CAM), driver.stamp_ns))
        time.sleep(0.05)
        return depths

    try:
        assert graph.wait(depth_came, 'depth', 30)[0].width == CAM.width
        # the driver's is received, too
        other = dataclasses.replace(CAM, fx=CAM.fx + 7)
        driver.send_until(
            lambda: any(f'fx={other.fx:g}' in s.message for r in reports[-1:] for s in r.status),
            "the driver's camera_info in use",
            other,
        )
        assert latched.get_subscription_count() == driver.infos.get_subscription_count() + 1
        assert 'incompatible' not in ''.join(running.lines[began:])
    finally:
        assert running.process.poll() is None, running.log
        driver.close()
        graph.node.destroy_publisher(latched)


def test_qos_can_be_overridden_as_elsewhere_in_ros(graph):
    override = 'qos_overrides./points.publisher.reliability:=best_effort'
    process = NodeProcess(graph, '-p', override, name='overridden', model='fake_red')
    try:
        process.said('listening to')

        def offered():
            offers = graph.node.get_publishers_info_by_topic('/points')
            return [o.qos_profile.reliability.name for o in offers if o.node_name == process.name]

        assert graph.wait(offered, 'points') == ['BEST_EFFORT']
    finally:
        assert process.stop() == 0, process.log


def test_values_that_cannot_be_together_are_named_at_the_start(graph):
    given = {'range.min': 5.0, 'range.max': 2.0}
    process = NodeProcess(graph, name='at_odds', model='fake_red', autostart=False, **given)
    try:
        assert not process.configure()
        process.said('cannot configure: range.min is 5 and range.max is 2')
        assert process.set(range__max=9.0) == [] and process.configure()
    finally:
        assert process.stop() == 0, process.log
