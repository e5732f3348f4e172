# SPDX-License-Identifier: Apache-2.0
"""The fit of a map at anchors: exact data have exact answers, wrong ones a reason."""

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from depth_ros.core.types import Anchors, Kind
from depth_ros.pipeline.scaling import correction as correction_module
from depth_ros.pipeline.scaling.correction import Correction, Spline
from depth_ros.pipeline.scaling.fit import ORDERS, fit, log_variance
from depth_ros.pipeline.scaling.samples import MOST

H, W = 60, 80
RGB = torch.zeros((H, W, 3), dtype=torch.uint8)
METRIC, RELATIVE, INVERSE = Kind.METRIC, Kind.SCALE_INVARIANT, Kind.AFFINE_INVERSE


def scene():
    """True depth of a floor and two boxes, 1 to 8 m."""
    v, u = np.mgrid[:H, :W]
    z = 8 - 6 * v / H + 0.5 * np.sin(u / 9)
    z[10:40, 10:30] = 2.0
    z[20:50, 50:70] = 1.2
    return z


def anchors(z, n=100, seed=0, sigma=0.01, where=None):
    """Anchors at random pixels of a true map, and those pixels."""
    rng = np.random.default_rng(seed)
    pixels = np.arange(z.size) if where is None else np.flatnonzero(where)
    chosen = rng.choice(pixels, n, replace=len(pixels) < n)
    v, u = np.divmod(chosen, z.shape[1])
    depth = z.ravel()[chosen]
    return Anchors(u.astype(float), v.astype(float), depth, sigma * depth)


def with_outliers(given, fraction=0.3, seed=0):
    """A fraction of the depths multiplied by 0.3 to 3."""
    rng = np.random.default_rng(seed)
    wrong = rng.permutation(len(given)) < round(fraction * len(given))
    factor = np.where(wrong, np.exp(rng.uniform(np.log(0.3), np.log(3), len(given))), 1.0)
    return Anchors(given.u, given.v, given.z * factor, given.sigma)


def tensor(values):
    return torch.from_numpy(np.asarray(values, np.float32))


def error(found, values, z):
    """Mean relative error of the corrected map."""
    return float(np.abs(found.correction(tensor(values)).numpy() / z - 1).mean())


def relative(z, scale=2.5, shift=0.0):
    """Depth of a network, of which Z = 1 / (1 / (scale v) + shift)."""
    return 1 / (scale * (1 / z - shift))


# Orders


@pytest.mark.parametrize('kind', [METRIC, RELATIVE])
def test_a_factor_is_found_and_no_more_than_it(kind):
    z = scene()
    found = fit(tensor(z / 2.5), kind, anchors(z), RGB)
    assert found.order == 'scale' and found.correction.scale == pytest.approx(2.5, rel=1e-5)
    assert found.correction.shift == 0 and found.correction.field is None
    assert (found.used, found.refused) == (100, 0)
    assert 0 < found.spread < 0.02 and found.residual < 1e-5


def test_a_shift_of_inverse_depth_is_earned():
    z = scene()
    values = relative(z, 2.5, 0.05)
    found = fit(tensor(values), RELATIVE, anchors(z), RGB)
    assert found.order == 'shift'
    assert found.correction.scale == pytest.approx(2.5, rel=1e-4)
    assert found.correction.shift == pytest.approx(0.05, rel=1e-3)
    assert error(found, values, z) < 1e-5


def test_affine_inverse_depth_gets_scale_and_shift():
    z = scene()
    values = (1 / z - 0.02) / 0.3
    found = fit(tensor(values), INVERSE, anchors(z), RGB)
    assert found.order == 'shift'
    assert found.correction.scale == pytest.approx(0.3, rel=1e-4)
    assert found.correction.shift == pytest.approx(0.02, rel=1e-3)
    assert error(found, values, z) < 1e-5


def test_a_bent_curve_is_earned_and_rises():
    z = scene()
    values = z + 1.5 * np.sin(1.2 * z) / 1.2 * 0.5
    low = fit(tensor(values), RELATIVE, anchors(z, 200), RGB, max_order='shift')
    found = fit(tensor(values), RELATIVE, anchors(z, 200), RGB, max_order='spline')
    assert found.order == 'spline'
    assert error(found, values, z) < 0.5 * error(low, values, z)
    spline = found.correction.spline
    assert (np.diff(spline.log_z + spline.log_factor) > 0).all()


