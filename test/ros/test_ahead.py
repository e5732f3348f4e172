# SPDX-License-Identifier: Apache-2.0
"""A frame begun before the last one is sent, as on a GPU, by a node that is made to on a CPU."""

import time

import numpy as np
from graph import NodeProcess, Source, camera, depth_of, nanoseconds
from sensor_msgs.msg import Image, PointCloud2
from test_newest import Film

CAM = camera(64, 48)


def test_a_frame_begun_before_the_last_is_sent_changes_neither(graph, monkeypatch, collect):
    monkeypatch.setenv('AHEAD', '1')
    running = NodeProcess(graph, model='fake_slow0.1', points__organized=False)
    source = Source(graph)
    try:
        kinds = {'depth/image': Image, 'points': PointCloud2, 'depth/colorized': Image}
        got = {topic: collect(kind, topic) for topic, kind in kinds.items()}
        source.answer(list(got.values()), CAM)
        with Film(source, 50) as film:
            time.sleep(3)
        last = max(film.sent)
        depths, clouds, _ = got.values()

        def complete():
            newest = [nanoseconds(messages[-1].header.stamp) for messages in got.values()]
            return len(set(newest)) == 1 and newest[0] >= last - 10**8

        # nothing is kept back for a frame that does not come
        graph.wait(complete, 'the last frame')
        stamps = [nanoseconds(message.header.stamp) for message in depths]
        assert stamps == sorted(set(stamps)) and len(stamps) > 15
        order = list(film.sent)
        for depth, cloud in zip(depths[-10:], clouds[-10:], strict=True):
            assert depth.header == cloud.header
            red = order.index(nanoseconds(depth.header.stamp)) % 256
            assert np.allclose(depth_of(depth), red / 10 + 0.5)
            z = np.frombuffer(cloud.data, np.float32).reshape(-1, 4)[:, 2]
            assert np.allclose(z, red / 10 + 0.5)
    finally:
        source.close()
        assert running.stop() == 0, running.log
