# SPDX-License-Identifier: Apache-2.0
"""What the worker does with what goes wrong."""

import gc
import logging
import threading
import weakref
from types import SimpleNamespace

import pytest
from graph import Source, camera
from sensor_msgs.msg import Image

from depth_ros.ros.process.log import Throttle
from depth_ros.ros.statistics import Statistics
from depth_ros.ros.worker import Worker, _release_frames


def test_the_same_problem_of_another_camera_is_logged():
    throttle = Throttle()
    assert throttle.due('no cam1/image for 3 s', 'cam1')
    assert not throttle.due('no cam1/image for 4 s', 'cam1')
    assert throttle.due('no cam2/image for 3 s', 'cam2')


def test_a_throttle_with_a_burst_admits_what_is_new_and_repeats_nothing(monkeypatch):
    now_s = [0.0]
    monkeypatch.setattr('time.monotonic', lambda: now_s[0])
    throttle = Throttle(burst=2)
    texts = ['f is 1', 'f is 1', 'f is 2', 'f is 3', 'g is 1']
    assert [throttle.due(text) for text in texts] == [True, False, True, False, True]
    now_s[0] = 5.0
    assert throttle.due('f is 3')


class Picture:
    """Something large."""


def test_an_error_that_is_kept_does_not_keep_pictures():
    kept = []

    def infer():
        picture = Picture()
        kept.append(weakref.ref(picture))
        try:
            raise ValueError('first')
        except ValueError as error:
            raise RuntimeError('then') from error

    def depths():
        try:
            infer()
        except RuntimeError as error:
            return [error]

    def process():
        results = depths()
        try:
            raise results[0]
        except RuntimeError as error:
            _release_frames(error)

    gc.disable()
    try:
        process()
        assert kept[0]() is None
    finally:
        gc.enable()


def test_the_log_names_the_camera_with_the_problem(node, graph, collect):
    process = node(cameras=['cam1', 'cam2'])
    for name in ('cam1', 'cam2'):
        collect(Image, f'{name}/depth/image')
        source = Source(graph, topic=f'{name}/image', info=f'{name}/camera_info')
        wanted = f"{name}: image encoding '64FC9' is not supported"
        source.send_until(
            lambda wanted=wanted: wanted in process.log, wanted, camera(), encoding='64FC9'
        )
        source.close()


class Images:
    """As `LatestImages`: an image, and another one, and the end."""

    def __init__(self, count):
        self.left, self.taken_last = count, threading.Event()

    def take(self, wait=True):
        self.left -= 1
        if self.left >= 0:
            return [(0, ['views'])]
        self.taken_last.set()
        return None

    def close(self):
        pass


@pytest.mark.parametrize(('is_ok', 'failed'), [(True, 2), (False, 0)])
def test_no_step_of_an_image_ends_the_thread(is_ok, failed, monkeypatch):
    """A signal invalidates the publishers, whose subscribers `admit` counts."""
    uncaught = []
    monkeypatch.setattr(threading, 'excepthook', uncaught.append)

    def admit(*args):
        raise RuntimeError("failed to get subscription count: publisher's context is invalid")

    context = SimpleNamespace(ok=lambda: is_ok)
    node = SimpleNamespace(get_logger=lambda: logging.getLogger('worker'), context=context)
    statistics = Statistics()
    stream = SimpleNamespace(
        name='', label='', statistics=statistics, admit=admit, overlaps_inference=False
    )
    pipeline = SimpleNamespace(snapshot=None, device=SimpleNamespace(type='cpu'))
    images = Images(2)
    worker = Worker(node, [stream], images, pipeline)
    assert worker.stop(10)
    assert not uncaught and images.taken_last.is_set()
    assert statistics.counters.failed == failed
