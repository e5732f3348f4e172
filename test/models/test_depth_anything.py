# SPDX-License-Identifier: Apache-2.0
"""Depth Anything: agreement with the published networks, the loader's refusals, and geometry."""

import logging

import cv2
import numpy as np
import pytest
import torch
from frames import frame_of
from safetensors.torch import save_file
from stand_ins import formula

from depth_ros.core.camera import Camera
from depth_ros.core.errors import ConfigError
from depth_ros.core.types import Frame, Kind
from depth_ros.models import PRESETS, ModelOptions, load
from depth_ros.models.depth_anything import DepthAnythingModel
from depth_ros.models.depth_anything.network import DepthAnything
from depth_ros.models.depth_anything.variant import Variant

LIMIT = 2e-5  # max |difference| / max |expected|; a wrong rule shows from 1e-4 upwards
V1, V2 = 'depth_anything_v1_small', 'depth_anything_v2_small'
INDOOR, OUTDOOR = 'depth_anything_v2_metric_indoor_small', 'depth_anything_v2_metric_outdoor_small'
METRIC, MONO = 'depth_anything_v3_metric_large', 'depth_anything_v3_mono_large'
SMALL = {'da1-vits': V1, 'da2-vits': V2, 'da2-vits-metric20': INDOOR}
FAMILY = [name for name, preset in PRESETS.items() if preset.family == 'depth_anything']


@pytest.fixture(scope='module')
def small(small_file):
    """Preset -> model, loaded from a file as a published one is."""
    made = {}

    def get(preset):
        if preset not in made:
            made[preset] = load(preset, ModelOptions(weights=small_file))
        return made[preset]

    return get


@pytest.fixture(scope='module')
def metric(tmp_path_factory):
    """Version 3 metric from a file in half precision, which holds the formula exactly."""
    path = tmp_path_factory.mktemp('metric') / 'model.safetensors'
    save_file({k: v.half() for k, v in formula('da3metric-large').items()}, path)
    yield load(METRIC, ModelOptions(weights=path))
    path.unlink()


def run(model, fixture, case):
    with torch.inference_mode():
        return model.network(fixture.network_input(case))


def adapter(preset, network=None, **options):
    """Preprocessing and postprocessing of a preset around a network, or around none."""
    preset = PRESETS[preset]
    return DepthAnythingModel(network, Variant.of(preset), preset.kind, ModelOptions(**options))


def frame(rgb, focal=520.0):
    h, w = rgb.shape[:2]
    return Frame(rgb, Camera(w, h, focal, focal, w / 2 - 0.5, h / 2 - 0.5))


@pytest.mark.parametrize('name', SMALL)
def test_layers_agree_with_the_published_network(name, small, fixture_of):
    fixture, model = fixture_of(name), small(SMALL[name])
    for i, tap in enumerate(model.network.taps(fixture.network_input('odd'))):
        assert (
            fixture.error('odd', f'tap{i}', tap[..., ::16]) < LIMIT
        )  # every 16th channel is stored
    assert fixture.error('odd', 'output', run(model, fixture, 'odd')[0]) < LIMIT


@pytest.mark.parametrize('name', SMALL)
def test_every_pixel_of_a_large_output_agrees_with_the_published_network(name, small, fixture_of):
    fixture, model = fixture_of(name, 'main'), small(SMALL[name])
    (depth,) = run(model, fixture, 'main')  # no sky
    assert fixture.error('main', 'output', depth) < LIMIT
    assert fixture.error('main', 'depth', model.to_image_pixels(depth[0], (480, 640))) < LIMIT


@pytest.mark.parametrize('name', SMALL)
def test_a_picture_goes_through_as_through_the_published_chain(name, small, fixture_of, picture):
    fixture, model = fixture_of(name, 'picture'), small(SMALL[name])
    x = model.network_input(frame_of(picture))
    assert fixture.error('picture', 'network_input', x) < 1e-4  # float32 instead of float64
    prediction = model.predict(frame(picture))
    assert prediction.kind is PRESETS[SMALL[name]].kind
    assert fixture.error('picture', 'depth', prediction.values) < 1e-4


