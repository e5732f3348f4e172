# SPDX-License-Identifier: Apache-2.0
"""Metres from a known distance of two cameras."""

import math

import cv2
import numpy as np
import pytest
from parity import PARITY, Fixture

from depth_ros.core.types import Pose
from depth_ros.pipeline.two_views.alignment import position_scale
from depth_ros.pipeline.two_views.baseline import BaselineScale

RNG = np.random.default_rng(5)


def pose(t, std=0.001, inliers=0.9):
    T = np.eye(4)
    T[:3, 3] = t
    return Pose(T, np.eye(6) * std**2, inliers, 1000)


def known(t):
    return pose(t).T_first_second


def turned(T, degrees):
    T[:3, :3] = cv2.Rodrigues(np.radians((0.0, degrees, 0.0)))[0]
    return T


def test_scale_is_known_over_estimated():
    scale = BaselineScale()
    assert scale.scale is None and math.isnan(scale.spread)
    assert scale.update([pose((0.1, 0, 0))], [0.25]) == pytest.approx(2.5)
    assert scale.update([pose((0.2, 0, 0))], [known((0.5, 0, 0))]) == pytest.approx(2.5)
    assert (scale.accepted, scale.refused) == (2, '')
    assert scale.spread < 0.01


def test_before_a_second_pair_the_spread_is_that_of_the_pose():
    scale = BaselineScale()
    scale.update([pose((0, 0.1, 0), std=0.003)], [0.2])
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
        (pose((0.1, 0, 0)), turned(known((0.2, 0, 0)), 25), 'axes are turned by 25 deg from'),
    ],
)
def test_a_useless_pair_is_refused_and_the_scale_stays(found, truth, said):
    scale = BaselineScale()
    assert scale.update([found], [truth]) is None
    assert said in scale.refused and scale.accepted == 0
    scale.update([pose((0.1, 0, 0))], [0.3])
    assert scale.update([found], [truth]) == pytest.approx(3.0)
    assert said in scale.refused and scale.accepted == 1


def test_the_mean_is_of_logarithms_and_the_spread_is_reported():
    scale = BaselineScale(memory=1000)
    for factor in np.exp(RNG.normal(math.log(4), 0.1, 1000)):
        scale.update([pose((0.1, 0, 0))], [0.1 * factor])
    assert scale.scale == pytest.approx(4, rel=0.015)
    assert scale.spread == pytest.approx(0.1, rel=0.1)


def test_a_change_of_scale_is_followed_within_the_memory():
    scale = BaselineScale(memory=5)
    for factor in [2.0] * 20 + [3.0] * 20:
        scale.update([pose((0.1, 0, 0))], [0.1 * factor])
        assert scale.measured == pytest.approx(factor)
    assert scale.scale == pytest.approx(3, rel=0.01)
    scale.reset()
    assert scale.scale is None and scale.accepted == 0


def test_a_memory_of_one_uses_each_pair_alone():
    scale = BaselineScale(memory=1)
    scale.update([pose((0.1, 0, 0))], [0.2])
    assert scale.update([pose((0.1, 0, 0))], [0.5]) == pytest.approx(5)


@pytest.mark.parametrize('case', ['align2', 'align3', 'align5', 'align12'])
def test_the_factor_between_positions_is_the_published_one(case):
    arrays = Fixture(PARITY / 'da3_pose.npz').arrays
    estimated, known = (
        np.stack([-T[:3, :3].T @ T[:3, 3] for T in arrays[f'{case}_extrinsics_{name}']])
        for name in ('predicted', 'given')
    )
    name = 'baseline_scale' if case == 'align2' else 'scale'  # the publishers' rule fails for two
    (expected,) = arrays[f'{case}_{name}']
    assert position_scale(estimated, known) == pytest.approx(expected, rel=1e-5)


def test_positions_on_a_line_have_a_factor():
    way = np.outer([0, 1, 3, 4], (0.1, 0.2, 0.3))
    moved = 2.5 * way @ turned(np.eye(4), 70)[:3, :3].T + (1, 2, 3)
    assert position_scale(moved, way) == pytest.approx(2.5)
    # as of a robot that drives straight on: noise to the sides does not change it
    noisy = moved + RNG.normal(0, 1e-3, moved.shape)
    assert position_scale(noisy, way) == pytest.approx(2.5, rel=0.01)


def test_of_many_positions_wrong_ones_are_left_out():
    way = np.cumsum(RNG.normal(size=(16, 3)), 0)
    moved = 2.5 * way @ turned(np.eye(4), 70)[:3, :3].T + RNG.normal(0, 1e-3, way.shape)
    moved[[3, 8]] += (4.0, -3.0, 5.0)
    assert position_scale(moved, way) == pytest.approx(2.5, rel=1e-3)


def test_mirrored_positions_are_no_rotation():
    way = RNG.normal(size=(5, 3))
    assert position_scale(way * (1, 1, -1), way) < 1


def test_several_pairs_give_one_scale_and_bad_ones_are_left_out():
    scale = BaselineScale()
    true = [(0.4, 0, 0), (0, 0.3, 0.1), (-0.2, 0, 0.3)]
    poses = [pose(np.array(t) / 2.5) for t in true]
    assert scale.update(poses, [known(t) for t in true]) == pytest.approx(2.5)
    assert scale.used == [True] * 3
    wrong = [pose((0, 0, 0.7)), *poses[1:]]
    assert scale.update(wrong, [known(t) for t in true]) == pytest.approx(2.5)
    assert scale.used == [False, True, True] and scale.refused == ''
    assert scale.update([None] * 3, [known(t) for t in true]) == pytest.approx(2.5)
    assert 'no pose' in scale.refused and scale.accepted == 2


def test_without_memory_the_spread_is_that_of_each_run():
    scale = BaselineScale(memory=1)
    for std in (0.003, 0.006):
        scale.update([pose((0, 0.1, 0), std=std)], [0.2])
        assert scale.spread == pytest.approx(std / 0.1)
