# SPDX-License-Identifier: Apache-2.0
"""A frame begun before the last one is sent, as on a GPU, by a node that is made to on a CPU."""

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
        depths, clouds, _ = got.values()
        with Film(source, 50) as film:
            graph.wait(lambda: len(depths) > 20, 'twenty frames', 60)
        last = max(film.sent)

        def complete():
            newest = [nanoseconds(messages[-1].header.stamp) for messages in got.values()]
            return len(set(newest)) == 1 and newest[0] >= last - 10**8

        # nothing is kept back for a frame that does not come
        graph.wait(complete, 'the last frame')
        stamps = [nanoseconds(message.header.stamp) for message in depths]
        assert stamps == sorted(set(stamps))
        order = list(film.sent)
        at = {nanoseconds(cloud.header.stamp): cloud for cloud in clouds}
        both = [d for d in depths if nanoseconds(d.header.stamp) in at.keys() & film.sent.keys()]
        assert len(both) > 5  # of some a busy machine may lose one
        for depth in both:
            cloud = at[nanoseconds(depth.header.stamp)]
            red = order.index(nanoseconds(depth.header.stamp)) % 256
            assert np.allclose(depth_of(depth), red / 10 + 0.5)
            z = np.frombuffer(cloud.data, np.float32).reshape(-1, 4)[:, 2]
            assert np.allclose(z, red / 10 + 0.5)
    finally:
        source.close()
        assert running.stop() == 0, running.log
