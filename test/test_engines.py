# SPDX-License-Identifier: Apache-2.0
"""Networks that OpenVINO and onnxruntime run: the same depth as torch, exported only once."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import time
import types

import pytest
import torch
from stand_ins import write

from depth_ros import models
from depth_ros.core.errors import ConfigError, InferenceError, WeightsError
from depth_ros.models import PRESETS, ModelOptions
from depth_ros.parameters.settings import ScalingSettings, Settings
from depth_ros.pipeline.build import build
from depth_ros.pipeline.engines import ENGINES, Target, exported, trial
from depth_ros.pipeline.engines import cache as cache_of_networks
from depth_ros.pipeline.engines import load as loading
from depth_ros.pipeline.engines import measure as measuring
from depth_ros.pipeline.engines import targets as choosing
from depth_ros.pipeline.engines.compare import TOLERANCE, compare
from depth_ros.pipeline.engines.openvino import OpenVino
from depth_ros.pipeline.engines.trial import answer
from depth_ros.pipeline.trial_frame import trial_frame

CPU = torch.device('cpu')
SLOW = pytest.mark.slow
pytest.importorskip('onnxscript', reason='onnxscript is not installed')


def needs(name):
    """Skip without a library. It is not imported: see the test of what OpenVINO reports."""
    if not importlib.util.find_spec(name):
        pytest.skip(f'{name} is not installed')
    return name


@pytest.fixture(params=ENGINES[1:])
def engine(request):
    return needs(request.param)


@pytest.fixture
def openvino():
    return needs('openvino')


@pytest.fixture(scope='module')
def filled(tmp_path_factory):
    """A cache that has nano for both engines, for an image of 640x480."""
    folder = tmp_path_factory.mktemp('filled')
    os.environ['DEPTH_ROS_CACHE'] = str(folder)
    try:
        for name in ENGINES[1:]:
            for precision in ('auto', 'fp32'):
                build(Settings(model='nano', engine=needs(name), precision=precision))
    finally:
        del os.environ['DEPTH_ROS_CACHE']
    return folder


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv('DEPTH_ROS_CACHE', str(tmp_path / 'cache'))
    return tmp_path / 'cache'


@pytest.fixture
def copied(filled, cache):
    """A copy of `filled`, to be damaged."""
    shutil.copytree(filled, cache)
    return cache


def exports(caplog):
    return [r.getMessage() for r in caplog.records if 'network exported' in r.getMessage()]


def values(pipeline, size=(640, 480)):
    with torch.inference_mode():
        return pipeline.model.predict(trial_frame(CPU, *size)).values


@pytest.mark.parametrize('precision', ['auto', 'fp32'])
def test_the_second_start_exports_nothing_and_depth_is_that_of_torch(
    copied, engine, precision, caplog
):
    caplog.set_level('INFO')
    expected = values(build(Settings(model='nano'))[0])
    pipeline, choices = build(Settings(model='nano', engine=engine, precision=precision))
    difference = ((values(pipeline) - expected) / expected).abs()
    exact = precision == 'fp32' or engine == 'onnxruntime'
    assert difference.median() < (1e-5 if exact else TOLERANCE)
    assert exports(caplog) == []
    assert f'by {engine} ' in str(choices) and '% from torch in fp32' in choices.precision
    if exact:
        assert choices.precision.startswith('fp32 (median ')
    assert next(pipeline.model.network.parameters()).is_meta, 'its memory is free'


@pytest.mark.parametrize(
    'name',
    [
        'monodepth2_mono_640x192',
        pytest.param('depth_anything_v2_small', marks=SLOW),
        pytest.param('depth_anything_v3_small', marks=SLOW),
        pytest.param('glpdepth_nyu', marks=SLOW),
    ],
)
@pytest.mark.slow
def test_other_families(cache, tmp_path, openvino, name):
    weights = write(PRESETS[name], tmp_path)
    side = 126 if 'anything' in name else 0
    made = {
        chosen: Settings(
            model=name,
            weights=str(weights),
            input_size=side,
            engine=chosen,
            precision='fp32',
            scaling=ScalingSettings(method='constant'),
        )
        for chosen in ('torch', 'openvino')
    }
    expected = values(build(made['torch'])[0], (320, 240))
    found = values(build(made['openvino'])[0], (320, 240))
    assert (expected > 0).float().mean() > 0.2, 'there is something to compare'
    assert compare(found, expected) < 1e-4


def test_several_at_once_are_run_one_by_one(copied, openvino, caplog):
    caplog.set_level('INFO')
    pipeline, _ = build(Settings(model='nano', engine='openvino', precision='fp32'))
    plain, _ = build(Settings(model='nano'))
    frames = [trial_frame(CPU), trial_frame(CPU)]
    with torch.inference_mode():
        for found, expected in zip(
            pipeline.model.predict_many(frames), plain.model.predict_many(frames), strict=True
        ):
            torch.testing.assert_close(found.values, expected.values, rtol=1e-4, atol=1e-4)
    assert not exports(caplog) and 'torch computes' not in caplog.text


@pytest.mark.parametrize('live', [False, pytest.param(True, marks=SLOW)])
def test_images_of_another_size_never_wait_for_an_export(copied, openvino, caplog, live):
    caplog.set_level('INFO')
    pipeline, _ = build(Settings(model='nano', engine='openvino', precision='fp32'), live=live)
    plain, _ = build(Settings(model='nano'))
    wide = trial_frame(CPU, 640, 360)

    def check():
        with torch.inference_mode():
            found, expected = (one.model.predict(wide).values for one in (pipeline, plain))
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)

    for _ in range(exported.SEEN + 5):
        check()
    assert caplog.text.count('torch computes it') == 1, 'said once'
    network = pipeline.model.engine
    assert (network._thread is not None) == live
    if live:
        network._thread.join(120)
        assert 'openvino now computes inputs of 1x5x64x112' in caplog.text
        assert len(network._runners) == 2
        network._in_torch = None  # what follows is not from there
        check()
        assert network._in_torch is None


@pytest.mark.parametrize(
    ('engine', 'damage'),
    [
        ('openvino', 'cut'),
        pytest.param('onnxruntime', 'data is gone', marks=SLOW),
        pytest.param('openvino', 'empty', marks=SLOW),
        pytest.param('openvino', 'data is gone', marks=SLOW),
        pytest.param('onnxruntime', 'text', marks=SLOW),
    ],
)
def test_a_damaged_file_of_the_cache_is_told_and_made_again(copied, engine, damage, caplog):
    caplog.set_level('INFO')
    (path,) = copied.rglob('network.onnx')
    content = path.read_bytes()
    if damage == 'data is gone':
        (path.parent / 'network.onnx.data').unlink()
    else:
        wrong = {'cut': content[: len(content) // 2], 'empty': b'', 'text': b'no network'}
        path.write_bytes(wrong[damage])
    pipeline, _ = build(Settings(model='nano', engine=engine))
    assert values(pipeline).isfinite().any()
    assert 'is damaged' in caplog.text and len(exports(caplog)) == 1
    assert path.read_bytes() == content


@pytest.mark.slow
def test_weights_and_versions_have_their_own_place(copied, openvino, tmp_path, monkeypatch):
    before = {p.name for p in (copied / 'engines').iterdir()}
    monkeypatch.setattr(loading.torch, '__version__', '99.0')
    build(Settings(model='nano', engine='openvino'))
    (new,) = {p.name for p in (copied / 'engines').iterdir()} - before
    assert (
        json.loads((copied / 'engines' / new / 'description.json').read_text())['torch'] == '99.0'
    )


def test_what_no_start_has_used_for_long_is_removed(copied, openvino):
    (used,) = (copied / 'engines').iterdir()
    long_ago = time.time() - cache_of_networks.UNUSED_S - 60
    for name, seen in (('old', long_ago), ('new', time.time())):
        shutil.copytree(used, copied / 'engines' / name)
        os.utime(copied / 'engines' / name / 'description.json', (seen, seen))
    os.utime(used / 'description.json', (long_ago, long_ago))
    build(Settings(model='nano', engine='openvino'))
    assert {p.name for p in (copied / 'engines').iterdir()} == {used.name, 'new'}


@pytest.mark.slow
def test_an_export_that_is_killed_is_never_taken_for_a_whole_one(cache, openvino, caplog):
    code = """
