# SPDX-License-Identifier: Apache-2.0
"""Random messages over DDS through one node: it stays, and publishes what is right or nothing."""

import re
from dataclasses import fields

import cv2
import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from graph import (
    NodeProcess,
    Source,
    camera,
    depth_of,
    header,
    image,
    info,
    nanoseconds,
    points_of,
)
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2

from depth_ros.core.errors import ImageError
from depth_ros.messages.images import to_rgb
from depth_ros.ros.statistics import Counters

pytest.importorskip('hypothesis', reason='hypothesis comes with the extra test')

from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from test_random_messages import USUAL, Rooms, camera_infos, compressed_images, raw_images

#: the same at every run; a failure is not made smaller, for the node has changed meanwhile
EACH = settings(max_examples=250, derandomize=True, phases=[Phase.generate], **USUAL)
COUNTERS = [field.name for field in fields(Counters)]
HEIGHT, WIDTH = 6, 8  #: of the images that are right


@pytest.fixture(scope='module')
def process(graph, one_gate):
    """The one node; its diagnostics come every 10 ms."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('REPORTS_OFTEN', '1')
        process = NodeProcess(graph, autostart=False)
    yield process
    assert process.stop() == 0, process.log


class Driver:
    """A camera driver that knows what became of each image.

    Stamps and frame_ids are never used twice, so that no other camera_info is taken for an image.
    """

    def __init__(self, graph, collect, message_type, topic):
        self.graph, self.topic = graph, topic
        self.source = Source(graph, topic=topic, kind=message_type)
        self.depths = collect(Image, 'depth/image', depth=1000)
        self.infos = collect(CameraInfo, 'depth/camera_info', depth=1000)
        self.clouds = collect(PointCloud2, 'points', depth=1000)
        self.reports = collect(DiagnosticArray, '/diagnostics')
        self.sent = 0

    @property
    def refusal(self):
        """Why the latest image has no depth, as diagnostics show it; '' if it has."""
        status = self.reports[-1].status[0]
        return status.message if status.level == DiagnosticStatus.ERROR else ''

    @property
    def counters(self):
        values = {value.key: value.value for value in self.reports[-1].status[1].values}
        return {name: int(values[name]) for name in COUNTERS}

    def settled(self, received):
        """The counters when `received` images have come and none is on its way."""
        return self.graph.wait(
            lambda: (
                (now := self.counters)['received'] >= received
                and now['received'] == sum(now[name] for name in COUNTERS[1:])
                and now
            ),
            f'image {received} to be counted',
        )

    def send(self, message, described):
        """Publish both; the stamp."""
        self.sent += 1
        self.source.stamp_ns += 33_333_333
        frame_id = f'camera_{self.sent}_optical_frame'
        message.header = described.header = header(self.source.stamp_ns, frame_id)
        self.source.infos.publish(described)
        self.source.images.publish(message)
        return self.source.stamp_ns

    def connect(self):
        """Send right images until the node listens to both topics as reliable."""
        rgb = np.full((HEIGHT, WIDTH, 3), 100, np.uint8)
        reliable = {f'reliability {self.topic}', 'reliability camera_info'}
        self.source.ready()

        def connected():
            cam = camera(WIDTH, HEIGHT, 40 + self.sent % 50)
            message = image(rgb, 0)
            if self.topic != 'image':
                message = CompressedImage(
                    format='png', data=cv2.imencode('.png', rgb)[1].tobytes()
                )
            stamp_ns = self.send(message, info(cam, 0))
            try:
                came = self.graph.wait(lambda: self.infos.stamped(stamp_ns), 'depth', 0.5)
            except AssertionError:
                return False
            listening = {v.key for v in self.reports[-1].status[0].values if v.value == 'reliable'}
            # it may have been subscribed again since the image before
            return np.isclose(came.k[0], cam.fx) and reliable <= listening

        self.graph.wait(lambda: self.reports, 'diagnostics')
        self.graph.wait(connected, 'the node to be connected')
        seen = len(self.reports)
        self.graph.wait(lambda: len(self.reports) > seen + 2, 'diagnostics that count it')
        self.settled(1)

    def check(self, stamp_ns, frame, valid):
        """The depth is that of this image, with its camera."""
        wanted = self.depths, self.infos, self.clouds
        depth, described, cloud = (
            self.graph.wait(lambda r=r: r.stamped(stamp_ns), r.subscription.topic_name)
            for r in wanted
        )
        expected = frame.rgb[..., 0].numpy() / np.float32(10) + np.float32(0.5)  # fake_red
        if valid is not None:
            expected = np.where(valid.numpy(), expected, np.nan)
        np.testing.assert_allclose(depth_of(depth), expected, atol=1e-5)
        cam, z = frame.camera, expected[::2, ::2]
        assert (described.width, described.height) == (cam.width, cam.height)
        assert np.allclose(described.k, [cam.fx, 0, cam.cx, 0, cam.fy, cam.cy, 0, 0, 1])
        assert np.allclose(points_of(cloud)[0, :, 2], z[np.isfinite(z)])
        frame_id = f'camera_{self.sent}_optical_frame'
        assert {m.header.frame_id for m in (depth, described, cloud)} == {frame_id}
        for received in wanted:
            received.clear()


@pytest.mark.parametrize(
    ('transport', 'message_type', 'topic', 'messages'),
    [
        ('raw', Image, 'image', raw_images()),
        ('compressed', CompressedImage, 'image/compressed', compressed_images()),
    ],
    ids=['Image', 'CompressedImage'],
)
def test_each_random_message_is_published_right_or_refused(
    graph, node, collect, transport, message_type, topic, messages
):
    process = node(image_transport=transport, patience=3600.0)
    driver, rooms = Driver(graph, collect, message_type, topic), Rooms()
    sent, kinds = [], set()
    try:
        driver.connect()
        began = driver.counters

        @EACH
        @given(messages | messages.filter(size_of), st.data())
        def send(message, data):
            message = as_received(message)
            size = size_of(message)
            described = as_received(data.draw(camera_infos(*(size or (HEIGHT, WIDTH))[::-1])))
            outcome = rooms.decode(message)  # not before: `draw` may end the example
            before = driver.counters
            stamp_ns = driver.send(message, described)
            if size:
                outcome = rooms.frame(message, described, outcome)
            sent.append((message, described, size))
            now = driver.settled(before['received'] + 1)
            grown = {
                name: now[name] - before[name] for name in COUNTERS if now[name] != before[name]
            }
            if isinstance(outcome, Exception):
                assert grown == {'received': 1, 'failed': 1}
                graph.wait(lambda: driver.refusal == str(outcome), f'the reason {outcome}')
                kinds.add(kind(str(outcome)))
            else:
                assert grown == {'received': 1, 'published': 1}
                driver.check(stamp_ns, *outcome)

        send()
        now = driver.counters
        assert now['received'] - began['received'] == len(sent) >= 250
        for name in ('published', 'failed'):  # neither is rare
            assert now[name] - began[name] > len(sent) / 20
        graph.wait(lambda: all(k in kind(process.log) for k in kinds), 'the reasons in the log')
        flood(driver, sent)
        assert process.process.poll() is None, process.log
    finally:
        driver.source.close()


def flood(driver, sent):
    """The same again without waiting: each image that came is counted once."""
    began = driver.counters
    sizes = {driver.send(message, described): size for message, described, size in sent}
    driver.connect()  # what comes now was sent later
    now = driver.counters
    assert sum(now[name] for name in COUNTERS[1:]) == now['received'] > began['received']
    # a writer keeps one message: of many at once a busy reader may miss some
    assert now['published'] - began['published'] >= len(driver.depths) > 0
    for depth in driver.depths:
        size = sizes.get(nanoseconds(depth.header.stamp), (HEIGHT, WIDTH))
        assert depth_of(depth).shape == size
        described = driver.infos.stamped(nanoseconds(depth.header.stamp))
        if described is not None:
            assert described.header == depth.header
            assert (described.height, described.width) == size


def size_of(message):
    """Height and width of the image; None if it cannot be decoded."""
    try:
        return to_rgb(message).shape[:2]
    except ImageError:
        return None


def as_received(message):
    """As DDS transports it: a string ends at a zero."""
    return deserialize_message(serialize_message(message), type(message))


def kind(text):
    """As the log's throttle sees it."""
    return re.sub('[0-9]+', '#', text)
