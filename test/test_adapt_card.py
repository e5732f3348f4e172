# SPDX-License-Identifier: Apache-2.0
"""The card of adapted weights: written, read from a header, and refused where it is damaged."""

import dataclasses
import json
import math
import struct

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from depth_ros import models
from depth_ros.checkpoints.adapted import (
    KEY,
    VERSION,
    Card,
    Check,
    Coverage,
    Learnt,
    Recording,
    Score,
    Scores,
    Start,
    card_for,
    read_card,
)
from depth_ros.cli import main
from depth_ros.cli.info import card_lines
from depth_ros.core.errors import WeightsError
from depth_ros.models import PRESETS, ModelOptions
from depth_ros.parameters.settings import Settings
from depth_ros.pipeline.build import build

CARD = Card(
    preset='nano',
    start=Start('nano (packaged)', 'ab' * 32),
    licence='Apache-2.0',
    restricted=False,
    depth_ros='0.3.0',
    date='2026-11-27T21:40:12Z',
    recordings=(Recording('kitchen', 40, 12.5, 3.25, '7-Scenes poses', '640x480, 525 px'),),
    learnt=Learnt(400, 61.5, 'cpu', 0.5, 0.31, 0.004, True),
    checks=(
        Check('focal length', '1.02 of the stated one', 'good', 1.02, 'factor'),
        Check('coverage', 'a third', 'warning', 0.33, '', 'record more'),
    ),
    photometric_before=0.21,
    photometric_after=0.14,
    scores=(Scores('recording', Score(0.3, 0.526), Score(0.14, 0.802), 10, True),),
    coverage=(Coverage('the last fifth', 0.33),),
    scale=0.031,
    shift=-0.2,
)


def values(**changed):
    return json.loads(CARD.to_json()) | changed


def saved(path, metadata):
    save_file({'a': torch.ones(3)}, path, metadata=metadata)
    return path


def test_a_card_survives_json():
    assert Card.from_json(CARD.to_json()) == CARD


def test_what_is_not_known_is_null_in_json_and_nan_here():
    card = dataclasses.replace(CARD, photometric_before=math.nan, learnt=Learnt(3))
    text = card.to_json()
    assert 'NaN' not in text
    again = Card.from_json(text)
    assert math.isnan(again.photometric_before) and math.isnan(again.learnt.turn_rms_deg)
    assert again.photometric_after == 0.14


def test_keys_of_a_newer_version_are_left_out():
    newer = values(colour='blue', learnt={'steps': 7, 'optimizer': 'x'})
    card = Card.from_json(json.dumps(newer))
    assert card.learnt.steps == 7 and card.preset == 'nano'


def test_a_newer_format_is_refused():
    with pytest.raises(WeightsError, match=r'a\.safetensors.*format 99.*update depth_ros'):
        Card.from_json(json.dumps(values(version=99)), 'a.safetensors')


@pytest.mark.parametrize(
    'text',
    [
        '',
        '{',
        'null',
        '[]',
        '{}',
        '"text"',
        '[' * 100_000,
        json.dumps({'version': VERSION}),
        json.dumps(values(preset=None)),
        json.dumps(values(restricted=1)),
        json.dumps(values(version='1')),
        json.dumps(values(recordings={})),
        json.dumps(values(recordings=[3])),
        json.dumps(values(learnt={'steps': True})),
        json.dumps(values(checks=[{'name': 'a', 'found': 'b', 'verdict': 'splendid'}])),
        json.dumps(values(scores=[{'name': 'a', 'before': {'abs_rel': 'x', 'delta1': 1}}])),
    ],
)
def test_a_damaged_card_is_refused_with_the_file(text, tmp_path):
    path = saved(tmp_path / 'a.safetensors', {KEY: text})
    with pytest.raises(WeightsError, match=r'a\.safetensors.*(adapt again|update depth_ros)'):
        read_card(path)


def test_a_text_cannot_write_to_a_terminal():
    card = Card.from_json(json.dumps(values(preset='na\x1b[2Jno', licence='x' * 5000)))
    assert card.preset == 'na?[2Jno' and len(card.licence) == 1000


def test_the_card_of_a_file_is_read_without_its_tensors(tmp_path):
    path = saved(tmp_path / 'a.safetensors', CARD.metadata())
    assert read_card(path) == CARD
    whole = path.read_bytes()
    (length,) = struct.unpack('<Q', whole[:8])
    path.write_bytes(whole[: 8 + length])
    assert read_card(path) == CARD
    path.write_bytes(whole)
    assert load_file(path)['a'].tolist() == [1, 1, 1]


