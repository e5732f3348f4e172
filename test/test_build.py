# SPDX-License-Identifier: Apache-2.0
"""What is chosen at the start is logged, and works."""

import dataclasses
import re
import sys
import types

import pytest
import torch
from stand_ins import write_onnx

from depth_ros import models
from depth_ros.checkpoints.source import Source
from depth_ros.core.errors import ConfigError
from depth_ros.core.types import Kind, Prediction
from depth_ros.models import PRESETS, ModelOptions, Preset
from depth_ros.parameters.settings import Onnx, Settings, Undistort
from depth_ros.pipeline.build import build, try_views
from depth_ros.pipeline.device import choose_device, choose_precision
from depth_ros.pipeline.engines import Target
from depth_ros.pipeline.engines.compare import compare
from depth_ros.pipeline.engines.in_torch import load_in
from depth_ros.pipeline.trial_frame import trial_frame

CPU = torch.device('cpu')
FP16 = Target('torch', 'cpu', 'fp16', 1)


def test_build_reports_its_choices():
    built, choices = build(Settings(model='flat_wall'))
    assert (built(trial_frame(CPU)).z == 2).all()
    assert str(choices).startswith(
        'model flat_wall (metric, scaling as_is; chosen by the caller) by torch '
    )
    assert 'licence: Apache-2.0' in str(choices)


@pytest.mark.parametrize(('projection', 'size'), [('pinhole', (640, 480)), ('wide', (480, 480))])
def test_the_trial_has_the_shape_of_what_the_network_will_see(monkeypatch, projection, size):
    sizes = []

    def tried(device, width, height):
        sizes.append((width, height))
        return trial_frame(device, width, height)

    monkeypatch.setattr('depth_ros.pipeline.build.trial_frame', tried)
    build(Settings(model='flat_wall', undistort=Undistort(projection=projection)))
    assert sizes == [size]


def test_nano_names_a_better_network(caplog):
    caplog.set_level('INFO')
    _, choices = build(Settings(model='nano', device='cpu'))
    assert choices.model == 'nano' and choices.weights.endswith('nano.safetensors')
    (said,) = (r.getMessage() for r in caplog.records if 'synthetic images' in r.getMessage())
    assert said.startswith('nano (Apache-2.0): ')
    (named,) = re.findall(r'model:=(\w+)', said)
    assert PRESETS[named].source.licence in said and not PRESETS[named].source.restricted


@pytest.mark.parametrize('name', ['cuda:', 'cpu:x', 'tpu', 'CUDA', 'cuda:99'])
def test_devices_that_are_not_there_are_refused(name):
    with pytest.raises(ConfigError, match='device is'):
        choose_device(name, PRESETS['flat_wall'])


@pytest.mark.parametrize(
    ('wanted', 'preset', 'device', 'chosen'),
    [
        ('auto', 'depth_anything_v2_small', 'cpu', 'fp32'),
        ('auto', 'depth_anything_v2_small', 'cuda:0', 'fp16'),
        ('bf16', 'depth_anything_v2_small', 'cpu', 'bf16'),
        ('auto', 'fastdepth_nyu', 'cuda:0', 'fp32'),
        ('fp32', 'flat_wall', 'cpu', 'fp32'),
    ],
)
def test_precision_follows_the_device_and_the_family(wanted, preset, device, chosen):
    assert choose_precision(wanted, torch.device(device), PRESETS[preset]) == chosen


def test_auto_is_a_device_the_family_can_use(monkeypatch, caplog):
    onnxruntime = pytest.importorskip('onnxruntime')
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    assert choose_device('auto', PRESETS['flat_wall']).type == 'cuda'
    monkeypatch.setattr(onnxruntime, 'get_available_providers', lambda: ['CPUExecutionProvider'])
    assert choose_device('auto', PRESETS['onnx'], 'mine.onnx').type == 'cpu'
    providers = ['CUDAExecutionProvider', 'CPUExecutionProvider']
    monkeypatch.setattr(onnxruntime, 'get_available_providers', lambda: providers)
    assert choose_device('auto', PRESETS['onnx'], 'mine.onnx').type == 'cuda'
    # OpenVINO, which runs these files, has no CUDA
    assert choose_device('auto', PRESETS['onnx'], 'mine.tflite').type == 'cpu'
    assert choose_device('auto', PRESETS['fastdepth_nyu']).type == 'cpu'
    assert 'onnx cannot use cuda:0 here; cpu is taken' in caplog.text


