# SPDX-License-Identifier: Apache-2.0
"""Which outputs are wanted of an image: rates kept by stamps, whatever they are like."""

import random

import pytest

from depth_ros.parameters.settings import Points, Settings
from depth_ros.ros.outputs.demand import DemandGate

IMAGE, POINTS, BOTH = {'depth/image'}, {'points'}, {'depth/image', 'points'}


def decided(gate, t_ms, rate=0.0, points=0.0, subscribed=IMAGE):
    settings = Settings(rate=float(rate), points=Points(rate=float(points)))
    return gate.decide(subscribed, round(t_ms * 1e6), settings).topics


def admitted(stamps_ms, rate):
    gate = DemandGate()
    return [t for t in stamps_ms if decided(gate, t, rate)]


@pytest.mark.parametrize('rate', [5, 10, 15, 20, 25, 30])
@pytest.mark.parametrize('jitter_ms', [0, 1, 4])
def test_the_mean_rate_is_kept_under_jitter(rate, jitter_ms):
    noise = random.Random(1)
    stamps = [1e6 + k * 1000 / 30 + noise.uniform(-jitter_ms, jitter_ms) for k in range(900)]
    assert len(admitted(stamps, rate)) == pytest.approx(30 * rate, rel=0.02)


def test_stamps_of_whole_milliseconds_lose_nothing_at_the_cameras_own_rate():
    stamps = [1_000_000 + round(k * 1000 / 30) for k in range(300)]
    assert len(admitted(stamps, 30)) == 300


def test_time_that_jumps_back_resets_the_limit():
    assert admitted([3000, 3050, 3100, 200, 250, 300], 10) == [3000, 3100, 200, 300]


def test_a_pause_does_not_cause_a_burst():
    assert admitted([1000, 5000, 5010, 5020, 5100], 10) == [1000, 5000, 5100]


def test_an_image_that_others_overtook_is_not_due():
    assert admitted([1000, 1100, 1050, 1200], 10) == [1000, 1100, 1200]


@pytest.mark.parametrize('rate', [5, 10, 15])
def test_stamps_that_stand_still_are_limited_by_arrival(monkeypatch, rate):
    now = [100.0]
    monkeypatch.setattr('depth_ros.ros.outputs.demand.time.monotonic', lambda: now[0])
    gate, count = DemandGate(), 0
    for _ in range(300):
        count += bool(decided(gate, 0, rate))
        now[0] += 1 / 30
    assert count == pytest.approx(10 * rate, abs=1)


def test_no_rate_admits_all():
    gate = DemandGate()
    assert all(decided(gate, 5) for _ in range(3))


def test_a_new_rate_counts_from_the_next_image_on():
    gate = DemandGate()
    assert decided(gate, 1000, rate=0.02) and not decided(gate, 1100, rate=0.02)
    assert decided(gate, 1133, rate=10) and not decided(gate, 1166, rate=10)
    assert decided(gate, 1200, rate=0)


def test_a_slow_cloud_does_not_slow_down_the_depth_image():
    gate = DemandGate()
    assert decided(gate, 1000, points=0.1, subscribed=POINTS) == POINTS
    assert not decided(gate, 1033, points=0.1, subscribed=POINTS)
    assert decided(gate, 1066, points=0.1, subscribed=BOTH) == IMAGE
    assert decided(gate, 11_000, points=0.1, subscribed=BOTH) == BOTH


def test_an_image_without_subscribers_differs_from_one_not_due():
    gate, settings = DemandGate(), Settings(rate=10.0)
    nothing = gate.decide(frozenset(), 0, settings)
    assert not nothing and not nothing.subscribed
    assert gate.decide(frozenset(IMAGE), 0, settings)
    early = gate.decide(frozenset(IMAGE), 1, settings)
    assert not early and early.subscribed


@pytest.mark.parametrize(('rate', 'points', 'clouds'), [(0, 10, 10), (20, 10, 10), (5, 10, 5)])
def test_a_cloud_comes_at_its_own_rate_or_the_lower_one_of_the_images(rate, points, clouds):
    gate = DemandGate()
    stamps = [1e6 + k * 1000 / 30 for k in range(900)]
    count = sum(bool(decided(gate, t, rate, points, POINTS)) for t in stamps)
    assert count == pytest.approx(30 * clouds, rel=0.02)
