# SPDX-License-Identifier: Apache-2.0
"""The newest pair of images, never a queue."""

import threading

import numpy as np
import pytest
from graph import camera, image, info, nanoseconds

from depth_ros.ros.inputs.newest import Counters, LatestImage, LatestImages
from depth_ros.ros.inputs.pairs import LatestPair

CAM = camera(8, 6)
RGB = np.zeros((6, 8, 3), np.uint8)
MS = 1_000_000


@pytest.fixture
def inbox():
    inbox = LatestPair(Counters(), 0.01)
    for side in (0, 1):
        inbox.put_info(info(CAM, 0), side)
    return inbox


def put(inbox, side, *stamps_ms):
    for stamp in stamps_ms:
        inbox.put_image(image(RGB, stamp * MS), side)


def taken(inbox):
    """Stamps of what is taken [ms]; the waiting ends when there is nothing."""
    inboxes = LatestImages([inbox])
    closing = threading.Timer(0.3, inboxes.close)
    closing.start()
    fresh = inboxes.take()
    closing.cancel()
    if fresh is None:
        return None
    ((_, views),) = fresh
    return [nanoseconds(message.header.stamp) // MS for message, _ in views]


def test_the_newest_two_that_agree_are_taken_and_older_ones_forgotten(inbox):
    put(inbox, 0, 100, 200, 300)
    put(inbox, 1, 103, 207, 420)
    assert taken(inbox) == [200, 207]
    assert inbox.counters.received == 3 and inbox.counters.dropped == 1
    put(inbox, 1, 305)  # older than its predecessor: time went back, and began anew
    assert taken(inbox) == [300, 305]
    assert taken(inbox) is None


def test_a_camera_that_lags_by_a_period_still_finds_its_partner(inbox):
    put(inbox, 0, 100)
    for k in range(2, 8):
        put(inbox, 0, 100 * k)
        put(inbox, 1, 100 * (k - 1) + 2)
        assert taken(inbox) == [100 * (k - 1), 100 * (k - 1) + 2]


def test_a_pair_waits_for_the_camera_info_of_both():
    inbox = LatestPair(Counters(), 0.01)
    put(inbox, 0, 100)
    put(inbox, 1, 100)
    inbox.put_info(info(CAM, 0), 0)
    threading.Timer(0.05, lambda: inbox.put_info(info(CAM, 0), 1)).start()
    assert taken(inbox) == [100, 100]


def test_stamps_that_never_agree_are_explained(inbox):
    put(inbox, 0, 100)
    put(inbox, 1, 150)
    assert inbox.why_none() == ''  # it may still come
    put(inbox, 0, 200, 300, 400)
    put(inbox, 1, 250, 350, 450)
    assert taken(inbox) is None
    assert 'differ by 0.05 s at least, two_views.max_offset is 0.01 s' in inbox.why_none()


def test_without_a_need_for_camera_info_an_image_is_taken_at_once():
    inbox = LatestImage(Counters(), needs_info=False)
    inbox.put_image(image(RGB, 100 * MS))
    ((message, described),) = inbox.newest()
    assert nanoseconds(message.header.stamp) == 100 * MS and described is None


def test_what_is_fresh_of_several_cameras_is_taken_without_waiting_for_the_others():
    front, left, dead = (LatestImage(Counters(), needs_info=False) for _ in range(3))
    inboxes = LatestImages([front, left, dead])

    def stamps():
        return [(k, nanoseconds(v[0][0].header.stamp) // MS) for k, v in inboxes.take()]

    front.put_image(image(RGB, 100 * MS))
    left.put_image(image(RGB, 101 * MS))
    left.put_image(image(RGB, 134 * MS))
    assert stamps() == [(0, 100), (1, 134)]
    assert (front.counters.dropped, left.counters.dropped) == (0, 1)
    threading.Timer(0.05, lambda: left.put_image(image(RGB, 200 * MS))).start()
    assert stamps() == [(1, 200)]
