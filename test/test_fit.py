# SPDX-License-Identifier: Apache-2.0
"""One robust fit of a network's map at anchors, against maps whose depth is known exactly."""

import numpy as np
import pytest
import torch

from depth_ros.core.types import Anchors, Kind
from depth_ros.pipeline.scaling.fit import ORDERS, fit

H, W = 96, 128
RGB = torch.full((H, W, 3), 128, dtype=torch.uint8)


def scene() -> np.ndarray:
    """(H, W) depth [m]: a floor from 1 to 6 m, and a box at 2 m."""
    z = np.repeat(np.linspace(6.0, 1.0, H)[:, None], W, 1)
    z[20:60, 30:70] = 2.0
    return z


def anchors(
    z: np.ndarray, count: int, *, outliers: float = 0.0, sigma: float = 0.02, seed: int = 0
):
    generator = np.random.default_rng(seed)
    u, v = generator.uniform(0, W - 1, count).round(), generator.uniform(0, H - 1, count).round()
    depth = z[v.astype(int), u.astype(int)].copy()
    wrong = generator.random(count) < outliers
    depth[wrong] *= np.exp(generator.uniform(np.log(0.3), np.log(3), int(wrong.sum())))
    return Anchors(u, v, depth, np.full(count, sigma))


def relative_error(found: torch.Tensor, z: np.ndarray) -> float:
    return float(np.median(np.abs(found.numpy() - z) / z))


@pytest.mark.parametrize('outliers', [0.0, 0.3])
@pytest.mark.parametrize(
    ('kind', 'predict'),
    [
        (Kind.METRIC, lambda z: 1.4 * z),
        (Kind.SCALE_INVARIANT, lambda z: 0.05 * z),
        (Kind.AFFINE_INVERSE, lambda z: 9 / z + 4),
    ],
)
def test_the_unknown_numbers_are_found_despite_gross_outliers(kind, predict, outliers):
    z = scene()
    values = torch.from_numpy(predict(z).astype(np.float32))
    given = anchors(z, 200, outliers=outliers)
    found = fit(values, kind, given, RGB)
    assert found.correction is not None, found.reason
    assert relative_error(found.correction(values), z) < 0.01
    assert found.used + found.refused == 200
    assert found.refused >= 0.7 * outliers * 200
    assert 0 < found.spread < 0.02


def test_one_anchor_gives_a_scale_and_no_more():
    z = scene()
    values = torch.from_numpy((2 * z).astype(np.float32))
    found = fit(values, Kind.METRIC, anchors(z, 1), RGB)
    assert found.order == 'scale' and found.correction.scale == pytest.approx(0.5, rel=1e-3)


def test_a_shift_needs_anchors_at_several_depths():
    z = np.full((H, W), 3.0)
    z[:, W // 2 :] = np.linspace(1, 8, W // 2)
    values = torch.from_numpy((5 / z + 2).astype(np.float32))
    wall = Anchors(
        *(np.array(a, float) for a in ([5, 9, 20, 30], [5, 50, 70, 20], [3] * 4, [0.02] * 4))
    )
    found = fit(values, Kind.AFFINE_INVERSE, wall, RGB)
    assert found.correction is None and 'shift' in found.reason


@pytest.mark.parametrize('kind', list(Kind))
def test_without_anchors_or_with_contradicting_ones_there_is_a_reason(kind):
    values = torch.from_numpy(scene().astype(np.float32))
    none = Anchors(*(np.empty(0) for _ in range(4)))
    found = fit(values, kind, none, RGB)
    assert found.correction is None and found.reason
    generator = np.random.default_rng(3)
    u, v = generator.uniform(0, W - 1, 60), generator.uniform(0, H - 1, 60)
    random = Anchors(u, v, np.exp(generator.uniform(-4, 4, 60)), np.full(60, 0.01))
    found = fit(values, kind, random, RGB)
    assert found.correction is None and found.reason


def test_a_higher_order_is_taken_only_where_it_is_better():
    z = scene()
    given = anchors(z, 300)
    exact = torch.from_numpy((2 * z).astype(np.float32))
    assert fit(exact, Kind.METRIC, given, RGB).order == 'scale'
    shifted = torch.from_numpy((1 / (0.7 / z + 0.1)).astype(np.float32))
    found = fit(shifted, Kind.METRIC, given, RGB)
    assert found.order != 'scale' and relative_error(found.correction(shifted), z) < 0.02
    tilted = torch.from_numpy((z * np.linspace(0.7, 1.4, W)[None]).astype(np.float32))
    found = fit(tilted, Kind.METRIC, given, RGB)
    assert found.order == 'field' and relative_error(found.correction(tilted), z) < 0.04
    assert fit(tilted, Kind.METRIC, given, RGB, max_order='scale').order == 'scale'
    assert ORDERS == ('scale', 'shift', 'spline', 'field')


def test_nan_and_infinite_values_stay_what_they_are():
    z = scene()
    values = (2 * z).astype(np.float32)
    values[0], values[1] = np.nan, np.inf
    values = torch.from_numpy(values)
    found = fit(values, Kind.METRIC, anchors(z, 100), RGB)
    changed = found.correction(values)
    assert torch.isnan(changed[0]).all() and torch.isinf(changed[1]).all()
    assert torch.isfinite(changed[2:]).all()
