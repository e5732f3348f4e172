# SPDX-License-Identifier: Apache-2.0
"""The filters of depth maps: what each changes, and that it changes nothing else."""

import pytest
import torch

from depth_ros.pipeline.filters import range

nan, inf = torch.nan, torch.inf


@pytest.mark.parametrize('far', [inf, 4.0])
@pytest.mark.parametrize('near', [0.0, 0.5])
@pytest.mark.parametrize(
    'row',
    [
        [1.0, 2.0, 3.0],
        [1.0, nan, 3.0],
        [nan, nan, nan],
        [1.0, inf, nan],
        [0.0, -1.0, nan, 0.2, 0.5, 4.0, 4.1, inf, -inf, 1.0],
    ],
)
def test_cpu_and_gpu_paths_limit_the_same(row, near, far):
    z = torch.tensor([row])
    kept = z.clone()
    fast = range._by_numpy(z, near, far)
    plain = range._by_torch(z, near, far)
    torch.testing.assert_close(fast, plain, equal_nan=True, rtol=0, atol=0)
    assert torch.equal(z.nan_to_num(), kept.nan_to_num()), "the network's own answer stays"
