# SPDX-License-Identifier: Apache-2.0
"""Presets as ONNX files: what is written gives the same depth, or is not written."""

import dataclasses
import json
import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml
from stand_ins import write

from depth_ros.cli import main
from depth_ros.core.camera import Camera
from depth_ros.core.errors import ConfigError, InferenceError
from depth_ros.core.types import Frame
from depth_ros.models import PRESETS
from depth_ros.models.nano import NanoModel
from depth_ros.models.onnx_form import Converted
from depth_ros.parameters import layers
from depth_ros.parameters.declare import OF_NODE
from depth_ros.parameters.settings import ScalingSettings, Settings
from depth_ros.pipeline import export as exporting
from depth_ros.pipeline.abilities import without_effect
from depth_ros.pipeline.build import build, load
from depth_ros.pipeline.engines.exported import onnx_program
from depth_ros.pipeline.export import export
from depth_ros.pipeline.trial_frame import trial_frame

onnxruntime = pytest.importorskip('onnxruntime', reason='onnxruntime is not installed')
pytest.importorskip('onnxscript', reason='onnxscript is not installed')
CPU = torch.device('cpu')


SIZE = (320, 240)
NANO = Settings(model='nano', input_size=64, engine='torch', precision='fp32')


@pytest.fixture(scope='module')
def program():
    """What torch exports of nano for images of `SIZE`, which takes seconds."""
    form = build(NANO)[0].model.onnx_form(SIZE[::-1])
    inputs = torch.zeros(1, 3, *form.size), torch.eye(3)[None]
    names = ['image', 'intrinsics']
    return onnx_program(form.network, inputs, names, form.outputs, exporting.OPSET)


@pytest.fixture
def exported_before(program, monkeypatch):
    """`export` uses `program`."""
    monkeypatch.setattr(exporting, 'onnx_program', lambda *args, **kw: program)


@pytest.fixture(scope='module')
def nano(program, tmp_path_factory):
    """The folder of nano.onnx and nano.yaml, for images of `SIZE`."""
    folder = tmp_path_factory.mktemp('exported')
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exporting, 'onnx_program', lambda *args, **kw: program)
        export(NANO, SIZE, folder / 'nano.onnx')
    return folder


def frame(width, height):
    """A trial image of a camera of which no two values are equal."""
    camera = Camera(width, height, 0.7 * width, 0.8 * width, 0.45 * width, 0.55 * height)
    return Frame(trial_frame(CPU, width, height).rgb, camera)


def of_file(path, **more):
    """The pipeline that a params file describes."""
    return load({**layers.read_params_file(path), **more})[0]


def compare(found, expected):
    """The largest relative difference where depth is finite; elsewhere both are the same."""
    both = torch.isfinite(expected)
    assert both.float().mean() > 0.1, 'there is something to compare'
    same = (found == expected) | (found.isnan() & expected.isnan()) | both
    assert (same & (torch.isfinite(found) == both)).float().mean() > 0.999
    both &= torch.isfinite(found)
    return float((found[both] / expected[both] - 1).abs().max())


@pytest.mark.parametrize('size', [(320, 240), (640, 480)])
def test_the_file_of_nano_gives_its_metres_for_any_camera_of_the_shape(nano, size):
    expected = build(NANO)[0](frame(*size))
    found = of_file(nano / 'nano.yaml')(frame(*size))
    assert compare(found.z, expected.z) < 1e-4


