# SPDX-License-Identifier: Apache-2.0
"""Networks that OpenVINO and onnxruntime run: the same depth as torch, exported only once."""

import json
import os
import shutil
import subprocess
import sys
import time

import pytest
import torch
from stand_ins import write

from depth_ros.core.errors import ConfigError, InferenceError
from depth_ros.models import PRESETS
from depth_ros.parameters.settings import ScalingSettings, Settings
from depth_ros.pipeline.build import build, trial_frame
from depth_ros.pipeline.engines import ENGINES
from depth_ros.pipeline.engines import load as loading
from depth_ros.pipeline.engines.compare import TOLERANCE, compare
from depth_ros.pipeline.engines.openvino import OpenVino

CPU = torch.device('cpu')
SLOW = pytest.mark.slow
pytest.importorskip('onnxscript', reason='onnxscript is not installed')


@pytest.fixture(params=ENGINES[1:])
def engine(request):
    pytest.importorskip(request.param, reason=f'{request.param} is not installed')
    return request.param


@pytest.fixture
def openvino():
    return pytest.importorskip('openvino', reason='openvino is not installed')


@pytest.fixture(scope='module')
def filled(tmp_path_factory):
    """A cache that has nano for both engines, for an image of 640x480."""
    folder = tmp_path_factory.mktemp('filled')
    os.environ['DEPTH_ROS_CACHE'] = str(folder)
    try:
        for name in ENGINES[1:]:
            pytest.importorskip(name, reason=f'{name} is not installed')
            build(Settings(model='nano', engine=name))
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


def test_another_image_size_and_several_at_once(copied, openvino, caplog):
    caplog.set_level('INFO')
    pipeline, _ = build(Settings(model='nano', engine='openvino', precision='fp32'))
    plain, _ = build(Settings(model='nano'))
    wide = trial_frame(CPU, 640, 360)
    with torch.inference_mode():
        for frames in ([wide], [wide, wide]):
            for found, expected in zip(
                pipeline.model.predict_many(frames), plain.model.predict_many(frames), strict=True
            ):
                torch.testing.assert_close(found.values, expected.values, rtol=1e-4, atol=1e-4)
    sizes = [text.split(' of ')[1].split()[0] for text in exports(caplog)]
    assert len(sizes) == 2 and sizes[0].startswith('1x5x') and sizes[1].startswith('2x5x')


@pytest.mark.parametrize(
    ('engine', 'damage'),
    [
        ('openvino', 'cut'),
        ('onnxruntime', 'data is gone'),
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


def test_weights_and_versions_have_their_own_place(copied, openvino, tmp_path, monkeypatch):
    before = {p.name for p in (copied / 'engines').iterdir()}
    monkeypatch.setattr(loading.torch, '__version__', '99.0')
    build(Settings(model='nano', engine='openvino'))
    (new,) = {p.name for p in (copied / 'engines').iterdir()} - before
    assert (
        json.loads((copied / 'engines' / new / 'description.json').read_text())['torch'] == '99.0'
    )


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

    def precisions(self, device):
        return ('fp32', 'bf16')

    def open(self, path, target):
        run = super().open(path, target)
        if target.precision not in self.wrong:
            return run
        return lambda x: tuple(0.5 * y for y in run(x))


def test_what_an_engine_computes_wrongly_is_not_used(copied, openvino, monkeypatch, caplog):
    # checks of before would be believed
    for path in copied.rglob('checks.json'):
        path.unlink()
    monkeypatch.setattr(loading, '_engine', lambda name: Wrong('bf16'))
    _, choices = build(Settings(model='nano', engine='openvino'))
    assert choices.precision.startswith('fp32 (median ')
    assert 'in bf16 by openvino is ' in caplog.text and 'fp32 is next' in caplog.text
    for path in copied.rglob('checks.json'):
        path.unlink()
    monkeypatch.setattr(loading, '_engine', lambda name: Wrong('bf16', 'fp32'))
    with pytest.raises(ConfigError, match=r"this network wrongly: .* set engine to 'torch'"):
        build(Settings(model='nano', engine='openvino'))


@pytest.mark.parametrize(
    ('given', 'words'),
    [
        (
            {'model': 'flat_wall'},
            r"flat_wall is no network that torch exports: set engine to 'torch'",
        ),
        ({'device': 'cuda:0'}, r"device is 'cuda:0' but engine '\w+' runs networks on the CPU"),
        (
            {'precision': 'fp16'},
            r"precision is 'fp16', but engine '\w+' has fp32.*set precision to",
        ),
    ],
)
def test_what_cannot_work_is_refused_with_the_remedy(cache, engine, given, words):
    with pytest.raises(ConfigError, match=words):
        build(Settings(**{'model': 'nano', 'engine': engine, **given}))


def test_a_library_that_is_missing_is_named(cache, engine, monkeypatch):
    monkeypatch.setitem(sys.modules, engine, None)
    with pytest.raises(
        ConfigError, match=rf"engine is '{engine}', .*pip install {engine}, or set"
    ):
        build(Settings(model='nano', engine=engine))


def test_an_engine_that_fails_says_so(copied, openvino):
    pipeline, _ = build(Settings(model='nano', engine='openvino'))

    def broken(x):
        raise RuntimeError('out of memory')

    network = pipeline.model.engine
    network._runners = dict.fromkeys(network._runners, broken)
    with pytest.raises(InferenceError, match='openvino fails: out of memory'):
        values(pipeline)


def test_nothing_is_sent_to_the_maker_of_the_engine(copied, openvino, monkeypatch):
    """OpenVINO's converter reports its use over the network; it is not used here."""
    for name in ('openvino_telemetry', 'openvino.tools.ovc.convert_impl'):
        monkeypatch.setitem(sys.modules, name, None)
    build(Settings(model='nano', engine='openvino'))
