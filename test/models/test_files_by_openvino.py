# SPDX-License-Identifier: Apache-2.0
"""TFLite and OpenVINO files: their quantisation, what is refused, and a real network."""

import importlib.util
import json
import shutil
import subprocess
import sys

import bad_input
import cv2
import numpy as np
import pytest
import tflite_writer
import torch
from tflite_writer import INT8, UINT8, Tensor, mean_of_channels

from depth_ros import models
from depth_ros.cli import main
from depth_ros.core.camera import Camera
from depth_ros.core.errors import ConfigError, WeightsError
from depth_ros.core.types import Frame
from depth_ros.models import PRESETS, ModelOptions
from depth_ros.models.onnx.session import Quantisation
from depth_ros.models.onnx.tflite import read_quantisations
from depth_ros.parameters.layers import preset_values
from depth_ros.parameters.settings import Onnx
from depth_ros.pipeline import build

openvino = pytest.importorskip(
    'openvino', reason='openvino is not installed: pip install .[openvino]'
)

CAM = Camera(64, 48, 60.0, 60.0, 31.5, 23.5)


def load(path, **described):
    return models.load('onnx', ModelOptions(weights=path, onnx=Onnx(**described)))


def picture():
    generator = torch.Generator().manual_seed(3)
    return torch.randint(0, 256, (48, 64, 3), dtype=torch.uint8, generator=generator)


def depth(path, **described):
    return load(path, **described).predict(Frame(picture(), CAM)).values


def mean_of(rgb):
    return rgb.double().mean(2) / 255


BYTES = (UINT8, 1 / 255, 0)
SIGNED = (INT8, 1 / 255, -128)
CENTRED = (UINT8, 2 / 255, 128)
FINE, COARSE = (UINT8, 1 / 250, 3), (INT8, 0.05, -100)


@pytest.mark.parametrize('in_floats', [True, False])
@pytest.mark.parametrize('gives', [None, FINE, COARSE])
@pytest.mark.parametrize('takes', [None, BYTES, SIGNED])
def test_quantised_files_give_the_values_of_the_float_file(tmp_path, takes, gives, in_floats):
    path = mean_of_channels(tmp_path / 'n.tflite', takes, gives, in_floats=in_floats)
    step = gives[1] if gives else 1e-4
    assert (depth(path) - mean_of(picture())).abs().max() <= step / 2 + 1e-3


def test_a_quantised_input_is_normalised_before(tmp_path):
    path = mean_of_channels(tmp_path / 'n.tflite', CENTRED, None)
    found = depth(path, mean=[0.5, 0.5, 0.5], std=[0.5, 0.5, 0.5])
    expected = (mean_of(picture()) - 0.5) / 0.5
    assert (found - expected).abs().max() <= CENTRED[1] / 2 + 1e-3


def test_pixels_beyond_what_a_quantised_input_holds_are_clipped(tmp_path):
    path = mean_of_channels(tmp_path / 'n.tflite', (UINT8, 0.5 / 255, 0), None)
    expected = (picture().double() / 255).clamp(max=0.5).mean(2)
    assert (depth(path) - expected).abs().max() < 2e-3


def test_depth_has_no_steps_where_the_last_layer_is_a_float(tmp_path):
    fine = depth(mean_of_channels(tmp_path / 'n.tflite', BYTES, COARSE))
    assert len(fine.unique()) > 300 and (fine - mean_of(picture())).abs().max() < 1e-3
    # and stays within what the output can hold
    low = depth(mean_of_channels(tmp_path / 'm.tflite', BYTES, (UINT8, 0.002, 0)))
    assert low.max() == pytest.approx(0.51)