from depth_ros.parameters.settings import ScalingSettings, Settings
from depth_ros.pipeline.build import build
build(Settings(model='nano', engine='openvino'))
"""
    process = subprocess.Popen([sys.executable, '-c', code], stderr=subprocess.DEVNULL)
    end_s = time.monotonic() + 60
    while not list(cache.rglob('*.part')) and time.monotonic() < end_s:
        time.sleep(0.005)
    process.kill()
    process.wait()
    assert not list(cache.rglob('network.onnx')) or list(cache.rglob('*.part'))
    caplog.set_level('INFO')
    pipeline, _ = build(Settings(model='nano', engine='openvino'))
    assert values(pipeline).isfinite().any() and len(exports(caplog)) == 1


def test_a_cache_that_cannot_be_written_is_told(tmp_path, monkeypatch, openvino):
    (tmp_path / 'file').write_text('')
    monkeypatch.setenv('DEPTH_ROS_CACHE', str(tmp_path / 'file' / 'cache'))
    with pytest.raises(ConfigError, match=r'cannot be written .*: set DEPTH_ROS_CACHE'):
        build(Settings(model='nano', engine='openvino'))


class Wrong(OpenVino):
    """An engine that computes half of what it should in the precisions that it is told."""

    def __init__(self, *precisions):
        super().__init__()
        self.wrong = precisions

    def devices(self):
        return {'cpu': ('fp32', 'bf16')}

    def open(self, folder, target):
        run = super().open(folder, target)
        if target.precision not in self.wrong:
            return run
        return lambda x: tuple(0.5 * y for y in run(x))


@pytest.fixture
def in_this_process(monkeypatch):
    """Measure here, where an engine can be replaced, and not in another process."""

    def ask(request, limit_s, take):
        with torch.inference_mode():
            answer(request, take)
        return ''

    monkeypatch.setattr(measuring, '_ask', ask)

    def use(engine):
        for module in (loading, trial, choosing):
            monkeypatch.setattr(module, 'engine_named', lambda name: engine)

    return use


def test_what_an_engine_computes_wrongly_is_not_used(copied, openvino, in_this_process, caplog):
    caplog.set_level('INFO')
    forget(copied)
    in_this_process(Wrong('bf16'))
    _, choices = build(Settings(model='nano', engine='openvino'))
    assert choices.precision.startswith('fp32 (median ')
    assert re.search(r'openvino on cpu in bf16: it is \S+ % from torch in fp32', caplog.text)
    forget(copied)
    in_this_process(Wrong('bf16', 'fp32'))
    with pytest.raises(
        ConfigError, match=r"no engine can run nano: .*fp32: it is .*Set engine to 'torch'"
    ):
        build(Settings(model='nano', engine='openvino'))


def test_something_is_measured_before_a_network_is_exported(tmp_path, openvino):
    """The export of a large network can take all of the time."""
    targets = [
        Target('torch', 'cpu', 'fp32', 1),
        Target('torch', 'cpu', 'bf16', 1),
        Target('openvino', 'cpu', 'fp32', 1),
    ]
    options = ModelOptions(weights=PRESETS['nano'].source.packaged)
    shape = tuple(models.load('nano', options).network_input(trial_frame(CPU, 64, 48)).shape)
    request = trial.Request('nano', options, (64, 48), (1, *shape), tmp_path, targets, False)
    told = []
    with torch.inference_mode():
        answer(request, told.append)
    assert [one.get('target', 'exported') for one in told] == [1, 'exported', 2, 0]
    assert told[0]['best'] == 1 and told[0]['difference'] < TOLERANCE


def forget(cache):
    """What was measured."""
    for path in cache.rglob('measured.json'):
        path.unlink()


@pytest.fixture
def auto(monkeypatch):
    monkeypatch.setenv('DEPTH_ROS_ENGINE', 'auto')


def test_auto_takes_the_fastest_and_remembers_it(copied, openvino, auto, caplog):
    caplog.set_level('INFO')
    pipeline, choices = build(Settings(model='nano'))
    (path,) = copied.rglob('measured.json')
    measured = [v for k, v in json.loads(path.read_text()).items() if k.startswith('torch on cpu')]
    (measured,) = measured
    usable = [v for v in measured.values() if isinstance(v, dict) and not v['failed']]
    assert len(usable) >= 3
    best = measured['best']
    # those that are nearly as fast were compared in turns, which are other times
    assert measured[best]['ms'] <= 1.5 * min(one['ms'] for one in usable)
    assert best.startswith(choices.engine.partition(' ')[0]) and 'the fastest of' in choices.engine
    expected = values(build(Settings(model='nano', engine='torch'))[0])
    assert compare(values(pipeline), expected) < TOLERANCE
    caplog.clear()
    assert build(Settings(model='nano'))[1].engine == choices.engine
    assert 'measuring' not in caplog.text


def test_auto_measures_again_when_an_engine_is_installed(
    copied, openvino, auto, caplog, monkeypatch
):
    caplog.set_level('INFO')
    monkeypatch.setattr(choosing, 'cpu_has_bf16', lambda: False)
    monkeypatch.setattr(choosing, '_is_installed', lambda name: False)
    assert build(Settings(model='nano'))[1].engine == f'torch {torch.__version__}'
    assert 'measuring' not in caplog.text, 'there is no choice'
    monkeypatch.setattr(choosing, '_is_installed', lambda name: name == 'openvino')
    asked = []
    monkeypatch.setattr(
        loading, 'measure', lambda *given: asked.append(given[0]) or measuring.measure(given[0], 0)
    )
    build(Settings(model='nano'))
    assert [t.engine for t in asked[0].targets][:2] == ['torch', 'openvino']


@pytest.mark.parametrize('how', ['in time', 'at all'])
def test_what_cannot_be_measured_is_left_to_torch(cache, openvino, auto, monkeypatch, caplog, how):
    if how == 'in time':
        monkeypatch.setattr(loading, 'LIMIT_S', 0.5)
    else:
        monkeypatch.setattr(measuring.sys, 'executable', '/bin/false')
    _, choices = build(Settings(model='nano'))
    assert choices.engine == f'torch {torch.__version__} (not measured)'
    assert choices.precision == 'fp32'
    assert {'in time': 'not reached in time', 'at all': 'ended with 1'}[how] in caplog.text
    caplog.clear()
    build(Settings(model='nano'))
    assert 'no engine was measured' in caplog.text, 'at each start, without waiting again'


def test_a_cache_that_cannot_be_written_leaves_auto_to_torch(
    tmp_path, monkeypatch, auto, openvino, caplog
):
    (tmp_path / 'file').write_text('')
    monkeypatch.setenv('DEPTH_ROS_CACHE', str(tmp_path / 'file' / 'cache'))
    assert build(Settings(model='nano'))[1].engine.startswith('torch ')
    assert 'cannot be written' in caplog.text and 'set DEPTH_ROS_CACHE' in caplog.text


def test_a_disk_without_room_leaves_auto_to_torch(cache, auto, openvino, monkeypatch, caplog):
    free = types.SimpleNamespace(free=20_000_000)
    monkeypatch.setattr(cache_of_networks.shutil, 'disk_usage', lambda path: free)
    assert build(Settings(model='nano'))[1].engine.endswith(' (not measured)')
    assert 'network of 21 MB has no room in' in caplog.text and '20 MB are free' in caplog.text
    assert not list(cache.rglob('measured.json')), 'when there is room, engines are measured'
    with pytest.raises(ConfigError, match='set DEPTH_ROS_CACHE to a folder that has room'):
        build(Settings(model='nano', engine='openvino'))


@pytest.fixture
def crashing(tmp_path, monkeypatch):
    """An onnxruntime that ends the process, for processes started from now on."""
    folder = tmp_path / 'crashing' / 'onnxruntime'
    folder.mkdir(parents=True)
    (folder / '__init__.py').write_text("""
