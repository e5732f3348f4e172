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

from depth_ros.ros.inputs.newest import INFO_WAIT_S

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


def settled(source, collect, graph, depths):
    """The counters when all that was sent has been dealt with."""
    graph.wait(lambda: depths.stamped(source.stamp_ns), 'depth of the last image')
    return counted(collect, graph)


def counted(collect, graph):
    _, values = counters(graph, collect)
    names = ('received', 'dropped', 'limited', 'unwatched', 'published', 'unscaled', 'failed')
    return {name: int(values[name]) for name in names}


def film(source, collect, graph, count, hz, *outputs):
    """Send `count` images whose stamps are 1 / `hz` apart; what became of them, by the counters.

    A machine that is busy with other things loses some before `rate` is asked. They are then sent
    again, and slower: what is tested goes by the stamps.
    """
    for slower in (1, 3, 10, 30):
        before = counted(collect, graph)
        for received in outputs:
            received.clear()
        due = time.monotonic()
        for _ in range(count):
            source.send(CAM, period_ns=round(1e9 / hz))
            due += slower / hz
            time.sleep(max(0, due - time.monotonic()))
        after = counted(collect, graph)
        became = {name: after[name] - before[name] for name in after}
        if became['received'] == count and not became['dropped']:
            assert sum(became.values()) == 2 * count
            return became
    raise AssertionError(f'of {count} images, sent slowly, {became}')


def test_a_slow_network_gets_the_newest_frame_and_the_rest_is_counted(
    node, source, collect, graph, gate
):
    node(model='fake_gated')
    depths = collect(Image, 'depth/image')
    source.answer(depths, CAM)
    before = settled(source, collect, graph, depths)
    depths.clear()
    gate.shut()
    first = source.send(CAM)
    graph.wait(lambda: gate.reached, 'the network')
    for wanted in (2, 3, 4):
        last = source.send(CAM)
        graph.wait(
            lambda n=wanted: counted(collect, graph)['received'] == before['received'] + n,
            'an image to be received while the network is busy',
        )
    gate.open()
    graph.wait(lambda: depths.stamped(last), 'depth of the newest image')
    assert [nanoseconds(m.header.stamp) for m in depths] == [first, last]
    after = counted(collect, graph)
    assert after['dropped'] - before['dropped'] == 2
    assert after['published'] - before['published'] == 2


def test_services_answer_while_the_network_runs(node, source, collect, graph, gate):
    running = node(model='fake_gated')
    depths = collect(Image, 'depth/image')
    source.answer(depths, CAM)
    gate.shut()
    stamp = source.send(CAM)
    graph.wait(lambda: gate.reached, 'the network')
    # a node that infers in its callback would answer when the gate is open
    assert running.set(points__stride=3) == []
    assert running.get('points.stride') == [3]
    assert not depths.stamped(stamp)
    gate.open()
    graph.wait(lambda: depths.stamped(stamp), 'depth')


@pytest.mark.parametrize('rate', [5.0, 12.0])
def test_rate_is_kept_by_stamps(node, source, collect, graph, rate):
    running = node()
    depths = collect(Image, 'depth/image')
    source.answer(depths, CAM)
    assert running.set(rate=rate) == []
    became = film(source, collect, graph, 120, 60, depths)
    assert became['published'] == pytest.approx(rate * 120 / 60, rel=0.05, abs=1)
    assert became['published'] + became['limited'] == 120
    assert len(depths) == became['published']
    stamps = [nanoseconds(m.header.stamp) * 1e-9 for m in depths]
    assert np.diff(stamps) == pytest.approx(1 / rate, abs=1 / 60 + 1e-3)


def test_the_cloud_has_its_own_rate(node, source, collect, graph):
    running = node()
    depths, clouds = collect(Image, 'depth/image'), collect(PointCloud2, 'points')
    source.answer([depths, clouds], CAM)
    assert running.set(points__rate=5.0) == []
    became = film(source, collect, graph, 80, 40, depths, clouds)
    assert became['published'] == 80
    assert len(clouds) == pytest.approx(5 * 80 / 40, rel=0.05, abs=1)


def test_where_only_clouds_are_wanted_the_network_runs_at_their_rate(node, source, collect, graph):
    running = node()
    clouds = collect(PointCloud2, 'points')
    source.answer([clouds], CAM)
    assert running.set(points__rate=5.0) == []
    became = film(source, collect, graph, 80, 40, clouds)
    assert len(clouds) == pytest.approx(5 * 80 / 40, rel=0.05, abs=1)
    assert became['published'] == len(clouds)
    assert became['limited'] == 80 - len(clouds)


