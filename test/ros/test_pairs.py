# SPDX-License-Identifier: Apache-2.0
"""The newest pair of images, never a queue."""

import threading
import time

import numpy as np
import pytest
from graph import camera, image, info, nanoseconds

from depth_ros.ros.inputs import newest
from depth_ros.ros.inputs.newest import LatestImage, LatestImages
from depth_ros.ros.inputs.pairs import LatestPair
from depth_ros.ros.statistics import Counters

CAM = camera(8, 6)
RGB = np.zeros((6, 8, 3), np.uint8)
MS = 1_000_000


@pytest.fixture
def slot():
    slot = LatestPair(Counters(), 0.01)
    for side in (0, 1):
        slot.put_info(info(CAM, 0), side)
    return slot


def put(slot, side, *stamps_ms):
    for stamp in stamps_ms:
        slot.put_image(image(RGB, stamp * MS), side)


def taken(slot):
    """Stamps of what is taken [ms]; the waiting ends when there is nothing."""
    images = LatestImages([slot])
    closing = threading.Timer(0.3, images.close)
    closing.start()
    fresh = images.take()
    closing.cancel()
    if fresh is None:
        return None
    ((_, views),) = fresh
    return [nanoseconds(view.image.header.stamp) // MS for view in views]


def test_the_newest_two_that_agree_are_taken_and_older_ones_forgotten(slot):
    put(slot, 0, 100, 200, 300)
    put(slot, 1, 103, 207, 420)
    assert taken(slot) == [200, 207]
    assert slot.counters.received == 3 and slot.counters.dropped == 1
    put(slot, 1, 305)  # another overtook it
    assert taken(slot) is None


def test_after_time_went_back_pairs_are_of_the_new_run(slot):
    put(slot, 0, 5000, 5100)
    put(slot, 1, 5300)
    put(slot, 0, 100)
    put(slot, 1, 102)
    assert slot.counters.dropped == 2
    assert taken(slot) == [100, 102]


def test_a_camera_one_period_late_is_still_paired(slot):
    put(slot, 0, 100)
    for k in range(2, 8):
        put(slot, 0, 100 * k)
        put(slot, 1, 100 * (k - 1) + 2)
        assert taken(slot) == [100 * (k - 1), 100 * (k - 1) + 2]


def test_a_pair_waits_for_the_camera_info_of_both():
    slot = LatestPair(Counters(), 0.01)
    put(slot, 0, 100)
    put(slot, 1, 100)
    slot.put_info(info(CAM, 0), 0)
    threading.Timer(0.05, lambda: slot.put_info(info(CAM, 0), 1)).start()
    assert taken(slot) == [100, 100]


def test_stamps_that_never_agree_are_explained(slot):
    put(slot, 0, 100)
    put(slot, 1, 150)
    assert slot.why_none() == ''  # it may still come
    put(slot, 0, 200, 300, 400)
    put(slot, 1, 250, 350, 450)
    assert taken(slot) is None
    assert 'differ by 0.05 s at least, two_views.max_offset is 0.01 s' in slot.why_none()


def test_without_a_need_for_camera_info_an_image_is_taken_at_once():
    slot = LatestImage(Counters(), needs_info=False)
    slot.put_image(image(RGB, 100 * MS))
    (view,) = slot.newest()
    assert nanoseconds(view.image.header.stamp) == 100 * MS and view.info is None


def test_what_is_fresh_of_several_cameras_is_taken_without_waiting_for_the_others():
    front, left, dead = (LatestImage(Counters(), needs_info=False) for _ in range(3))
    images = LatestImages([front, left, dead])

    def stamps():
        return [(k, nanoseconds(v[0].image.header.stamp) // MS) for k, v in images.take()]

    front.put_image(image(RGB, 100 * MS))
    left.put_image(image(RGB, 101 * MS))
    left.put_image(image(RGB, 134 * MS))
    assert stamps() == [(0, 100), (1, 134)]
    assert (front.counters.dropped, left.counters.dropped) == (0, 1)
    threading.Timer(0.05, lambda: left.put_image(image(RGB, 200 * MS))).start()
    assert stamps() == [(1, 200)]


# Who may run


class Worker(threading.Thread):
    """Takes images and holds each for `seconds`."""

    def __init__(self, images, seconds):
        super().__init__(daemon=True)
        self.images, self.seconds, self.done = images, seconds, 0

    def run(self):
        while self.images.take() is not None:
            time.sleep(self.seconds)
            self.done += 1


@pytest.fixture
def worker(monkeypatch):
    """Starts a worker that waits for the first image; the longest rest is long enough to see."""
    monkeypatch.setattr(newest, 'REST_S', 1.0)
    started = []

    def start(slot, seconds):
        thread = Worker(LatestImages([slot]), seconds)
        started.append(thread)
        thread.start()
        while not slot.changed._idle:
            time.sleep(0.001)
        return thread

    yield start
    for thread in started:
        thread.images.close()
        thread.join()


def test_the_executor_rests_until_the_worker_is_done_with_an_image(worker):
    slot = LatestImage(Counters(), needs_info=False)
    thread = worker(slot, 0.05)
    for count in (1, 2, 3):
        slot.put_image(object())
        assert thread.done == count


def test_the_executor_goes_on_while_the_worker_is_busy_for_long(worker, monkeypatch):
    monkeypatch.setattr(newest, 'REST_S', 0.001)
    slot = LatestImage(Counters(), needs_info=False)
    thread = worker(slot, 0.5)
    slot.put_image(object())
    assert not thread.done, 'the rest has an end'
    monkeypatch.setattr(newest, 'REST_S', 60.0)
    slot.put_image(object())
    slot.put_image(object())
    assert not thread.done and slot.counters.dropped == 1, 'no rest while it is busy'


def test_the_executor_does_not_rest_for_an_image_without_its_camera_info(worker, monkeypatch):
    monkeypatch.setattr(newest, 'REST_S', 60.0)
    slot = LatestImage(Counters())
    thread = worker(slot, 0.0)
    slot.put_image(image(np.zeros((2, 4, 3), np.uint8), 1))
    assert not thread.done