def test_integers_that_no_layer_computes_are_converted(tmp_path):
    tensors = [
        tflite_writer.quantised('image', [1, 48, 64, 3], *BYTES),
        Tensor('axis', [1], 2, data=b'\3\0\0\0'),
        tflite_writer.quantised('depth', [1, 48, 64, 1], *COARSE),
        tflite_writer.quantised('mean', [1, 48, 64, 1], *BYTES),
    ]
    # the output is a rounding of integers, whose limits are not its own
    steps = [(tflite_writer.MEAN, [0, 1], [3]), (tflite_writer.QUANTISE, [3], [2])]
    path = tflite_writer.write(tmp_path / 'n.tflite', tensors, steps)
    found = depth(path)
    assert len(found.unique()) <= 22
    assert (found - mean_of(picture())).abs().max() <= 0.5 * (COARSE[1] + BYTES[1]) + 1e-3


def test_quantisations_are_read_by_name(tmp_path):
    path = mean_of_channels(tmp_path / 'n.tflite', BYTES, COARSE)
    found = read_quantisations(path)
    assert found['image'] == Quantisation(pytest.approx(1 / 255), 0)
    assert found['depth'] == Quantisation(pytest.approx(0.05), -100)
    assert not read_quantisations(mean_of_channels(tmp_path / 'm.tflite', None, None))


def test_a_scale_for_each_channel_of_an_image_is_refused(tmp_path):
    tensors = [
        Tensor('image', [1, 48, 64, 3], UINT8, [0.1, 0.2, 0.3], [0, 0, 0]),
        Tensor('axis', [1], 2, data=b'\3\0\0\0'),
        Tensor('depth', [1, 48, 64, 1]),
    ]
    path = tflite_writer.write(tmp_path / 'n.tflite', tensors, [(tflite_writer.MEAN, [0, 1], [2])])
    with pytest.raises(WeightsError, match=r'image has the quantisation scales \[0\.1.*with one'):
        load(path)


def test_damaged_files_are_refused_with_a_remedy(tmp_path):
    good = mean_of_channels(tmp_path / 'n.tflite', BYTES, COARSE).read_bytes()
    generator = np.random.default_rng(4)
    for trial in range(200):
        data = np.frombuffer(good, np.uint8).copy()
        places = generator.integers(8, len(data), 1 + trial % 4)
        data[places] = generator.integers(0, 256, len(places))
        (tmp_path / 'bad.tflite').write_bytes(bytes(data[: len(data) - 7 * (trial % 9 == 0)]))
        try:
            read_quantisations(tmp_path / 'bad.tflite')
        except WeightsError as error:
            assert 'again' in str(error)


@pytest.mark.parametrize('row', bad_input.OTHER_FILES, ids=lambda row: row.given)
def test_what_the_page_on_bad_input_says_of_other_files(tmp_path, row):
    path = tmp_path / row.values['name']
    path.write_bytes(row.values['content'])
    with pytest.raises(WeightsError) as error:
        load(path)
    assert row.does == bad_input.REFUSED and row.message in str(error.value)


def write_ir(path, kind='f32', size=(48, 64), gives='f32'):
    """A file whose network answers with the mean of the three channels, 0..1 or bytes."""
    ops = openvino.opset13
    image = ops.parameter([1, 3, *size], getattr(openvino.Type, kind), name='image')
    mean = ops.reduce_mean(ops.convert(image, 'f32'), ops.constant([1]), keep_dims=True)
    result = ops.result(ops.convert(mean, gives), name='depth')
    openvino.save_model(openvino.Model([result], [image]), path, compress_to_fp16=False)
    return path


def test_a_file_of_openvino_is_run(tmp_path):
    found = depth(write_ir(tmp_path / 'n.xml'))
    torch.testing.assert_close(found.double(), mean_of(picture()), rtol=1e-5, atol=1e-5)
    # dynamic axes take the size described
    path = write_ir(tmp_path / 'any.xml', size=(-1, -1))
    found = depth(path, input_size=[64, 48])
    torch.testing.assert_close(found.double(), mean_of(picture()), rtol=1e-5, atol=1e-5)
    with pytest.raises(ConfigError, match=r'takes any size; set onnx\.input_size'):
        load(path)


