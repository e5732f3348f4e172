# SPDX-License-Identifier: Apache-2.0
"""Depth Anything: published layouts find their place, and files of something else are refused."""

import json
import logging
import re

import pytest
import torch
from safetensors.torch import save_file
from stand_ins import empty, formula, layout_of, names_only

from depth_ros.checkpoints.families import guess_family
from depth_ros.core.errors import WeightsError
from depth_ros.core.types import Kind
from depth_ros.models import PRESETS, ModelOptions, load
from depth_ros.models.depth_anything import build
from depth_ros.models.depth_anything.checkpoint import LAYOUTS, UNUSED, translate
from depth_ros.models.depth_anything.variant import SIZES, Variant

V1, V2 = 'depth_anything_v1_small', 'depth_anything_v2_small'
INDOOR, OUTDOOR = 'depth_anything_v2_metric_indoor_small', 'depth_anything_v2_metric_outdoor_small'
METRIC, MONO = 'depth_anything_v3_metric_large', 'depth_anything_v3_mono_large'
BINS_INDOOR, BINS_OUTDOOR = (
    f'depth_anything_v1_metric_{place}_large' for place in ('indoor', 'outdoor')
)
FAMILY = [name for name, preset in PRESETS.items() if preset.family == 'depth_anything']

#: Layout -> a preset whose file has it.
LAYOUTS_HERE = {layout_of(PRESETS[name]): name for name in FAMILY}
#: Those of which there are files for transformers too.
PLAIN = [name for name in LAYOUTS_HERE if re.fullmatch('da[12]-vit.', name)]


@pytest.mark.parametrize(
    ('form', 'layout'),
    [*(('published', x) for x in LAYOUTS_HERE), *(('transformers', x) for x in PLAIN)],
)
def test_every_published_tensor_is_mapped(form, layout):
    state = empty(layout) if form == 'published' else as_transformers(empty(layout))
    with torch.device('meta'):
        want = build(Variant.of(PRESETS[LAYOUTS_HERE[layout]])).state_dict()
    have = translate(state, LAYOUTS[guess_family(state)][1])
    left = {k for k in have if k not in want}
    assert all(any(re.fullmatch(p, k) for p in UNUSED) for k in left)
    assert {k: have[k].shape for k in want} == {k: v.shape for k, v in want.items()}


def test_every_preset_has_a_network():
    for name in FAMILY:
        variant = Variant.of(PRESETS[name])
        assert variant.size in SIZES
        assert (PRESETS[name].kind is Kind.METRIC) == bool(variant.max_depth)


# published -> transformers, the other way round than the loader's table
TRANSFORMERS = [
    (r'^pretrained\.pos_embed', 'backbone.embeddings.position_embeddings'),
    (r'^pretrained\.(cls_token|mask_token)', r'backbone.embeddings.\1'),
    (r'^pretrained\.patch_embed\.proj', 'backbone.embeddings.patch_embeddings.projection'),
    (r'^pretrained\.norm', 'backbone.layernorm'),
    (
        r'^pretrained\.blocks\.(\d+)\.attn\.proj',
        r'backbone.encoder.layer.\1.attention.output.dense',
    ),
    (
        r'^pretrained\.blocks\.(\d+)\.ls(\d)\.gamma',
        r'backbone.encoder.layer.\1.layer_scale\2.lambda1',
    ),
    (r'^pretrained\.blocks\.', 'backbone.encoder.layer.'),
    (r'^depth_head\.projects\.(\d)', r'neck.reassemble_stage.layers.\1.projection'),
    (r'^depth_head\.resize_layers\.(\d)', r'neck.reassemble_stage.layers.\1.resize'),
    (r'^depth_head\.scratch\.output_conv1', 'head.conv1'),
    (r'^depth_head\.scratch\.output_conv2\.0', 'head.conv2'),
    (r'^depth_head\.scratch\.output_conv2\.2', 'head.conv3'),
    *((rf'^depth_head\.scratch\.layer{i + 1}_rn', f'neck.convs.{i}') for i in range(4)),
    *(
        (rf'^depth_head\.scratch\.refinenet{4 - j}\.', f'neck.fusion_stage.layers.{j}.')
        for j in range(4)
    ),
]


