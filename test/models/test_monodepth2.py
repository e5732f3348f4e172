# SPDX-License-Identifier: Apache-2.0
"""Monodepth2: agreement with the published network, geometry, and what the loader refuses."""

import dataclasses
import hashlib
import re
import zipfile

import numpy as np
import pytest
import torch
from frames import frame_of
from PIL import Image
from stand_ins import empty, formula

from depth_ros.checkpoints.find import find_weights
from depth_ros.checkpoints.keys import rename
from depth_ros.checkpoints.write import write_weights
from depth_ros.core.camera import Camera
from depth_ros.core.errors import ConfigError, WeightsError
from depth_ros.core.types import Frame, Kind
from depth_ros.models import PRESETS, ModelOptions, load, monodepth2
from depth_ros.models.monodepth2.checkpoint import RULES, STATED, UNUSED, published
from depth_ros.models.monodepth2.network import Monodepth2, Variant

LIMIT = 2e-5  # max |difference| / max |expected|; a wrong rule shows from 1e-3 upwards
FAMILY = [name for name, preset in PRESETS.items() if preset.family == 'monodepth2']
MONO, STEREO = 'monodepth2_mono_640x192', 'monodepth2_stereo_640x192'
BOTH, LARGE = 'monodepth2_mono_stereo_640x192', 'monodepth2_stereo_1024x320'
FACTS = {'height': 192, 'width': 640, 'use_stereo': True}


def write(folder, layout='monodepth2-640x192', **facts):
    """The two files of a checkpoint as their publisher writes them."""
    torch.save({**formula(f'{layout}-encoder'), **FACTS, **facts}, folder / 'encoder.pth')
    torch.save(formula(f'{layout}-depth'), folder / 'depth.pth')
    return folder