@pytest.mark.parametrize(
    ('model', 'remedy'),
    [
        ('dust3r_512_dpt', "two_views.mode to 'stereo' or 'motion'"),
        ('depth_anything_v2_small', 'Set anchors.sources to what measures depth'),
    ],
)
def test_what_has_no_metres_is_refused_before_anything_is_downloaded(monkeypatch, model, remedy):
    monkeypatch.setattr(
        'depth_ros.pipeline.build.find_weights', lambda *_: pytest.fail('asked for weights')
    )
    with pytest.raises(ConfigError, match='its output is not metric') as error:
        build(Settings(model=model, accept_licence=True))
    assert remedy in str(error.value)


def test_more_views_than_a_gpu_has_memory_for_are_refused():
    class Full:
        def predict_views(self, frames, known=None):
            raise torch.cuda.OutOfMemoryError('CUDA out of memory')

    frames = [trial_frame(torch.device('cpu'), 64, 48)] * 9
    with pytest.raises(ConfigError, match='views is 9, but cpu has no memory for so many'):
        try_views(Full(), frames)


def test_two_views_need_calibrated_cameras():
    views = dataclasses.replace(Settings().two_views, mode='stereo')
    settings = Settings(model='dust3r_512_dpt', intrinsics='estimated', two_views=views)
    with pytest.raises(ConfigError, match='a pose in metres needs calibrated cameras'):
        build(settings)


def test_a_precision_the_family_cannot_follow_is_refused():
    with pytest.raises(ConfigError, match="family 'onnx' computes in its own; set it to auto"):
        choose_precision('fp16', CPU, PRESETS['fastdepth_nyu'])


@pytest.fixture
def sensitive(monkeypatch):
    """A preset whose answer is off by a given share in each half precision."""
    off = {torch.float32: 0.0}

    class Network:
        kind = Kind.METRIC

        def __init__(self, dtype):
            self.off = off[dtype]

        def predict(self, frame):
            values = frame.rgb[..., 0].float() + 1
            values = values * (1 + self.off) if self.off < 1 else values * torch.nan
            return Prediction(values, self.kind)

    module = types.ModuleType('depth_ros.models.sensitive')
    module.load = lambda preset, options: Network(options.dtype)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    row = Preset(
        'sensitive', 'sensitive', '', Kind.METRIC, Source('sensitive', 'none', needed=False)
    )
    monkeypatch.setitem(PRESETS, 'sensitive', row)
    return off


@pytest.mark.parametrize(
    ('fp16', 'bf16', 'taken'),
    [
        (0.001, 0.01, 'fp16 (median 0.10 % from fp32, on a trial image of 64x48)'),
        (0.05, 0.01, 'bf16 (median 1.00 % from fp32, on a trial image of 64x48)'),
        (9.0, 0.01, 'bf16 (median 1.00 % from fp32, on a trial image of 64x48)'),
        (9.0, 0.05, 'fp32 (half precision is broken for sensitive on cpu)'),
    ],
)
def test_a_broken_precision_falls_to_the_next_with_a_warning(sensitive, caplog, fp16, bf16, taken):
    sensitive.update({torch.float16: fp16, torch.bfloat16: bf16})
    loaded = load_in(FP16, 'sensitive', ModelOptions(), trial_frame(CPU, 64, 48), cuda_graphs=True)
    assert loaded.precision == taken and loaded.target.precision == taken.partition(' ')[0]
    assert ('instead' in caplog.text) == (fp16 > 0.02)


def test_where_fp32_has_no_room_half_precision_is_taken_unchecked(sensitive, caplog, monkeypatch):
    asked, load = [], models.load

    def cramped(name, options):
        asked.append(options.dtype)
        if options.dtype is torch.float32:
            raise torch.cuda.OutOfMemoryError('CUDA out of memory. Tried to allocate 1.21 GiB')
        return load(name, options)

    monkeypatch.setattr(models, 'load', cramped)
    sensitive[torch.float16] = 0.001
    loaded = load_in(FP16, 'sensitive', ModelOptions(), trial_frame(CPU, 64, 48), cuda_graphs=True)
    assert loaded.model.off == 0.001 and asked == [torch.float32, torch.float16]
    assert loaded.precision == 'fp16 (unchecked: no room on cpu for fp32 to compare it with)'
    assert 'unchecked' in caplog.text


def test_lost_numbers_are_an_infinite_difference():
    expected = torch.ones(10, 10)
    values = expected.clone()
    values[0, :5] = torch.nan
    assert compare(values, expected) == float('inf')
    assert compare(expected * 1.01, expected) == pytest.approx(0.01, rel=1e-3)


def test_a_file_of_the_user_is_run_by_its_library(tmp_path):
    onnxruntime = pytest.importorskip('onnxruntime')
    settings = Settings(
        model='onnx', weights=str(write_onnx(tmp_path / 'n.onnx')), onnx=Onnx(kind='metric')
    )
    _, choices = build(settings)
    assert choices.engine == f'onnxruntime {onnxruntime.__version__}'