def test_a_bag_that_starts_over_goes_on(node, source, collect):
    running = node()
    depths = collect(Image, 'depth/image')
    source.answer(depths, CAM)
    assert running.set(rate=10.0) == []
    source.stamp_ns -= 3600 * 10**9
    started = source.stamp_ns
    message = source.answer(depths, CAM, period_ns=200_000_000)
    assert started < nanoseconds(message.header.stamp) <= source.stamp_ns


def test_outputs_without_subscribers_are_not_computed(node, source, collect, graph):
    node()
    source.ready()
    became = film(source, collect, graph, 20, 30)
    assert became['unwatched'] == 20 and became['published'] == 0


def test_every_vga_image_arrives_and_so_do_its_depth_and_cloud(node, source, collect, graph):
    cam = camera(640, 480)
    node(model='flat_wall')
    depths, clouds = collect(Image, 'depth/image'), collect(PointCloud2, 'points')
    source.answer([depths, clouds], cam)
    before = settled(source, collect, graph, depths)
    # at 30 Hz, or slower on a machine that is busy with other things: none is replaced by a newer
    # one, so that what is missing was lost on its way. Stock Fast DDS loses 94 % and more
    due = time.monotonic()
    for _ in range(60):
        stamp = source.send(cam)
        graph.wait(
            lambda wanted=stamp: depths.stamped(wanted) and clouds.stamped(wanted),
            'depth and cloud of one image',
        )
        due += 1 / 30
        time.sleep(max(0, due - time.monotonic()))
    after = counted(collect, graph)
    became = {name: after[name] - before[name] for name in after if after[name] > before[name]}
    assert became == {'received': 60, 'published': 60}


def test_diagnostics_report_choices_and_rates(node, source, collect, graph):
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
    assert 0 < float(values['rate [Hz]']) < 22  # less on a machine that is busy
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
    found = []
    for k in range(8):  # on a machine that is busy it may come too late for some
        # same aspect, another lens: scaling the old intrinsics would be wrong
        other = camera(128 + 16 * k, 96 + 12 * k, 100)
        source.stamp_ns += 10**9
        source.images.publish(image(noise(other), source.stamp_ns))
        source.infos.publish(info(other, source.stamp_ns))
        message = graph.wait(lambda: infos.stamped(source.stamp_ns), 'camera_info')
        found.append((message.k[0], other.fx))
        if message.k[0] == pytest.approx(other.fx):
            return
    raise AssertionError(f'focal lengths published, and right ones: {found}')


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
    sent = {}
    for _ in range(60):
        source.stamp_ns += 33_333_333
        if case == 'other frame, same stamps':
            source.infos.publish(info(CAM, source.stamp_ns, 'another_optical_frame'))
        sent[source.stamp_ns] = time.monotonic()
        source.images.publish(image(noise(CAM), source.stamp_ns))
        time.sleep(1 / 30)
    took = [
        at - sent[nanoseconds(m.header.stamp)]
        for m, at in zip(depths, depths.times[-len(depths) :], strict=True)
    ]
    # a wait that each image renews would let one through; a wait for each image takes longer
    assert sum(s < INFO_WAIT_S for s in took) > 20, took


def test_a_lasting_error_stays_while_frames_are_skipped(node, source, collect, graph):
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


@pytest.mark.parametrize(
    ('shift_s', 'words'), [(-7 * 86400, 'are 7 days behind'), (3 * 3600, 'are 3 h ahead of')]
)
def test_stamps_of_another_clock_are_a_warning_and_give_no_latency(
    node, source, collect, graph, shift_s, words
):
    running = node()
    before = len(running.lines)
    depths = collect(Image, 'depth/image')
    source.stamp_ns += shift_s * 10**9
    for _ in range(3):
        source.answer(depths, CAM)
    running.said(words, since=before)
    log = ''.join(running.lines[before:])
    assert log.count(words) == 1 and 'use_sim_time:=true and play it with --clock' in log
    _, values = counters(graph, collect)
    assert 'processing p50 [ms]' in values and 'latency p50 [ms]' not in values
    status, _ = counters(graph, collect, 'camera')
    assert status.level == status.WARN and words in status.message


def test_a_camera_slower_than_the_rate_is_no_overload(node, source, collect, graph):
    node(rate=50.0)
    depths = collect(Image, 'depth/image')
    source.answer(depths, CAM)
    with Film(source, 10):
        time.sleep(2)
        status, _ = counters(graph, collect)
    assert status.message == 'active'


def test_interrupted_during_inference_it_ends_cleanly(graph, collect):
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