def zipped(folder, archive, inside=''):
    with zipfile.ZipFile(archive, 'w') as target:
        for file in ('pose.pth', 'encoder.pth', 'depth.pth'):
            source = folder / file
            target.writestr(f'{inside}{file}', source.read_bytes() if source.is_file() else b'')
    return archive


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Stereo, 640x192."""
    folder = write(tmp_path_factory.mktemp('monodepth2'))
    yield folder
    for file in folder.iterdir():
        file.unlink()


def loaded(name, path, **options):
    return load(
        name, ModelOptions(weights=find_weights(str(path), PRESETS[name].source), **options)
    )


@pytest.fixture(scope='module')
def stereo(folder):
    return loaded(STEREO, folder)


def frame(rgb):
    h, w = rgb.shape[:2]
    return Frame(rgb, Camera(w, h, 520.0, 520.0, w / 2 - 0.5, h / 2 - 0.5))


def test_layers_agree_with_the_published_network(stereo, fixture_of):
    fixture, network = fixture_of('monodepth2-640x192'), stereo.network
    with torch.inference_mode():
        features = network.features(fixture.network_input('odd'))
        maps = network.maps(features)
    for scale, x in enumerate(maps):
        assert fixture.error('odd', f'disp{scale}', network.sigmoid_disparity(scale, x)) < LIMIT
    for i, x in enumerate(features):
        assert fixture.error('odd', f'feature{i}', x[:, ::8]) < LIMIT  # every 8th is stored


@pytest.mark.parametrize('case', ['picture', 'main'])
def test_a_picture_goes_through_as_through_the_published_chain(stereo, fixture_of, picture, case):
    fixture, network = fixture_of('monodepth2-640x192', case), stereo.network
    x = stereo.network_input(frame_of(picture))
    assert x.shape == (3, 192, 640)
    assert fixture.input_difference(case, x).abs().max() < 1e-6
    with torch.inference_mode():
        maps = network.maps(network.features(x[None]))
    for scale, found in enumerate(maps):
        assert fixture.error(case, f'disp{scale}', network.sigmoid_disparity(scale, found)) < LIMIT
    disparity = network.sigmoid_disparity(0, maps[0])[0]
    z = monodepth2.depth(disparity)
    assert fixture.error(case, 'depth', z) < LIMIT
    assert fixture.error(case, 'depth_metric', monodepth2.METRES * z) < LIMIT
    at_frame = stereo.to_image_pixels(disparity, (480, 640))
    assert fixture.error(case, 'disp_resized', at_frame) < LIMIT


def test_a_picture_is_resized_as_by_pillow(stereo):
    # overshoot at an edge of black and white is cut off, as bytes cut it off
    edge = torch.zeros(100, 160, 3, dtype=torch.uint8)
    edge[:, 71:] = 255
    pil = Image.fromarray(edge.numpy()).resize((640, 192), Image.LANCZOS)
    want = torch.from_numpy(np.array(pil)).permute(2, 0, 1) / 255
    assert (stereo.network_input(frame_of(edge)) - want).abs().max() < 1e-6


def test_a_picture_of_another_size_gets_depth_for_its_pixels(stereo, fixture_of, picture):
    prediction = stereo.predict(frame(picture))
    assert prediction.kind is Kind.METRIC
    assert prediction.values.shape == (480, 640) and prediction.values.dtype == torch.float32
    with torch.inference_mode():
        sigmoid_disparity = stereo.network(stereo.network_input(frame_of(picture))[None])[0]
    want = 5.4 / (0.01 + 9.99 * stereo.to_image_pixels(sigmoid_disparity, (480, 640)))
    torch.testing.assert_close(prediction.values, want)


def test_metres_are_those_of_stereo_training_only(stereo, tmp_path, picture):
    mono = loaded(MONO, write(tmp_path, use_stereo=False))
    assert mono.kind is Kind.SCALE_INVARIANT
    small = frame(picture[::4, ::4].contiguous())
    torch.testing.assert_close(stereo.predict(small).values, 5.4 * mono.predict(small).values)
    for name in FAMILY:
        metric = PRESETS[name].kind is Kind.METRIC
        assert metric == Variant.parse(PRESETS[name].variant).stereo


def test_half_precision_returns_float32(folder, picture):
    prediction = loaded(STEREO, folder, dtype=torch.bfloat16).predict(frame(picture))
    assert prediction.values.dtype is torch.float32
    assert prediction.values.isfinite().all()


@pytest.mark.parametrize('name', FAMILY)
def test_every_published_tensor_is_mapped(name):
    variant = Variant.parse(PRESETS[name].variant)
    layout = 'monodepth2-r50_640x192' if variant.encoder == 'resnet50' else 'monodepth2-640x192'
    state = {}
    for part in ('encoder', 'depth'):
        state |= empty(f'{layout}-{part}')
    with torch.device('meta'):
        want = Monodepth2(variant).state_dict()
    have = rename(state, RULES)
    assert all(re.fullmatch(UNUSED[0], k) for k in have if k not in want)
    assert {k: have[k].shape for k in want} == {k: v.shape for k, v in want.items()}


def test_a_zip_is_used_as_downloaded(stereo, folder, tmp_path, caplog):
    archive = zipped(folder, tmp_path / 'stereo_640x192.zip')
    network = loaded(STEREO, archive).network
    archive.unlink()
    assert 'not the published file of that name' in caplog.text
    x = torch.rand(1, 3, 64, 96)
    assert torch.equal(network(x), stereo.network(x))


@pytest.mark.parametrize('form', ['safetensors', 'pickle'])
def test_one_file_may_hold_both_parts(stereo, tmp_path, form):
    state = {**formula('monodepth2-640x192-encoder'), **formula('monodepth2-640x192-depth')}
    if form == 'pickle':
        torch.save({**state, **FACTS}, tmp_path / 'both.pth')
        network = loaded(STEREO, tmp_path / 'both.pth').network
    else:
        facts = {k: torch.tensor(v) for k, v in FACTS.items()}
        write_weights(tmp_path / 'both.safetensors', {**state, **facts}, {'a': 'word'})
        network = loaded(STEREO, tmp_path).network  # a folder of one file
    x = torch.rand(1, 3, 64, 96)
    assert torch.equal(network(x), stereo.network(x))


def test_tensors_go_back_to_the_published_names(stereo):
    state = published(stereo.network.state_dict(), stereo.network.variant)
    files = formula('monodepth2-640x192-encoder') | formula('monodepth2-640x192-depth')
    assert {k: state.pop(k).item() for k in STATED} == FACTS
    assert set(files) - set(state) == {'encoder.fc.weight', 'encoder.fc.bias'}
    assert all(torch.equal(value, files[name]) for name, value in state.items())


def test_one_file_must_be_of_the_variant_too(stereo, tmp_path):
    variant = Variant.parse('stereo_640x192')
    state = published(stereo.network.state_dict(), variant)
    path = tmp_path / 'a.safetensors'
    write_weights(path, state)
    with pytest.raises(
        WeightsError, match=rf'is resnet18 .*, {MONO} is .*set model to .*{STEREO}'
    ):
        loaded(MONO, path)
    path.rename(tmp_path / 'mono+stereo_640x192.safetensors')
    with pytest.raises(WeightsError, match=rf'by its name not {STEREO}; set model to {BOTH}'):
        loaded(STEREO, tmp_path)
    for name, value, said in (
        ('width', None, "does not state its 'width'"),
        ('height', torch.ones(2), "does not state its 'height'"),
        ('decoder.0.conv.conv.weight', torch.ones(2), '1 of another shape'),
        ('encoder.fc.extra', torch.ones(1), ''),
        ('more', torch.ones(1), '1 unexpected: more'),
    ):
        changed = {k: v for k, v in {**state, name: value}.items() if v is not None}
        write_weights(path, changed)
        if said:
            with pytest.raises(WeightsError, match=said):
                loaded(STEREO, path)
        else:
            loaded(STEREO, path)


def test_one_part_alone_is_refused(tmp_path):
    write_weights(tmp_path / 'a.safetensors', formula('monodepth2-640x192-encoder'))
    with pytest.raises(WeightsError, match=r'a Monodepth2 encoder .* or one file of the tens'):
        loaded(STEREO, tmp_path)


def test_the_checksum_of_a_zip_identifies_it(folder, tmp_path, monkeypatch, caplog):
    archive = zipped(folder, tmp_path / 'download.bin', inside='some/folder/')
    md5 = hashlib.md5(archive.read_bytes()).hexdigest()
    source = dataclasses.replace(PRESETS[BOTH].source, md5=md5)
    monkeypatch.setitem(PRESETS, BOTH, dataclasses.replace(PRESETS[BOTH], source=source))
    with pytest.raises(WeightsError, match=rf'is not {STEREO}; set model to {BOTH}'):
        loaded(STEREO, archive)
    loaded(BOTH, archive)
    assert not caplog.records


def test_without_weights_the_message_names_the_download():
    with pytest.raises(WeightsError) as error:
        find_weights('', PRESETS[BOTH].source)
    for part in (BOTH, 'monodepth2/mono%2Bstereo_640x192.zip', 'accept_licence', 'weights:='):
        assert part in str(error.value)
    with pytest.raises(WeightsError, match=r'/some/one does not exist; download https'):
        find_weights('some/one', PRESETS[BOTH].source)
    with pytest.raises(ConfigError, match='needs weights; set weights to the files of https'):
        load(BOTH, ModelOptions())


@pytest.mark.parametrize(
    ('name', 'facts', 'right'),
    [
        (MONO, {}, f'{STEREO} or {BOTH} or '),
        (STEREO, {'use_stereo': False}, f'{MONO} or monodepth2_mono_no_pt_640x192$'),
        (STEREO, {'height': 320, 'width': 1024}, f'{LARGE} or '),
        (LARGE, {}, STEREO),
    ],
)
def test_another_variant_is_refused_and_named(tmp_path, name, facts, right):
    with pytest.raises(WeightsError, match=rf'is resnet18 .*, {name} is .*set model to .*{right}'):
        loaded(name, write(tmp_path, **facts))


@pytest.mark.parametrize(
    ('name', 'layout', 'facts', 'said'),
    [
        (MONO, 'monodepth2-r50_640x192', {'use_stereo': False}, 'set model to monodepth2_mono_r'),
        (STEREO, 'monodepth2-r50_640x192', {}, 'is resnet50 .*no preset is for it'),
        (STEREO, 'monodepth2-640x192', {'width': 416}, 'for 416x192 .*no preset is for it'),
    ],
)
def test_another_encoder_or_size_is_refused(tmp_path, name, layout, facts, said):
    with pytest.raises(WeightsError, match=said):
        loaded(name, write(tmp_path, layout, **facts))


@pytest.mark.parametrize('form', ['folder', 'zip'])
def test_the_name_of_folder_or_zip_is_used(folder, tmp_path, form):
    if form == 'zip':
        path = zipped(folder, tmp_path / 'mono+stereo_640x192.zip')
    else:
        path = tmp_path / 'mono+stereo_640x192'
        path.symlink_to(folder)
    with pytest.raises(WeightsError, match=rf'not {STEREO}; set model to {BOTH}, or rename'):
        loaded(STEREO, path)
    loaded(BOTH, path)


def test_a_feed_size_that_is_missing_is_named(tmp_path):
    write(tmp_path)
    torch.save(formula('monodepth2-640x192-encoder'), tmp_path / 'encoder.pth')
    with pytest.raises(WeightsError, match=r"encoder\.pth does not state its 'width'"):
        loaded(STEREO, tmp_path)


def test_half_a_checkpoint_is_refused(folder, tmp_path):
    (tmp_path / 'encoder.pth').symlink_to(folder / 'encoder.pth')
    with pytest.raises(WeightsError, match=r'has no depth\.pth; the zip at https'):
        loaded(STEREO, tmp_path)
    (tmp_path / 'depth.pth').symlink_to(folder / 'encoder.pth')
    with pytest.raises(WeightsError, match=r'depth\.pth looks like a Monodepth2 encoder'):
        loaded(STEREO, tmp_path)
    archive = tmp_path / 'x.zip'
    with zipfile.ZipFile(archive, 'w') as target:
        target.writestr('README', '')
    with pytest.raises(WeightsError, match=r'x\.zip has no encoder\.pth'):
        loaded(STEREO, archive)


def test_a_damaged_zip_is_refused(folder, tmp_path):
    archive = zipped(folder, tmp_path / 'x.zip')
    content = bytearray(archive.read_bytes())
    content[20_000_000:20_000_100] = bytes(100)
    archive.write_bytes(content)
    with pytest.raises(WeightsError, match=r'x\.zip is truncated or broken .*; download https'):
        loaded(STEREO, archive)


def test_another_family_is_named(small_file):
    with pytest.raises(
        WeightsError, match=rf'looks like a Depth Anything.*{STEREO} takes the folder of enc'
    ):
        loaded(STEREO, small_file)


def test_the_input_size_is_the_checkpoints(folder):
    loaded(STEREO, folder, input_size=640)
    with pytest.raises(ConfigError, match=r'input_size is 320, but stereo_640x192 .* set it to 0'):
        loaded(STEREO, folder, input_size=320)
    with pytest.raises(ConfigError, match='odom'):
        Variant.parse('mono_odom_640x192')