def test_a_factor_that_varies_over_the_picture_is_earned():
    z = scene()
    v, u = np.mgrid[:H, :W]
    values = z * np.exp(0.4 * np.sin(u / 20) * np.cos(v / 25))
    low = fit(tensor(values), RELATIVE, anchors(z, 200), RGB, max_order='spline')
    found = fit(tensor(values), RELATIVE, anchors(z, 200), RGB)
    assert found.order == 'field'
    assert error(found, values, z) < 0.4 * error(low, values, z)
    assert found.residual < 0.5 * low.residual
    # what remains when the field fades is the scale of the picture
    assert abs(np.log(found.correction.field).mean()) < 0.1


@pytest.mark.parametrize('highest', ORDERS)
def test_no_order_is_above_the_highest_allowed(highest):
    z = scene()
    u = np.arange(W)
    values = relative(z, 2.0, 0.03) * np.exp(0.3 * np.sin(u / 20))
    found = fit(tensor(values), RELATIVE, anchors(z, 200), RGB, max_order=highest)
    assert ORDERS.index(found.order) <= ORDERS.index(highest)


@pytest.mark.parametrize('seed', range(8))
def test_many_anchors_alone_earn_no_order(seed):
    """Noise that is nowhere alike is no reason for a higher order."""
    z = scene()
    noise = np.exp(np.random.default_rng(seed).normal(0, 0.1, z.shape))
    values = z * noise / 2.5
    found = fit(tensor(values), METRIC, anchors(z, 300, seed), RGB)
    scale = fit(tensor(values), METRIC, anchors(z, 300, seed), RGB, max_order='scale')
    clean = np.abs(found.correction(tensor(z / 2.5)).numpy() / z - 1).mean()
    assert scale.correction.scale == pytest.approx(2.5, rel=0.03)
    assert clean < 0.04, found.order


def test_the_order_before_stays_where_another_is_no_better():
    z = scene()
    rng = np.random.default_rng(1)
    changes = {False: 0, True: 0}
    for favour in changes:
        before = ('scale', 'field')
        for seed in range(20):
            values = z * np.exp(rng.normal(0, 0.1, z.shape)) / 2.5
            found = fit(
                tensor(values), METRIC, anchors(z, 40, seed), RGB, favour=before if favour else ()
            )
            changes[favour] += found.steps != before
            before = found.steps
    assert changes[True] < changes[False]


@pytest.mark.parametrize('seed', range(20))
def test_no_shift_moves_depth_of_the_picture_to_infinity(seed):
    """A few anchors that are near, and a wall that is far."""
    z = scene()
    z[:10] = 30.0
    near = np.zeros_like(z, bool)
    near[30:] = True
    noise = np.exp(np.random.default_rng(seed).normal(0, 0.2, z.shape))
    found = fit(tensor(z * noise), METRIC, anchors(z, 5, seed, where=near), RGB)
    if found.correction is not None:
        assert found.correction(tensor(z)).isfinite().all()


# Outliers


@pytest.mark.parametrize('seed', range(5))
def test_gross_outliers_are_refused(seed):
    z = scene()
    given = with_outliers(anchors(z, seed=seed), seed=seed)
    wrong = np.abs(np.log(given.z / anchors(z, seed=seed).z)) > 0.1
    found = fit(tensor(z / 2.5), METRIC, given, RGB)
    assert found.correction.scale == pytest.approx(2.5, rel=0.01)
    assert found.refused >= wrong.sum() * 0.95
    assert error(found, z / 2.5, z) < 0.02


@pytest.mark.parametrize('seed', range(5))
def test_gross_outliers_of_affine_inverse_depth_are_refused(seed):
    z = scene()
    values = (1 / z - 0.02) / 0.3
    found = fit(tensor(values), INVERSE, with_outliers(anchors(z, seed=seed), seed=seed), RGB)
    assert error(found, values, z) < 0.02


