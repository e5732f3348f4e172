# SPDX-License-Identifier: Apache-2.0
"""Networks of the library transformers: their depth, their meaning, and what is refused."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from stand_ins import PROCESSORS, TINY, write_transformers
from test_weights_hub import COMMIT, be_at, hub  # noqa: F401  (a fixture)

from depth_ros import models
from depth_ros.core.camera import Camera
from depth_ros.core.errors import ConfigError, InferenceError, WeightsError
from depth_ros.core.types import Frame, Kind
from depth_ros.models import PRESETS, ModelOptions
from depth_ros.parameters.settings import Settings, Transformers
from depth_ros.pipeline import build

library = pytest.importorskip('transformers', reason='pip install .[transformers]')

PRESET = PRESETS['transformers']


def load(path, **described):
    options = ModelOptions(weights=path, transformers=Transformers(**described))
    return models.load('transformers', options)


def frame(height, width, seed=0):
    noise = torch.Generator().manual_seed(seed)
    rgb = torch.randint(0, 256, (height, width, 3), dtype=torch.uint8, generator=noise)
    return Frame(rgb, Camera(width, height, 1.1 * width, 1.0 * width, width / 2, height / 2))


def by_transformers(folder, asked):
    """Depth as the documentation of transformers gets it."""
    network = library.AutoModelForDepthEstimation.from_pretrained(folder).eval()
    processor = library.AutoImageProcessor.from_pretrained(folder)
    inputs = processor(images=asked.rgb.numpy(), return_tensors='pt')
    with torch.no_grad():
        outputs = network(**inputs)
    size = {'target_sizes': [asked.camera.size]}
    if 'ZoeDepth' in type(processor).__name__:  # it also removes what was padded
        size['source_sizes'] = [asked.camera.size]
    found = processor.post_process_depth_estimation(outputs, **size)
    return found[0]['predicted_depth']


@pytest.mark.parametrize('type_', ['glpn', 'depth_anything', 'dpt', 'zoedepth'])
def test_depth_is_that_of_transformers(tmp_path, type_):
    model = load(write_transformers(tmp_path, type_))
    for asked in (frame(90, 130), frame(64, 64), frame(131, 77)):
        expected = by_transformers(tmp_path, asked)
        if model.kind is not Kind.AFFINE_INVERSE:
            expected = expected.clamp(min=0)
        assert expected.std() > 0.01 * expected.abs().mean() > 0
        difference = (model.predict(asked).values - expected).abs().max()
        assert difference < 1e-4 * expected.abs().max()


def compare(ours, theirs, asked):
    """The largest difference of depth over its range."""
    expected, found = (model.predict(asked).values for model in (ours, theirs))
    assert expected.std() > 0.01 * expected.abs().mean() > 0
    return float((found - expected).abs().max() / (expected.max() - expected.min()))


def test_glpn_agrees_with_our_own_network(tmp_path):
    published = {
        'hidden_sizes': [64, 128, 320, 512], 'depths': [3, 8, 27, 3],
        'num_attention_heads': [1, 2, 5, 8], 'decoder_hidden_size': 64,
    }  # fmt: skip
    path = write_transformers(tmp_path, 'glpn', **published)
    ours = models.load('glpdepth_nyu', ModelOptions(weights=path))
    assert compare(ours, load(path), frame(96, 128)) < 1e-4


def test_depth_anything_agrees_with_our_own_network(tmp_path):
    backbone = TINY['depth_anything']['backbone_config']
    published = {
        'backbone_config': backbone | {
            'hidden_size': 384, 'num_hidden_layers': 12, 'num_attention_heads': 6,
            'image_size': 518, 'out_features': ['stage3', 'stage6', 'stage9', 'stage12'],
        },
        'reassemble_hidden_size': 384, 'neck_hidden_sizes': [48, 96, 192, 384],
        'fusion_hidden_size': 64, 'head_hidden_size': 32,
    }  # fmt: skip
    path = write_transformers(tmp_path, 'depth_anything', **published)
    processor = PROCESSORS['depth_anything'] | {'size': {'height': 518, 'width': 518}}
    (tmp_path / 'preprocessor_config.json').write_text(json.dumps(processor))
    ours = models.load('depth_anything_v2_small', ModelOptions(weights=path))
    assert compare(ours, load(path), frame(518, 518)) < 1e-3


def test_depth_pro_agrees_with_our_own_preparation_and_meaning(tmp_path):
    path = write_transformers(tmp_path, 'depth_pro')
    theirs = load(path)
    assert theirs.kind is Kind.CANONICAL
    network = theirs.network
    ours = models.load('depth_pro', ModelOptions(weights=path, without_weights=True))
    ours.network = network
    for asked in (frame(240, 320), frame(131, 77)):
        expected, found = ours.predict(asked), theirs.predict(asked)
        assert found.focal_px == pytest.approx(expected.focal_px)
        # the network computes inverse depth, which is next to 0 at some pixels
        far = 1e-4 * (1 / expected.values).max()
        torch.testing.assert_close(1 / found.values, 1 / expected.values, rtol=1e-3, atol=far)
        assert (found.sky == expected.sky).float().mean() > 0.999


@pytest.mark.parametrize('type_', ['glpn', 'zoedepth'])
def test_frames_of_a_batch_have_no_effect_on_each_other(tmp_path, type_):
    model = load(write_transformers(tmp_path, type_))
    frames = [frame(64, 96, 1), frame(64, 96, 2), frame(90, 130, 3)]
    for one, found in zip(frames, model.predict_many(frames), strict=True):
        torch.testing.assert_close(found.values, model.predict(one).values, rtol=1e-4, atol=1e-5)


def changed(folder, name='config.json', **values):
    path = folder / name
    path.write_text(json.dumps(json.loads(path.read_text()) | values))
    return folder / 'model.safetensors'


@pytest.mark.parametrize(
    ('type_', 'values', 'kind'),
    [
        ('glpn', {}, Kind.METRIC),
        ('dpt', {}, Kind.AFFINE_INVERSE),
        ('depth_anything', {}, Kind.AFFINE_INVERSE),
        ('depth_anything', {'depth_estimation_type': 'metric', 'max_depth': 20}, Kind.METRIC),
    ],
)
def test_the_type_of_a_network_says_what_it_means(tmp_path, type_, values, kind):
    write_transformers(tmp_path, type_, **values)
    model = load(tmp_path / 'model.safetensors')
    assert model.kind is kind and model.predict(frame(64, 96)).kind is kind
    # who knows better is believed
    stated = load(tmp_path / 'model.safetensors', kind='scale_invariant')
    assert stated.kind is Kind.SCALE_INVARIANT


def test_what_is_not_known_must_be_stated(tmp_path):
    path = write_transformers(tmp_path, 'dpt', add_projection=True)
    with pytest.raises(
        ConfigError, match=r"type 'dpt', .*set transformers\.kind to what its model"
    ):
        load(path)
    assert load(path, kind='metric').kind is Kind.METRIC


def test_a_canonical_focal_length_is_brought_to_the_frame(tmp_path):
    path = write_transformers(tmp_path)
    with pytest.raises(ConfigError, match=r'set transformers\.canonical_focal'):
        load(path, kind='canonical')
    with pytest.raises(ConfigError, match=r'transformers\.kind to canonical'):
        load(path, canonical_focal=50.0)
    asked = frame(90, 130)  # the network sees 128x64
    found = load(path, kind='canonical', canonical_focal=50.0).predict(asked)
    assert found.focal_px == pytest.approx((50 * 130 / 128, 50 * 90 / 64))


@pytest.mark.parametrize(
    ('values', 'message'),
    [
        ({'model_type': 'prompt_depth_anything'}, 'it takes a depth image of low resolution'),
        ({'model_type': 'bert'}, "'bert' is no network for depth"),
        (
            {'model_type': 'mine', 'auto_map': {'AutoModel': 'mine.Mine'}},
            'code of a repository is not run',
        ),
        ({'quantization_config': {'bits': 4}}, 'are quantised'),
        ({'model_type': None}, 'is no network for depth'),
        ({'hidden_sizes': 'large'}, 'describes no'),
        ({'hidden_sizes': [16, 8, 16, 16]}, 'does not fit config.json beside it'),
        ({'decoder_hidden_size': 16}, 'does not fit config.json beside it'),
    ],
)
def test_networks_that_cannot_be_used_are_refused(tmp_path, values, message):
    write_transformers(tmp_path)
    with pytest.raises(WeightsError, match=message):
        load(changed(tmp_path, **values))


def test_a_network_that_fails_is_named(tmp_path):
    path = write_transformers(tmp_path, 'zoedepth')
    path = changed(tmp_path, num_patch_transformer_layers=1)  # transformers takes the fourth
    with pytest.raises(InferenceError, match=r'ZoeDepth.* gives no depth .*check its config'):
        load(path).predict(frame(64, 96))


def test_code_beside_a_known_network_is_not_run(tmp_path):
    write_transformers(tmp_path)
    (tmp_path / 'mine.py').write_text(f"open({str(tmp_path / 'run')!r}, 'w')\nclass Mine: pass\n")
    code = {'AutoConfig': 'mine.Mine', 'AutoModelForDepthEstimation': 'mine.Mine'}
    changed(tmp_path, auto_map=code)
    code = {'AutoImageProcessor': 'mine.Mine'}
    path = changed(tmp_path, 'preprocessor_config.json', auto_map=code)
    assert load(path).predict(frame(64, 96)).values.isfinite().all()
    assert not (tmp_path / 'run').exists()


def test_files_that_are_missing_or_of_another_kind_are_named(tmp_path):
    path = write_transformers(tmp_path)
    state = load_file(path)
    name = next(n for n in state if n.endswith('weight'))
    save_file({k: v for k, v in state.items() if k != name}, path)
    with pytest.raises(WeightsError, match=r'1 tensors are missing or of another shape, such as'):
        load(path)
    torch.save(state, tmp_path / 'pytorch_model.bin')
    with pytest.raises(WeightsError, match='is no safetensors file'):
        load(tmp_path / 'pytorch_model.bin')
    save_file(state | {'more': torch.zeros(1)}, path)
    load(path)
    processor = tmp_path / 'preprocessor_config.json'
    processor.write_text('{"image_processor_type": "ViTImageProcessor"}')
    with pytest.raises(WeightsError, match='ViTImageProcessor, which is not for depth'):
        load(path)
    processor.unlink()
    with pytest.raises(WeightsError, match=r'has no preprocessor_config\.json'):
        load(path)
    (tmp_path / 'config.json').write_text('{')
    with pytest.raises(WeightsError, match='is no configuration of a network'):
        load(path)
    (tmp_path / 'config.json').unlink()
    with pytest.raises(WeightsError, match=r'has no config\.json'):
        load(path)


def test_without_transformers_or_weights_the_remedy_is_named_at_once(monkeypatch):
    with pytest.raises(ConfigError, match='needs weights: a hub id such as'):
        build.build(Settings(model='transformers'))
    monkeypatch.setitem(__import__('sys').modules, 'transformers', None)
    with pytest.raises(ConfigError, match=r"pip install 'depth_ros\[transformers\]'"):
        build.build(Settings(model='transformers', weights='some/one'))


def publish(files, folder, card='---\nlicense: mit\n---\n# A network\n'):
    """A repository some/one with the files of a folder."""
    for path in folder.iterdir():
        files[f'some/one/{path.name}'] = path.read_bytes()
    files['some/one/README.md'] = card.encode()


def built(**given):
    given = {'model': 'transformers', 'weights': 'some/one', 'device': 'cpu', **given}
    return build.load(given)


def test_a_network_of_the_hub_is_downloaded_with_its_licence(hub, tmp_path, monkeypatch, caplog):  # noqa: F811
    folder = tmp_path / 'n'
    write_transformers(folder)
    publish(hub, folder)
    caplog.set_level('INFO')
    pipeline, choices = built()
    assert choices.licence == 'mit (model card)' and choices.kind == 'metric'
    assert f'commit {COMMIT}, which transformers.revision keeps' in caplog.text
    assert 'downloading model.safetensors from some/one; licence: mit' in caplog.text
    asked = frame(90, 130)
    expected = load(folder / 'model.safetensors').predict(asked).values
    torch.testing.assert_close(pipeline.model.predict(asked).values, expected)
    be_at('http://127.0.0.1:9', monkeypatch)  # nothing listens there; all is in the cache
    for given in ({}, {'transformers.revision': COMMIT}):
        assert built(**given)[1].licence == 'mit (model card)'


@pytest.mark.parametrize(
    ('card', 'licence'),
    [
        ('---\nlicense: cc-by-nc-4.0\n---\n', 'cc-by-nc-4.0'),
        ('---\nlicense: other\nlicense_name: apple-amlr\n---\n', 'apple-amlr'),
        ('# No licence', 'not stated in a model card'),
        ('---\nlicense: [mit\n---\n', 'not stated in a model card'),
    ],
)
def test_a_licence_that_restricts_is_accepted_first(hub, tmp_path, card, licence):  # noqa: F811
    folder = tmp_path / 'n'
    write_transformers(folder)
    publish(hub, folder, card)
    with pytest.raises(WeightsError, match=rf'licensed .*{licence}.*set accept_licence to true'):
        built()
    assert licence in built(accept_licence=True)[1].licence


def test_a_checkpoint_in_parts_is_downloaded_as_a_whole(hub, tmp_path):  # noqa: F811
    folder = tmp_path / 'n'
    state = load_file(write_transformers(folder))
    (folder / 'model.safetensors').unlink()
    names = sorted(state)
    halves = names[: len(names) // 2], names[len(names) // 2 :]
    weight_map = {}
    for k, half in enumerate(halves):
        file = f'model-0000{k + 1}-of-00002.safetensors'
        save_file({name: state[name] for name in half}, folder / file)
        weight_map |= dict.fromkeys(half, file)
    index = {'metadata': {}, 'weight_map': weight_map}
    (folder / 'model.safetensors.index.json').write_text(json.dumps(index))
    publish(hub, folder)
    asked = frame(64, 96)
    expected = load(folder / 'model.safetensors.index.json').predict(asked).values
    assert (built()[0].model.predict(asked).values == expected).all()
    # and from the folder itself
    assert (built(weights=str(folder))[0].model.predict(asked).values == expected).all()


def test_what_is_not_on_the_hub_is_named(hub, tmp_path):  # noqa: F811
    folder = tmp_path / 'n'
    write_transformers(folder)
    publish(hub, folder)
    with pytest.raises(WeightsError, match=r"has no revision 'v9': give a commit"):
        built(**{'transformers.revision': 'v9'})
    with pytest.raises(ConfigError, match='is no repository on the hub: leave it empty'):
        built(weights=str(folder), **{'transformers.revision': 'v9'})
    del hub['some/one/model.safetensors']
    with pytest.raises(WeightsError, match=r'some/one has no model\.safetensors'):
        built()
    del hub['some/one/config.json']
    with pytest.raises(WeightsError, match='no network of transformers'):
        built(weights='some/other')
    with pytest.raises(WeightsError, match='is not on the hub, or private'):
        built(weights='gone/repo')


def test_a_network_that_our_table_restricts_stays_so(hub, tmp_path):  # noqa: F811
    """The card of GLPN says Apache-2.0, its authors do not."""
    folder = tmp_path / 'n'
    write_transformers(folder)
    repo = PRESETS['glpdepth_nyu'].source.repo
    for path in folder.iterdir():
        hub[f'{repo}/{path.name}'] = path.read_bytes()
    hub[f'{repo}/README.md'] = b'---\nlicense: apache-2.0\n---\n'
    with pytest.raises(WeightsError, match='non-commercial'):
        built(weights=repo)
