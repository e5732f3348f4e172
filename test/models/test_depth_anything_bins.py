# SPDX-License-Identifier: Apache-2.0
"""Depth Anything 1 metric: agreement with the published network, and the formulas of its head."""

import math

import pytest
import torch
from frames import frame_of
from stand_ins import formula

from depth_ros.checkpoints.load import load_strict
from depth_ros.core.camera import Camera
from depth_ros.core.types import Frame, Kind
from depth_ros.models import PRESETS, ModelOptions
from depth_ros.models.depth_anything import DepthAnythingModel, build
from depth_ros.models.depth_anything.bins import attract, log_binomial
from depth_ros.models.depth_anything.checkpoint import LAYOUTS, UNUSED, translate
from depth_ros.models.depth_anything.variant import Variant

PRESET = PRESETS['depth_anything_v1_metric_indoor_large']

# [m] at every 24th row and 25th column, from the publishers' network (LiheYoung/Depth-Anything at
# 1d03336) with the formula's weights, the picture's crop of 98x126 px at (250, 200) not resized.
EXPECTED = [
    [0.9342816, 0.9321313, 0.8752010, 0.9808782, 0.9746023, 0.8975003],
    [0.9729485, 1.0033140, 0.9975249, 0.9498480, 0.9597775, 0.9761872],
    [0.9125156, 0.9252003, 0.8760449, 1.3692795, 0.9758049, 0.8498486],
    [0.8346868, 0.9514139, 1.0304079, 1.0210266, 0.9028308, 0.7968817],
    [0.7839342, 1.1045878, 1.1244296, 1.0221070, 0.9379790, 1.1095296],
]


@pytest.fixture(scope='module')
def model():
    with torch.device('meta'):
        network = build(Variant.of(PRESET))
    rules = LAYOUTS['Depth Anything v1 metric (ZoeDepth)'][1]
    state = translate(formula('da1-metric-vitl'), rules)
    load_strict(network, state, path='formula', ignore=UNUSED)
    return adapter(network.eval().requires_grad_(False))


def adapter(network=None, **options):
    variant = Variant.of(PRESET)
    return DepthAnythingModel(network, variant, PRESET.kind, ModelOptions(**options))


def test_metres_agree_with_the_published_network(model, picture):
    small = model.network_input(frame_of(picture[200:298, 250:376].contiguous()))
    assert small.shape == (3, 392, 518)
    crop = picture[200:298, 250:376].permute(2, 0, 1).float() / 255
    (z,) = model.network(((crop - model._mean) / model._std)[None])
    expected = torch.tensor(EXPECTED)
    error = (z[0, ::24, ::25] - expected).abs().max() / expected.max()
    assert error < 2e-5


def test_a_prediction_is_metres(model, picture):
    shrunk = adapter(model.network, input_size=126)
    camera = Camera(640, 480, 520.0, 520.0, 319.5, 239.5)
    prediction = shrunk.predict(Frame(picture, camera))
    assert prediction.kind is Kind.METRIC
    assert prediction.focal_px is None and prediction.sky is None
    assert prediction.values.shape == (480, 640)
    assert (prediction.values > 0).all()


@pytest.mark.parametrize('size', [(480, 640), (1080, 1920), (640, 480)])
def test_every_picture_is_squeezed_to_one_size(size):
    assert adapter().network_size(*size) == (392, 518)
    assert adapter(input_size=126).network_size(*size) == (98, 126)
    assert adapter(max_tokens=100).network_size(*size) == (112, 154)


def test_corners_stay_corners_both_ways():
    picture = torch.zeros(100, 200, 3, dtype=torch.uint8)
    picture[0, 0] = picture[-1, -1] = 255
    model = adapter()
    x = model.network_input(frame_of(picture))
    assert x[:, 0, 0].tolist() == pytest.approx(x[:, -1, -1].tolist())
    assert x[0, 0, 0] == pytest.approx((1 - 0.485) / 0.229)
    back = model.to_image_pixels(x[0], (100, 200))
    assert back[0, 0] == x[0, 0, 0] and back[-1, -1] == x[0, -1, -1]


def test_a_bin_is_drawn_by_the_mean_of_all_points():
    torch.manual_seed(0)
    centres, points = torch.rand(1, 5, 2, 3) * 4, torch.rand(1, 16, 2, 3) * 4
    moved = attract(centres, points)
    for k, y, x in ((0, 0, 0), (4, 1, 2), (2, 0, 1)):
        c = float(centres[0, k, y, x])
        pulls = [(float(a) - c) / (1 + 300 * (float(a) - c) ** 2) for a in points[0, :, y, x]]
        assert moved[0, k, y, x] == pytest.approx(c + sum(pulls) / 16, rel=1e-5)


def test_a_bin_where_the_points_are_stays():
    centres = torch.full((1, 3, 2, 2), 2.5)
    assert torch.equal(attract(centres, torch.full((1, 4, 2, 2), 2.5)), centres)


@pytest.mark.parametrize(
    'mixture', [(0.2, 0.8, 0.5, 0.5), (3.0, 1.0, 0.01, 5.0), (1e-4, 9.0, 2.0, 1.0)]
)
def test_weights_are_a_binomial_distribution_at_a_temperature(mixture):
    weights = log_binomial(torch.tensor(mixture).view(1, 4, 1, 1))[0, :, 0, 0]
    p = mixture[0] / (mixture[0] + mixture[1])
    temperature = 0.0212 + (50 - 0.0212) * mixture[2] / (mixture[2] + mixture[3])

    def term(n, k):  # n ln n and so on, 0 ln 0 = 0
        return n * math.log(n) - sum(m * math.log(m) for m in (k, n - k) if m)

    low, high = max(p, 1e-4), max(1 - p, 1e-4)
    logits = [
        (term(63, k) + k * math.log(low) + (63 - k) * math.log(high)) / temperature
        for k in range(64)
    ]
    top = max(logits)
    expected = torch.tensor([math.exp(v - top) for v in logits])
    torch.testing.assert_close(weights, expected / expected.sum(), atol=1e-4, rtol=1e-3)
    assert weights.sum() == pytest.approx(1)