import os
__version__ = '1.99'
class SessionOptions: pass
def get_available_providers(): return ['CPUExecutionProvider']
def InferenceSession(*given, **more): os.kill(os.getpid(), 11)
""")
    monkeypatch.syspath_prepend(str(folder.parent))


@pytest.mark.slow
def test_an_engine_that_ends_the_process_is_not_used(
    copied, openvino, auto, crashing, monkeypatch, caplog
):
    caplog.set_level('INFO')
    # the crash comes first, and others follow
    monkeypatch.setattr(choosing, 'ENGINES', ('torch', 'onnxruntime', 'openvino'))
    _, choices = build(Settings(model='nano'))
    assert 'onnxruntime on cpu in fp32: the process that tried it ended with -11' in caplog.text
    assert re.search(r'openvino on cpu in fp32: \S+ ms', caplog.text)
    assert not choices.engine.startswith('onnxruntime')


def test_wrong_weights_are_refused_as_with_torch(cache, tmp_path, openvino):
    wrong = tmp_path / 'wrong.pth'
    torch.save({'a': torch.zeros(3)}, wrong)
    with pytest.raises(WeightsError, match=r'wrong\.pth'):
        build(Settings(model='glpdepth_nyu', weights=str(wrong), engine='openvino'))


@pytest.mark.parametrize(
    ('given', 'words'),
    [
        (
            {'model': 'flat_wall'},
            r"flat_wall runs in torch only: it has no network. Set engine to 'torch'",
        ),
        ({'device': 'gpu'}, r"device is 'gpu', but \w+ [\d.]+ has cpu here.*install its driver"),
        (
            {'device': 'npu.0', 'engine': 'torch'},
            "device is 'npu.0', of Intel by OpenVINO: set engine to 'openvino'",
        ),
    ],
)
def test_what_cannot_work_is_refused_with_the_remedy(cache, engine, given, words):
    with pytest.raises(ConfigError, match=words):
        build(Settings(**{'model': 'nano', 'engine': engine, **given}))


def test_a_precision_that_the_processor_has_not_is_refused(cache, engine):
    has = choosing.engine_named(engine).devices()['cpu']
    lacks = next((name for name in ('fp16', 'bf16') if name not in has), None)
    if lacks is None:
        pytest.skip(f'{engine} has {", ".join(has)} on this processor')
    words = f"precision is '{lacks}', but engine '{engine}' has {', '.join(has)}.*set precision to"
    with pytest.raises(ConfigError, match=words):
        build(Settings(model='nano', engine=engine, precision=lacks))


@pytest.mark.parametrize('model', ['dust3r_512_dpt', 'fastdepth_nyu', 'flat_wall'])
def test_a_family_that_cannot_be_exported_says_why(cache, engine, model):
    preset = PRESETS[model]
    with pytest.raises(ConfigError, match=f'{model} runs in torch only: '):
        choosing.targets(Settings(model=model, engine=engine), preset, CPU)
    assert [t.engine for t in choosing.targets(Settings(model=model), preset, CPU)] == ['torch']


def test_the_variable_of_the_environment_is_checked(monkeypatch):
    monkeypatch.setenv('DEPTH_ROS_ENGINE', 'tensorflow')
    with pytest.raises(ConfigError, match=r"DEPTH_ROS_ENGINE is 'tensorflow'; it is auto or one"):
        build(Settings(model='nano'))


def test_a_library_that_is_missing_is_named(cache, engine, monkeypatch):
    monkeypatch.setitem(sys.modules, engine, None)
    with pytest.raises(ConfigError, match=rf"engine is '{engine}', .*pip install {engine}, or "):
        build(Settings(model='nano', engine=engine))


def test_an_engine_that_fails_says_so(copied, openvino):
    pipeline, _ = build(Settings(model='nano', engine='openvino'))

    def broken(x):
        raise RuntimeError('out of memory')

    network = pipeline.model.engine
    network._runners = dict.fromkeys(network._runners, broken)
    with pytest.raises(InferenceError, match='openvino fails: out of memory'):
        values(pipeline)


def test_nothing_is_reported_to_the_maker_of_openvino(openvino):
    """It reports each import and conversion over the network, if openvino_telemetry is there."""
    code = """
import sys
from depth_ros.pipeline.engines.openvino import OpenVino
OpenVino().version()
import openvino
assert openvino.convert_model
print('openvino_telemetry' in sys.modules)
"""
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert done.stdout == 'False\n', done.stderr
