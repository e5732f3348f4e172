# SPDX-License-Identifier: Apache-2.0
"""`depth-ros` as a person types it."""

import json
import subprocess
import sys
import types

import bad_input
import cv2
import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

import depth_ros
from depth_ros.checkpoints.source import Source
from depth_ros.cli import main
from depth_ros.core.camera import Camera
from depth_ros.core.types import Kind, Prediction
from depth_ros.models import PRESETS, Preset
from depth_ros.models.flat import CAMERA_HEIGHT
from depth_ros.offline import image_file
from depth_ros.offline.colors import legend
from depth_ros.parameters.settings import Settings
from depth_ros.pipeline.choose_model import WITH_GPU, WITHOUT_GPU


def test_models_prints_a_row_for_every_preset(capsys):
    assert main(['models']) == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split()[:4] == ['preset', 'family', 'kind', 'metres']
    assert [r.split()[0] for r in rows[:-2]] == list(PRESETS)


def test_models_can_be_narrowed(capsys):
    assert main(['models', 'hypersim']) == 0
    shown = capsys.readouterr().out
    assert '60 x 47 deg (Hypersim)' in shown and 'nano' not in shown
    assert main(['models', 'metric', 'indoor']) == 0
    rows = capsys.readouterr().out.splitlines()[1:]
    assert rows and all('indoor' in r for r in rows)
    assert main(['models', 'FastDepth']) == 0
    assert ' metric ' in capsys.readouterr().out.splitlines()[1], 'as config/models describes it'


