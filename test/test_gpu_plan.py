# SPDX-License-Identifier: Apache-2.0
"""`make gpu`: which steps there are, how much time each gets, and what a run leaves."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
import torch

from depth_ros import models
from depth_ros.models import ModelOptions
from depth_ros.parameters.settings import Settings
from depth_ros.pipeline.trial_frame import trial_frame
from tools import docs
from tools.bench import random_weights, tables
from tools.gpu import bare, device_path, network, plan
from tools.gpu.__main__ import choose_networks, parse
from tools.gpu.device_path import DevicePath
from tools.gpu.node import difference
from tools.gpu.plan import GPU, PYTEST, ROS, Has, Step, allot, limit_s
from tools.gpu.results import Results
from tools.gpu.worker import Clock, NotHere, attempt
from tools.gpu.workers import Worker, Workers

ALL = Has(ros=True, pytest=True)
ABOUT = {
    'machine': {'name': 'some-gpu', 'cpu': 'c', 'cores': 2, 'gpu': 'Some GPU', 'python': '3',
                'packages': {'torch': '2'}},
    'about': {'cuda': '13', 'triton': ''},
}  # fmt: skip
OURS = {
    'preset': 'nano', 'same_as': [], 'precision': 'fp16', 'input': [[1, 5, 72, 96]],
    'who': 'ours', 'median_ms': 0.5, 'p95_ms': 0.6, 'repeats': 3, 'parameters': 1, 'gflop': 1.0,
    'tflops': 2.0, 'matrix_tflops': 4.0, 'share_of_matrix_percent': 50.0, 'memory_mb': 9.0,
    'difference_percent': 0.1,
}  # fmt: skip


def names(steps):
    return [step.name for step in steps]


def test_what_matters_most_comes_first_and_training_last():
    groups = {name: [name] for name in ('glpdepth_nyu', 'depth_pro', 'depth_anything_v2_small',
                                        'nano', 'depth_anything_v3_metric_large')}  # fmt: skip
    steps = names(plan.steps(plan.KINDS, groups, 'cuda:0', ALL))
    assert steps == [
        'tests',
        'node: flat_wall, GPU and CPU',
        'node: nano, GPU and CPU',
        'network: depth_anything_v3_metric_large, 1280x720',
        'network: depth_anything_v2_small, 640x480',
        'network: depth_pro, 640x480',
        'network: glpdepth_nyu, 640x480',
        'network: nano, 640x480',
        'stages: 640x480',
        'stages: 1280x720',
        'node: nano, rate and latency',
        'training',
    ]
    assert names(plan.steps(['stages'], groups, 'cuda:0', ALL)) == steps[8:10]


def test_of_presets_with_the_same_layers_one_is_measured_and_the_important_one():
    chosen = choose_networks(['all'])
    assert {name for name, _ in plan.IMPORTANT} < set(chosen)
    assert 'depth_anything_v1_small' in chosen['depth_anything_v2_small']
    assert 'depth_anything_v1_small' not in chosen
    assert list(choose_networks(['depth_anything_v1_small'])) == ['depth_anything_v1_small']


def test_time_is_shared_by_what_is_left():
    rest = [Step('a', 30, 5), Step('b', 10, 5), Step('c', 20, 5)]
    assert allot(rest, 120.0) == (60.0, '')
    # what the first did not use is for all others
    assert allot(rest[1:], 110.0) == (pytest.approx(110 / 3), '')
    assert allot(rest[2:], 90.0) == (90.0, '')


def test_a_step_gets_the_least_it_needs_or_is_skipped_with_the_reason():
    rest = [Step('a', 10, 20), Step('b', 90, 5)]
    assert allot(rest, 50.0) == (20.0, '')
    assert allot(rest, 19.4) == (0.0, '19 s are left; it needs 20 s')
    assert allot(rest[1:], -3.0) == (0.0, '0 s are left; it needs 5 s')


def test_what_is_missing_takes_no_time():
    rest = [
        Step('a', 50, 5, missing='needs cuda'),
        Step('b', 25, 5),
        Step('c', 50, 5, missing='x'),
    ]
    assert allot(rest, 100.0) == (0.0, 'needs cuda')
    assert allot(rest[1:], 100.0) == (100.0, '')
    without = plan.steps(plan.KINDS, {}, 'cpu', Has(ros=False, pytest=False))
    assert {step.missing for step in without if 'node' in step.name} == {ROS}
    assert [step.missing for step in without if step.name == 'tests'] == [PYTEST]


@pytest.mark.parametrize('minutes', [0.2, 1, 3, 8, 60])
@pytest.mark.parametrize('used', [0.2, 1.0, 99.0])
def test_a_run_ends_in_its_time_however_long_its_steps_take(minutes, used):
    groups = choose_networks(['nano', 'depth_pro', 'glpdepth_nyu'])
    rest, left_s = plan.steps(plan.KINDS, groups, 'cuda:0', ALL), 60.0 * minutes
    while rest:
        seconds, why = allot(rest, left_s)
        assert bool(why) == (seconds == 0)
        if not why:
            assert rest[0].least_s <= seconds <= left_s
            left_s -= min(used * seconds, limit_s(seconds, left_s))
        rest.pop(0)
    assert left_s >= 0


def test_of_eight_minutes_every_step_gets_its_least():
    rest, left_s = plan.steps(plan.KINDS, choose_networks(['all']), 'cuda:0', ALL), 478.0
    while rest:
        seconds, why = allot(rest, left_s)
        assert not why, rest[0]
        left_s -= seconds
        rest.pop(0)
    assert seconds >= 60  # training


def test_a_part_that_fails_or_has_no_time_says_why():
    rows = []

    def emit(part, row):
        rows.append((part, row['what'], row['why']))

    def fail():
        raise RuntimeError('CUDA error: no kernel\nmore')

    def not_here():
        raise NotHere(GPU)

    clock = Clock(time.monotonic() + 5)
    assert attempt('a', emit, clock, 1.0, lambda: None) and not rows
    assert not attempt('b', emit, clock, 1.0, fail)
    assert not attempt('c', emit, clock, 1.0, not_here)
    assert not attempt('d', emit, Clock(time.monotonic() + 0.6), 9.0, fail)
    assert rows == [
        ('left_out', 'b', 'RuntimeError: CUDA error: no kernel'),
        ('left_out', 'c', GPU),
        ('left_out', 'd', '1 s are left of the step'),
    ]


def test_a_new_row_replaces_the_same_one_and_an_earlier_run_is_kept(tmp_path):
    first = Results(tmp_path, ABOUT)
    slow = {**OURS, 'who': 'ours, no graph', 'median_ms': 1.0, 'ours_over_theirs_time': 0.5}
    first.add('network', 'networks', slow)
    first.add('network', 'networks', {**OURS, 'precision': 'bf16'})
    first.add('network', 'networks', OURS)
    first.add('tests', 'steps', {'state': 'done', 'seconds': 1.0})
    second = Results(tmp_path, ABOUT)
    second.add('network', 'networks', {**OURS, 'median_ms': 0.25})
    stage = {'stage': 'upload', 'size': '4x3', 'median_ms': 1, 'p95_ms': 2, 'memcpy_ms': None}
    second.add('stages', 'stages', stage)
    found = json.loads(second.path.read_text())
    rows = [(r['precision'], r['who'], r['median_ms']) for r in found['networks']['rows']]
    assert rows == [('fp16', 'ours', 0.25), ('fp16', 'ours, no graph', 1.0), ('bf16', 'ours', 0.5)]
    assert found['gpu']['steps'] == [] and found['stages']['rows'] == [stage]
    assert found['machine']['gpu'] == 'Some GPU'
    text = second.text_path.read_text()
    assert 'Some GPU' in text and 'cuda 13' in text and 'triton' not in text


def test_the_results_are_documented_as_those_of_the_benchmark(tmp_path):
    results = Results(tmp_path, ABOUT)
    results.add('network', 'networks', OURS)
    results.add('a', 'left_out', {'what': 'cudnn', 'why': GPU})
    results.add('a', 'steps', {'state': 'failed', 'seconds': 3.0, 'why': 'killed after 3 s'})
    results.add('t', 'tests', {'test': 't.py::t', 'outcome': 'failed', 'why': 'E\nassert 1 == 2'})
    results.add('t', 'tests', {'test': 't.py::u', 'outcome': 'passed'})
    same = difference(*2 * [torch.tensor([1.0, float('nan')]).numpy().view('u1')])
    results.add('n', 'node', {'model': 'nano', 'topic': 'points', 'size': '4x3', **same})
    kernel = {'kernel': 'gemm<a|b>', 'ms': 0.5, 'calls': 2, 'percent': 50.0}
    results.add('k', 'kernels', {'preset': 'nano', 'precision': 'fp16', 'all_ms': 1.0,
                                 'top': [kernel]})  # fmt: skip
    score = {'abs_rel': 0.1, 'delta1': 0.9, 'abs_rel_median': 0.1, 'delta1_median': 0.9}
    results.add('t', 'training', {'weights': 'new', **score, 'kept': False, 'steps': 9})
    page = docs.measured_tables(tmp_path)
    for text in ('Some GPU', 'Difference from fp32', '| nano | fp16 | ours | 0.1 % |',
                 '| t.py::t | assert 1 == 2 |', '| failed | 1 |', '| nano | points | 4x3 | yes |',
                 '| `gemm<a/b>` | 2 | 0.5 ms | 50 % |', '| a | cudnn | needs cuda |',
                 '| a | failed | 3 s | killed after 3 s |', '| new | 0.1 |'):  # fmt: skip
        assert text in page, text
    assert '| Some GPU | `nano` | 96x72 | 0.5 ms | 9 MB |' in docs.expectations(tmp_path)
    assert len(list(tables.tables(results.content))) > 7
    # the last lines that a run prints
    assert results.summary().splitlines() == [
        'tests: 1 failed, 1 passed',
        'nano, points: the same bytes as on the CPU',
        'a: failed, killed after 3 s',
    ]


def test_different_messages_are_told_apart():
    a = torch.tensor([1.0, 2.0, float('nan')]).numpy()
    b = torch.tensor([1.0, 2.2, float('nan')]).numpy()
    assert difference(a.view('u1'), a.view('u1'))['identical']
    found = difference(b.view('u1'), a.view('u1'))
    assert not found['identical'] and found['bytes_that_differ'] > 0
    assert found['largest_difference_percent'] == pytest.approx(10, rel=1e-3)
    shorter = difference(a[:2].view('u1'), a.view('u1'))
    assert shorter == {'bytes': 8, 'bytes_of_cpu': 12, 'identical': False}


def test_the_blocks_of_a_transformer_are_found_and_a_small_network_has_none_of_one_layer():
    meta = ModelOptions(device=torch.device('meta'))
    small = random_weights.load('depth_anything_v2_small', meta, empty=True)
    found = [type(block).__name__ for block in network.blocks(small.network)]
    assert found.count('Block') == 12 and len(found) == 16  # 4 stages of the decoder
    assert network.blocks(torch.nn.Sequential(*(torch.nn.Linear(2, 2) for _ in range(9)))) == []


def test_a_network_takes_the_weights_of_another_in_another_precision():
    options = ModelOptions(exportable=True)
    first = random_weights.load('monodepth2_mono_640x192', options)
    with torch.no_grad():
        next(first.network.parameters()).mul_(1.5)
    half = ModelOptions(exportable=True, dtype=torch.bfloat16)
    second = random_weights.load('monodepth2_mono_640x192', half, like=first)
    theirs, dtypes = second.network.state_dict(), set()
    for name, values in first.network.state_dict().items():
        assert torch.equal(theirs[name], values.to(theirs[name].dtype)), name
        dtypes.add((values.dtype, theirs[name].dtype))
    assert (torch.float32, torch.bfloat16) in dtypes
    assert torch.isfinite(second.predict(trial_frame(torch.device('cpu'), 64, 48)).values).all()


def test_packaged_weights_are_read_by_any_safetensors(monkeypatch):
    from depth_ros.checkpoints import file, read
    from depth_ros.models import PRESETS

    path = PRESETS['nano'].source.packaged
    expected = read.read_checkpoint(path)
    for name in ('_check_version', '_read_safetensors'):  # put back afterwards
        monkeypatch.setattr(file, name, getattr(file, name))
    monkeypatch.setattr(bare.safetensors, '__version__', '0.5.3')
    bare.accept_old_safetensors()
    found = read.read_checkpoint(path)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in found)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--device', 'cpu'], 'set --out'),
        (['--steps', 'tests,nodes'], '--steps has nodes; choose from tests, node'),
        (['--networks', 'nona'], '--networks has nona; choose from'),
    ],
)
def test_arguments_that_mean_nothing_are_refused(arguments, message, capsys):
    with pytest.raises(SystemExit):
        parse(arguments)
    assert message in capsys.readouterr().err


class Fake:
    """A stream or event of CUDA; what is queued is done at once."""

    def __init__(self, **_):
        pass

    def wait_stream(self, other):
        pass

    def record(self, stream):
        pass

    def synchronize(self):
        pass


def test_on_a_gpu_the_path_is_timed_overlapping_too(monkeypatch):
    camera = trial_frame(torch.device('cpu'), 64, 48).camera
    wall = models.load('flat_wall', ModelOptions())
    path = DevicePath(wall, Settings(model='flat_wall'), torch.device('cpu'), camera)
    (alone,) = device_path.rows('wall', path, 0.01)
    assert alone['bytes'] == 16 * 32 * 24 and alone['memcpy_ms'] > 0
    monkeypatch.setattr(torch.cuda, 'Event', Fake)
    monkeypatch.setattr(torch.cuda, 'current_stream', lambda device: Fake())
    monkeypatch.setattr(torch.cuda, 'stream', lambda stream: contextlib.nullcontext())
    path._stream, path.device = Fake(), SimpleNamespace(type='cuda')
    alone, overlapping = device_path.rows('wall', path, 0.01, in_turn=False)
    assert alone['memcpy_ms'] is None and alone['stage'].startswith(device_path.TITLES[0])
    assert overlapping['stage'].startswith(device_path.TITLES[1])
    assert overlapping['repeats'] >= 10 and overlapping['clouds_hz'] > 0
    assert 0 < overlapping['median_ms'] <= overlapping['p95_ms']


def start(tmp_path, *arguments):
    command = [sys.executable, '-m', 'tools.gpu', '--device', 'cpu', '--tiny', '--out',
               str(tmp_path / 'out'), *arguments]  # fmt: skip
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def read(tmp_path):
    (path,) = (tmp_path / 'out').glob('*.json')
    return json.loads(path.read_text())


def wait_for_row(running, tmp_path):
    """Until the first network is measured in its first precision; the process that does it."""
    for line in running.stdout:
        if 'networks:' in line:
            return read(tmp_path)
    raise AssertionError('no row')


def alive(tmp_path):
    """Processes whose standard error is a log of this run."""
    found = []
    for pid in filter(str.isdigit, os.listdir('/proc')):
        try:
            folder = os.readlink(f'/proc/{pid}/fd/2')
        except OSError:
            continue
        if folder.startswith(str(tmp_path)):
            found.append(int(pid))
    return found


@pytest.mark.parametrize(
    'number', [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)]
)
def test_a_run_that_is_killed_leaves_what_it_has_measured(number, tmp_path, monkeypatch):
    monkeypatch.setenv('TMPDIR', str(tmp_path))
    running = start(tmp_path, '--steps', 'networks', '--networks', 'nano', '--minutes', '5')
    try:
        wait_for_row(running, tmp_path)
        assert alive(tmp_path)
        running.send_signal(number)
        assert running.wait(20) == (-9 if number == signal.SIGKILL else 128 + number)
    finally:
        running.kill()
    found = read(tmp_path)
    assert found['networks']['rows'][0]['who'] == 'ours'
    (step,) = found['gpu']['steps']
    assert step['step'] == 'network: nano, 64x48'
    assert step['state'] == ('running' if number == signal.SIGKILL else 'cut')
    end = time.monotonic() + 20
    while alive(tmp_path):
        assert time.monotonic() < end, 'its processes still run'
        time.sleep(0.1)


def test_a_process_that_hangs_or_crashes_ends_its_step_only(tmp_path):
    job = {'do': 'about', 'device': 'cpu', 'until': time.monotonic() + 60}
    hangs = Worker(tmp_path / 'hangs.log')
    os.kill(hangs.process.pid, signal.SIGSTOP)
    assert hangs.run(job, 0.2, lambda row: None) == 'killed after 0 s'
    hangs.close()
    crashes = Worker(tmp_path / 'crashes.log')
    os.kill(crashes.process.pid, signal.SIGSEGV)
    assert crashes.run(job, 60, lambda row: None).startswith('ended by SIGSEGV')
    crashes.close()
    rows = []
    fails = Worker(tmp_path / 'fails.log')
    assert 'no module' in fails.run({**job, 'do': 'nothing'}, 60, rows.append).lower()
    fails.close()
    assert not rows and not alive(tmp_path)
    workers = Workers(tmp_path)
    try:
        assert workers.run({**job, 'do': 'nothing'}, 60, rows.append)
        assert "No module named 'tools.gpu.nothing'" in workers.log
        assert workers.run(job, 60, rows.append) == '' and rows[0]['part'] == 'about'
    finally:
        workers.close()
    assert not alive(tmp_path)


@pytest.mark.slow
def test_the_whole_plan_runs_on_a_cpu(tmp_path):
    kinds = ['tests', 'networks', 'stages', 'training']
    running = start(tmp_path, '--steps', ','.join(kinds), '--minutes', '6')
    out, _ = running.communicate(timeout=420)
    found = read(tmp_path)
    assert running.returncode == 0, out
    steps = {row['step']: row['state'] for row in found['gpu']['steps']}
    assert set(steps.values()) == {'done'} and len(steps) == 5, out
    assert {row['outcome'] for row in found['gpu']['tests']} <= {'skipped', 'passed'}
    who = [(r['precision'], r['who']) for r in found['networks']['rows'] if r['preset'] != 'nano']
    assert who == [
        ('fp16', 'ours'), ('fp16', 'ours, flash attention'), ('fp16', 'ours, math attention'),
        ('fp16', 'ours, compiled blocks'), ('fp16', 'ours, compiled'), ('bf16', 'ours'),
        ('fp32', 'ours'),
    ]  # fmt: skip
    left_out = {(row['what'], row['why']) for row in found['gpu']['left_out']}
    needs = ('without CUDA graph', 'attention: cudnn', 'attention: efficient', 'CPU in fp32')
    assert {(what, GPU) for what in needs} <= left_out
    # nothing else failed
    known = {GPU, "it has no layers with torch's attention", 'not in a tiny run'}
    assert {why for _, why in left_out} <= known
    stages = [row['stage'] for row in found['stages']['rows']]
    for name in ('image to cloud', 'decode', 'network: nano', 'scaling', 'filter: edges', 'cloud'):
        assert any(stage.startswith(name) for stage in stages), name
    before, after = found['gpu']['training']
    assert (before['weights'], after['weights']) == ('packaged', 'new') and after['steps'] == 8
    assert (tmp_path / 'out' / 'nano' / 'nano.safetensors').is_file() == after['kept']
    assert not (tmp_path / 'out' / 'nano.part').exists()
