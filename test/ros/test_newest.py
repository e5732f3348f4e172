# SPDX-License-Identifier: Apache-2.0
"""The newest frame, at the rate asked for, with services answering meanwhile."""

import signal
import threading
import time

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from graph import NodeProcess, Source, camera, depth_of, image, info, nanoseconds, noise
from lifecycle_msgs.msg import Transition
from sensor_msgs.msg import CameraInfo, Image, PointCloud2

CAM = camera(64, 48)


class Film:
    """Pictures at a rate, from a thread; red counts them."""

    def __init__(self, source, rate, cam=CAM, stamp_period_ns=None):
        self.source, self.cam, self.period = source, cam, 1 / rate
        self.stamp_period_ns = stamp_period_ns or round(1e9 / rate)
        self.sent = {}
        self.halt = threading.Event()
        self.thread = threading.Thread(target=self._run)

    def _run(self):
        due = time.monotonic()
        while not self.halt.is_set():
            rgb = np.full((*self.cam.size, 3), len(self.sent) % 256, np.uint8)
            before = time.monotonic()
            self.sent[self.source.send(self.cam, rgb, self.stamp_period_ns)] = before
            due += self.period
            time.sleep(max(0, due - time.monotonic()))

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *args):
        self.halt.set()
        self.thread.join()


def counters(graph, collect, name='depth'):
    """The values of a status on /diagnostics, from a message that is yet to come."""
    received = collect(DiagnosticArray, '/diagnostics')
    message = graph.wait(lambda: received and received[-1], 'diagnostics')
    status = next(s for s in message.status if s.name == f'/depth_node: {name}')
    return status, {v.key: v.value for v in status.values}


def test_a_slow_network_gets_the_newest_frame_and_the_rest_is_counted(
    node, source, collect, graph
):
    node(model='fake_slow0.1')
    depths = collect(Image, 'depth/image')
    source.answer(depths, CAM)
    depths.clear()
    depths.times.clear()
    with Film(source, 100) as film:
        time.sleep(3)
    arrivals = list(zip(depths, depths.times, strict=False))
    ages = [
        t - film.sent[nanoseconds(m.header.stamp)]
        for m, t in arrivals
        if nanoseconds(m.header.stamp) in film.sent
    ]
    # a frame is at most a period old when its 0.1 s begin; a queue of n would add n times that
    assert len(ages) > 20
    assert np.median(ages) < 0.1 + 0.05
    _, values = counters(graph, collect)
    assert int(values['dropped']) > 200


def test_services_answer_while_the_network_runs(node, source, collect, graph):
    running = node(model='fake_slow2')
    depths = collect(Image, 'depth/image')
    source.answer(depths, CAM)
    with Film(source, 30):
        waits = []
        for k in range(12):
            started = time.monotonic()
            assert running.set(points__stride=1 + k % 2) == []
            waits.append(time.monotonic() - started)
    # a node that infers in its callback takes up to 2 s
    assert np.median(waits) < 0.5


@pytest.mark.parametrize('rate', [5.0, 12.0])
def test_rate_is_kept_by_stamps(node, source, collect, rate):
    running = node()
    depths = collect(Image, 'depth/image')
    source.answer(depths, CAM)
    assert running.set(rate=rate) == []
    depths.clear()
    with Film(source, 60) as film:
        time.sleep(4)
    span = (len(film.sent) - 1) / 60
    assert len(depths) == pytest.approx(rate * span, rel=0.05, abs=2)


def test_the_cloud_has_a_rate_of_its_own(node, source, collect):
    running = node()
    depths, clouds = collect(Image, 'depth/image'), collect(PointCloud2, 'points')
    source.answer([depths, clouds], CAM)
    assert running.set(points__rate=5.0) == []
    depths.clear(), clouds.clear()
    with Film(source, 40) as film:
        time.sleep(3)
    assert len(depths) >= 0.9 * len(film.sent)
    assert len(clouds) == pytest.approx(5 * len(film.sent) / 40, rel=0.05, abs=2)


def test_where_only_clouds_are_wanted_the_network_runs_at_their_rate(node, source, collect, graph):
    running = node()
    clouds = collect(PointCloud2, 'points')
    source.answer([clouds], CAM)
    assert running.set(points__rate=5.0) == []
    _, before = counters(graph, collect)
    clouds.clear()
    with Film(source, 40) as film:
        time.sleep(3)
    _, values = counters(graph, collect)
    assert len(clouds) == pytest.approx(5 * len(film.sent) / 40, rel=0.05, abs=2)
    assert int(values['published']) - int(before['published']) == len(clouds)
    assert int(values['limited']) > 0.6 * len(film.sent)