def test_other_files_have_no_card(tmp_path):
    pickle = tmp_path / 'a.pth'
    torch.save({'a': torch.ones(3)}, pickle)
    contents = {
        'empty': b'',
        'short': b'\x05\0\0',
        'text': b'{"a": 1}' * 9,
        'long': struct.pack('<Q', 1 << 60) + b'{',
        'cut': struct.pack('<Q', 400) + b'{"__metadata__": {',
        'list': struct.pack('<Q', 2) + b'[]',
        'number': struct.pack('<Q', 20) + b'{"__metadata__": 7} ',
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        assert read_card(tmp_path / name) is None, name
    plain = saved(tmp_path / 'b.safetensors', None)
    other = saved(tmp_path / 'c.safetensors', {'format': 'pt'})
    for path in (pickle, plain, other, tmp_path, tmp_path / 'missing', None):
        assert read_card(path) is None
    assert read_card(PRESETS['nano'].source.packaged) is None


def test_the_worst_check_is_the_verdict():
    assert CARD.verdict == 'warning'
    assert dataclasses.replace(CARD, checks=()).verdict == 'good'
    refused = (*CARD.checks, Check('turning', '9 deg', 'refused'))
    assert dataclasses.replace(CARD, checks=refused).verdict == 'refused'


def test_a_card_in_words_names_date_places_and_start():
    assert str(CARD) == 'adapted on 2026-11-27 to kitchen (40 images), from nano (packaged)'
    several = tuple(Recording(name, 13) for name in ('hall', 'lab', 'yard'))
    more = dataclasses.replace(CARD, recordings=several)
    assert 'to hall, lab and yard (39 images)' in str(more)


def test_adapted_weights_belong_to_one_preset(tmp_path):
    path = saved(tmp_path / 'a.safetensors', CARD.metadata())
    assert card_for('nano', path) == CARD
    assert card_for('anything', saved(tmp_path / 'b.safetensors', None)) is None
    with pytest.raises(
        WeightsError, match=r'a\.safetensors was adapted from nano, but model is other: set model'
    ):
        card_for('other', path)


@pytest.fixture(scope='module')
def adapted(tmp_path_factory):
    """The packaged weights as if they had learnt."""
    path = tmp_path_factory.mktemp('weights') / 'kitchen.safetensors'
    card = dataclasses.replace(CARD, scale=None, licence='CC-BY-NC-4.0', restricted=True)
    save_file(load_file(PRESETS['nano'].source.packaged), path, metadata=card.metadata())
    return path


def test_a_pipeline_names_what_its_weights_were_adapted_to(adapted, caplog):
    caplog.set_level('INFO')
    _, choices = build(Settings(model='nano', weights=str(adapted), device='cpu'))
    assert choices.licence == 'CC-BY-NC-4.0', 'that of the weights at the start'
    assert str(choices).endswith(
        f'weights {adapted}, adapted on 2026-11-27 to kitchen (40 images), from nano (packaged), '
        'licence: CC-BY-NC-4.0'
    )
    assert 'synthetic images only' not in caplog.text, 'that is true of the packaged weights'
    _, choices = build(Settings(model='nano', device='cpu'))
    assert choices.adapted == '' and 'adapted' not in str(choices)


def test_commands_name_what_their_weights_were_adapted_to(adapted, tmp_path, capsys):
    image = tmp_path / 'a.png'
    cv2.imwrite(str(image), np.full((48, 64, 3), 90, np.uint8))
    arguments = [str(image), '--fx', '60', '--model', 'nano', '--weights', str(adapted)]
    assert main(['run', *arguments, '--output', str(tmp_path / 'b')]) == 0
    printed = capsys.readouterr().out
    assert ', adapted on 2026-11-27 to kitchen (40 images), from nano (packaged), lic' in printed


def test_another_preset_refuses_adapted_weights(adapted):
    name = 'depth_anything_v2_metric_indoor_small'
    with pytest.raises(WeightsError, match=f'was adapted from nano, but model is {name}: set'):
        build(Settings(model=name, weights=str(adapted), device='cpu'))
    with pytest.raises(WeightsError, match='was adapted from nano'):
        models.load(name, ModelOptions(weights=adapted))


def test_info_shows_the_card_and_only_its_preset(adapted, capsys):
    assert main(['info', str(adapted)]) == 0
    lines = capsys.readouterr().out.splitlines()
    for text in (
        'adapted   on 2026-11-27 to kitchen (40 images), from nano (packaged) '
        '(sha256 abababababab); depth_ros 0.3.0',
        'licence   CC-BY-NC-4.0; it restricts use',
        'recording kitchen; 40 images; 12.5 s; 3.25 m; 7-Scenes poses; 640x480, 525 px',
        'learnt    400 steps; 61.5 s; cpu; 50 % of the adapted weights; stopped early',
        'check     focal length (good): 1.02 of the stated one',
        'check     coverage (warning): a third; record more',
        'result    recording: AbsRel 0.300 before, 0.140 after; delta1 0.526 before, 0.802 after',
        'covers    33 % of the last fifth',
        'presets   nano',
    ):
        assert text in lines


def test_parameters_that_make_metres_are_named():
    assert dataclasses.replace(CARD, scale=None).parameters == {}
    assert CARD.parameters == {
        'scaling.method': 'constant',
        'scaling.scale': '0.031',
        'scaling.shift': '-0.2',
    }
    lines = dict(card_lines(dataclasses.replace(CARD, shift=0.0)))
    assert lines['use it'] == 'with scaling.method:=constant scaling.scale:=0.031'


def test_an_exported_file_names_the_adaptation(adapted, tmp_path, capsys, caplog):
    for library in ('onnx', 'onnxscript', 'onnxruntime'):
        pytest.importorskip(library)
    caplog.set_level('INFO')
    path = tmp_path / 'kitchen.onnx'
    arguments = ['export', '--model', 'nano', '--weights', str(adapted), '--out', str(path)]
    assert main(arguments) == 0
    words = 'adapted on 2026-11-27 to kitchen (40 images), from nano (packaged)'
    printed = capsys.readouterr().out
    assert f'adapted   {words}' in printed and 'CC-BY-NC-4.0; it restricts use' in printed
    assert main(['info', str(path)]) == 0
    printed = capsys.readouterr().out
    assert f'adapted   {words}' in printed and 'licence   CC-BY-NC-4.0' in printed
    assert (
        f'kitchen.safetensors, a file of the user, {words}'
        in path.with_suffix('.yaml').read_text()
    )
    assert f'kitchen.onnx: exported from nano, {words}; licence' in caplog.text
