# SPDX-License-Identifier: Apache-2.0
"""MoGe-2: agreement with the published network and `infer`, and what the loader refuses."""

import copy
import logging

import numpy as np
import pytest
import stand_ins
import torch
from frames import frame_of
from safetensors.torch import save_file

from depth_ros.checkpoints.keys import rename
from depth_ros.core.camera import Camera
from depth_ros.core.errors import ConfigError, InferenceError, WeightsError
from depth_ros.core.resample import resize_bilinear
from depth_ros.core.types import Frame, Kind
from depth_ros.models import PRESETS, ModelOptions, load
from depth_ros.models.moge import MoGeModel, points_and_mask
from depth_ros.models.moge.checkpoint import RULES
from depth_ros.models.moge.config import Config
from depth_ros.models.moge.network import MoGe

LIMIT = 2e-5  # max |difference| / max |expected|; a wrong rule shows from 4e-3 upwards
#: the published solver stops early, which moves depth by this part of its maximum
EARLY = 1e-3
SMALL, LARGE = 'moge2_vits_normal', 'moge2_vitl_normal'
FIXTURE = 'moge2-vits-normal'
SLOW = ('main', 'tokens')  # a second and more for each run
CASES = [
    pytest.param(case, marks=pytest.mark.slow if case in SLOW else ())
    for case in ('odd', 'picture', 'main', 'tokens', 'square')
]


@pytest.fixture(scope='module')
def file(tmp_path_factory):
    """A file as published."""
    path = stand_ins.write(PRESETS[SMALL], tmp_path_factory.mktemp('moge'))
    yield path
    path.unlink()


@pytest.fixture(scope='module')
def network(file):
    return load(SMALL, ModelOptions(weights=file)).network


@pytest.fixture(scope='module')
def adapter(network):
    """`adapter(tokens)`: the model with this number of patches."""
    return lambda tokens: MoGeModel(network, ModelOptions(input_size=4096, max_tokens=tokens))


@pytest.fixture(scope='module')
def run(adapter, fixture_of, picture):
    """`run(case)`: fixture, adapter, pixels, and outputs of the network without the batch."""
    kept = {}

    def get(case):
        if case not in kept:
            fixture = fixture_of(FIXTURE, case)
            model = adapter(fixture.cases[case]['num_tokens'])
            rgb = picture
            if case != 'picture':
                rgb = torch.from_numpy(np.ascontiguousarray(fixture.pixels(case)))
            with torch.inference_mode():
                maps = model.network(model.network_input(frame_of(rgb))[None])
            kept[case] = fixture, model, rgb, [one[0] for one in maps]
        return kept[case]

    return get


def camera(fixture, case, which, rgb):
    """The camera whose field of view the published `infer` was given, or found."""
    K = fixture.arrays[f'{case}_intrinsics_{which}'].astype(np.float64)
    height, width = rgb.shape[:2]
    half = 0.5, 0.5
    assert tuple(K[:2, 2]) == half
    return Camera(
        width, height, K[0, 0] * width, K[1, 1] * height, (width - 1) / 2, (height - 1) / 2
    )


def test_layers_agree_with_the_published_network(run):
    fixture, model, rgb, (points, mask, _, normals) = run('odd')
    network = model.network
    x = model.network_input(frame_of(rgb))[None]
    with torch.inference_mode():
        features, token = network.encoded(x[:, :3])
        assert fixture.error('odd', 'tap_cls', token) < LIMIT
        assert fixture.error('odd', 'tap_encoder', features[:, ::16]) < LIMIT
        neck = network.neck(network.with_coordinates(features, x[:, 3:, :1, :1]))
    for level, found in enumerate(neck):
        every = found.shape[1] // 16
        assert fixture.error('odd', f'tap_neck{level}', found[:, ::every]) < LIMIT
    assert fixture.error('odd', 'tap_points_raw', points) < LIMIT
    assert fixture.error('odd', 'tap_mask_raw', mask) < LIMIT
    assert fixture.error('odd', 'tap_normal_raw', normals) < LIMIT