def as_transformers(state):
    new = {}
    for name, value in state.items():
        for pattern, to in TRANSFORMERS:
            name, hit = re.subn(pattern, to, name)
            if hit:
                break
        name = re.sub(r'resConfUnit(\d)\.conv(\d)', r'residual_layer\1.convolution\2', name)
        name = name.replace('out_conv', 'projection')
        if '.attn.qkv.' in name:
            for part, rows in zip(('query', 'key', 'value'), value.chunk(3), strict=True):
                new[name.replace('attn.qkv', f'attention.attention.{part}')] = rows.clone()
        else:
            new[name] = value
    return new


def config_beside(path, **values):
    (path.parent / 'config.json').write_text(json.dumps(values))


def test_a_transformers_file_gives_the_same_depth(tmp_path, small_file):
    file = tmp_path / 'model.safetensors'
    save_file(as_transformers(formula('da2-vits')), file)
    config_beside(file, backbone_config={'out_indices': [3, 6, 9, 12]})
    one, other = (load(V2, ModelOptions(weights=f)).network for f in (file, small_file))
    file.unlink()  # 99 MB
    x = torch.linspace(-2, 2, 3 * 98 * 126).reshape(1, 3, 98, 126)
    assert torch.equal(one(x)[0], other(x)[0])


def in_memory(name):
    """A name of transformers files -> that of `state_dict()` since transformers 5."""
    name = re.sub(
        r'attention\.attention\.(query|key|value)', lambda m: f'attention.{m[1][0]}_proj', name
    )
    return name.replace('attention.output.dense', 'attention.o_proj')


def test_the_names_of_a_state_dict_of_transformers_5_are_known():
    state = as_transformers(empty('da2-vits'))
    renamed = {in_memory(k): v for k, v in state.items()}
    assert renamed.keys() != state.keys()
    rules = LAYOUTS['Depth Anything v1 or v2 (transformers)'][1]
    filled, other = ({k: torch.zeros(v.shape) for k, v in x.items()} for x in (state, renamed))
    assert translate(filled, rules).keys() == translate(other, rules).keys()


def test_a_largest_depth_of_its_own_scales_all_depth(small_file):
    x = torch.linspace(-2, 2, 3 * 98 * 126).reshape(1, 3, 98, 126)
    published, own = (
        load(INDOOR, ModelOptions(weights=small_file, max_depth=n)).network(x)[0]
        for n in (0.0, 35.0)
    )
    torch.testing.assert_close(own, published * (35 / 20))


@pytest.mark.parametrize(
    ('stated', 'given', 'message'),
    [
        (35, 0.0, r'max_depth 35; set max_depth to 35, with which this network was trained'),
        (12.5, 35.0, r'max_depth 12\.5; set max_depth to 12\.5'),
        (35, 35.0, 'does not fit the network'),  # it is taken for what it says
    ],
)
def test_a_config_that_states_a_largest_depth_of_its_own_names_the_parameter(
    tmp_path, stated, given, message
):
    file = tmp_path / 'model.safetensors'
    state = {k: torch.zeros(v.shape) for k, v in as_transformers(empty('da2-vits')).items()}
    save_file(state | {'head.conv3.bias': torch.zeros(7)}, file)
    config_beside(file, backbone_config={}, depth_estimation_type='metric', max_depth=stated)
    with pytest.raises(WeightsError, match=message):
        load(INDOOR, ModelOptions(weights=file, max_depth=given))


@pytest.mark.parametrize(
    ('preset', 'config', 'right'),
    [
        (V2, {'backbone_config': {'out_indices': [9, 10, 11, 12]}}, V1),
        (V1, {'backbone_config': {'out_indices': [3, 6, 9, 12]}}, V2),
        (V2, {'backbone_config': {}, 'depth_estimation_type': 'metric', 'max_depth': 20}, INDOOR),
        (
            INDOOR,
            {'backbone_config': {}, 'depth_estimation_type': 'metric', 'max_depth': 80},
            OUTDOOR,
        ),
        (INDOOR, {'backbone_config': {'out_indices': [3, 6, 9, 12]}}, V2),
    ],
)
def test_a_config_of_another_variant_is_refused(tmp_path, preset, config, right):
    file = tmp_path / 'model.safetensors'
    save_file({k: torch.zeros(1) for k in as_transformers(empty('da2-vits'))}, file)
    config_beside(file, **config)
    with pytest.raises(WeightsError, match=rf'not {preset}: .*set model to .*{right}'):
        load(preset, ModelOptions(weights=file))


def test_version_3_mono_is_not_taken_for_metric(tmp_path):
    path = tmp_path / 'model.safetensors'
    save_file(names_only('da3mono-large'), path)
    config_beside(path, model_name='da3mono-large')
    with pytest.raises(WeightsError, match=f'not {METRIC}.*da3mono-large.*set model to {MONO}'):
        load(METRIC, ModelOptions(weights=path))


