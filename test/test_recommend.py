# SPDX-License-Identifier: Apache-2.0
"""Facts of the networks, and which of them are recommended."""

import re

import pytest

from depth_ros.cli import recommend
from depth_ros.cli.__main__ import main
from depth_ros.cli.recommend import COUNT, Machine, Needs, candidates
from depth_ros.models import PRESETS
from depth_ros.models.facts import PUBLISHED, facts
from tools.facts import FASTDEPTH, counted

GPU = Machine('a GPU', 200.0, 24.0, 2)
#: one preset of each kind of network of torch
DISTINCT = sorted(
    {known: name for name, known in facts().items() if name != 'fastdepth_nyu'}.values()
)
CPU = Machine('a CPU', 0.24, 16.0, 4)


def names(text):
    """The recommended presets."""
    return re.findall(r'^\d\. (\w+)$', text, re.MULTILINE)


@pytest.mark.parametrize(
    'name',
    [
        'nano',
        'monodepth2_mono_640x192',
        *(pytest.param(name, marks=pytest.mark.slow) for name in DISTINCT),
    ],
)
def test_facts_are_those_of_the_layers(name):
    known = facts()[name]
    found = counted(name)
    assert (list(known.input), known.parameters) == (found['input'], found['parameters'])
    assert known.gflop == pytest.approx(found['gflop'], rel=0.01)


def test_facts_of_fastdepth_are_those_of_its_file(data):
    onnx = pytest.importorskip('onnx')
    (path,) = (data / 'weights' / 'fastdepth').glob('*.onnx')
    graph = onnx.shape_inference.infer_shapes(onnx.load(path)).graph
    values = [*graph.value_info, *graph.output, *graph.input]
    shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in values}
    weights = {one.name: list(one.dims) for one in graph.initializer}
    work = 0
    for node in graph.node:
        if node.op_type == 'Conv':
            _, *output = shapes[node.output[0]]
            work += 2 * product(output) * product(weights[node.input[1]][1:])
    assert sum(map(product, weights.values())) == FASTDEPTH['parameters']
    assert work / 1e9 == pytest.approx(FASTDEPTH['gflop'], rel=0.01)
    assert facts()['fastdepth_nyu'].gflop == FASTDEPTH['gflop']


def product(shape):
    found = 1
    for n in shape:
        found *= n
    return found


def test_every_network_has_facts():
    described = {name for name, preset in PRESETS.items() if preset.family != 'flat'}
    assert set(facts()) == described - {'onnx', 'transformers'}
    assert set(PUBLISHED) <= set(PRESETS)


def test_the_estimate_is_near_what_was_measured():
    """By benchmarks/results, 2026-11-21, one thread in fp32: times in s, memory in GB."""
    by_name = {one.preset.name: one for one in candidates(CPU)}
    for name, seconds, memory_gb in (
        ('depth_anything_v2_small', 1.18, 0.29),
        ('depth_anything_v2_base', 3.17, 0.73),
        ('glpdepth_nyu', 1.02, 0.52),
        ('depth_pro', 121.0, 5.8),
    ):
        assert 0.6 < by_name[name].seconds / seconds < 1.7
        assert 0.6 < by_name[name].memory_gb / memory_gb < 1.7


def test_a_gpu_gets_the_network_that_uses_the_calibration():
    found = names(recommend.recommend(Needs(), GPU))
    assert len(found) == COUNT and found[0] == 'depth_anything_v3_metric_large'


@pytest.mark.parametrize(
    ('needs', 'refused'),
    [
        (Needs(commercial=True), 'depth_pro: .*licence|licence: .*depth_pro'),
        (Needs(scene='outdoors'), 'for scenes indoors: .*moge2_vitl'),
        (Needs(memory_gb=1.0), r'takes about 1.7 GB of memory: depth_anything_v3_metric_large'),
        (Needs(rate_hz=300.0), r'takes about 7.5 ms for an image: depth_anything_v3_metric_large'),
    ],
)
def test_what_is_refused_has_its_reason(needs, refused):
    text = recommend.recommend(needs, GPU)
    found = names(text)
    assert found
    assert re.search(refused, ' '.join(text.split())), text
    for one in candidates(GPU):
        if one.preset.name in found:
            assert one.why_not(needs, GPU) == ''


def test_a_fast_rate_on_a_cpu_leaves_small_networks():
    assert set(names(recommend.recommend(Needs(rate_hz=30.0), CPU))) == {'fastdepth_nyu', 'nano'}


def test_networks_without_metres_are_recommended_only_if_asked_for():
    found = {one.preset.name: one for one in candidates(GPU)}
    relative = found['depth_anything_v2_small']
    assert 'scale source' in relative.why_not(Needs(), GPU)
    assert relative.why_not(Needs(metres=False), GPU) == ''


def test_two_views_need_a_network_that_takes_them():
    text = recommend.recommend(Needs(two_views=True, commercial=True, scene='indoors'), GPU)
    assert names(text) == ['depth_anything_v3_base', 'depth_anything_v3_small']
    assert 'metres from the known distance of the views' in text


def test_nothing_fits():
    assert 'No preset fits' in recommend.recommend(Needs(rate_hz=1e6), CPU)


def test_this_machine_is_measured(capsys):
    assert main(['models', '--recommend', '--rate', '0.001', '--device', 'cpu']) == 0
    text = capsys.readouterr().out
    assert re.search(r'threads 1, \S+ TFLOP/s in matrix products, \d+ GB', text)
    assert len(names(text)) == COUNT


@pytest.mark.parametrize(
    ('options', 'said'),
    [
        (['--recommend', 'metric'], '--recommend takes no words; omit metric'),
        (['--rate', '5', '--commercial'], '--rate and --commercial is a need: add --recommend'),
        (['--recommend', '--device', 'cuda:9'], "device is 'cuda:9'"),
    ],
)
def test_options_that_do_not_go_together(options, said, capsys):
    assert main(['models', *options]) != 0
    assert said in capsys.readouterr().err
