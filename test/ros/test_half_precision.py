# SPDX-License-Identifier: Apache-2.0
"""Half precision is compared with fp32 at the size of the camera that runs."""

import threading

import pytest
from graph import UNCONFIGURED, NodeProcess, Source, camera
from lifecycle_msgs.msg import Transition


@pytest.mark.parametrize('there', [True, False])
def test_the_comparison_is_at_the_size_of_the_running_camera(graph, there):
    source, halt = Source(graph, 'best_effort'), threading.Event()

    def run():
        while not halt.wait(0.05):
            source.send(camera(200, 150))

    film = threading.Thread(target=run)
    if there:
        film.start()
    node = NodeProcess(graph, model='nano', precision='bf16', autostart=False)
    try:
        # an answer shows that node and camera know each other, which takes DDS up to 3 s; a node
        # that configures at once waits for a camera_info no longer than a second
        assert node.state == UNCONFIGURED
        assert node.configure() and node.change(Transition.TRANSITION_ACTIVATE)
        node.said('% from fp32')
        size = '200x150' if there else '640x480'
        assert f'on a trial image of {size}' in node.log
        node.said('listening to')
    finally:
        halt.set()
        if there:
            film.join()
        source.close()
        assert node.stop() == 0, node.log