def test_pixels_of_a_file_of_openvino_are_bytes_and_its_depth_is_a_float(tmp_path):
    found = depth(write_ir(tmp_path / 'n.xml', 'u8'))
    torch.testing.assert_close(found.double(), 255 * mean_of(picture()), rtol=1e-5, atol=1e-3)
    with pytest.raises(WeightsError, match=r'is tensor\(uint8\), and depth must be floats'):
        load(write_ir(tmp_path / 'm.xml', 'u8', gives='u8'))


@pytest.mark.parametrize('name', ['n.tflite', 'n.xml'])
def test_the_files_of_a_network_in_use_can_be_replaced(tmp_path, name):
    path = tmp_path / name
    if name == 'n.xml':
        ops = openvino.opset13
        image = ops.parameter([1, 3, 256, 256], openvino.Type.f32, name='image')
        mean = ops.reduce_mean(image, ops.constant([1]), keep_dims=True)
        noise = np.random.default_rng(0).random((1, 1, 256, 256), np.float32)
        model = openvino.Model([ops.result(ops.add(mean, ops.constant(noise)))], [image])
        openvino.save_model(model, path, compress_to_fp16=False)
    else:
        mean_of_channels(path, BYTES, FINE, size=(256, 256))
    script = """
import sys
from pathlib import Path
import torch
from depth_ros import models
from depth_ros.cli import main
from depth_ros.core.camera import Camera
from depth_ros.core.types import Frame
from depth_ros.models import ModelOptions
model = models.load('onnx', ModelOptions(weights=Path(sys.argv[1])))
frame = Frame(torch.full((256, 256, 3), 51, dtype=torch.uint8), Camera(256, 256, 99, 99, 9, 9))
before = model.predict(frame).values
for file in Path(sys.argv[1]).parent.iterdir():
    file.write_bytes(b'')
assert (model.predict(frame).values == before).all()
"""
    process = subprocess.run([sys.executable, '-c', script, path], capture_output=True, text=True)
    assert process.returncode == 0, process.stderr


def test_info_lists_ports_and_quantisation(tmp_path, capsys):
    path = mean_of_channels(tmp_path / 'n.tflite', BYTES, COARSE)
    assert main(['info', str(path)]) == 0
    shown = capsys.readouterr().out
    assert 'image tensor(uint8) [1, 48, 64, 3], scale 0.00392157, zero point 0' in shown
    assert 'depth tensor(int8) [1, 48, 64, 1], scale 0.05, zero point -100' in shown
    assert main(['info', str(write_ir(tmp_path / 'n.xml'))]) == 0
    assert 'image tensor(float) [1, 3, 48, 64]' in capsys.readouterr().out


def test_info_of_the_preset_says_where_its_file_is(capsys):
    assert main(['info', 'fastdepth_nyu']) == 0
    shown = capsys.readouterr().out
    assert 'values    metric' in shown and 'licence   MIT' in shown
    assert f'weights   {PRESETS["fastdepth_nyu"].source.url}\n' in shown


def test_another_device_is_refused(tmp_path):
    path = mean_of_channels(tmp_path / 'n.tflite', BYTES, FINE)
    with pytest.raises(ConfigError, match=r'device is cuda.*by OpenVINO, here on the CPU only'):
        models.load('onnx', ModelOptions(weights=path, device=torch.device('cuda')))


@pytest.mark.parametrize('weights', ['', 'mine.tflite', 'mine.xml'])
def test_without_openvino_the_remedy_is_named_at_once(monkeypatch, weights):
    monkeypatch.setitem(sys.modules, 'openvino', None)
    preset = PRESETS['fastdepth_nyu']
    with pytest.raises(ConfigError, match=r"pip install 'depth_ros\[openvino\]'") as error:
        models.check_libraries(preset, weights)
    assert (weights or 'fast_depth_224.tflite') in str(error.value)
    models.check_libraries(preset, 'mine.onnx')  # onnxruntime runs it