def test_an_image_of_another_shape_is_padded(nano):
    """What nano gives for the padded image is what the file gives for the image."""
    asked = frame(320, 180)
    rows = torch.cat((asked.rgb[:1].expand(30, -1, -1), asked.rgb))
    rgb = torch.cat((rows, asked.rgb[-1:].expand(30, -1, -1)))
    padded = Frame(rgb, dataclasses.replace(asked.camera, height=240, cy=asked.camera.cy + 30))
    expected = build(NANO)[0](padded).z[30:-30]
    found = of_file(nano / 'nano.yaml')(asked).z
    inner = (slice(8, -8), slice(None))  # without the rows that are interpolated with the padding
    torch.testing.assert_close(found[inner], expected[inner], rtol=0.03, atol=0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ('name', 'side', 'size'),
    [
        ('monodepth2_mono_640x192', 0, (320, 240)),
        ('monodepth2_stereo_640x192', 0, (320, 240)),
        ('glpdepth_nyu', 0, (128, 96)),
        ('glpdepth_nyu', 96, (320, 240)),
        ('depth_anything_v1_small', 70, (160, 120)),
        ('depth_anything_v2_small', 70, (160, 120)),
        ('depth_anything_v2_metric_indoor_small', 70, (160, 90)),
        ('moge2_vits_normal', 84, (320, 240)),
        ('moge2_vits_normal', 84, (320, 180)),
        ('depth_anything_v3_small', 84, (320, 240)),
        ('depth_anything_v3_small', 84, (320, 180)),
        ('depth_anything_v1_metric_indoor_large', 70, (160, 120)),
        ('depth_anything_v3_metric_large', 84, (320, 180)),
    ],
)
def test_the_files_of_other_families_give_their_depth(tmp_path, capsys, name, side, size):
    preset = PRESETS[name]
    weights = write(preset, tmp_path)
    method = 'auto' if preset.kind.value in ('metric', 'canonical') else 'constant'
    arguments = ['export', '--model', name, '--weights', str(weights), '-p', f'input_size:={side}']
    arguments += ['--size', '{}x{}'.format(*size), '--out', str(tmp_path / 'n.onnx')]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    restricts = '; it restricts use' if preset.source.restricted else ''
    assert f'licence   {preset.source.licence}{restricts}\n' in printed
    scaling = ScalingSettings(method=method)
    values = layers.layered({'model': name, 'weights': str(weights), 'input_size': side}, name)
    settings = dataclasses.replace(
        layers.with_values(Settings(), values), scaling=scaling, engine='torch', precision='fp32'
    )
    expected = build(settings)[0](frame(*size))
    found = of_file(tmp_path / 'n.yaml', **{'scaling.method': method})(frame(*size))
    assert compare(found.z, expected.z) < 1e-4
    assert (found.confidence is None) == (expected.confidence is None)
    if expected.confidence is not None:
        torch.testing.assert_close(found.confidence, expected.confidence, rtol=1e-4, atol=1e-4)
    assert (
        f'# licence of the weights: {preset.source.licence}'
        in (tmp_path / 'n.yaml').read_text().splitlines()
    )
    shutil.rmtree(tmp_path)  # hundreds of MB


def test_images_of_another_shape_are_warned_of(nano, caplog):
    """All but the first, as the trial image at start is not the user's."""
    pipeline = of_file(nano / 'nano.yaml')
    for size in ((640, 480), (320, 240), (640, 360), (640, 360), (641, 480)):
        pipeline(frame(*size))
    (said,) = [r.getMessage() for r in caplog.records if r.levelname == 'WARNING']
    assert said.startswith('images of 640x360 are padded to the shape of 320x240, for which this')
    assert 'depth-ros export --size 640x360' in said


def test_the_file_says_what_it_is(nano):
    session = onnxruntime.InferenceSession(nano / 'nano.onnx', providers=['CPUExecutionProvider'])
    about = session.get_modelmeta().custom_metadata_map
    assert about['depth_ros.preset'] == 'nano' and about['licence'] == 'Apache-2.0'
    assert about['outputs'].startswith(
        'depth: depth along the optical axis [m] for a focal length'
    )
    assert len(about['weights_sha256']) == 64
    shapes = {port.name: port.shape for port in (*session.get_inputs(), *session.get_outputs())}
    whole = [1, 48, 64]
    assert shapes == {
        'image': [1, 3, 48, 64], 'intrinsics': [1, 3, 3], 'depth': whole, 'sky': whole
    }  # fmt: skip
    text = (nano / 'nano.yaml').read_text()
    assert f'# sha256 of the checkpoint: {about["weights_sha256"]}' in text
    params = yaml.safe_load(text)['/**']['ros__parameters']
    assert params['range'] == {'max': 80.0}, 'as config/models has it'
    assert params['weights'] == str(nano / 'nano.onnx') and os.path.isabs(params['weights'])
    assert json.loads(about['depth_ros.onnx']) == params['onnx']


def test_the_file_has_no_paths_of_this_machine(nano):
    """It is given to others; torch writes a stack trace into each of its operators."""
    content = (nano / 'nano.onnx').read_bytes()
    for text in (b'.py', b'line ', str(Path(exporting.__file__).parents[2]).encode()):
        assert text not in content


def test_info_shows_what_the_file_says(nano, capsys):
    assert main(['info', str(nano / 'nano.onnx')]) == 0
    printed = capsys.readouterr().out
    assert (
        'inputs    image tensor(float) [1, 3, 48, 64], intrinsics tensor(float) [1, 3, 3]\n'
        in (printed)
    )
    assert 'preset    nano\nlicence   Apache-2.0\n' in printed
    assert 'meaning   depth: depth along the optical axis [m] for a focal length of 160 px' in (
        printed
    )


def test_a_file_without_its_description_is_refused(nano):
    with pytest.raises(ConfigError, match=r"onnx\.kind is 'metric', but .* 'canonical': use the"):
        load({'model': 'onnx', 'weights': str(nano / 'nano.onnx')})