def test_the_trained_size_uses_the_position_table_unchanged(small, fixture_of):
    fixture = fixture_of('da2-vits', 'square')
    assert fixture.error('square', 'output', run(small(V2), fixture, 'square')[0]) < LIMIT


def test_outdoor_is_indoor_times_four(small, picture):
    indoor, outdoor = (
        adapter(preset, small(preset).network, input_size=98).predict(frame(picture)).values
        for preset in (INDOOR, OUTDOOR)
    )
    torch.testing.assert_close(outdoor, indoor * 4)


def test_position_tables_agree_on_the_trained_grid_only(small):
    network = small(V2).network
    by_size = DepthAnything(network.variant, pos_embed='size')
    by_size.encoder = network.encoder
    assert torch.equal(network._interpolated(37, 37), by_size._interpolated(37, 37))
    assert network._interpolated(37, 49).shape == by_size._interpolated(37, 49).shape
    assert not torch.allclose(network._interpolated(37, 49), by_size._interpolated(37, 49))


def test_version_3_agrees_with_the_published_network_on_a_small_input(metric, fixture_of):
    fixture = fixture_of('da3metric-large')
    for i, tap in enumerate(metric.network.taps(fixture.network_input('odd'))):
        assert (
            fixture.error('odd', f'tap{i}', tap[..., ::16]) < LIMIT
        )  # every 16th channel is stored
    depth, sky = run(metric, fixture, 'odd')
    assert fixture.error('odd', 'output', depth) < LIMIT
    assert fixture.error('odd', 'sky', sky) < LIMIT


@pytest.fixture(scope='module')
def answer(metric, picture):
    """The whole picture: the network's input, its depth and its sky."""
    x = metric.network_input(frame_of(picture))
    with torch.inference_mode():
        return x, *metric.network(x[None])


@pytest.mark.parametrize('case', ['picture', 'main'])
def test_version_3_agrees_with_the_published_chain(metric, answer, fixture_of, case):
    fixture = fixture_of('da3metric-large', case)
    x, depth, sky = answer
    assert fixture.input_difference(case, x).abs().max() < 1e-6
    assert fixture.error(case, 'output', depth) < LIMIT
    assert fixture.error(case, 'sky', sky) < LIMIT
    facts = fixture.cases[case]
    for i in (0, 1):
        fx, fy = facts[f'fx_fy_{i}']
        factor = canonical_factor(metric, (480, 640), fx, fy)
        assert factor == pytest.approx(facts[f'factor_{i}'])
        assert fixture.error(case, f'depth_f{i}', depth * factor) < LIMIT


@pytest.mark.parametrize('size', [(720, 1280), (376, 1241), (100, 177), (504, 378)])
def test_version_3_resizes_bytes_twice(metric, size):
    rgb = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    scale = 504 / max(size)
    longest = tuple(round(n * scale) for n in size)
    h, w = (int(n / 14 + 0.5) * 14 for n in longest)
    theirs = rgb
    for to in (longest, (h, w)):
        grows = any(new > old for new, old in zip(to, theirs.shape, strict=False))
        how = cv2.INTER_CUBIC if grows else cv2.INTER_AREA
        if to != theirs.shape[:2]:
            theirs = cv2.resize(theirs, to[::-1], interpolation=how)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    theirs = ((torch.from_numpy(theirs) / 255 - mean) / std).permute(2, 0, 1)
    ours = metric.network_input(frame_of(torch.from_numpy(rgb)))
    assert ours.shape == theirs.shape and (ours - theirs).abs().max() < 1e-6


def canonical_factor(model, size, fx, fy):
    h, w = model.network_size(*size)
    return (fx / (300 * size[1] / w) + fy / (300 * size[0] / h)) / 2


def metres(prediction, camera):
    fx, fy = prediction.focal_px
    return prediction.values * (camera.fx / fx + camera.fy / fy) / 2


@pytest.fixture
def quick(metric):
    """The same network at an input size that takes no time."""
    return adapter(METRIC, metric.network, input_size=126)


def test_doubling_the_focal_length_doubles_version_3_metres(quick, picture):
    near, far = frame(picture, 300.0), frame(picture, 600.0)
    a, b = quick.predict(near), quick.predict(far)
    assert a.kind is Kind.CANONICAL
    torch.testing.assert_close(metres(b, far.camera), 2 * metres(a, near.camera), equal_nan=True)