def test_run_writes_metres_millimetres_colours_and_a_cloud(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    cv2.imwrite(str(tmp_path / 'yard.png'), picture)
    command = [sys.executable, '-m', 'depth_ros.cli', 'run', str(tmp_path / 'yard.png')]
    command += ['--model', 'flat_ground', '--fx', '50', '-p', 'range.max:=30']
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (
        'model flat_ground (metric, scaling as_is; chosen by the parameter model) by '
        in done.stdout
    )
    z = np.load(tmp_path / 'yard_depth.npy')
    assert z.shape == (48, 64) and np.isinf(z[0]).all()
    assert z[-1, 0] == pytest.approx(1.2 * 50 / 23.5)
    mm = cv2.imread(str(tmp_path / 'yard_depth.png'), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(mm, np.where(np.isfinite(z), np.round(z * 1000), 0))
    colors, scale = np.hsplit(cv2.imread(str(tmp_path / 'yard_color.png')), [64])
    np.testing.assert_array_equal(scale, legend(48, Settings()))
    assert colors.shape == (48, 64, 3) and len(np.unique(colors.reshape(-1, 3), axis=0)) > 10
    head, _, body = (tmp_path / 'yard.ply').read_bytes().partition(b'end_header\n')
    count = int(next(w for w in head.decode().splitlines() if 'vertex' in w).split()[-1])
    points = np.frombuffer(body, np.dtype([('xyz', '<f4', 3), ('rgb', 'u1', 3)]))
    assert len(points) == count == np.isfinite(z).sum()
    np.testing.assert_allclose(points['xyz'][:, 1], 1.2, rtol=1e-5)  # the floor
    valid = np.isfinite(z)
    np.testing.assert_array_equal(points['rgb'], picture[..., ::-1][valid])


@pytest.mark.parametrize(
    ('rule', 'reason'),
    [
        ('min_confidence:=0.5', 'flat_ground has no confidence; networks with it: depth_any'),
        ('input_size:=350', 'flat_ground does not use it; networks with it: depth_anything or'),
        ('max_tokens:=100', 'flat_ground does not use it'),
        ('tile_batch:=5', 'flat_ground does not use it; networks with it: depth_pro'),
        ('onnx.kind:=canonical', 'flat_ground does not use it; networks with it: onnx'),
        ('depth_encoding:=16UC1', 'only depth_node and written bags use it'),
        ('points.rate:=5', 'only depth_node uses it'),
        ('points.organized:=true', 'only depth_node uses it'),
        ('rate:=5', 'only depth_node uses it'),
        ('cameras:=[front]', 'only depth_node uses it'),
        ('rectification:=raw', 'only depth_node and bags use it'),
        ('frame_id:=camera', 'only depth_node and written bags use it'),
        ('two_views.baseline:=0.1', 'only depth_node uses it'),
        ('autostart:=false', 'only depth_node uses it'),
        ('floor.height:=1.2', 'it needs points.ground drop, which is keep; or anchors.sources'),
    ],
)
def test_run_refuses_a_parameter_without_effect(tmp_path, capsys, rule, reason):
    path = tmp_path / 'yard.png'
    cv2.imwrite(str(path), np.zeros((8, 10, 3), np.uint8))
    command = ['run', str(path), '--model', 'flat_ground', '--fx', '9', '-p', rule]
    assert main(command) == 2
    name = rule.partition(':=')[0]
    message = capsys.readouterr().err
    assert f'{name} is ' in message and f'but has no effect: {reason}' in message
    assert not list(tmp_path.glob('*.ply'))


def test_run_refuses_what_the_network_of_auto_does_not_use(tmp_path, capsys, monkeypatch):
    path = tmp_path / 'yard.png'
    cv2.imwrite(str(path), np.zeros((8, 10, 3), np.uint8))
    monkeypatch.setattr('depth_ros.pipeline.choose_model.find_weights', lambda *_: path)
    command = ['run', str(path), '--device', 'cpu', '--fx', '9', '-p', 'tile_batch:=5']
    assert main(command) == 2
    assert f'{WITHOUT_GPU} does not use it' in capsys.readouterr().err


def test_run_writes_the_cloud_that_is_asked_for(tmp_path):
    path = tmp_path / 'yard.png'
    cv2.imwrite(str(path), np.zeros((48, 64, 3), np.uint8))
    command = ['run', str(path), '--model', 'flat_wall', '--fx', '50']
    assert main([*command, '-p', 'points.stride:=8', '-p', 'points.color:=false']) == 0
    head, _, body = (tmp_path / 'yard.ply').read_bytes().partition(b'end_header\n')
    assert b'element vertex 48' in head and b'red' not in head
    assert len(body) == 6 * 8 * 3 * 4


def test_run_filters_the_cloud(tmp_path, capsys):
    path = tmp_path / 'yard.png'
    cv2.imwrite(str(path), np.zeros((48, 64, 3), np.uint8))
    command = ['run', str(path), '--model', 'flat_ground', '--fx', '50', '-p', 'range.max:=20']

    def count(*rules):
        words = [word for rule in rules for word in ('-p', rule)]
        assert main([*command, *words]) == 0
        head = (tmp_path / 'yard.ply').read_bytes().partition(b'end_header\n')[0]
        return int(head.partition(b'element vertex ')[2].split()[0])

    every = count()
    assert every > 1000
    assert 20 < count('points.voxel:=1.0') < every / 2
    floor = ['points.ground:=drop', f'floor.height:={CAMERA_HEIGHT}']
    assert count(*floor) < every / 50
    capsys.readouterr()
    assert main([*command, '-p', 'points.ground:=drop']) == 2
    assert 'floor.height is 0, and only depth_node and bags have TF' in capsys.readouterr().err


class Eye:
    """A canonical network that takes every camera for one of fx = 2 W."""

    kind = Kind.CANONICAL

    def predict(self, frame):
        return Prediction(torch.ones(frame.camera.size), self.kind, focal_px=(100.0, 100.0))

    def estimate_camera(self, rgb):
        h, w = rgb.shape[:2]
        return Camera(w, h, 2.0 * w, 2.0 * w, (w - 1) / 2, (h - 1) / 2)


def test_run_estimates_the_camera_where_the_network_can(tmp_path, capsys, monkeypatch):
    asked = []
    family = types.ModuleType('depth_ros.models.eye')
    family.load = lambda preset, options: asked.append(options.estimate_camera) or Eye()
    monkeypatch.setitem(sys.modules, family.__name__, family)
    preset = Preset(
        'eye', 'eye', 'eye', Kind.CANONICAL, Source('eye', 'none', needed=False), casts=False,
        estimates_camera=True,
    )  # fmt: skip
    monkeypatch.setitem(PRESETS, 'eye', preset)
    path = tmp_path / 'yard.png'
    cv2.imwrite(str(path), np.zeros((8, 10, 3), np.uint8))
    assert main(['run', str(path), '--model', 'eye', '--device', 'cpu']) == 0
    assert 'fx 20.0 fy 20.0 cx 4.5 cy 3.5 px, estimated by' in capsys.readouterr().out
    np.testing.assert_allclose(np.load(tmp_path / 'yard_depth.npy'), 0.2)
    # a camera that is given is taken, and the network not asked
    assert main(['run', str(path), '--model', 'eye', '--device', 'cpu', '--fx', '50']) == 0
    np.testing.assert_allclose(np.load(tmp_path / 'yard_depth.npy'), 0.5)
    assert asked == [True, False]
    both = ['--fx', '50', '-p', 'intrinsics:=estimated']
    assert main(['run', str(path), '--model', 'eye', *both]) == 2
    assert 'omit one of them' in capsys.readouterr().err


def photo(path, pixels, orientation=None, focal_35mm=None):
    """A photograph as a phone writes it."""
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    if focal_35mm is not None:
        exif[0x8769] = {0xA405: focal_35mm}
    Image.fromarray(pixels).save(path, quality=95, exif=exif)


@pytest.mark.parametrize('row', bad_input.FILES, ids=lambda row: row.given)
def test_files_of_the_page_on_bad_input(tmp_path, capsys, row):
    path = tmp_path / 'photo.jpg'
    content = row.values.get('content', '')
    if content:
        path.write_bytes(content)
    elif content is not None:
        photo(path, np.zeros((30, 40, 3), np.uint8), row.values.get('exif', {}).get(0x0112))
    arguments = row.values.get('arguments', '').split()
    refused = row.does == bad_input.REFUSED
    assert main(['run', str(path), '--model', 'flat_ground', *arguments]) == (2 if refused else 0)
    said = capsys.readouterr()
    assert row.message in (said.out if row.does.endswith('printed') else said.err)


@pytest.mark.parametrize('orientation', range(10))
def test_a_photo_is_turned_upright_as_pillow_does(tmp_path, orientation):
    pixels = cv2.resize(np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8), (60, 40))
    path = tmp_path / 'photo.jpg'
    photo(path, pixels, orientation)
    with Image.open(path) as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    found = image_file.read(path).rgb
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected).mean() < 2  # of two JPEG decoders


