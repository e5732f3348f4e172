# SPDX-License-Identifier: Apache-2.0
"""Half precision of a real network, through the check made at configure."""

import pytest
import torch

from depth_ros.models import ModelOptions
from depth_ros.pipeline.engines import Target
from depth_ros.pipeline.engines.in_torch import load_in
from depth_ros.pipeline.trial_frame import trial_frame


@pytest.mark.parametrize('precision', ['fp16', 'bf16'])
def test_a_real_network_runs_in_half_precision(small_file, precision):
    options = ModelOptions(weights=small_file, input_size=126)
    frame = trial_frame(torch.device('cpu'), 64, 48)
    target = Target('torch', 'cpu', precision, 1)
    loaded = load_in(target, 'depth_anything_v2_small', options, frame, cuda_graphs=False)
    assert loaded.precision.startswith(f'{precision} (median ')