def test_a_bag_that_starts_over_goes_on(node, source, collect):
    running = node()
    depths = collect(Image, 'depth/image')
    source.answer(depths, CAM)
    assert running.set(rate=10.0) == []
    source.stamp_ns -= 3600 * 10**9
    started = source.stamp_ns
    message = source.answer(depths, CAM, period_ns=200_000_000)
    assert started < nanoseconds(message.header.stamp) <= source.stamp_ns


def test_nothing_is_computed_that_nobody_listens_to(node, source, collect, graph):
    node()
    source.ready()
    with Film(source, 30):
        time.sleep(1.5)
        _, values = counters(graph, collect)
    assert int(values['published']) == 0 and int(values['unwatched']) > 10


def test_vga_arrives_at_30_hz(node, source, collect):
    cam = camera(640, 480)
    node(model='flat_wall')
    depths, clouds = (
        collect(Image, 'depth/image', depth=200),
        collect(PointCloud2, 'points', depth=200),
    )
    source.answer([depths, clouds], cam)
    depths.clear()
    with Film(source, 30, cam) as film:
        time.sleep(5)
    source.graph.wait(lambda: depths.stamped(source.stamp_ns), 'the last frame', 5)
    lost = set(film.sent) - {nanoseconds(m.header.stamp) for m in depths}
    # stock Fast DDS loses 94 % and more; on a machine busy with other things some are overtaken
    assert len(lost) <= 0.5 * len(film.sent), f'{len(lost)} of {len(film.sent)}'


def test_diagnostics_tell_what_was_chosen_and_how_it_goes(node, source, collect, graph):
    node(model='flat_wall', rate=20.0)
    depths = collect(Image, 'depth/image')
    source.answer(depths, CAM)
    with Film(source, 30):
        time.sleep(2.5)
        status, values = counters(graph, collect)
    assert status.level == status.OK and status.message == 'active'
    assert (
        values['model'] == 'flat_wall'
        and values['device'] == 'cpu'
        and values['precision'] == 'fp32'
    )
    assert values['licence'] == 'Apache-2.0' and values['scaling'] == 'as_is'
    assert float(values['rate [Hz]']) == pytest.approx(20, rel=0.1)
    assert {'latency p50 [ms]', 'latency p99 [ms]', 'dropped', 'limited'} <= set(values)


def test_deactivated_it_is_silent_and_activated_it_goes_on(node, source, collect, graph):
    running = node()
    depths = collect(Image, 'depth/image')
    source.answer(depths, CAM)
    assert running.change(Transition.TRANSITION_DEACTIVATE)
    graph.wait(lambda: not source.images.get_subscription_count(), 'the subscription to end')
    depths.clear()
    source.send(CAM)
    time.sleep(0.5)
    assert not depths
    assert running.change(Transition.TRANSITION_ACTIVATE)
    source.answer(depths, CAM)