def test_any_view_small_is_not_taken_for_base(tmp_path):
    path = tmp_path / 'model.safetensors'
    save_file(names_only('da3-small'), path)
    config_beside(path, model_name='da3-small')
    small, base = 'depth_anything_v3_small', 'depth_anything_v3_base'
    with pytest.raises(WeightsError, match=f'not {base}.*da3-small.*set model to {small}'):
        load(base, ModelOptions(weights=path))


@pytest.mark.parametrize('names', [443, 437])
def test_any_view_files_may_name_a_shared_norm_once_or_four_times(tmp_path, names):
    state = formula('da3-small')
    if names == 437:
        repeated = re.compile(r'output_conv2_aux\.[123]\.2\.')
        state = {k: v for k, v in state.items() if not repeated.search(k)}
    assert len(state) == names
    path = tmp_path / 'model.safetensors'
    save_file(state, path)
    assert load('depth_anything_v3_small', ModelOptions(weights=path))


@pytest.mark.parametrize(
    ('file', 'preset', 'right'),
    [
        ('depth_anything_v2_vits.pth', INDOOR, V2),
        ('depth_anything_v2_metric_hypersim_vits.pth', OUTDOOR, INDOOR),
        ('depth_anything_v2_metric_vkitti_vits.pth', V2, OUTDOOR),
        ('depth_anything_vits14.pth', V2, V1),
        ('depth_anything_metric_depth_outdoor.pt', BINS_INDOOR, BINS_OUTDOOR),
    ],
)
def test_a_file_named_as_another_preset_is_refused(tmp_path, file, preset, right):
    (tmp_path / file).touch()
    with pytest.raises(WeightsError, match=f'not {preset}; set model to {right},'):
        load(preset, ModelOptions(weights=tmp_path / file))


@pytest.mark.parametrize(
    ('file', 'layout', 'preset', 'known'),
    [
        ('x.pth', 'da2-vits', V2, False),
        ('x.pth', 'da2-vits', INDOOR, False),
        ('model.safetensors', 'da2-vits', V2, False),
        ('x.pth', 'da1-metric-vitl', BINS_OUTDOOR, False),
        ('x.pth', 'da3mono-large', METRIC, False),
        ('x.pth', 'da3-small', 'depth_anything_v3_small', True),  # no other has its layers
        ('depth_anything_v2_metric_hypersim_vits.pth', 'da2-vits', INDOOR, True),
        ('depth_anything_vits14.pth', 'da1-vits', V1, True),
    ],
)
def test_a_file_that_names_no_variant_is_used_with_a_warning(
    tmp_path, caplog, file, layout, preset, known
):
    caplog.set_level(logging.INFO)
    path = tmp_path / file
    torch.save(names_only(layout), path)
    with pytest.raises(WeightsError):  # there are only names in it
        load(preset, ModelOptions(weights=path))
    trusted = f'{path} does not state its variant; assumed to be {preset}'
    assert (trusted in caplog.text) != known


def test_another_size_is_named(small_file):
    with pytest.raises(
        WeightsError, match=r'is a ViT-S \(width 384\), depth_anything_v2_large a ViT-L'
    ):
        load('depth_anything_v2_large', ModelOptions(weights=small_file))


@pytest.mark.parametrize(
    ('layout', 'family'),
    [
        ('glp', 'GLPDepth'),
        ('depth_pro', 'Depth Pro'),
        ('da1-metric-vitl', 'ZoeDepth'),
        ('da3-small', 'any-view'),
        ('da3mono-large', 'Depth Anything 3'),
    ],
)
def test_another_family_is_named(tmp_path, layout, family):
    path = tmp_path / 'weights.safetensors'
    save_file(names_only(layout), path)
    with pytest.raises(WeightsError, match=f'looks like a .*{family}.*; {V2} takes'):
        load(V2, ModelOptions(weights=path))


def test_a_fault_in_the_file_is_named(tmp_path):
    state = formula('da2-vits')
    path = tmp_path / 'x.safetensors'
    del state['pretrained.norm.bias']
    state['depth_head.surplus'] = torch.zeros(1)
    save_file(state, path)
    with pytest.raises(
        WeightsError, match=r'1 missing: encoder\.norm\.bias; 1 unexpected: depth_head\.surplus'
    ):
        load(V2, ModelOptions(weights=path))
