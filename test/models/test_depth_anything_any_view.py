# SPDX-License-Identifier: Apache-2.0
"""Depth Anything 3 any-view: agreement with the published networks, positions, one view."""

import math

import pytest
import torch
from stand_ins import formula

from depth_ros.checkpoints.load import load_strict
from depth_ros.core.camera import Camera
from depth_ros.core.types import Frame, Kind
from depth_ros.models import PRESETS, ModelOptions
from depth_ros.models.depth_anything import DepthAnythingModel, build
from depth_ros.models.depth_anything.any_view import (
    apply_rope,
    rope_table,
    rope_tables,
    uv_embedding,
)
from depth_ros.models.depth_anything.checkpoint import LAYOUTS, UNUSED, translate
from depth_ros.models.depth_anything.variant import Variant
from depth_ros.parameters.layers import with_values
from depth_ros.parameters.settings import Settings
from depth_ros.pipeline.depth_pipeline import Pipeline

LIMIT = 2e-5  # max |difference| / max |expected|; a wrong rule shows from 1e-3 upwards

# Base: depth and confidence at every 24th row and 50th column, from the publishers' network
# (ByteDance-Seed/Depth-Anything-3 at 2c21ea8, encoder and head in float32) with the formula's
# weights, the picture's crop of 98x126 px at (250, 200) not resized.
BASE = (
    [
        [1.8254174, 2.3960546, 2.0559902],
        [1.3473247, 1.2013270, 1.2088914],
        [1.4073814, 1.1336219, 0.9284775],
        [1.7144903, 1.0073305, 1.0155175],
        [1.4946009, 1.7796559, 1.4058284],
    ],
    [
        [2.9615016, 2.3582721, 3.1033075],
        [3.3852949, 3.0074834, 3.6215861],
        [3.2434018, 3.3549876, 3.2134316],
        [2.7307873, 2.4482946, 3.1507430],
        [2.6394215, 2.8167458, 2.6521788],
    ],
)


def network_of(size):
    with torch.device('meta'):
        network = build(Variant.of(PRESETS[f'depth_anything_v3_{size}']))
    rules = LAYOUTS['Depth Anything 3 (any-view)'][1]
    state = translate(formula(f'da3-{size}'), rules)
    load_strict(network, state, path='formula', ignore=UNUSED)
    return network.eval().requires_grad_(False)


def adapter(network, **options):
    return DepthAnythingModel(
        network, network.variant, Kind.SCALE_INVARIANT, ModelOptions(**options)
    )


@pytest.fixture(scope='module')
def small():
    return network_of('small')


@pytest.fixture
def crop(fixture_of):
    return fixture_of('da3-small', 'odd1').network_input('odd1')


def test_small_agrees_with_the_published_network(small, fixture_of, crop):
    fixture = fixture_of('da3-small', 'odd1')
    with torch.inference_mode():
        depth, confidence = small(crop)
    assert fixture.error('odd1', 'depth', depth) < LIMIT
    assert fixture.error('odd1', 'conf', confidence) < LIMIT


def test_base_agrees_with_the_published_network(crop):
    with torch.inference_mode():
        answer = network_of('base')(crop)
    for values, expected in zip(answer, map(torch.tensor, BASE), strict=True):
        error = (values[0, ::24, ::50] - expected).abs().max() / expected.max()
        assert error < LIMIT


def test_views_of_a_batch_do_not_see_each_other(small, crop):
    both = torch.cat((crop, crop.flip(3)))
    with torch.inference_mode():
        for together, alone in zip(small(both), small(crop.flip(3)), strict=True):
            torch.testing.assert_close(together[1], alone[0], atol=1e-5, rtol=1e-5)


def test_one_view_is_the_reference_view(small, crop):
    with torch.inference_mode():
        before = small(crop)[0]
        small.encoder.camera_token[:, 1] += 1
        assert torch.equal(small(crop)[0], before)
        small.encoder.camera_token[:, 1] -= 1
        small.encoder.camera_token[:, 0] += 1
        assert not torch.equal(small(crop)[0], before)
        small.encoder.camera_token[:, 0] -= 1


