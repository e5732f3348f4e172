# SPDX-License-Identifier: Apache-2.0
"""The node says to what its weights were adapted, in the log and in its diagnostics."""

import numpy as np
import pytest
from graph import camera, depth_of
from safetensors.torch import load_file, save_file
from sensor_msgs.msg import Image
from test_errors import refused
from test_newest import counters

from depth_ros.checkpoints.adapted import Card, Learnt, Recording, Start, read_card
from depth_ros.cli import main
from depth_ros.core.camera import Camera
from depth_ros.models import PRESETS
from depth_ros.offline.evaluation.scores import score
from depth_ros.offline.evaluation.truth import find
from depth_ros.offline.recorded import Selection

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


@pytest.mark.slow
def test_the_later_part_of_a_recording_is_better_through_the_node(
    node, source, collect, data, tmp_path
):
    """Learnt from the first 26 images of a kitchen; the node gets the 14 that follow."""
    bag, weights = data / 'bags' / 'kitchen_7scenes_mcap', tmp_path / 'kitchen.safetensors'
    words = ['--fx', '525', '--end', '4.25', '--steps', '150', '--out', str(weights)]
    assert main(['adapt', str(bag), *words]) == 0
    assert read_card(weights).images <= 26
    (recorded,), _ = find([str(bag)])
    kitchen = Camera(640, 480, 525.0, 525.0, 319.5, 239.5)
    later = [
        (one.recorded.read().rgb, one.truth(kitchen))  # while the bag is open
        for one in recorded.images(Selection(start_s=4.25))
    ]
    assert len(later) == 14
    errors = {}
    for name in ('', str(weights)):
        running = node(model='nano', weights=name)
        depths, errors[name] = collect(Image, 'depth/image'), []
        for rgb, truth in later:
            z = depth_of(source.answer(depths, kitchen, rgb))
            errors[name].append(score(z, truth, 0.3, 8.0).errors['metres'].abs_rel)
        assert ('to kitchen_7scenes_mcap (' in running.log) == bool(name)
    before, after = (float(np.mean(found)) for found in errors.values())
    print(f'AbsRel through the node {before:.3f}, adapted {after:.3f}')
    assert after < before