def test_anchors_that_are_all_wrong_are_refused_with_a_reason():
    z = scene()
    rng = np.random.default_rng(0)
    random = np.exp(rng.uniform(np.log(0.1), np.log(10), 100))
    given = anchors(z)
    wrong = Anchors(given.u, given.v, given.z * random, given.sigma)
    for kind, values in ((METRIC, z), (INVERSE, 1 / z)):
        found = fit(tensor(values), kind, wrong, RGB)
        assert found.correction is None and found.order == '', kind
        assert 'contradict each other' in found.reason or 'do not determine' in found.reason
        assert (found.used, found.refused) == (0, 100)


def test_certain_anchors_weigh_more_than_uncertain_ones():
    z = scene()
    good, poor = anchors(z, 30, 1, 0.005), anchors(z, 40, 2, 0.3)
    both = Anchors(
        np.concatenate([good.u, poor.u]),
        np.concatenate([good.v, poor.v]),
        np.concatenate([good.z, 1.25 * poor.z]),
        np.concatenate([good.sigma, poor.sigma]),
    )
    found = fit(tensor(z / 2.5), METRIC, both, RGB, max_order='scale')
    assert found.correction.scale == pytest.approx(2.5, rel=0.03)


# Few anchors, or badly placed ones


def test_one_anchor_gives_a_scale_and_its_doubt():
    z = scene()
    found = fit(tensor(z / 2.5), METRIC, anchors(z, 1), RGB)
    assert found.order == 'scale' and found.correction.scale == pytest.approx(2.5, rel=1e-5)
    assert found.spread >= 0.1 and np.isnan(found.residual)
    many = fit(tensor(z / 2.5), METRIC, anchors(z, 100), RGB)
    assert many.spread < found.spread / 3


@pytest.mark.parametrize('n', [0, 1, 2])
def test_few_anchors_give_no_shift_and_say_why(n):
    z = scene()
    found = fit(tensor(1 / z), INVERSE, anchors(z, n), RGB)
    assert found.correction is None and found.reason
    assert ('no anchors' if n == 0 else 'fewer than 3') in found.reason


def test_anchors_outside_the_image_or_without_prediction_do_not_count():
    z = scene()
    values = z / 2.5
    values[:, :40] = np.nan
    values[:, 40:45] = -1
    values[:, 45:50] = np.inf
    u = np.array([-0.6, 10, 42, 47, 60, 79.6, 1e9, np.nan])
    given = Anchors(u, np.full(8, 30.0), np.full(8, z[30, 60]), np.full(8, 0.01))
    found = fit(tensor(values), METRIC, given, RGB)
    assert (found.used, found.refused) == (1, 7)
    assert found.correction.scale == pytest.approx(2.5, rel=1e-5)
    outside = Anchors(u[:1], np.ones(1), np.ones(1), np.ones(1))
    assert 'all 1 are outside' in fit(tensor(values), METRIC, outside, RGB).reason


@pytest.mark.parametrize('kind', [METRIC, INVERSE])
def test_one_wall_determines_no_shift(kind):
    """However many anchors it has, with the noise of a network on it."""
    z = scene()
    wall = np.zeros_like(z, bool)
    wall[12:38, 12:28] = True
    noise = np.exp(np.random.default_rng(0).normal(0, 0.02, z.shape))
    values = z * noise / 2.5 if kind is METRIC else 1 / (z * noise)
    found = fit(tensor(values), kind, anchors(z, 300, where=wall), RGB)
    if kind is INVERSE:
        assert found.correction is None and 'do not determine' in found.reason
    else:
        assert found.correction.shift == 0
        assert found.correction.scale == pytest.approx(2.5, rel=0.02)


def test_one_row_with_spread_in_depth_determines_a_shift():
    z = scene()
    row = np.zeros_like(z, bool)
    row[30] = True
    values = (1 / z - 0.02) / 0.3
    found = fit(tensor(values), INVERSE, anchors(z, 60, where=row), RGB)
    assert found.order == 'shift' and error(found, values, z) < 1e-3


