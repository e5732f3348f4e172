# SPDX-License-Identifier: Apache-2.0
"""What the comparison with the published networks rests on: formula, key lists, stored outputs."""

import hashlib
import json

import numpy as np
import pytest
import torch
from formula import tensor
from parity import HERE, PARITY, Fixture
from reduce_parity import KEPT, WHOLE, layouts_in, reduced
from stand_ins import empty, formula, layouts

from depth_ros.checkpoints.keys import rename
from depth_ros.checkpoints.load import load_strict
from depth_ros.models.monodepth2.checkpoint import RULES, UNUSED
from depth_ros.models.monodepth2.network import Monodepth2, Variant

SUMS = json.loads((HERE / 'weights_sha256.json').read_text())


def size(layout):
    return sum(v.numel() for v in empty(layout).values())


@pytest.mark.parametrize(
    'layout', [pytest.param(x, marks=pytest.mark.slow if size(x) > 1e8 else ()) for x in SUMS]
)
def test_the_formula_gives_the_weights_of_the_reference_runs(layout):
    digest = hashlib.sha256()
    for name, like in empty(layout).items():  # one at a time: a layout takes up to 4 GB
        digest.update(name.encode())
        digest.update(tensor(name, tuple(like.shape), like.dtype).numpy().tobytes())
    assert digest.hexdigest() == SUMS[layout]


def test_the_formula_is_exact_in_half_precision():
    for values in formula('da2-vits').values():
        assert torch.equal(values.half().float(), values)


def test_tensors_of_one_network_differ_and_are_spread_as_stated():
    state = formula('da2-vits')
    one, other = (state[f'pretrained.blocks.{i}.attn.qkv.weight'] for i in (0, 1))
    assert not torch.equal(one, other)
    gain = 0.125  # 1.5 * sqrt(3 / 384) = 0.133, to three bits
    assert one.abs().max() == gain * 255 / 256
    assert abs(one.mean()) < 1e-3 and one.std() == pytest.approx(gain / 3**0.5, rel=1e-2)


@pytest.mark.parametrize('name', ['encoder.layer3.1.conv2.weight', 'decoder.1.conv.conv.weight'])
def test_a_weight_that_is_one_percent_off_shows(name):
    fixture = Fixture(PARITY / 'monodepth2-640x192.npz')
    state = formula('monodepth2-640x192-encoder') | formula('monodepth2-640x192-depth')
    network = Monodepth2(Variant.parse('stereo_640x192')).eval()
    errors = []
    for factor in (1.0, 1.01):
        state[name] = state[name] * factor
        load_strict(network, rename(state, RULES), path='formula', ignore=UNUSED)
        with torch.inference_mode():
            disparity = network(fixture.network_input('odd'))
        errors.append(fixture.error('odd', 'disp0', disparity[0]))
    assert errors[0] < 2e-5 and errors[1] > 1e-3


@pytest.mark.parametrize('name', [*KEPT, *WHOLE])
def test_the_stored_outputs_are_part_of_the_large_ones(shared, name):
    path = shared / 'parity' / f'{name}.npz'
    whole = np.load(path) if name in WHOLE else reduced(Fixture(path), KEPT[name])
    here = np.load(PARITY / f'{name}.npz')
    assert set(here) == set(whole)
    for key in here:
        np.testing.assert_array_equal(here[key], whole[key])


def test_the_key_lists_are_those_of_the_published_files(shared):
    assert layouts() == layouts_in(shared / 'keys')
    for layout, entries in layouts_in(shared / 'keys').items():
        assert list(layouts()[layout]) == list(entries)  # in their order, too
