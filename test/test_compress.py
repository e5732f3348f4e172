# SPDX-License-Identifier: Apache-2.0
"""Compressed depth, read again by a reader that shares no code with the writer."""

import numpy as np
import pytest
import torch
from compressed_depth import decoded

from depth_ros.core import compress

RNG = np.random.default_rng(0)
SMOOTH = np.cumsum(RNG.integers(-3, 4, (40, 50)), axis=1) + 3000


def with_zeros(values, share):
    return np.where(RNG.random(values.shape) < share, 0, values)


VALUES = {
    'smooth': SMOOTH,
    'smooth with holes': with_zeros(SMOOTH, 0.3),
    'noise': RNG.integers(0, 65536, (33, 47)),
    'mostly zeros': with_zeros(RNG.integers(0, 65536, (33, 47)), 0.97),
    'zeros': np.zeros((7, 9)),
    'ends with zeros': np.r_[np.ones(50), np.zeros(14)].reshape(8, 8),
    'begins with zeros': np.r_[np.zeros(14), np.ones(50)].reshape(8, 8),
    'extremes': np.tile([1, 65535], (6, 5)),
    'alternating': np.tile([0, 65535], (6, 5)),
    'one pixel': np.array([[5]]),
    'one zero': np.array([[0]]),
    'long runs': np.repeat([0, 7, 0, 9], 70_000).reshape(700, 400),
}


@pytest.mark.parametrize('form', compress.FORMATS)
@pytest.mark.parametrize('name', VALUES)
def test_millimetres_arrive_as_they_were(name, form):
    values = VALUES[name].astype(np.uint16)
    data = compress.compressed(values, form)
    assert np.array_equal(decoded(compress.encoding_name('16UC1', form), data), values)


@pytest.mark.parametrize('form', compress.FORMATS)
@pytest.mark.parametrize(('near', 'far'), [(0.1, 1000.0), (0.5, 10.0), (0.0, 80.0)])
def test_metres_arrive_within_half_a_step_of_inverse_depth(form, near, far):
    a, b = compress.quantization(near, far)
    least = max(near, 0.05)
    z = torch.from_numpy(np.geomspace(least * 1.001, far * 0.999, 2000, dtype=np.float32))
    values = compress.inverse_values(z.view(40, 50), a, b).numpy()
    out = decoded(
        compress.encoding_name('32FC1', form), compress.compressed(values, form, a, b)
    ).reshape(-1)
    assert np.isfinite(out).all()
    assert abs(1 / out - 1 / z.numpy()).max() <= 0.51 / a + 1e-5 / least
    assert a <= compress.MAX_A


def test_what_is_no_depth_becomes_nan_and_what_is_too_near_the_nearest():
    a, b = compress.quantization(0.1, 10.0)
    z = torch.tensor([[torch.nan, torch.inf, -torch.inf, 0.0, -1.0, 12.0, 0.05, 2.0]])
    for values in (
        compress.inverse_values(z, a, b),
        compress._inverse_by_torch(z, a, b),
    ):
        data = compress.compressed(values.numpy(), 'png', a, b)
        out = decoded('32FC1; compressedDepth png', data)[0]
        assert np.isnan(out[:6]).all()
        assert out[6] == pytest.approx(0.1, rel=0.02) and out[7] == pytest.approx(2, rel=1e-3)


def test_cpu_and_gpu_paths_have_the_same_values():
    z = torch.rand(99, 99, generator=torch.Generator().manual_seed(5)) * 30 - 1
    a, b = compress.quantization(0.1, 20.0)
    fast, plain = compress.inverse_values(z, a, b).int(), compress._inverse_by_torch(z, a, b).int()
    assert (fast - plain).abs().max() <= 1 and (fast != plain).float().mean() < 1e-3


def test_a_higher_level_is_smaller():
    values = SMOOTH.astype(np.uint16)
    sizes = [len(compress.compressed(values, 'png', level=level)) for level in (1, 9)]
    assert sizes[1] < sizes[0]