def test_one_row_without_spread_gives_a_scale():
    z = scene()
    row = np.zeros_like(z, bool)
    row[5] = True
    noise = np.exp(np.random.default_rng(0).normal(0, 0.03, z.shape))
    found = fit(tensor(z * noise / 2.5), METRIC, anchors(z, 60, where=row), RGB)
    assert found.correction.shift == 0
    assert error(found, z / 2.5, z) < 0.05


def test_more_anchors_than_needed_are_thinned_over_the_picture():
    z = scene()
    found = fit(tensor(z / 2.5), METRIC, with_outliers(anchors(z, 4000)), RGB)
    assert 100 < found.used + found.refused <= 1.2 * MOST
    assert found.correction.scale == pytest.approx(2.5, rel=0.01)


def test_even_numbers_in_a_cell_do_not_bias_the_scale():
    """Of two anchors in each cell neither the larger nor the smaller one is preferred."""
    z = np.full((H, W), 3.0)
    pixels = np.repeat(np.arange(H * W), 2)
    v, u = np.divmod(pixels, W)
    depth = 3 * np.exp(np.tile([0.1, -0.1], H * W))
    given = Anchors(u.astype(float), v.astype(float), depth, 0.1 * depth)
    found = fit(tensor(z), METRIC, given, RGB, max_order='scale')
    assert found.correction.scale == pytest.approx(1, rel=0.02)


# Properties


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    scale=st.sampled_from([2.0**k for k in range(-10, 11)]),  # exact: no rounding decides
    n=st.integers(1, 300),
    seed=st.integers(0, 1000),
    kind=st.sampled_from(list(Kind)),
)
def test_the_unit_of_the_network_does_not_matter(scale, n, seed, kind):
    if kind is Kind.CANONICAL:
        return
    z = scene()
    rng = np.random.default_rng(seed)
    error_ = np.exp(rng.normal(0, 0.05, z.shape))
    given = with_outliers(anchors(z, n, seed), seed=seed)
    values = 1 / (z * error_) if kind is INVERSE else z * error_
    one, other = (fit(tensor(values * s), kind, given, RGB) for s in (1.0, scale))
    assert (one.correction is None) == (other.correction is None)
    if one.correction is not None:
        a, b = one.correction(tensor(values)), other.correction(tensor(values * scale))
        assert torch.log(a / b).abs().median() < 0.01
        assert one.used + one.refused == other.used + other.refused


def test_an_image_that_is_mostly_sky_has_a_spread():
    values = np.full((H, W), -0.01)  # beyond infinity, as networks say of sky
    ground = H // 3
    values[-ground:] = np.linspace(0.02, 0.5, ground)[:, None]
    u, v = (x.ravel() for x in np.meshgrid(np.arange(0.0, W, 3), np.arange(H - ground, H, 1.0)))
    depth = 1 / (2 * values[v.astype(int), u.astype(int)] + 0.01)
    found = fit(tensor(values), INVERSE, Anchors(u, v, depth, 0.05 * depth), RGB)
    assert found.correction.scale == pytest.approx(2, rel=0.02)
    assert 0 < found.spread < 0.1


@settings(max_examples=40, deadline=None)
@example(n=4, seed=471, kind=INVERSE, rubbish='random')
@given(
    n=st.integers(0, 60),
    seed=st.integers(0, 1000),
    kind=st.sampled_from([METRIC, RELATIVE, INVERSE]),
    rubbish=st.sampled_from(['zeros', 'nan', 'equal', 'negative', 'random', 'huge']),
)
def test_any_map_and_anchors_give_a_correction_or_a_reason(n, seed, kind, rubbish):
    rng = np.random.default_rng(seed)
    values = {
        'zeros': np.zeros((H, W)),
        'nan': np.full((H, W), np.nan),
        'equal': np.ones((H, W)),
        'negative': -np.ones((H, W)),
        'random': rng.normal(0, 1, (H, W)),
        'huge': np.exp(rng.normal(0, 20, (H, W))),
    }[rubbish]
    depth = np.exp(rng.normal(0, rng.choice([0.01, 1, 5]), n))
    given = Anchors(rng.uniform(-5, W + 5, n), rng.uniform(-5, H + 5, n), depth, 0.05 * depth)
    found = fit(tensor(values), kind, given, RGB)
    assert (found.correction is None) == bool(found.reason)
    if found.correction is not None:
        assert found.order in ORDERS and found.used > 0
        assert np.isfinite(found.correction.scale) and found.correction.scale > 0
        assert np.isfinite(found.spread)
        z = found.correction(tensor(values))
        assert z.shape == (H, W) and not (z[torch.from_numpy(np.isfinite(values))].isnan()).any()