def test_the_command_prints_what_it_wrote_and_run_takes_it(tmp_path, capsys, exported_before):
    export = ['export', '--model', 'nano', '-p', 'input_size:=64', '--size', '320x240']
    export += ['--out', str(tmp_path / 'n.onnx')]
    assert main(export) == 0
    printed = capsys.readouterr().out
    assert f'file      {tmp_path / "n.onnx"}, ' in printed
    assert 'preset    nano, input 64x48, for images of 320x240\n' in printed
    assert 'licence   Apache-2.0\n' in printed
    assert 'checked   by onnxruntime: outputs within ' in printed
    cv2.imwrite(str(tmp_path / 'a.png'), frame(640, 480).rgb.numpy()[..., ::-1])
    run = ['run', str(tmp_path / 'a.png'), '--hfov', '60', '-p', 'range.max:=200.0']
    preset = ['--model', 'nano', '-p', 'input_size:=64', '-p', 'engine:=torch']
    preset += ['-p', 'precision:=fp32', '--output', str(tmp_path / 'preset')]
    assert main([*run, *preset]) == 0
    by_file = ['--params-file', str(tmp_path / 'n.yaml'), '--output', str(tmp_path / 'file')]
    assert main([*run, *by_file]) == 0
    expected, found = (np.load(tmp_path / f'{name}_depth.npy') for name in ('preset', 'file'))
    assert (np.isfinite(expected)).any()
    np.testing.assert_allclose(found, expected, rtol=1e-4)


@pytest.mark.parametrize(
    ('arguments', 'said'),
    [
        (
            ['--model', 'dust3r_512_dpt'],
            'dust3r_512_dpt takes two images and gives points of both',
        ),
        (['--model', 'flat_wall'], 'flat_wall has no network'),
        (['--model', 'fastdepth_nyu'], 'fastdepth_nyu is a file already'),
        (['--model', 'nono'], "'nono' is not a preset"),
        (['--model', 'nano', '--out', '{folder}/n.pth'], 'its name must end in .onnx'),
        (['--model', 'nano', '--out', '{folder}/old.onnx'], 'old.onnx exists: choose another'),
        (
            ['--model', 'nano', '--out', '{folder}/none/n.onnx'],
            'none cannot be written (No such file or directory): choose',
        ),
        (['--model', 'nano', '--device', 'cuda:0'], 'networks are exported on the CPU'),
        (['--model', 'nano', '-p', 'precision:=fp16'], 'precision does not change the file'),
        (['--model', 'nano', '-p', 'range.max:=9.0'], 'range.max does not change the file'),
        (['--model', 'nano', '-p', 'max_depth:=9.0'], 'max_depth is 9.0 but has no effect: nano'),
        (['--model', 'glpdepth_nyu'], 'accept_licence'),
    ],
)
def test_what_cannot_be_written_is_refused_in_one_line(tmp_path, capsys, arguments, said):
    (tmp_path / 'old.onnx').write_text('a file of the user')
    given = [word.format(folder=tmp_path) for word in ['--out', '{folder}/n.onnx', *arguments]]
    assert main(['export', *given]) == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line.startswith('depth-ros: ') and said in line
    assert [path.name for path in tmp_path.iterdir()] == ['old.onnx']


@pytest.mark.parametrize('text', ['640', '640x0', 'x480', '640x480x3', '-1x5'])
def test_a_size_is_two_numbers(capsys, text):
    with pytest.raises(SystemExit):
        main(['export', '--model', 'nano', '--out', 'n.onnx', f'--size={text}'])
    assert 'is not WxH, such as 640x480' in capsys.readouterr().err


@pytest.mark.parametrize('name', ['depth', 'sky'])
def test_a_file_that_computes_something_else_is_not_left(
    tmp_path, monkeypatch, exported_before, name
):
    def changed(maps):
        depth, sky = maps
        return (1.01 * depth, sky) if name == 'depth' else (depth, ~sky)

    def other(model, size):
        form = real(model, size)
        return dataclasses.replace(form, network=Converted(form.network, changed))

    real = NanoModel.onnx_form
    monkeypatch.setattr(NanoModel, 'onnx_form', other)
    with pytest.raises(InferenceError, match=rf'the output {name} of the file is .*nothing is wr'):
        export(NANO, SIZE, tmp_path / 'n.onnx')
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_reported(tmp_path, monkeypatch, exported_before, program):
    def save(*args, **kw):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(program, 'save', save)
    with pytest.raises(
        ConfigError, match=r'n\.onnx cannot be written \(No space left .*: make room'
    ):
        export(NANO, SIZE, tmp_path / 'n.onnx')
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_the_user_is_not_called_published(tmp_path, exported_before):
    shutil.copy(PRESETS['nano'].source.packaged, tmp_path / 'mine.safetensors')
    settings = dataclasses.replace(NANO, weights=str(tmp_path / 'mine.safetensors'))
    export(settings, SIZE, tmp_path / 'n.onnx')
    assert '# weights: mine.safetensors, a file of the user' in (tmp_path / 'n.yaml').read_text()