def test_rotation_turns_each_pair_of_channels_by_its_angle():
    torch.manual_seed(0)
    x = torch.randn(64)
    y_index, x_index = 3, 7
    turned = apply_rope(x, *(t[0] for t in rope_table(torch.tensor([[y_index, x_index]]))))
    for first, index in ((0, y_index), (32, x_index)):
        for j in range(16):
            angle = index * 100 ** (-2 * j / 32)
            a, b = x[first + j].item(), x[first + j + 16].item()
            z = complex(a, b) * complex(math.cos(angle), math.sin(angle))
            assert turned[first + j] == pytest.approx(z.real, abs=1e-5)
            assert turned[first + j + 16] == pytest.approx(z.imag, abs=1e-5)


def test_attention_depends_on_where_tokens_are_to_each_other():
    torch.manual_seed(0)
    q, k = torch.randn(2, 64)
    products = []
    for offset in (0, 5):
        cos, sin = rope_table(torch.tensor([[2, 9], [4, 3]]) + offset)
        products.append(apply_rope(q, cos[0], sin[0]) @ apply_rope(k, cos[1], sin[1]))
    assert products[0] == pytest.approx(products[1].item(), abs=1e-4)


def test_local_blocks_use_positions_and_global_ones_do_not():
    local, everywhere = rope_tables((2, 3), torch.float32, torch.device('cpu'))
    for cos, sin in (local, everywhere):
        assert cos.shape == (7, 64)
        assert (cos[0] == 1).all() and (sin[0] == 0).all()  # the camera is at (0, 0)
    assert len(local[1][1:].unique(dim=0)) == 6
    assert len(everywhere[1][1:].unique(dim=0)) == 1
    assert torch.equal(local[0][1], everywhere[0][1])  # (1, 1) is the first patch
    assert torch.equal(local[0][-1], rope_table(torch.tensor([[2, 3]]))[0][0])


@pytest.mark.parametrize('size', [(7, 9), (1, 1), (10, 4)])
def test_uv_embeddings_are_sines_and_cosines_of_the_half_diagonal(size):
    (h, w), aspect, channels = size, 1.5, 12
    table = uv_embedding(channels, size, aspect)
    diagonal = math.hypot(aspect, 1)
    for row, column in ((0, 0), (h - 1, w - 1), (h // 2, w // 3)):
        x = aspect / diagonal * (w - 1) / w * (2 * column / max(w - 1, 1) - 1)
        y = 1 / diagonal * (h - 1) / h * (2 * row / max(h - 1, 1) - 1)
        omega = [100 ** (-k / 3) for k in range(3)]
        expected = [f(v * o) for v in (x, y) for f in (math.sin, math.cos) for o in omega]
        assert table[:, row, column].tolist() == pytest.approx(expected, abs=1e-6)


def test_pixels_with_low_confidence_can_be_masked(small, picture):
    frame = Frame(picture, Camera(640, 480, 520.0, 520.0, 319.5, 239.5))
    model = adapter(small, input_size=126)
    prediction = model.predict(frame)
    assert prediction.kind is Kind.SCALE_INVARIANT and prediction.sky is None
    assert prediction.confidence.shape == prediction.values.shape == (480, 640)
    assert (prediction.confidence > 1).all()
    least = float(prediction.confidence.median())
    values = {'scaling.method': 'constant', 'min_confidence': least, 'range.min': 0.0}
    depth = Pipeline(model, with_values(Settings(), values))(frame)
    assert torch.equal(depth.z.isnan(), prediction.confidence < least)
    assert torch.equal(depth.confidence, prediction.confidence)


def test_half_precision_returns_float32(small, picture):
    network = network_of('small').bfloat16()
    model = adapter(network, dtype=torch.bfloat16, input_size=126)
    frame = Frame(picture, Camera(640, 480, 520.0, 520.0, 319.5, 239.5))
    prediction = model.predict(frame)
    full = adapter(small, input_size=126).predict(frame)
    for name in ('values', 'confidence'):
        half = getattr(prediction, name)
        assert half.dtype is torch.float32
        # the formula's weights react more strongly than trained ones
        assert (half / getattr(full, name) - 1).abs().median() < 0.1
