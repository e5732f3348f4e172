# SPDX-License-Identifier: Apache-2.0
"""A bag that `depth-ros run` wrote, played into a real graph, message by message as it is."""

import time

import numpy as np
import pytest
from graph import depth_of, nanoseconds, points_of
from sensor_msgs.msg import CameraInfo, Image, PointCloud2

from depth_ros.cli import main

pytest.importorskip('rosbags', reason='rosbags is not installed')

KINDS = {
    '/camera/image_raw': Image,
    '/camera/camera_info': CameraInfo,
    '/depth/image': Image,
    '/depth/camera_info': CameraInfo,
    '/points': PointCloud2,
}


@pytest.fixture
def made(tmp_path):
    """A bag with noise, and its depth by nano."""
    from bag_writer import Written

    rng = np.random.default_rng(0)
    with Written(tmp_path / 'some') as bag:
        for k in range(3):
            rgb = rng.integers(0, 256, (120, 160, 3), np.uint8)
            bag.info('/camera/camera_info', 50 + 0.1 * k, 'optical', (160, 120), 140.0)
            bag.image('/camera/image_raw', 50 + 0.1 * k, 'optical', rgb)
    command = ['run', str(tmp_path / 'some'), '--model', 'nano', '--write', 'bag']
    assert main([*command, '--output', str(tmp_path)]) == 0
    return tmp_path / 'some_depth'


def play(graph, bag, publishers, until):
    """Publish the bytes of the bag again and again, until enough has arrived."""
    from rosbags.highlevel import AnyReader

    def once():
        with AnyReader([bag]) as reader:
            recorded = [(c.topic, bytes(raw)) for c, _, raw in reader.messages()]
        for topic, raw in recorded:
            if topic in publishers:
                publishers[topic].publish(raw)
                time.sleep(0.05)
        return until()

    graph.wait(once, 'the messages of the bag')


def test_consumers_get_what_is_in_the_bag_and_the_node_computes_the_same(
    graph, made, node, collect
):
    node(model='nano')
    from_node = collect(Image, 'depth/image')
    clouds_of_node = collect(PointCloud2, 'points')
    # the bag's own depth, as a consumer of a played bag gets it
    played = {topic: collect(kind, f'/played{topic}') for topic, kind in KINDS.items()}
    publishers = {topic: graph.publisher(kind, f'/played{topic}') for topic, kind in KINDS.items()}
    stamps = [round((50 + 0.1 * k) * 1e9) for k in range(3)]
    play(
        graph,
        made,
        publishers,
        lambda: all(received.stamped(s) for received in played.values() for s in stamps),
    )
    inputs = {
        '/camera/image_raw': graph.publisher(Image, 'image'),
        '/camera/camera_info': graph.publisher(CameraInfo, 'camera_info'),
    }
    play(
        graph,
        made,
        inputs,
        lambda: all(r.stamped(s) for r in (from_node, clouds_of_node) for s in stamps),
    )
    for stamp in stamps:
        depth, ours = played['/depth/image'].stamped(stamp), from_node.stamped(stamp)
        assert depth.header == ours.header and nanoseconds(depth.header.stamp) == stamp
        np.testing.assert_allclose(depth_of(depth), depth_of(ours), rtol=1e-5)
        info = played['/depth/camera_info'].stamped(stamp)
        assert info.header == depth.header and info.k[0] == 140
        cloud = played['/points'].stamped(stamp)
        np.testing.assert_allclose(
            points_of(cloud)[..., :3], points_of(clouds_of_node.stamped(stamp))[..., :3], rtol=1e-5
        )
        image = played['/camera/image_raw'].stamped(stamp)
        assert image.header == depth.header and len(image.data) == 160 * 120 * 3
    for publisher in (*publishers.values(), *inputs.values()):
        graph.node.destroy_publisher(publisher)
