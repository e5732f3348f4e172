# SPDX-License-Identifier: Apache-2.0
"""Packed layers agree with torch's, and replace them where that is faster."""

import pytest
import stand_ins
import torch
from frames import frame_of
from torch import nn

from depth_ros.models import PRESETS, ModelOptions, load, mkldnn_linear

CPU = torch.device('cpu')
needs_onednn = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason='this torch has no oneDNN'
)


@needs_onednn
@pytest.mark.parametrize('shape', [(64,), (1, 64), (3, 7, 64), (2, 5, 4, 64)])
@pytest.mark.parametrize('bias', [True, False])
def test_agrees_with_torch(shape, bias):
    torch.manual_seed(0)
    dense = nn.Linear(64, 24, bias=bias)
    x = torch.randn(shape)
    with torch.inference_mode():
        assert torch.allclose(mkldnn_linear.MkldnnLinear(dense)(x), dense(x), atol=1e-5)
        across = x.transpose(0, -1).contiguous().transpose(0, -1)  # as attention hands it over
        assert torch.allclose(mkldnn_linear.MkldnnLinear(dense)(across), dense(x), atol=1e-5)


@needs_onednn
def test_reaches_every_layer_and_no_subclass():
    class Other(nn.Linear):
        pass

    network = nn.Sequential(nn.Linear(8, 8), nn.ModuleList([nn.Linear(8, 8), Other(8, 8)]))
    mkldnn_linear.replace_linears(network)
    kinds = [type(network[0]), *map(type, network[1])]
    assert kinds == [mkldnn_linear.MkldnnLinear, mkldnn_linear.MkldnnLinear, Other]


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_leaves_half_precision_alone(dtype):
    assert not mkldnn_linear.is_beneficial(CPU, dtype)


def test_leaves_other_devices_alone():
    assert not mkldnn_linear.is_beneficial(torch.device('cuda'), torch.float32)


@needs_onednn
def test_packed_layers_compute_the_same(tmp_path, monkeypatch, picture):
    small = frame_of(picture[::4, ::4].contiguous())
    weights = stand_ins.write(PRESETS['glpdepth_nyu'], tmp_path)
    answers = []
    for beneficial in (True, False):
        monkeypatch.setattr(
            mkldnn_linear, 'is_beneficial', lambda *_, beneficial=beneficial: beneficial
        )
        model = load('glpdepth_nyu', ModelOptions(weights=weights))
        assert (
            any(isinstance(m, mkldnn_linear.MkldnnLinear) for m in model.network.modules())
            == beneficial
        )
        answers.append(model.predict(small).values)
    assert torch.allclose(*answers, rtol=1e-4)