def test_resizing_picture_and_camera_keeps_version_3_metres(quick, picture):
    camera = Camera(126, 98, 100.0, 102.0, 62.5, 48.5)
    small = picture[:98, :126].contiguous()
    large = small.repeat_interleave(3, 0).repeat_interleave(3, 1)  # area resize undoes it exactly
    a = quick.predict(Frame(small, camera))
    b = quick.predict(Frame(large, camera.resized(378, 294)))
    za, zb = metres(a, camera), metres(b, camera.resized(378, 294))
    # bilinear by 3: every third pixel, from the second, is a network pixel
    inner = ~a.sky & za.isfinite() & zb[1::3, 1::3].isfinite()
    assert inner.any()
    torch.testing.assert_close(zb[1::3, 1::3][inner], za[inner])


def test_depth_next_to_sky_mixes_no_sky():
    depth = torch.full((14, 28), 5.0)
    sky = torch.zeros(14, 28)
    sky[:, 14:], depth[:, 14:] = 1.0, 500.0
    z, is_sky = adapter(METRIC).to_image_pixels_without_sky(depth, sky, (42, 84))
    assert torch.equal(is_sky[0], torch.arange(84) >= 42)
    torch.testing.assert_close(z[:, :42], torch.full((42, 42), 5.0))
    assert z[:, 60:].isnan().all()


@pytest.mark.parametrize(
    ('preset', 'camera', 'network'),
    [
        (V2, (480, 640), (518, 686)),
        (V2, (720, 1280), (518, 924)),
        (V2, (480, 848), (518, 910)),
        (V2, (1280, 720), (924, 518)),
        (V2, (376, 1241), (518, 1708)),  # 4514 patches
        (V2, (300, 1600), (420, 2282)),  # 518x2758 would be 7289
        (METRIC, (480, 640), (378, 504)),
        (METRIC, (720, 1280), (280, 504)),
        (METRIC, (376, 1241), (154, 504)),
        (METRIC, (10, 1241), (14, 504)),
    ],
)
def test_input_size_follows_the_rule_and_the_cap(preset, camera, network, caplog):
    caplog.set_level(logging.INFO)
    model = adapter(preset)
    assert model.network_size(*camera) == network
    model.network_size(*camera)
    assert caplog.text.count('images of') == 1


@pytest.mark.parametrize('preset', [V2, METRIC])
@pytest.mark.parametrize('cap', [16, 100, 1000])
@pytest.mark.parametrize('camera', [(480, 640), (30, 4000), (4000, 30), (2160, 3840)])
def test_patches_stay_below_the_cap(preset, cap, camera):
    h, w = adapter(preset, max_tokens=cap).network_size(*camera)
    assert h % 14 == w % 14 == 0
    assert 0 < (h // 14) * (w // 14) <= cap


def test_input_size_overrides_the_presets():
    assert adapter(V2, input_size=252).network_size(480, 640) == (252, 336)
    assert adapter(METRIC, input_size=252).network_size(480, 640) == (196, 252)


def test_half_precision_returns_float32(small_file, picture):
    options = ModelOptions(weights=small_file, dtype=torch.bfloat16, input_size=98)
    prediction = load(V2, options).predict(frame(picture))
    assert prediction.values.dtype is torch.float32
    assert prediction.values.isfinite().all()


def test_weights_and_a_valid_input_size_are_required(small_file):
    with pytest.raises(ConfigError, match='set weights to'):
        load(V2, ModelOptions())
    with pytest.raises(ConfigError, match='input_size is 7'):
        load(V2, ModelOptions(weights=small_file, input_size=7))
    with pytest.raises(ConfigError, match='v9'):
        Variant.parse('v9')


def test_positions_of_a_size_stay_where_they_are_for_graphs_that_read_them(small):
    network = small('depth_anything_v2_small').network
    tables = [network._table(3, q, torch.float32, torch.device('cpu')) for q in (4, 5, 4)]
    assert tables[0] is tables[2] and tables[0].shape[1] == 13
