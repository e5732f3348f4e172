# SPDX-License-Identifier: Apache-2.0
"""GLPDepth: agreement with the published network, both layouts, and what the loader refuses."""

import json
import logging
import re

import pytest
import torch
from frames import frame_of
from safetensors.torch import save_file
from stand_ins import empty, formula, names_only

from depth_ros.checkpoints.families import guess_family
from depth_ros.checkpoints.find import find_weights
from depth_ros.core.camera import Camera
from depth_ros.core.errors import ConfigError, WeightsError
from depth_ros.core.types import Frame, Kind
from depth_ros.models import PRESETS, ModelOptions, load
from depth_ros.models.glpdepth import GlpDepthModel
from depth_ros.models.glpdepth.checkpoint import LAYOUTS, translate
from depth_ros.models.glpdepth.network import GlpDepth

LIMIT = 2e-5  # max |difference| / max |expected|; a wrong rule shows from 4e-4 upwards
NYU, KITTI = 'glpdepth_nyu', 'glpdepth_kitti'

# authors' names -> those of transformers
TRANSFORMERS = [
    (r'^encoder\.patch_embed(\d)\.', 'glpn.encoder.patch_embeddings.{}.', 'norm', 'layer_norm'),
    (r'^encoder\.block(\d)\.', 'glpn.encoder.block.{}.', 'attn.norm', 'attention.self.layer_norm'),
    (r'^encoder\.norm(\d)\.', 'glpn.encoder.layer_norm.{}.', '', ''),
]
IN_BLOCK = [
    (r'\.norm(\d)\.', r'.layer_norm_\1.'),
    (r'\.attn\.q\.', '.attention.self.query.'),
    (r'\.attn\.sr\.', '.attention.self.sr.'),
    (r'\.attn\.proj\.', '.attention.output.dense.'),
    (r'\.mlp\.fc(\d)\.', r'.mlp.dense\1.'),
]
REST = [
    (r'^decoder\.bot_conv\.', 'decoder.stages.0.convolution.'),
    (r'^decoder\.skip_conv(\d)\.', r'decoder.stages.\1.convolution.'),
    (r'^decoder\.fusion(\d)\.conv(\d)\.', r'decoder.stages.\1.fusion.convolutional_layer\2.'),
    (r'^last_layer_depth\.', 'head.head.'),
]


def as_transformers(state):
    """The authors' names and tensors -> those of transformers."""
    new = {}
    for name, value in state.items():
        for pattern, to, inner, outer in TRANSFORMERS:
            name, hit = re.subn(pattern, lambda m, to=to: to.format(int(m[1]) - 1), name)
            if hit and inner:
                name = name.replace(f'.{inner}.', f'.{outer}.')
        for pattern, to in (*(IN_BLOCK if name.startswith('glpn.encoder.block') else ()), *REST):
            name = re.sub(pattern, to, name)
        if '.attn.kv.' in name:
            for part, rows in zip(('key', 'value'), value.chunk(2), strict=True):
                new[name.replace('attn.kv', f'attention.self.{part}')] = rows.clone()
        else:
            new[name] = value
    return new


@pytest.fixture(scope='module')
def file(tmp_path_factory):
    """A file as the authors', with the prefix that parallel training leaves."""
    path = tmp_path_factory.mktemp('glp') / 'any name.ckpt'
    torch.save({f'module.{k}': v for k, v in formula('glp').items()}, path)
    yield path
    path.unlink()


@pytest.fixture(scope='module')
def nyu(file):
    return load(NYU, ModelOptions(weights=find_weights(str(file.parent), PRESETS[NYU].source)))


def frame(rgb):
    h, w = rgb.shape[:2]
    return Frame(rgb, Camera(w, h, 520.0, 520.0, w / 2 - 0.5, h / 2 - 0.5))


def test_layers_agree_with_the_published_network(nyu, fixture_of):
    fixture = fixture_of('glp-nyu')
    x = fixture.network_input('odd')
    with torch.inference_mode():
        for i, feature in enumerate(nyu.network.features(x)):
            # every 8th channel is stored
            assert fixture.error('odd', f'feature{i}', feature[:, ::8]) < LIMIT
        assert fixture.error('odd', 'output', nyu.network(x)) < LIMIT


@pytest.mark.parametrize('case', ['picture', 'main'])
def test_a_picture_goes_through_as_through_the_published_chain(nyu, fixture_of, picture, case):
    fixture = fixture_of('glp-nyu', case)
    prediction = nyu.predict(frame(picture))  # 480x640 needs no resizing
    assert fixture.error(case, 'output', prediction.values) < LIMIT


def test_a_small_picture_goes_through_as_through_the_published_chain(nyu, fixture_of, picture):
    crop = picture[200:296, 250:378]  # 96x128
    prediction = nyu.predict(frame(crop.contiguous()))
    assert prediction.kind is Kind.METRIC
    assert fixture_of('glp-nyu').error('odd', 'output', prediction.values) < LIMIT


def test_a_picture_of_another_size_gets_depth_for_its_pixels(nyu, picture):
    cut = picture[200:311, 250:390].contiguous()  # 111x140 is shown as 96x128
    x = nyu.network_input(frame_of(cut))
    with torch.inference_mode():
        want = torch.nn.functional.interpolate(
            nyu.network(x[None])[None], size=(111, 140), mode='bilinear', align_corners=False
        )[0, 0]
    values = nyu.predict(frame(cut)).values
    assert values.dtype is torch.float32
    torch.testing.assert_close(values, want)
    assert (values > 0).all() and (values < 10).all()


def test_kitti_is_nyu_times_eight(nyu, file, picture):
    kitti = load(KITTI, ModelOptions(weights=file))
    small = frame(picture[:64, :64].contiguous())
    torch.testing.assert_close(kitti.predict(small).values, 8 * nyu.predict(small).values)


