# SPDX-License-Identifier: Apache-2.0
"""Metres from a known distance of two cameras."""

import math

import numpy as np
import pytest

from depth_ros.core.types import Pose
from depth_ros.pipeline.two_views.baseline import BaselineScale

RNG = np.random.default_rng(5)


def pose(t, std=0.001, inliers=0.9):
    T = np.eye(4)
    T[:3, 3] = t
    return Pose(T, np.eye(6) * std**2, inliers, 1000)


def known(t):
    return pose(t).T_first_second


def test_scale_is_known_over_estimated():
    scale = BaselineScale()
    assert scale.scale is None and math.isnan(scale.spread)
    assert scale.update(pose((0.1, 0, 0)), 0.25) == pytest.approx(2.5)
    assert scale.update(pose((0.2, 0, 0)), known((0.5, 0, 0))) == pytest.approx(2.5)
    assert (scale.accepted, scale.refused) == (2, '')
    assert scale.spread < 0.01


def test_before_a_second_pair_the_spread_is_that_of_the_pose():
    scale = BaselineScale()
    scale.update(pose((0, 0.1, 0), std=0.003), 0.2)
    assert scale.spread == pytest.approx(0.03)


@pytest.mark.parametrize(
    ('found', 'truth', 'said'),
    [
        (pose((0.1, 0, 0)), 0.01, 'known baseline is 0.01 m; the minimum is 0.05'),
        (pose((0.1, 0, 0)), math.nan, 'known baseline is nan m'),
        (None, 0.2, 'no pose'),
        (pose((0.1, 0, 0), inliers=0.3), 0.2, '30% inliers; the minimum is 50%'),
        (pose((0.001, 0, 0), std=0.002), 0.2, 'not distinguishable from a pure rotation'),
        (pose((0, 0, 0), std=0.0), 0.2, 'not distinguishable from a pure rotation'),
        (pose((0.1, 0, 0)), known((0, 0, 0.2)), 'direction is 90 deg from the known one'),
        (pose((0.1, 0, 0)), known((0, 0, 0)), 'known baseline is 0 m'),
    ],
)
def test_a_useless_pair_is_refused_and_the_scale_stays(found, truth, said):
    scale = BaselineScale()
    assert scale.update(found, truth) is None
    assert said in scale.refused and scale.accepted == 0
    scale.update(pose((0.1, 0, 0)), 0.3)
    assert scale.update(found, truth) == pytest.approx(3.0)
    assert said in scale.refused and scale.accepted == 1


def test_the_mean_is_of_logarithms_and_the_spread_is_reported():
    scale = BaselineScale(memory=1000)
    for factor in np.exp(RNG.normal(math.log(4), 0.1, 1000)):
        scale.update(pose((0.1, 0, 0)), 0.1 * factor)
    assert scale.scale == pytest.approx(4, rel=0.015)
    assert scale.spread == pytest.approx(0.1, rel=0.1)


def test_a_change_of_scale_is_followed_within_the_memory():
    scale = BaselineScale(memory=5)
    for factor in [2.0] * 20 + [3.0] * 20:
        scale.update(pose((0.1, 0, 0)), 0.1 * factor)
        assert scale.measured == pytest.approx(factor)
    assert scale.scale == pytest.approx(3, rel=0.01)
    scale.reset()
    assert scale.scale is None and scale.accepted == 0


def test_a_memory_of_one_uses_each_pair_alone():
    scale = BaselineScale(memory=1)
    scale.update(pose((0.1, 0, 0)), 0.2)
    assert scale.update(pose((0.1, 0, 0)), 0.5) == pytest.approx(5)
