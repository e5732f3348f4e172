# SPDX-License-Identifier: Apache-2.0
"""A rate kept by stamps, whatever they are like."""

import random

import pytest

from depth_ros.ros.inputs.stamps import RateLimit


def admitted(stamps_ms, rate):
    limit = RateLimit()
    return [t for t in stamps_ms if limit.admits(round(t * 1e6), rate)]


@pytest.mark.parametrize('rate', [5, 10, 15, 20, 25, 30])
@pytest.mark.parametrize('jitter_ms', [0, 1, 4])
def test_the_mean_rate_is_kept_under_jitter(rate, jitter_ms):
    noise = random.Random(1)
    stamps = [1e6 + k * 1000 / 30 + noise.uniform(-jitter_ms, jitter_ms) for k in range(900)]
    assert len(admitted(stamps, rate)) == pytest.approx(30 * rate, rel=0.02)


def test_stamps_of_whole_milliseconds_lose_nothing_at_the_cameras_own_rate():
    stamps = [1_000_000 + round(k * 1000 / 30) for k in range(300)]
    assert len(admitted(stamps, 30)) == 300


def test_time_that_jumps_back_starts_anew():
    assert admitted([1000, 1050, 1100, 200, 250, 300], 10) == [1000, 1100, 200, 300]


def test_a_pause_does_not_cause_a_burst():
    assert admitted([1000, 5000, 5010, 5020, 5100], 10) == [1000, 5000, 5100]


def test_stamps_that_stand_still_are_limited_by_arrival(monkeypatch):
    now = [100.0]
    monkeypatch.setattr('depth_ros.ros.inputs.stamps.time.monotonic', lambda: now[0])
    limit, count = RateLimit(), 0
    for _ in range(30):
        count += limit.admits(0, 10.0)
        now[0] += 1 / 30
    assert count == pytest.approx(10, abs=1)


def test_no_rate_admits_all():
    limit = RateLimit()
    assert all(limit.admits(5, 0.0) for _ in range(3))
