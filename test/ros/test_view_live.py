# SPDX-License-Identifier: Apache-2.0
"""`depth-ros view` of a running node, over DDS; its file is read by Rerun's own reader."""

import signal
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from forked import Forked
from graph import NodeProcess, Source, camera, depth_of, header, nanoseconds, points_of
from sensor_msgs.msg import Image, PointCloud2, Range

from depth_ros.ros.live import Stream

recording = pytest.importorskip('recording', reason='rerun-sdk is not installed')


@pytest.fixture
def start(graph):
    """`start(...)`: a node that is alone, until the end of the test."""
    made = []

    def start(*words, **parameters):
        made.append(NodeProcess(graph, *words, **parameters))
        return made[-1]

    yield start
    for process in made:
        assert process.stop() == 0, process.log


class Shown:
    """`depth-ros view --save`."""

    def __init__(self, graph, file, *words):
        self.graph, self.file = graph, file
        self.process = Forked('depth_ros.cli', 'view', '--save', str(file), *words)

    def said(self, text):
        def there():
            assert self.process.poll() is None, self.process.log
            return text in self.process.log

        self.graph.wait(there, f'{text!r} from the viewer', 90.0)

    def rows(self, path):
        """What is in the file so far."""
        try:
            return recording.Rrd(self.file).entities.get(path, ())
        except (OSError, ValueError, RuntimeError):  # half of something is there
            return ()

    def has(self, path):
        """Number of images in the file so far."""
        return len(self.rows(path))

    def gets(self, source, cam, count, path='/camera/camera/image', **kw):
        """Send images until so many more are in the file, which those without depth are not."""
        before = self.has(path)
        source.send_until(lambda: self.has(path) >= before + count, 'depth in the file', cam, **kw)

    def end(self, number=signal.SIGINT):
        """The file, after Ctrl-C."""
        self.process.send_signal(number)
        assert self.process.wait(30) == 0, self.process.log
        assert 'Traceback' not in self.process.log, self.process.log
        recording.verify(self.file)
        return recording.Rrd(self.file)


def test_a_node_is_shown_with_its_stamps_values_and_camera(
    graph, start, source, collect, tmp_path
):
    cam = camera(160, 120)
    depths, clouds = collect(Image, 'depth/image'), collect(PointCloud2, 'points')
    start(model='fake_holes', points__stride=2)
    shown = Shown(graph, tmp_path / 'x.rrd')
    shown.said('showing camera')
    shown.gets(source, cam, 10)
    rrd = shown.end()
    stamps = rrd.stamps_ns('/camera/camera/depth')
    for stamp, z in zip(stamps[-5:], rrd.depth('/camera/camera/depth')[-5:], strict=True):
        np.testing.assert_array_equal(z, depth_of(depths.stamped(stamp)))
    assert np.isnan(z[0]).all() and np.isposinf(z[2]).all()
    of_clouds = rrd.stamps_ns('/camera/points')[-3:], rrd.points('/camera/points')[-3:]
    for stamp, points in zip(*of_clouds, strict=True):
        expected = points_of(clouds.stamped(stamp)).reshape(-1, 4)
        np.testing.assert_array_equal(points, expected[:, :3])
    images = rrd.stamps_ns('/camera/camera/image')
    assert len(images) >= 3 and set(images) <= set(stamps), 'only images that have depth'
    matrix = np.reshape(
        rrd.entities['/camera/camera'][0]['Pinhole:image_from_camera'].as_py(), (3, 3)
    ).T
    expected = [[cam.fx, 0, cam.cx + 0.5], [0, cam.fy, cam.cy + 0.5], [0, 0, 1]]
    np.testing.assert_allclose(matrix, expected, rtol=1e-6)
    medians = rrd.figures('/camera/depth/median')
    assert medians[-1] == pytest.approx(np.median(z[np.isfinite(z)]))
    assert '| model | fake_holes |' in str(rrd.entities['/camera/about'][-1]['TextDocument:text'])


def test_a_node_that_starts_again_goes_on_being_shown(graph, start, source, collect, tmp_path):
    cam, depths = camera(64, 48), collect(Image, 'depth/image')
    shown = Shown(graph, tmp_path / 'x.rrd')
    shown.said('waiting for a depth_node: none has reported on /diagnostics (0 publishers)')
    for _ in range(2):
        process = start(model='fake_red')
        shown.said('showing camera')

        def has_five():
            of_this_node = {nanoseconds(message.header.stamp) for message in list(depths)}
            in_file = {row['stamp'].value for row in shown.rows('/camera/camera/depth')}
            return len(of_this_node & in_file) >= 5

        source.send_until(has_five, 'depth of this node in the file', cam)
        assert process.stop() == 0, process.log
        depths.clear()
    found = shown.end(signal.SIGTERM).stamps_ns('/camera/camera/depth')
    assert found == sorted(found)


