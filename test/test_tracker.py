# SPDX-License-Identifier: Apache-2.0
"""The tracker of log scale: smooth, fast, and silent about what it cannot know."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from depth_ros.pipeline.scaling.tracker import ScaleTracker

S = 1_000_000_000


def one(x):
    return np.array([float(x)])


def play(tracker, measured, std, rate_hz=10, start_s=0.0):
    """The estimates of evenly spaced measurements."""
    return np.array(
        [
            tracker.update(one(m), one(std**2), round((start_s + k / rate_hz) * S)).value[0]
            for k, m in enumerate(measured)
        ]
    )


def test_the_first_measurement_is_the_scale():
    tracker = ScaleTracker()
    assert tracker.hold(0) is None
    assert tracker.update(one(0.7), one(0.01), 5 * S).value == 0.7
    assert tracker.hold(6 * S).value == 0.7


def test_noise_of_the_anchors_is_averaged():
    noise = np.random.default_rng(0).normal(0, 0.05, 200)
    values = play(ScaleTracker(), 0.3 + noise, 0.05)
    assert np.std(values[50:]) < 0.4 * 0.05
    assert np.mean(values[50:]) == pytest.approx(0.3, abs=0.02)


def test_jitter_of_the_network_is_followed_at_once():
    """The scale of each frame is another one, and it is measured well."""
    jitter = np.random.default_rng(0).normal(0, 0.1, 200)
    values = play(ScaleTracker(), jitter, 0.01)
    assert np.std((values - jitter)[20:]) < 0.01


@pytest.mark.parametrize('rate_hz', [1, 2, 5, 10, 30])
def test_a_jump_is_followed_within_a_second(rate_hz):
    tracker = ScaleTracker()
    noise = np.random.default_rng(0).normal(0, 0.01, 60)
    play(tracker, noise, 0.01, rate_hz)
    after = play(tracker, np.log(1.3) + noise[:40], 0.01, rate_hz, 60 / rate_hz)
    late = np.abs(after - np.log(1.3)) > 0.03
    assert not late[max(1, int(rate_hz)) :].any()
    assert tracker.jumps <= 1


def test_a_single_wrong_measurement_changes_nothing():
    tracker = ScaleTracker()
    measured = np.zeros(100)
    measured[50:52] = 0.8
    values = play(tracker, measured, 0.01)
    assert np.abs(values).max() < 1e-6
    assert (tracker.gated, tracker.jumps) == (2, 0)


def test_wrong_measurements_that_disagree_are_never_believed():
    tracker = ScaleTracker()
    play(tracker, np.zeros(30), 0.01)
    rng = np.random.default_rng(0)
    values = play(
        tracker, rng.uniform(0.5, 3, 20) * np.where(np.arange(20) % 2, 1, -1), 0.01, 10, 3
    )
    assert np.abs(values).max() < 1e-6 and tracker.gated == 20


def test_what_differs_between_two_wrong_ones_is_gated_but_the_right_ones_go_on():
    """30 % of the measurements are wrong."""
    rng = np.random.default_rng(0)
    measured = rng.normal(0, 0.01, 300)
    wrong = rng.random(300) < 0.3
    measured[wrong] += rng.uniform(0.5, 2, wrong.sum()) * rng.choice([-1, 1], wrong.sum())
    values = play(ScaleTracker(), measured, 0.01)
    assert np.mean(np.abs(values) < 0.03) > 0.97


def test_what_the_image_shows_too_is_no_surprise():
    tracker = ScaleTracker()
    play(tracker, np.zeros(60), 0.01)
    now = tracker.update(one(0.5), one(1e-4), 6 * S, expected=-0.5)
    assert now.gated and now.value == pytest.approx(0, abs=1e-9)
    now = tracker.update(one(0.5), one(1e-4), 6 * S, expected=0.48)
    assert not now.gated and now.value > 0.4


def test_it_holds_and_becomes_less_certain():
    tracker = ScaleTracker()
    play(tracker, np.zeros(50), 0.01)
    spread = [float(np.sqrt(tracker.hold(round((5 + t) * S)).variance[0])) for t in (0, 1, 4, 9)]
    assert spread == sorted(spread) and spread[0] < 0.04 and spread[-1] > 0.1
    assert tracker.hold(20 * S).value == pytest.approx(0)
    assert tracker.measured_ns == round(4.9 * S)


def test_time_that_goes_back_starts_again():
    tracker = ScaleTracker()
    play(tracker, np.full(20, 0.5), 0.01, start_s=100)
    assert tracker.hold(101 * S) is not None, 'a late frame'
    assert tracker.hold(50 * S) is None and tracker.measured_ns is None
    assert tracker.update(one(-0.5), one(0.01), 50 * S).value == -0.5


def test_a_late_measurement_does_not_move_time_back():
    tracker = ScaleTracker()
    play(tracker, np.zeros(20), 0.01)
    tracker.update(one(0.0), one(1e-4), round(1.5 * S))
    assert tracker.measured_ns == round(1.9 * S)


def test_the_more_certain_source_counts_more():
    tracker = ScaleTracker()
    for k in range(200):
        tracker.update(one(0.0), one(0.02**2), k * S // 20)
        tracker.update(one(0.1), one(0.10**2), k * S // 20)
    assert 0 < tracker.hold(10 * S).value[0] < 0.03


def test_the_same_anchors_again_do_not_make_the_level_certain():
    tracker = ScaleTracker()
    tracker.update(one(0.0), one(0.05**2), 0)
    before = tracker.hold(0).variance
    for _ in range(100):
        estimate = tracker.update(one(0.02), one(0.05**2), 0, again=True)
    assert 0 < estimate.value[0] < 0.02
    assert tracker.hold(0).variance == before and tracker.hold(0).value == 0


def test_two_log_scales_are_independent():
    tracker = ScaleTracker()
    for k in range(50):
        tracker.update(np.array([0.1, -0.4]), np.array([1e-4, 1e-2]), k * S // 10)
    np.testing.assert_allclose(tracker.hold(5 * S).value, [0.1, -0.4], atol=1e-6)
    assert tracker.update(one(0.3), one(0.01), 5 * S).value == 0.3, 'another number starts again'


@given(
    st.lists(
        st.tuples(
            st.floats(-5, 5), st.floats(1e-6, 2), st.integers(-(10**10), 10**10), st.booleans()
        ),
        min_size=1,
        max_size=40,
    )
)
def test_any_measurements_give_an_estimate_within_what_was_measured(steps):
    tracker = ScaleTracker()
    seen = []
    for measured, std, stamp_ns, again in steps:
        seen.append(measured)
        for estimate in (
            tracker.update(one(measured), one(std**2), stamp_ns, again=again),
            tracker.hold(stamp_ns),
        ):
            assert min(seen) - 1e-9 <= estimate.value[0] <= max(seen) + 1e-9
            assert estimate.variance[0] > 0
