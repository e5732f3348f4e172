# SPDX-License-Identifier: Apache-2.0
"""Several cameras, one network."""

import itertools

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from graph import Source, camera, depth_of, image, info
from sensor_msgs.msg import CameraInfo, Image, PointCloud2

CAM, OTHER = camera(64, 48), camera(80, 40)


def reds(cam, red):
    """A picture of which the fake makes depth `red` / 10 + 0.5 m."""
    return np.full((*cam.size, 3), red, np.uint8)


@pytest.fixture
def rig(graph, node, collect):
    """Sources of front and left, and what is received of each, with the node started."""
    made = []

    def start(**parameters):
        process = node(cameras=['front', 'left'], **parameters)
        sources = {
            name: Source(graph, topic=f'{name}/image', info=f'{name}/camera_info')
            for name in ('front', 'left')
        }
        depths = {name: collect(Image, f'{name}/depth/image') for name in sources}
        made.extend(sources.values())
        for source in sources.values():
            source.ready()
        return process, sources, depths

    yield start
    for source in made:
        source.close()


def test_each_camera_has_its_own_topics_and_depth(rig, collect):
    _, sources, depths = rig(model='fake_red')
    infos = {name: collect(CameraInfo, f'{name}/depth/camera_info') for name in sources}
    clouds = {name: collect(PointCloud2, f'{name}/points') for name in sources}
    for name, cam, red in (('front', CAM, 10), ('left', OTHER, 40), ('front', OTHER, 20)):
        wanted = [depths[name], infos[name], clouds[name]]
        message, described, cloud = sources[name].answer(wanted, cam, reds(cam, red))
        np.testing.assert_allclose(depth_of(message), red / 10 + 0.5, rtol=1e-5)
        assert (message.height, message.width) == cam.size
        assert described.k[0] == pytest.approx(cam.fx)
        assert cloud.width * cloud.height == cam.width * cam.height / 4  # of every second one


def test_a_failing_camera_does_not_delay_the_other(rig, graph, collect):
    _, sources, depths = rig(model='fake_red', patience=1.0)
    reports = collect(DiagnosticArray, '/diagnostics')
    for name in sources:
        sources[name].answer(depths[name], CAM, reds(CAM, 10))
    sources['left'].close()

    def said(name, level):
        return any(
            status.name == f'/depth_node: {name}' and status.level == level
            for message in reports
            for status in message.status
        )

    for _ in range(5):
        sources['front'].answer(depths['front'], CAM, reds(CAM, 30))

    def left_is_missed():
        sources['front'].send(CAM, reds(CAM, 30))
        return said('left camera', b'\x02')

    graph.wait(left_is_missed, 'an error of the left camera')
    assert not said('front camera', b'\x02')


def test_a_picture_that_cannot_be_decoded_is_that_cameras_trouble_alone(rig, graph, collect):
    process, sources, depths = rig(model='fake_red')
    sources['left'].answer(depths['left'], CAM, reds(CAM, 10))
    sources['front'].answer(depths['front'], CAM, reds(CAM, 10))
    left = sources['left']
    for stamp_ns in itertools.islice(itertools.count(left.stamp_ns + 10**8, 10**8), 3):
        left.infos.publish(info(CAM, stamp_ns))
        left.images.publish(image(reds(CAM, 10), stamp_ns, encoding='64FC4'))
        sources['front'].answer(depths['front'], CAM, reds(CAM, 30))
    process.said("left: image encoding '64FC4' is not supported")


def test_a_batch_out_of_memory_is_logged_and_run_one_by_one(rig, graph):
    process, sources, depths = rig(model='fake_narrow')

    def said():
        for source in sources.values():
            source.send(CAM, reds(CAM, 30))
        return '2 cameras at once: OutOfMemoryError: CUDA out of memory' in process.log

    graph.wait(said, 'a word about it')
    for name, source in sources.items():
        source.answer(depths[name], CAM, reds(CAM, 30))