@pytest.mark.parametrize('name', ['glpn-nyu.pth', 'NYU.ckpt', 'glpdepth_nyu.safetensors'])
def test_a_file_name_identifies_the_variant(file, tmp_path, name):
    (tmp_path / name).symlink_to(file)
    with pytest.raises(WeightsError, match='not glpdepth_kitti; set model to glpdepth_nyu'):
        load(KITTI, ModelOptions(weights=tmp_path / name))


def test_an_ambiguous_file_name_is_a_warning(file, caplog):
    load(KITTI, ModelOptions(weights=file))
    (said,) = (r for r in caplog.records if 'does not state its variant' in r.getMessage())
    assert said.levelname == 'WARNING'


@pytest.mark.parametrize(
    ('camera', 'input_size', 'network'),
    [
        ((480, 640), 0, (480, 640)),
        ((375, 1242), 0, (352, 1216)),
        ((720, 1280), 0, (704, 1280)),
        ((720, 1280), 640, (352, 640)),
        ((20, 100), 0, (32, 96)),
        ((77, 131), 32, (32, 32)),
    ],
)
def test_sides_are_cut_down_to_multiples_of_32(camera, input_size, network, caplog):
    caplog.set_level(logging.INFO)
    model = GlpDepthModel(None, ModelOptions(input_size=input_size))
    assert model.network_size(*camera) == model.network_size(*camera) == network
    assert caplog.text.count('images of') == 1


def test_half_precision_returns_float32(file, picture):
    model = load(NYU, ModelOptions(weights=file, dtype=torch.bfloat16, input_size=64))
    prediction = model.predict(frame(picture))
    assert prediction.values.dtype is torch.float32
    assert prediction.values.isfinite().all()


@pytest.mark.parametrize('form', ['authors', 'transformers'])
def test_every_published_tensor_is_mapped(form):
    state = empty('glp')
    state = as_transformers(state) if form == 'transformers' else state
    with torch.device('meta'):
        want = GlpDepth(10.0).state_dict()
    have = translate(state, LAYOUTS[guess_family(state)])
    assert {k: v.shape for k, v in have.items()} == {k: v.shape for k, v in want.items()}


def test_a_transformers_file_gives_the_same_depth(nyu, tmp_path):
    path = tmp_path / 'model.safetensors'
    save_file(as_transformers(formula('glp')), path)
    other = load(NYU, ModelOptions(weights=path))
    x = torch.rand(1, 3, 64, 96)
    assert torch.equal(other.network(x), nyu.network(x))


@pytest.mark.parametrize(
    ('place', 'preset', 'right'),
    [
        ('best_model_kitti.ckpt', NYU, KITTI),
        ('best_model_nyu.ckpt', KITTI, NYU),
        ('glpn-kitti/pytorch_model.bin', NYU, KITTI),
        ('models--vinvino02--glpn-nyu/snapshots/1fcd/model.safetensors', KITTI, NYU),
    ],
)
def test_a_file_that_is_by_its_name_another_variant_is_refused(tmp_path, place, preset, right):
    path = tmp_path / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    with pytest.raises(WeightsError, match=f'not {preset}; set model to {right}, or rename'):
        load(preset, ModelOptions(weights=path))


@pytest.mark.parametrize(
    ('stated', 'preset', 'said'),
    [
        (80, NYU, f'not {NYU}: .* max_depth 80; set model to {KITTI}'),
        (1, KITTI, f'not {KITTI}: .* max_depth 1; set max_depth to 1, with'),
        (80, KITTI, 'does not fit the network'),
        (10, NYU, 'does not fit the network'),
        (10, KITTI, 'does not fit the network'),  # so it is published
    ],
)
def test_a_config_that_states_another_maximum_is_refused(tmp_path, stated, preset, said):
    path = tmp_path / 'model.safetensors'
    save_file(names_only('glp'), path)
    (tmp_path / 'config.json').write_text(json.dumps({'max_depth': stated}))
    with pytest.raises(WeightsError, match=said):
        load(preset, ModelOptions(weights=path))


def test_a_file_that_names_no_variant_is_used_with_a_warning(file, caplog):
    caplog.set_level(logging.INFO)
    load(KITTI, ModelOptions(weights=file))
    assert f'does not state its variant; assumed to be {KITTI}' in caplog.text


@pytest.mark.parametrize(
    ('layout', 'family'),
    [('da2-vits', 'Depth Anything v1 or v2'), ('monodepth2-640x192-encoder', 'Monodepth2')],
)
def test_another_family_is_named(tmp_path, layout, family):
    path = tmp_path / 'weights.safetensors'
    save_file(names_only(layout), path)
    with pytest.raises(WeightsError, match=rf'looks like a {family} .*{NYU} takes .*glpn-nyu'):
        load(NYU, ModelOptions(weights=path))


def test_a_fault_in_the_file_is_named(tmp_path):
    path = tmp_path / 'x.safetensors'
    state = names_only('glp')
    del state['encoder.norm4.bias']
    save_file({**state, 'decoder.surplus': torch.zeros(1)}, path)
    with pytest.raises(
        WeightsError, match=r'1 missing: encoder\.stages\.3\.norm\.bias; .*surplus; \d+ of another'
    ):
        load(NYU, ModelOptions(weights=path))


def test_weights_and_a_valid_input_size_are_required(file):
    with pytest.raises(ConfigError, match=r'needs weights; .*model\.safetensors of vinvino02/'):
        load(NYU, ModelOptions())
    with pytest.raises(ConfigError, match='input_size is 31; the minimum is 32'):
        load(NYU, ModelOptions(weights=file, input_size=31))