# The correction


CORRECTIONS = {
    'scale': Correction(2.0),
    'shift': Correction(2.0, 0.1),
    'negative shift': Correction(2.0, -0.3),
    'inverse': Correction(0.5, 0.1, inverse=True),
    'spline': Correction(2.0, spline=Spline(np.log([1.0, 2, 4]), np.log([1.1, 0.9, 1.2]))),
    'field': Correction(
        2.0, 0.05, field=np.exp(np.random.default_rng(0).normal(0, 0.2, (6, 8))).astype(np.float32)
    ),
}


@pytest.mark.parametrize('name', CORRECTIONS)
def test_the_paths_of_cpu_and_gpu_give_the_same(name, monkeypatch):
    """A GPU's operations, run by torch on the CPU."""
    values = np.random.default_rng(0).uniform(0.2, 6, (H, W)).astype(np.float32)
    values[0, :6] = [0, -1, np.nan, np.inf, 1e-6, 1e6]
    one = CORRECTIONS[name](tensor(values))
    monkeypatch.setattr(correction_module, 'on_host', lambda x: False)
    other = CORRECTIONS[name](tensor(values))
    torch.testing.assert_close(one, other, equal_nan=True, rtol=1e-4, atol=0)


@pytest.mark.parametrize('name', CORRECTIONS)
def test_the_map_is_corrected_as_its_samples_are(name):
    correction = CORRECTIONS[name]
    values = np.linspace(0.2, 6, H * W)
    found = correction(tensor(values.reshape(H, W))).numpy().ravel()
    if correction.field is None:
        np.testing.assert_allclose(found, correction.at(values), rtol=1e-3)


@pytest.mark.parametrize('name', CORRECTIONS)
def test_a_factor_after_a_correction(name):
    values = tensor(np.linspace(0.2, 6, H * W).reshape(H, W))
    once = CORRECTIONS[name](values)
    if CORRECTIONS[name].spline is None:
        torch.testing.assert_close(
            CORRECTIONS[name].scaled(1.7)(values), 1.7 * once, rtol=1e-3, atol=0
        )


def test_nan_and_infinity_of_the_network_stay_what_they_are():
    z = scene()
    values = z / 2.5
    values[0], values[1] = np.nan, np.inf
    found = fit(tensor(values), METRIC, anchors(z, 100), RGB)
    changed = found.correction(tensor(values))
    assert changed[0].isnan().all() and (changed[1] == np.inf).all()
    assert changed[2:].isfinite().all()


def test_invalid_values_stay_invalid():
    values = tensor([[0.0, -1.0, np.nan, 1.0]])
    for correction in (Correction(2.0), Correction(2.0, 0.1), CORRECTIONS['spline']):
        z = correction(values)[0]
        assert z[0] <= 0 and z[1] <= 0 and z[2].isnan() and z[3] > 0
    inverse = Correction(0.5, 0.1, inverse=True)(values)[0]
    assert inverse[0] == 10 and inverse[1] == np.inf and inverse[2].isnan()


def test_the_variance_of_depth_agrees_with_repeated_fits():
    z = scene()
    rng = np.random.default_rng(0)
    at = np.array([0.3, 1.0, 2.0])
    logs, predicted = [], []
    for seed in range(60):
        given = anchors(z, 40, seed)
        noisy = Anchors(given.u, given.v, given.z * np.exp(rng.normal(0, 0.1, 40)), 0.1 * given.z)
        found = fit(tensor(relative(z, 2.5, 0.05)), RELATIVE, noisy, RGB, max_order='shift')
        if found.order == 'shift':
            logs.append(np.log(found.correction.at(at)))
            predicted.append(log_variance(found.correction, found.covariance, at))
    assert len(logs) > 30
    ratio = np.mean(predicted, axis=0) / np.var(logs, axis=0)
    assert ((ratio > 0.5) & (ratio < 8)).all()