@pytest.mark.parametrize('case', CASES)
def test_points_mask_and_scale_agree_with_the_published_network(run, case):
    fixture, model, rgb, (raw, mask, scale, _) = run(case)
    size = tuple(rgb.shape[:2])
    shown = model.network_size(*size)
    assert [n // 14 for n in shown] == fixture.cases[case]['token_grid']
    values = resize_bilinear(torch.cat((raw, mask[None])), size)
    points, there = points_and_mask(values[:3], values[3])
    assert fixture.error(case, 'points', points.permute(1, 2, 0)) < LIMIT
    assert fixture.error(case, 'metric_scale', scale.exp()) < LIMIT
    expected, part = fixture.stored(case, 'mask')
    assert (there.numpy()[part] != (expected > 0.5)).mean() < 1e-3


@pytest.mark.parametrize('which', ['f0', 'f1', 'u'])
@pytest.mark.parametrize('case', CASES[:-1])
def test_depth_agrees_with_the_published_infer(run, case, which):
    fixture, model, rgb, maps = run(case)
    if f'depth_{which}' not in fixture.cases[case]['arrays']:
        pytest.skip(f'{case} has no {which}')
    known = camera(fixture, case, which, rgb)
    if which == 'u':  # the focal length at the exact minimum
        exact = fixture.arrays[f'{case}_focal_shift_u_exact'][0]
        model.engine = lambda x: tuple(one[None] for one in maps)  # runs once for all
        found = model.estimate_camera(rgb)
        diagonal = np.hypot(*rgb.shape[:2])
        assert found.fx == pytest.approx(exact * diagonal / 2, rel=LIMIT)
        assert (found.fx, found.cx) == pytest.approx((known.fx, known.cx), rel=2 * EARLY)
        known = found
    prediction = model.postprocess(tuple(maps), Frame(rgb, known))
    published, part = fixture.stored(case, f'depth_{which}')
    depth = prediction.values.numpy()[part]
    there = np.isfinite(depth)
    every = len(fixture.stored(case, 'mask')[0]) // len(depth)  # it is stored more densely
    mask, z = (fixture.stored(case, name)[0][::every, ::every] for name in ('mask', 'points'))
    assert (there != ((mask > 0.5) & (published > 0))).mean() < 1e-3
    shift = fixture.arrays[f'{case}_focal_shift_{which}_exact'][1]
    expected = (z[..., 2].astype(np.float64) + shift) * fixture.arrays[f'{case}_metric_scale']
    assert np.abs(depth - expected)[there].max() < LIMIT * np.abs(expected).max()
    assert np.abs(depth - published)[there].max() < EARLY * np.abs(published).max()
    assert prediction.kind is Kind.METRIC and prediction.sky is None


@pytest.mark.parametrize('case', CASES)
def test_normals_agree_with_the_published_network(run, case):
    fixture, model, rgb, maps = run(case)
    prediction = model.postprocess(tuple(maps), frame_of(rgb))
    expected, part = fixture.stored(case, 'normal')
    found = prediction.normals.numpy()[part]
    there = np.isfinite(found).all(-1)
    # short vectors amplify rounding
    assert np.abs(found - expected)[there].max() < 2e-4
    assert there.mean() > 0.5
    np.testing.assert_allclose(np.linalg.norm(found[there], axis=-1), 1, atol=1e-5)
    no_depth = prediction.values.isnan()
    assert torch.equal(no_depth, prediction.normals.isnan().all(-1))
    assert torch.equal(no_depth, prediction.normals.isnan().any(-1))


def test_without_normals_their_layers_are_not_loaded(file, picture):
    model = load(SMALL, ModelOptions(weights=file, input_size=126, normals=False))
    assert set(model.network.heads) == {'points', 'mask'}
    prediction = model.predict(frame_of(picture))
    with_them = load(SMALL, ModelOptions(weights=file, input_size=126)).predict(frame_of(picture))
    assert prediction.normals is None and with_them.normals is not None
    torch.testing.assert_close(prediction.values, with_them.values, equal_nan=True)


def test_the_shape_of_the_picture_counts_and_not_that_of_its_patches(adapter, picture):
    """Two pictures with the same patches and another shape give other points."""
    model = adapter(20)
    wide, narrow = picture[:400, :420].contiguous(), picture[:400, :436].contiguous()
    assert model.network_size(400, 420) == model.network_size(400, 436)
    x = model.network_input(frame_of(wide))
    other = model.network_input(frame_of(narrow))
    assert not torch.equal(x[3:], other[3:])
    swapped = torch.cat((x[:3], other[3:]))
    with torch.inference_mode():
        a, b = model.network(torch.stack((x, swapped)))[0]
    assert (a - b).abs().max() > 1e-3 * a.abs().max()


def test_by_default_the_input_has_the_fewest_patches_of_training(network, caplog):
    caplog.set_level(logging.INFO)
    model = MoGeModel(network, ModelOptions())
    assert model.network_size(480, 640) == (30 * 14, 40 * 14)
    assert '1200 patches (trained with 1200 to 3600)' in caplog.text
    larger = MoGeModel(network, ModelOptions(input_size=826))
    assert larger.network_size(480, 640) == (44 * 14, 59 * 14)
    assert MoGeModel(network, ModelOptions(max_tokens=300)).network_size(480, 640) == (210, 280)
    assert MoGeModel(network, ModelOptions(max_tokens=16)).network_size(2, 4000) == (14, 224)


def test_the_camera_moves_the_depth_and_not_the_mask(adapter, picture):
    model = adapter(54)
    rgb = picture[::4, ::4].contiguous()
    height, width = rgb.shape[:2]
    near = model.predict(Frame(rgb, Camera(width, height, 100.0, 100.0, 79.5, 59.5))).values
    far = model.predict(Frame(rgb, Camera(width, height, 300.0, 300.0, 79.5, 59.5))).values
    both = near.isfinite() & far.isfinite()
    assert both.any() and torch.isfinite(near).sum() < near.numel()
    difference = (far - near)[both]
    assert (difference - difference[0]).abs().max() < 1e-5 and difference[0] > 0.1


def test_an_image_without_a_camera_is_no_estimate(network, picture):
    model = MoGeModel(copy.copy(network), ModelOptions(input_size=126))
    # points on which x falls with the column have a negative focal length
    model.engine = lambda x: _turned(network(x))
    with pytest.raises(InferenceError, match='finds no camera for the image'):
        model.estimate_camera(picture)


def _turned(maps):
    points, *others = maps
    return (points * torch.tensor([-1.0, -1.0, 1.0])[:, None, None], *others)


def test_the_layers_are_those_that_the_file_states(tmp_path, caplog):
    """Other taps and blocks than published; how many there are of each is in the config."""
    published = stand_ins.layouts()['moge2-vits-normal']['model_config'][2]
    config = copy.deepcopy(published)
    config['encoder']['intermediate_layers'] = [1, 3, 7]
    config['neck']['num_res_blocks'] = [1, 0, 2, 1, 0]
    config['num_tokens_range'] = [600, 900]
    wanted = MoGe(Config.parse(config), normals=True)
    back = {ours: theirs for theirs, ours in _names(wanted).items()}
    state = {back[k]: torch.zeros_like(v) for k, v in wanted.state_dict().items()}
    state['encoder.backbone.mask_token'] = torch.zeros(1, 384)
    path = tmp_path / 'model.pt'
    torch.save({'model_config': config, 'model': state}, path)
    model = load(SMALL, ModelOptions(weights=path))
    assert model.network.config.taps == (1, 3, 7)
    assert len(model.network.projects) == 3
    assert [len(units) for units in model.network.neck.units] == [1, 0, 2, 1, 0]
    assert model.network_size(480, 640) == (21 * 14, 28 * 14)
    without = load(SMALL, ModelOptions(weights=path, without_weights=True))
    assert without.network_size(480, 640) == (21 * 14, 28 * 14)
    assert without.network.config == model.network.config


def _names(network):
    """Published name -> ours, for a network that may differ from the published ones."""
    places = {'deconv': '0', 'conv': '1', 'conv1': '2', 'conv2': '5'}

    def theirs(name):
        if name in ('mean', 'std'):
            return f'encoder.image_{name}'
        owner, _, rest = name.partition('.')
        if owner in ('encoder', 'projects', 'scale'):
            to = {'encoder': 'encoder.backbone', 'projects': 'encoder.output_projections'}
            return f'{to.get(owner, "scale_head")}.{rest}'
        if owner == 'heads':
            head, _, rest = rest.partition('.')
            owner = f'{head}_head'
        kind, _, rest = rest.partition('.')
        parts = rest.split('.')
        if kind == 'output':
            return f'{owner}.output_blocks.4.{rest}'
        if kind == 'inputs':
            return f'{owner}.input_blocks.{rest}'
        if kind == 'ups':
            return f'{owner}.resamplers.{parts[0]}.{places[parts[1]]}.{parts[2]}'
        level, unit, conv, leaf = parts
        return f'{owner}.res_blocks.{level}.{unit}.layers.{places[conv]}.{leaf}'

    return {theirs(name): name for name in network.state_dict()}


@pytest.mark.parametrize('name', [n for n, p in PRESETS.items() if p.family == 'moge'])
def test_the_published_names_and_shapes_are_those_of_our_layers(name):
    preset = PRESETS[name]
    layout = stand_ins.layout_of(preset)
    config = stand_ins.layouts()[layout]['model_config'][2]
    assert Config.parse(config) == Config.of(preset)
    with torch.device('meta'):
        want = MoGe(Config.of(preset), normals=True).state_dict()
    have = rename(stand_ins.empty(layout), RULES)
    del have['encoder.mask_token']
    assert {k: v.shape for k, v in have.items()} == {k: v.shape for k, v in want.items()}


def test_a_file_of_tensors_alone_is_taken_for_the_published_network(
    network, tmp_path, caplog, picture
):
    caplog.set_level(logging.INFO)
    path = tmp_path / 'model.safetensors'
    save_file(stand_ins.formula('moge2-vits-normal'), path)
    model = load(SMALL, ModelOptions(weights=path, input_size=126))
    assert 'has no model_config; taken for model.pt of Ruicheng/moge-2-vits-normal' in caplog.text
    other = MoGeModel(network, ModelOptions(input_size=126))
    frame = frame_of(picture)
    torch.testing.assert_close(
        model.predict(frame).values, other.predict(frame).values, equal_nan=True
    )


def saved(folder, change, layout='moge2-vits-normal'):
    """A file whose config was changed; its tensors are one zero each."""
    config = copy.deepcopy(stand_ins.layouts()[layout]['model_config'][2])
    config = change(config) or config
    path = folder / 'model.pt'
    torch.save({'model_config': config, 'model': stand_ins.names_only(layout)}, path)
    return path


@pytest.mark.parametrize(
    ('change', 'said'),
    [
        (lambda c: c.update(camera_head={'dims': [1]}), 'has camera_head'),
        (lambda c: c['encoder'].update(registers=4), r'has encoder\.registers'),
        (lambda c: c['neck'].update(gate=True), r'has neck\.gate'),
        (lambda c: c['encoder'].update(backbone='dinov3_vitl16'), 'dinov3_vitl16'),
        (lambda c: c['encoder'].update(intermediate_layers=[5, 12]), r'\[5, 12\]'),
        (lambda c: c['encoder'].update(intermediate_layers=4), 'intermediate_layers is 4'),
        (lambda c: c['mask_head'].update(dim_out=[None] * 4 + [2]), r'mask_head\.dim_out is'),
        (lambda c: c['points_head'].update(activation='silu'), "activation is 'silu' instead"),
        (lambda c: c['neck'].update(res_block_in_norm='layer_norm'), "'layer_norm' instead"),
        (lambda c: c.update(remap_output='sinh'), "remap_output is 'sinh' instead of 'exp'"),
        (lambda c: c.update(num_tokens_range=[3600, 1200]), r'num_tokens_range is \[3600, 1200\]'),
        (lambda c: c.pop('scale_head') and None, 'has no scale_head'),
        (lambda c: [1, 2], 'model_config is a list'),
        (lambda c: c['neck'].update(num_res_blocks=torch.ones(5)), 'num_res_blocks is tensor'),
        (lambda c: c.update(remap_output=torch.ones(5)), 'remap_output is tensor'),
    ],
)
def test_a_config_of_another_network_is_refused(tmp_path, change, said):
    path = saved(tmp_path, change)
    with pytest.raises(WeightsError, match=f'no network that this version knows: .*{said}'):
        load(SMALL, ModelOptions(weights=path))


def test_tensors_of_a_newer_version_are_refused(tmp_path):
    state = {**stand_ins.names_only('moge2-vits-normal'), 'encoder.register_tokens': torch.ones(1)}
    path = tmp_path / 'model.safetensors'
    save_file(state, path)
    with pytest.raises(WeightsError, match=r'1 unexpected: encoder\.register_tokens'):
        load(SMALL, ModelOptions(weights=path))


@pytest.mark.parametrize(
    ('layout', 'preset', 'said'),
    [
        ('moge2-vits-normal', LARGE, f'a ViT-S with normals; set model to {SMALL}'),
        ('moge2-vitl', LARGE, 'a ViT-L without normals; set model to moge2_vitl'),
        ('moge2-vitl-normal', 'moge2_vitl', f'a ViT-L with normals; set model to {LARGE}'),
    ],
)
@pytest.mark.parametrize('form', ['published', 'tensors alone'])
def test_another_variant_is_named(tmp_path, layout, preset, said, form):
    path = saved(tmp_path, lambda c: None, layout)
    if form == 'tensors alone':
        state = stand_ins.names_only(layout)
        width = {'s': 384, 'l': 1024}[layout[9]]
        state['encoder.backbone.cls_token'] = torch.zeros(1, 1, width)
        path = tmp_path / 'model.safetensors'
        save_file(state, path)
    with pytest.raises(WeightsError, match=f'is not {preset}: it is {said}'):
        load(preset, ModelOptions(weights=path))


def test_another_family_is_named(tmp_path):
    path = tmp_path / 'weights.safetensors'
    save_file(stand_ins.names_only('glp'), path)
    with pytest.raises(WeightsError, match=f'looks like a GLPDepth .*{SMALL} takes model.pt of '):
        load(SMALL, ModelOptions(weights=path))


def test_weights_and_a_valid_input_size_are_required(file):
    with pytest.raises(ConfigError, match=r'needs weights; .*model\.pt of Ruicheng/'):
        load(SMALL, ModelOptions())
    with pytest.raises(ConfigError, match='input_size is 13; the minimum is 14'):
        load(SMALL, ModelOptions(weights=file, input_size=13))