def test_size_changes_in_mid_stream(node, source, collect):
    node()
    depths, clouds = collect(Image, 'depth/image'), collect(PointCloud2, 'points')
    for cam in (CAM, camera(80, 60, 90), camera(48, 64), CAM):
        depth, cloud = source.answer([depths, clouds], cam)
        assert (depth.width, depth.height) == (cam.width, cam.height)
        assert cloud.width == (cam.width // 2) * (cam.height // 2)
        assert depth_of(depth).shape == cam.size


def test_camera_info_that_comes_after_its_image_is_waited_for(node, source, collect, graph):
    node()
    infos = collect(CameraInfo, 'depth/camera_info')
    source.answer(infos, CAM)
    other = camera(
        128, 96, 100
    )  # same aspect, another lens: scaling the old intrinsics would be wrong
    source.stamp_ns += 10**9
    source.images.publish(image(noise(other), source.stamp_ns))
    source.infos.publish(info(other, source.stamp_ns))
    message = graph.wait(lambda: infos.stamped(source.stamp_ns), 'camera_info')
    assert message.k[0] == pytest.approx(other.fx)


@pytest.mark.parametrize('publisher', ['reliable', 'best_effort'])
@pytest.mark.parametrize('listener', ['reliable', 'best_effort'])
def test_every_quality_of_service_connects(node, graph, collect, publisher, listener):
    node()
    source = Source(graph, publisher)
    try:
        depths, clouds = (
            collect(Image, 'depth/image', listener),
            collect(PointCloud2, 'points', listener),
        )
        source.answer([depths, clouds], CAM)
        subscriptions = graph.node.get_subscriptions_info_by_topic('/image')
        graph.wait(
            lambda: (
                [
                    i.qos_profile.reliability.name.lower()
                    for i in graph.node.get_subscriptions_info_by_topic('/image')
                ]
                == [publisher]
            ),
            f'the subscription to become {publisher}, as the publisher; was {subscriptions}',
        )
    finally:
        source.close()


def resident_mb(process):
    with open(f'/proc/{process.process.pid}/status') as status:
        return next(int(line.split()[1]) for line in status if line.startswith('VmRSS')) / 1024


def test_cleanup_frees_the_network(node, process):
    node(model='fake_big')
    loaded = resident_mb(process)
    assert process.change(Transition.TRANSITION_DEACTIVATE)
    assert process.change(Transition.TRANSITION_CLEANUP)
    assert resident_mb(process) < loaded - 200  # of 256


@pytest.mark.parametrize('case', ['other frame, same stamps', 'other size, own stamps', 'latched'])
def test_a_camera_info_that_fits_badly_does_not_hold_up_30_hz(node, source, collect, case):
    running = node()
    depths = collect(Image, 'depth/image')
    source.answer(depths, CAM)
    running.restart()  # what was heard before is forgotten
    depths.clear()
    source.ready()
    if case == 'latched':
        source.infos.publish(info(CAM, 1))
    elif case == 'other size, own stamps':
        source.infos.publish(info(CAM.resized(128, 96), 1))
    stamps = []
    for _ in range(60):
        source.stamp_ns += 33_333_333
        stamps.append(source.stamp_ns)
        if case == 'other frame, same stamps':
            source.infos.publish(info(CAM, source.stamp_ns, 'another_optical_frame'))
        source.images.publish(image(noise(CAM), source.stamp_ns))
        time.sleep(1 / 30)
    # a wait that each image renews would let one through; a wait for each image, 10 a second
    assert len(depths) > 40


def test_a_lasting_error_does_not_flicker_while_frames_are_left_out(node, source, collect, graph):
    running = node()
    collect(Image, 'depth/image')
    assert running.set(rate=2.0) == []
    source.ready()
    reports = collect(DiagnosticArray, '/diagnostics')
    uncalibrated = info(CAM, 0)
    uncalibrated.k = [0.0] * 9

    def send_until(seen):
        source.stamp_ns += 33_333_333
        uncalibrated.header.stamp = image(noise(CAM), source.stamp_ns).header.stamp
        source.infos.publish(uncalibrated)
        source.images.publish(image(noise(CAM), source.stamp_ns))
        time.sleep(0.03)
        return seen()

    def levels():
        return [s.level for m in list(reports) for s in m.status if s.name.endswith('camera')]

    error = b'\x02'
    graph.wait(lambda: send_until(lambda: error in levels()), 'the error to be reported')
    del reports[:]
    graph.wait(lambda: send_until(lambda: len(reports) >= 3), 'three more reports')
    assert set(levels()) == {error}


def test_a_camera_slower_than_the_rate_is_no_overload(node, source, collect, graph):
    node(rate=50.0)
    depths = collect(Image, 'depth/image')
    source.answer(depths, CAM)
    with Film(source, 10):
        time.sleep(2)
        status, _ = counters(graph, collect)
    assert status.message == 'active'


def test_interrupted_in_mid_inference_it_ends_cleanly(graph, collect):
    process = NodeProcess(graph, name='interrupted', model='fake_slow2')
    source = Source(graph)
    try:
        process.said('listening to')
        collect(Image, 'depth/image')
        source.ready()
        graph.wait(
            lambda: (source.send(CAM), time.sleep(0.05), 'camera 64x48' in process.log)[-1],
            'a frame',
        )
    finally:
        source.close()
        process.process.send_signal(signal.SIGINT)
        time.sleep(0.3)  # it waits for the network; people press the keys again
        code = process.stop()
    assert code == 0 and 'Traceback' not in process.log and 'RCLError' not in process.log


def test_in_a_namespace_everything_is_in_it(graph, collect):
    process = NodeProcess(graph, '-r', '__ns:=/front', name='spaced', model='fake_red')
    source = Source(graph, topic='/front/image', info='/front/camera_info')
    try:
        process.said('listening to /front/image and /front/camera_info')
        source.answer(collect(PointCloud2, '/front/points'), CAM)
    finally:
        source.close()
        assert process.stop() == 0