def test_it_says_what_it_waits_for(graph, start, source, tmp_path):
    cam = camera(64, 48)
    start(model='fake_red', patience=0.5)
    shown = Shown(graph, tmp_path / 'x.rrd')
    shown.said(
        'nothing to show for 3 s: waiting for /depth/image (1 publisher), /depth/camera_info (1 '
        'publisher), /points (1 publisher). The node says: ERROR: '
    )
    shown.gets(source, cam, 1)
    shown.said('camera: depth arrives')
    rrd = shown.end()
    lines = [row['TextLog:text'][0].as_py() for row in rrd.entities['/camera/log']]
    assert any(line.startswith('nothing to show for 3 s') for line in lines)
    assert any(line.startswith('camera: ') for line in lines), 'and what diagnostics say'


def test_cameras_in_a_namespace_with_other_names(graph, start, tmp_path):
    cam = camera(64, 48)
    words = ['-r', '__ns:=/robot', '-r', 'right/image:=/eye/picture', '-r', 'right/points:=/cloud']
    start(*words, model='fake_red', cameras='[left, right]')
    sources = [
        Source(graph, topic='/robot/left/image', info='/robot/left/camera_info'),
        Source(graph, topic='/eye/picture', info='/robot/right/camera_info'),
    ]
    elsewhere = Shown(graph, tmp_path / 'y.rrd', '--namespace', '/elsewhere')
    shown = Shown(
        graph, tmp_path / 'x.rrd', '--namespace', 'robot', '--remap', 'right/points:=/cloud'
    )
    shown.said('showing robot/right: /robot/right/depth/image')
    elsewhere.said('waiting for a depth_node in namespace /elsewhere')
    elsewhere.said('there is one in /robot')
    for each in sources:
        name = 'left' if each is sources[0] else 'right'
        shown.gets(each, cam, 5, f'/robot/{name}/camera/image')
        each.close()
    rrd = shown.end()
    assert not [name for name in elsewhere.end().entities if 'camera' in name]
    for name in ('left', 'right'):
        assert len(rrd.depth(f'/robot/{name}/camera/depth')) >= 3
        assert len(rrd.images(f'/robot/{name}/camera/image')) >= 3
        assert len(rrd.points(f'/robot/{name}/points')) >= 3


def test_the_lens_is_removed_from_the_image_too(graph, start, source, tmp_path):
    """A circle far from the middle is where the node's undistorted image has it."""
    cam = replace(camera(160, 120), distortion_model='plumb_bob', distortion=(-0.3, 0, 0, 0, 0))
    rgb = np.full((120, 160, 3), 40, np.uint8)
    rgb[5:40, 5:50] = 200
    start(model='fake_red')
    shown = Shown(graph, tmp_path / 'x.rrd')
    shown.said('showing camera')
    shown.gets(source, cam, 10, rgb=rgb)
    rrd = shown.end()
    image = rrd.images('/camera/camera/image')[-1][..., 0].astype(int)
    z = rrd.depth('/camera/camera/depth')[-1]  # of the red of the undistorted image
    known = np.isfinite(z)
    assert np.abs(image / 10 + 0.5 - z)[known].mean() < 0.2
    assert np.abs(rgb[..., 0] / 10 + 0.5 - z)[known].mean() > 0.4


def test_the_scale_by_anchors_is_shown(graph, start, source, tmp_path):
    cam = camera(64, 48)
    ranges = graph.publisher(Range, 'anchors/range')
    start(
        model='fake_scale_invariant', scaling__method='anchors',
        anchors__sources='[range]', anchors__range__pose='[0.0, 0.0, 0.0, 0.5, -0.5, 0.5, 0.5]',
    )  # fmt: skip
    shown = Shown(graph, tmp_path / 'x.rrd')
    shown.said('showing camera')

    def measured():
        beam = Range(header=header(source.stamp_ns), field_of_view=0.3, range=4.0)
        beam.min_range, beam.max_range = 0.1, 10.0
        ranges.publish(beam)
        return shown.has('/camera/scale/upper') > 5 and shown.has('/camera/camera/depth') > 5

    red = np.full((48, 64, 3), 15, np.uint8)  # 2 of the network
    source.send_until(measured, 'a scaled depth', cam, rgb=red)
    rrd = shown.end()
    graph.node.destroy_publisher(ranges)
    assert rrd.figures('/camera/scale/value')[-1] == pytest.approx(2, rel=0.05)
    measured_at = [r['stamp'].value for r in rrd.entities['/camera/scale/upper'] if 'stamp' in r]
    assert {*measured_at} & {*rrd.stamps_ns('/camera/camera/depth')}
    assert 0 < rrd.figures('/camera/spread/percent')[-1] < 50


def test_what_counts_seconds_is_said_once(graph):
    told = []
    screen = SimpleNamespace(tell=lambda *words, **kw: told.append(words[1]))
    stream = Stream(graph.node, screen, 'camera', 'nowhere/')
    for text in ('no output for 12 s', 'no output for 13.5 s', 'no image'):
        stream.hear(DiagnosticStatus(name='/n: depth', level=DiagnosticStatus.ERROR, message=text))
    assert told == ['depth: no output for 12 s', 'depth: no image']
    assert stream.why == 'ERROR: no image'
    assert stream.silence(stream.last_s + 1) == ''
    assert stream.silence(stream.last_s + 4).endswith('The node says: ERROR: no image')
    stream.close()