def test_what_the_training_camera_does_not_see_is_a_warning(tmp_path, caplog):
    path = mean_of_channels(tmp_path / 'n.tflite', BYTES, FINE)
    model = load(path, training_camera=[60.0, 60.0, 31.5, 23.5])
    model.predict(Frame(picture(), CAM))  # the trial image
    model.predict(Frame(picture(), CAM))
    assert not caplog.records
    wide = Camera(64, 48, 30.0, 30.0, 31.5, 23.5)
    for _ in range(2):
        assert model.predict(Frame(picture(), wide)).values.isnan().double().mean() > 0.7
    (record,) = caplog.records
    assert 'only 25 % of images of 64x48 are within the view' in record.getMessage()


def test_a_preset_without_weights_runs_the_downloaded_file(data, tmp_path, monkeypatch):
    monkeypatch.setenv('DEPTH_ROS_CACHE', str(tmp_path))
    shutil.copy(data / 'weights' / 'fastdepth' / 'fast_depth_224.tflite', tmp_path)
    pipeline, choices = build.load({'model': 'fastdepth_nyu', 'device': 'cpu'})
    assert choices.weights == str(tmp_path / 'fast_depth_224.tflite')
    assert choices.licence == 'MIT' and choices.kind == 'metric'
    assert choices.engine.startswith('openvino ')
    assert choices.engine_values()['engine'] == 'torch'  # for another machine
    frame, truth = real(data / 'images' / 'nyu_raw_00000')
    z = pipeline(frame).z.numpy()
    valid = (truth > 0) & np.isfinite(z)
    assert np.abs(z[valid] / truth[valid] - 1).mean() < 0.08


def real(folder):
    k = json.loads((folder / 'intrinsics.json').read_text())
    rgb = cv2.cvtColor(cv2.imread(str(next(folder.glob('rgb.*')))), cv2.COLOR_BGR2RGB)
    truth = cv2.imread(str(folder / 'depth.png'), cv2.IMREAD_UNCHANGED) / k['depth_scale']
    camera = Camera(k['width'], k['height'], k['fx'], k['fy'], k['cx'], k['cy'])
    return Frame(torch.from_numpy(rgb), camera), truth


@pytest.fixture(scope='module')
def published(data):
    """fastdepth_nyu by the published file, and by the float file."""
    folder = data / 'weights' / 'fastdepth'
    given = preset_values('fastdepth_nyu')
    described = Onnx(**{k.removeprefix('onnx.'): v for k, v in given.items() if 'onnx.' in k})
    names = ['fast_depth_224.tflite']
    if importlib.util.find_spec('onnxruntime'):
        names.append('fastdepth_nyu_pruned_224.onnx')
    return [
        models.load('fastdepth_nyu', ModelOptions(weights=folder / name, onnx=described))
        for name in names
    ]


@pytest.mark.parametrize(
    ('name', 'abs_rel', 'delta1'),
    [('sunrgbd_000017', 0.065, 0.95), ('nyu_raw_00000', 0.075, 0.965)],
)
def test_the_published_file_gives_metres_without_a_fit(data, published, name, abs_rel, delta1):
    frame, truth = real(data / 'images' / name)
    first, *others = (model.predict(frame).values.numpy() for model in published)
    valid = (truth > 0) & np.isfinite(first)
    ratio = first[valid] / truth[valid]
    assert np.abs(ratio - 1).mean() <= abs_rel
    assert (np.maximum(ratio, 1 / ratio) < 1.25).mean() >= delta1
    assert valid.sum() > 0.7 * (truth > 0).sum()
    for other in others:  # the same network in floats
        assert np.nanmean(np.abs(first / other - 1)) < 0.01
        assert np.corrcoef(first[valid], other[valid])[0, 1] > 0.999


def test_the_published_file_has_no_steps(data, published):
    frame, _ = real(data / 'images' / 'nyu_raw_00000')
    model = published[0]
    x = model._image(frame, model.resizing.camera(frame.camera))
    (found,) = model.session.run([model.ports.depth], {model.ports.image: x})
    assert len(np.unique(found)) > 3000  # as integers it has at most 256
