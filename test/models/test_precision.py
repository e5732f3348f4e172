# SPDX-License-Identifier: Apache-2.0
"""Half precision of a real network, through the check made at configure."""

import pytest
import torch

from depth_ros.models import ModelOptions
from depth_ros.pipeline.build import load_in, trial_frame


@pytest.mark.parametrize('precision', ['fp16', 'bf16'])
def test_a_real_network_runs_in_half_precision(small_file, precision):
    options = ModelOptions(weights=small_file, input_size=126)
    frame = trial_frame(torch.device('cpu'), 64, 48)
    _, said = load_in('depth_anything_v2_small', options, precision, frame)
    assert said.startswith(f'{precision} (median ')