def test_a_description_that_gives_another_depth_is_not_left(
    tmp_path, monkeypatch, exported_before
):
    def wrong(form, kind, size):
        return dataclasses.replace(real(form, kind, size), canonical_focal=161.0)

    real = exporting._described
    monkeypatch.setattr(exporting, '_described', wrong)
    with pytest.raises(InferenceError, match=r'a depth that is 0\.62\d* % from that of torch'):
        export(NANO, SIZE, tmp_path / 'n.onnx')
    assert list(tmp_path.iterdir()) == []


def test_weights_of_more_than_protobuf_holds_are_in_another_file(
    tmp_path, monkeypatch, exported_before
):
    monkeypatch.setattr(exporting, 'MOST_BYTES', 1e6)
    done = export(NANO, SIZE, tmp_path / 'n.onnx')
    assert [path.name for path in done.paths] == ['n.onnx', 'n.onnx.data', 'n.yaml']
    assert (tmp_path / 'n.onnx').stat().st_size < 1e6 < (tmp_path / 'n.onnx.data').stat().st_size
    assert of_file(tmp_path / 'n.yaml')(frame(64, 48)).z.isfinite().any()
    monkeypatch.undo()
    export(NANO, SIZE, tmp_path / 'n.onnx')  # has its weights within
    assert sorted(path.name for path in tmp_path.iterdir()) == ['n.onnx', 'n.yaml']


@pytest.mark.parametrize('missing', ['onnxruntime', 'onnxscript'])
def test_a_library_that_is_missing_is_named(tmp_path, monkeypatch, missing):
    monkeypatch.setitem(__import__('sys').modules, missing, None)
    with pytest.raises(ConfigError, match=rf'pip install {missing}'):
        export(Settings(model='nano'), (64, 48), tmp_path / 'n.onnx')
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ('text', 'said'),
    [
        ('/**: [', 'is no params file'),
        ('model: nano', 'it has no ros__parameters. A params file begins with'),
        ('/camera:\n  ros__parameters:\n    rate: 5.0', 'of depth_node; it has /camera.'),
        ('- 1', 'it has no ros__parameters'),
    ],
)
def test_a_params_file_that_cannot_be_one_is_refused(tmp_path, text, said):
    (tmp_path / 'p.yaml').write_text(text)
    with pytest.raises(ConfigError, match=said):
        layers.read_params_file(tmp_path / 'p.yaml')
    with pytest.raises(ConfigError, match=r'none\.yaml cannot be read: No such file'):
        layers.read_params_file(tmp_path / 'none.yaml')


def test_a_params_file_is_read_as_ros_reads_it(tmp_path):
    path = tmp_path / 'p.yaml'
    path.write_text("""
/camera:
  ros__parameters: {rate: 30.0}
/**:
  ros__parameters:
    model: flat_wall
    range: {min: 0.5, max: 9.0}
front:
  depth_node:
    ros__parameters:
      range.max: 8.0
""")
    assert layers.read_params_file(path) == {
        'model': 'flat_wall', 'range.min': 0.5, 'range.max': 8.0
    }  # fmt: skip


def test_options_count_more_than_the_params_file(tmp_path):
    (tmp_path / 'p.yaml').write_text("""
/**:
  ros__parameters:
    model: flat_ground
    range.max: 3.0
""")
    cv2.imwrite(str(tmp_path / 'a.png'), np.zeros((48, 64, 3), np.uint8))
    run = ['run', str(tmp_path / 'a.png'), '--fx', '20', '--params-file', str(tmp_path / 'p.yaml')]

    def farthest(*more):
        assert main([*run, *more]) == 0
        depth = np.load(tmp_path / 'a_depth.npy')
        return depth[np.isfinite(depth)].max()

    assert 2.5 < farthest() <= 3, 'a floor'
    assert 3 < farthest('-p', 'range.max:=5.0') <= 5
    assert farthest('--model', 'flat_wall') == 2


def test_a_confidence_has_an_effect_where_the_file_has_one():
    given = {'model': 'onnx', 'min_confidence': 2.0}
    for name, count in (('', 1), ('confidence', 0)):
        settings = layers.with_values(Settings(), {**given, 'onnx.confidence': name})
        reasons = without_effect(settings, PRESETS['onnx'], has=OF_NODE)
        assert len(reasons) == count
    settings = layers.with_values(Settings(), given)
    (reason,) = without_effect(settings, PRESETS['onnx'], has=OF_NODE)
    assert 'min_confidence is 2.0 but has no effect: onnx.confidence names no output' in reason
