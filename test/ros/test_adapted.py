# SPDX-License-Identifier: Apache-2.0
"""The node says to what its weights were adapted, in the log and in its diagnostics."""

import pytest
from graph import camera
from safetensors.torch import load_file, save_file
from sensor_msgs.msg import Image
from test_errors import refused
from test_newest import counters

from depth_ros.checkpoints.adapted import Card, Learnt, Recording, Start
from depth_ros.models import PRESETS

CARD = Card(
    preset='nano',
    start=Start('nano (packaged)'),
    licence='CC-BY-NC-4.0',
    restricted=True,
    depth_ros='0.3.0',
    date='2026-11-27T21:40:12Z',
    recordings=(Recording('kitchen', 40),),
    learnt=Learnt(400),
)
WORDS = 'adapted on 2026-11-27 to kitchen (40 images), from nano (packaged)'


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / 'kitchen.safetensors'
    save_file(load_file(PRESETS['nano'].source.packaged), path, metadata=CARD.metadata())
    return str(path)


def test_the_node_names_the_adaptation_and_the_licence(node, source, collect, graph, weights):
    running = node(model='nano', weights=weights)
    source.answer(collect(Image, 'depth/image'), camera())
    assert f'weights {weights}, {WORDS}, licence: CC-BY-NC-4.0' in running.log
    _, values = counters(graph, collect)
    assert values['adapted'] == WORDS and values['licence'] == 'CC-BY-NC-4.0'


def test_weights_of_another_preset_are_refused(process, weights):
    said = refused(process, model='depth_anything_v2_metric_indoor_small', weights=weights)
    assert 'was adapted from nano, but model is depth_anything_v2_metric_indoor_small' in said
    assert 'set model to nano' in said