def test_run_turns_a_photo_and_takes_its_focal_length(tmp_path, capsys):
    path = tmp_path / 'phone.jpg'
    photo(path, np.zeros((60, 80, 3), np.uint8), orientation=6, focal_35mm=26)
    assert main(['run', str(path), '--model', 'flat_ground']) == 0
    said = capsys.readouterr().out
    assert 'turned upright by EXIF orientation 6: now 60x80' in said
    # 26 mm of a diagonal of 43.27 mm, 100 px here
    assert 'camera 60x80, fx 60.1 fy 60.1' in said and '26 mm on 35 mm film by EXIF' in said
    z = np.load(tmp_path / 'phone_depth.npy')
    assert z.shape == (80, 60) and z[-1, 0] == pytest.approx(1.2 * 60.1 / 39.5, rel=1e-3)
    # what is given counts
    assert main(['run', str(path), '--model', 'flat_ground', '--fx', '100']) == 0
    assert 'EXIF. If' not in capsys.readouterr().out
    assert np.load(tmp_path / 'phone_depth.npy')[-1, 0] == pytest.approx(1.2 * 100 / 39.5)


@pytest.mark.parametrize('focal_35mm', [None, 0])
def test_a_photo_without_a_focal_length_needs_one(tmp_path, capsys, focal_35mm):
    path = tmp_path / 'phone.jpg'
    photo(path, np.zeros((60, 80, 3), np.uint8), focal_35mm=focal_35mm)
    assert main(['run', str(path), '--model', 'flat_ground']) == 2
    assert 'the file does not have it' in capsys.readouterr().err


@pytest.mark.skipif(
    [int(n) for n in cv2.__version__.split('.')[:2]] < [4, 6],
    reason='OpenCV before 4.6 itself refuses damaged EXIF data',
)
@pytest.mark.filterwarnings('ignore::UserWarning')  # of Pillow
def test_damaged_exif_data_are_no_reason_to_refuse_a_photo(tmp_path):
    path = tmp_path / 'phone.jpg'
    photo(path, np.zeros((60, 80, 3), np.uint8), orientation=6, focal_35mm=26)
    data = bytearray(path.read_bytes())
    start = data.index(b'Exif')
    for k in range(start + 6, start + 40):
        for value in (0, 255):
            changed = bytearray(data)
            changed[k] = value
            path.write_bytes(changed)
            assert image_file.read(path).rgb.shape in ((60, 80, 3), (80, 60, 3))


@pytest.mark.parametrize('bits', [10, 12, 16])
def test_a_16_bit_file_of_a_sensor_with_fewer_bits_is_not_black(tmp_path, bits):
    grey = np.tile(np.linspace(0, 255, 64).astype(np.uint16), (48, 1))
    path = tmp_path / 'grey.png'
    cv2.imwrite(str(path), grey << (bits - 8))
    found = image_file.read(path)
    np.testing.assert_array_equal(found.rgb, np.repeat(grey[..., None], 3, 2))
    assert found.focal_px is None and found.orientation == 1


@pytest.mark.parametrize(
    ('arguments', 'said'),
    [
        (
            ['run', '{picture}', '--fx', '9', '-p', 'two_views.mode:=motion'],
            'recorded images are taken one at a time',
        ),
        (['run', 'none.png', '--fx', '50'], 'none.png is no image'),
        (['run', '{picture}'], 'give the focal length by one of'),
        (['run', '{picture}', '--fx', '50', '--hfov', '60'], 'give the focal length by one of'),
        (['run', '{picture}', '--fx', '-50'], '--fx is -50; a focal length must be above 0 px'),
        (['run', '{picture}', '--fx', '50', '--fy', '0'], '--fy is 0;'),
        (['run', '{picture}', '--hfov', '180'], '--hfov is 180;'),
        (['run', '{picture}', '--fx', '0.1'], 'fx=0.1, fy=0.1 px for an image of 8x8, which no'),
        (['run', '{picture}', '--fx', '9', '--fy', '90'], 'pixels are never so far from square'),
        (['run', '{picture}', '--fx', '9', '--cx', '99'], '(99, 3.5) in an image of 8x8, far'),
        (['run', '{text}', '--fx', '9'], 'cannot be decoded by OpenCV; give a JPEG, PNG or TIFF'),
        (['run', '{folder}', '--fx', '9'], 'give --output a folder for the files'),
        (
            ['run', '{picture}', '--fx', '50', '--output', '/no/dir/x'],
            '/no/dir is not a writable folder',
        ),
        (['models', 'nothing', 'of', 'this'], 'no preset has nothing and of and this'),
        (['run', '{picture}', '--fx', '50', '--model', 'nono'], "'nono' is not a preset"),
        (
            ['run', '{picture}', '--fx', '50', '-p', 'pionts.stride:=2'],
            'did you mean points.stride',
        ),
        (['info', '{picture}'], 'yard.png'),
        (['info', 'net.onnx'], 'use model onnx'),
    ],
)
def test_errors_are_one_line(tmp_path, capsys, arguments, said):
    picture = tmp_path / 'yard.png'
    cv2.imwrite(str(picture), np.zeros((8, 8, 3), np.uint8))
    text = tmp_path / 'notes.jpg'
    text.write_text('no image')
    given = {'picture': picture, 'text': text, 'folder': tmp_path}
    assert main([a.format(**given) for a in arguments]) == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line.startswith('depth-ros: ') and said in line


def test_run_reaches_metres_on_a_real_picture(data, tmp_path, capsys):
    pytest.importorskip('onnxruntime')
    folder = data / 'images' / 'sunrgbd_000017'
    k = json.loads((folder / 'intrinsics.json').read_text())
    weights = data / 'weights' / 'fastdepth' / 'fastdepth_nyu_pruned_224.onnx'
    arguments = ['run', str(folder / 'rgb.jpg'), '--model', 'fastdepth_nyu']
    arguments += ['--weights', str(weights), '--output', str(tmp_path / 'bed')]
    arguments += [word for n in ('fx', 'fy', 'cx', 'cy') for word in (f'--{n}', str(k[n]))]
    assert main(arguments) == 0
    z = np.load(tmp_path / 'bed_depth.npy')
    truth = cv2.imread(str(folder / 'depth.png'), cv2.IMREAD_UNCHANGED) / k['depth_scale']
    valid = (truth > 0) & np.isfinite(z)
    assert np.abs(z[valid] / truth[valid] - 1).mean() < 0.07


def test_the_list_names_the_default_networks(capsys):
    assert main(['models']) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert WITH_GPU in last and WITHOUT_GPU in last
    assert main(['models', 'nano']) == 0
    assert 'auto' not in capsys.readouterr().out


def test_info_of_a_preset_has_source_licence_and_range(capsys):
    assert main(['info', 'glpdepth_nyu']) == 0
    out = capsys.readouterr().out
    for text in (
        'metric',
        'vinvino02/glpn-nyu',
        '245 MB',
        'accept_licence',
        'up to 10 m',
        'arxiv',
    ):
        assert text in out
    assert main(['info', 'no_such_preset']) == 2


def test_the_version_is_that_of_the_package(capsys):
    with pytest.raises(SystemExit) as ended:
        main(['--version'])
    assert ended.value.code == 0 and depth_ros.__version__ in capsys.readouterr().out


def test_a_reader_that_has_enough_ends_the_list_without_a_traceback():
    command = f'{sys.executable} -m depth_ros.cli models | head -1'
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == '' and done.stdout.startswith('preset')
