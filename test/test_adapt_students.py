# SPDX-License-Identifier: Apache-2.0
"""Networks that learn from a recording: their gradients, and the files that they write."""

import dataclasses
import math
import shutil
import zipfile

import pytest
import torch
import torch.nn.functional as F
from formula import tensor
from stand_ins import empty, formula, write

from depth_ros import models
from depth_ros.checkpoints.families import guess_family
from depth_ros.checkpoints.read import read_checkpoint
from depth_ros.checkpoints.write import read_metadata, write_weights
from depth_ros.core.camera import Camera
from depth_ros.core.errors import ConfigError, WeightsError
from depth_ros.core.types import Frame, Kind
from depth_ros.models import PRESETS, ModelOptions
from depth_ros.models.depth_anything import build
from depth_ros.models.depth_anything.checkpoint import LAYOUTS, published, translate
from depth_ros.models.depth_anything.variant import Variant
from depth_ros.models.monodepth2.motion import PoseNetwork
from depth_ros.models.monodepth2.motion import published as published_motion
from depth_ros.offline.adapt import losses
from depth_ros.offline.adapt.scene import shrunk
from depth_ros.offline.adapt.students import can_learn, motion_of, scale_of, student_of
from depth_ros.offline.adapt.students.depth_anything import FARTHEST_M
from depth_ros.offline.adapt.students.low_rank import LowRank, adapt_linears, merged_state
from depth_ros.offline.adapt.warp import rays, warp
from depth_ros.pipeline.scaling import canonical_focal

CPU = torch.device('cpu')
MONO, STEREO = 'monodepth2_mono_640x192', 'monodepth2_stereo_640x192'
METRIC, RELATIVE = 'depth_anything_v2_metric_indoor_small', 'depth_anything_v1_small'
ANY = 'depth_anything_v3_small'
TESTED = ('nano', MONO, METRIC, RELATIVE, ANY)
ADAPTED = (METRIC, RELATIVE, ANY)  # by adapters of low rank
OFFSET = 0.1  # of the second camera [m]


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
    """`weights(name)`: a file as published for the preset."""
    known = {}

    def get(name):
        if name == 'nano':
            return None
        if name not in known:
            known[name] = write(PRESETS[name], tmp_path_factory.mktemp(name))
        return known[name]

    yield get
    for path in known.values():
        shutil.rmtree(path.parent)


@pytest.fixture
def tmp_path(tmp_path):
    """As pytest's, but gone after the test: a checkpoint takes 60 MB and more."""
    yield tmp_path
    shutil.rmtree(tmp_path)


def options_of(name, path):
    side = 126 if PRESETS[name].family == 'depth_anything' else 0
    return ModelOptions(weights=path, input_size=side)


@pytest.fixture
def student(request, weights):
    """A fresh one of the preset that the test names."""
    return student_of(request.param, options_of(request.param, weights(request.param)))


def camera_of(student):
    """A camera of the size of its input."""
    full = Camera(640, 480, 520.0, 520.0, 319.5, 239.5)
    height, width = student.size(full)
    camera = full.resized(width, height)
    assert student.size(camera) == (height, width)
    return Camera(width, height, camera.fx, camera.fx, camera.cx, camera.cy)


def texture(camera, shift=0.0):
    """Smooth waves, moved to the left by some pixels, (1, 3, h, w) in 0..1."""
    v, u = torch.meshgrid(
        torch.arange(camera.height, dtype=torch.float32),
        torch.arange(camera.width, dtype=torch.float32) + shift,
        indexing='ij',
    )
    u, v = u / camera.width, v / camera.height
    waves = [
        torch.sin(9 * u + k) * torch.cos(5 * v - k) + torch.sin(21 * u + 2 * k) for k in (0, 1, 2)
    ]
    return torch.stack(waves)[None] / 4 + 0.5


def error_of(log_z, camera, depth_m):
    """Photometric error of a wall at `depth_m`, seen by two cameras side by side."""
    first = texture(camera)
    second = texture(camera, shift=camera.fx * OFFSET / depth_m)
    T = torch.eye(4)[None]
    T[0, 0, 3] = -OFFSET
    points = rays(camera) * log_z.exp().flatten(1)[:, None]
    moved = warp(second, camera, points, T, camera.size)
    return losses.average(losses.photometric(first, moved.rgb), moved.seen)


def learn(student, steps=1, rate=1e-4):
    """Errors before each step of Adam and after the last: depth of 2 m is learnt to be 2.6 m."""
    camera = camera_of(student)
    rgb = texture(camera)
    with torch.inference_mode():  # checks come first: what they leave behind must be of use
        median = float(student.log_depth(rgb, camera).exp().median())
    student.rescale(2.0 / median, at=median)
    optimizer = torch.optim.Adam(
        [p for p in student.network.parameters() if p.requires_grad], rate
    )
    errors = []
    for _ in range(steps):
        error = error_of(student.log_depth(rgb, camera), camera, 2.6)
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
        errors.append(float(error.detach()))
    with torch.inference_mode():
        errors.append(float(error_of(student.log_depth(rgb, camera), camera, 2.6)))
    return errors


def through_the_model(name, path, camera, rgb):
    """Metres of the file as the node loads it, for an image of bytes."""
    model = models.load(name, options_of(name, path))
    prediction = model.predict(Frame(rgb, camera))
    if prediction.kind is Kind.CANONICAL:
        return canonical_focal.to_metres(prediction, camera)
    if prediction.kind is Kind.AFFINE_INVERSE:
        return 1 / prediction.values.clamp(min=1 / FARTHEST_M)
    return prediction.values


@pytest.mark.parametrize('student', TESTED, indirect=True)
def test_a_step_lowers_the_error_and_changes_only_what_learns(student):
    before = {k: v.clone() for k, v in student.network.state_dict().items()}
    learns = {k for k, p in student.network.named_parameters() if p.requires_grad}
    errors = learn(student)
    assert errors[-1] < errors[0]
    changed = {k for k, v in student.network.state_dict().items() if not torch.equal(v, before[k])}
    assert changed <= learns, 'buffers and frozen layers stay'
    unmoved = {k for k in learns - changed if not k.endswith('.down')}  # `up` is zero at first
    assert len(unmoved) <= 0.02 * len(learns), sorted(unmoved)
    assert not student.network.training


@pytest.mark.parametrize('student', TESTED, indirect=True)
def test_what_was_learnt_is_loaded_like_any_weights(student, tmp_path):
    learn(student)
    camera, path = camera_of(student), tmp_path / 'weights.safetensors'
    write_weights(path, student.state(), {'where': '"küche"'})
    assert read_metadata(path)['where'] == '"küche"'
    bytes_ = (texture(camera)[0].permute(1, 2, 0) * 255).round().byte()
    rgb = bytes_.permute(2, 0, 1)[None] / 255
    with torch.inference_mode():
        expected = student.log_depth(rgb, camera)[0].exp()
    found = through_the_model(student.preset, path, camera, bytes_)
    near = expected < 30  # [m]; far away an inverse depth of almost 0 is divided by
    assert near.float().mean() > 0.9
    assert (found / expected - 1).abs()[near].max() < 1e-4
    again = student_of(student.preset, options_of(student.preset, path)).state()
    assert all(torch.equal(value, again[key]) for key, value in student.state().items())


@pytest.mark.parametrize('student', TESTED, indirect=True)
def test_a_run_is_resumed_from_the_state_of_its_network(student, weights):
    learn(student)
    name, camera = student.preset, camera_of(student)
    again = student_of(name, options_of(name, weights(name)))
    again.network.load_state_dict(student.network.state_dict())
    rgb = texture(camera)
    with torch.inference_mode():
        assert torch.equal(again.log_depth(rgb, camera), student.log_depth(rgb, camera))


@pytest.mark.parametrize('student', TESTED, indirect=True)
def test_depth_is_multiplied_by_a_factor(student):
    camera = camera_of(student)
    rgb = texture(camera)
    with torch.inference_mode():
        before = student.log_depth(rgb, camera)
    at = float(before.exp().median())
    student.rescale(0.6, at)
    with torch.inference_mode():
        change = student.log_depth(rgb, camera) - before
    at_median = change[(before - math.log(at)).abs() < 1e-6]
    assert at_median.numel() and (at_median - math.log(0.6)).abs().max() < 1e-4
    bounded = student.preset in (MONO, METRIC)
    inside = before.exp() < 0.5 * FARTHEST_M
    assert inside.float().mean() > 0.9
    assert (change - math.log(0.6)).abs()[inside].max() < (0.4 if bounded else 1e-4)


def test_depth_out_of_the_bounds_of_a_network_is_refused(weights):
    student = student_of(METRIC, options_of(METRIC, weights(METRIC)))
    with pytest.raises(ConfigError, match='depth up to 20 m, and the scene is at 25 m'):
        student.rescale(2.5, 10.0)
    student = student_of(MONO, options_of(MONO, weights(MONO)))
    with pytest.raises(ConfigError, match=r'from 0\.1 to 100 m, and the scene is at 0\.05 m'):
        student.rescale(0.1, 0.5)


@pytest.mark.parametrize('name', ADAPTED)
def test_adapters_begin_as_the_published_network(name, weights):
    student = student_of(name, options_of(name, weights(name)))
    plain = models.load(
        name, dataclasses.replace(options_of(name, weights(name)), exportable=True)
    )
    camera = camera_of(student)
    x = (texture(camera) - 0.45) / 0.25
    x = x.contiguous(memory_format=torch.channels_last)
    assert any(isinstance(module, LowRank) for module in student.network.modules())
    with torch.inference_mode():
        assert torch.equal(student.network(x)[0], plain.network(x)[0])
    original = read_checkpoint(weights(name))
    state = student.state()
    assert all(torch.equal(value, original[key]) for key, value in state.items())
    assert 0.75 * len(original) < len(state), 'the rest is not used'


def test_merged_adapters_give_the_same_output():
    torch.manual_seed(0)
    network = torch.nn.Sequential()
    network.add_module('fc1', torch.nn.Linear(48, 96))
    network.add_module('fc2', torch.nn.Linear(96, 24, bias=False))
    plain = {k: v.clone() for k, v in network.state_dict().items()}
    adapt_linears(network, ('fc1', 'fc2'), rank=4)
    for layer in network:
        torch.nn.init.normal_(layer.up)
    merged = torch.nn.Sequential()
    merged.add_module('fc1', torch.nn.Linear(48, 96))
    merged.add_module('fc2', torch.nn.Linear(96, 24, bias=False))
    merged.load_state_dict(merged_state(network))
    x = torch.randn(5, 48)
    assert torch.allclose(network(x), merged(x), atol=1e-5, rtol=1e-5)
    change = merged.fc1.weight - plain['fc1.weight']
    assert torch.linalg.matrix_rank(change) == 4
    assert torch.equal(network.fc1.weight, plain['fc1.weight']), 'the layer itself stays'


@pytest.mark.parametrize('student', [METRIC, MONO], indirect=True)
def test_half_precision_learns_the_same_direction(student):
    """As a GPU does it: weights in fp32, arithmetic in bfloat16."""
    camera = camera_of(student)
    rgb = texture(camera)
    exact = student.log_depth(rgb, camera)
    with torch.autocast('cpu', torch.bfloat16):
        rough = student.log_depth(rgb, camera)
    assert (exact - rough).abs().max() < 0.1
    rough.float().mean().backward()
    assert all(p.grad.isfinite().all() for p in student.network.parameters() if p.grad is not None)


LAYOUT_OF = {
    'da1-vits': 'v1_vits', 'da2-vitb': 'v2_vitb', 'da2-vitl': 'v2_metric_vitl',
    'da3-small': 'v3_any_vits', 'da3-base': 'v3_any_vitb', 'da3metric-large': 'v3_metric_vitl',
    'da3mono-large': 'v3_mono_vitl',
}  # fmt: skip


@pytest.mark.parametrize('layout', LAYOUT_OF)
def test_names_go_back_to_the_published_ones(layout):
    state, variant = empty(layout), Variant.parse(LAYOUT_OF[layout])
    with torch.device('meta'):
        used = build(variant, cameras=variant.role == 'any').state_dict()
    ours = translate(state, LAYOUTS[guess_family(state)][1])
    back = published({k: ours[k] for k in used}, variant)
    assert set(back) <= set(state) and len(back) == len(used)
    assert translate(back, LAYOUTS[guess_family(back)][1]).keys() == used.keys()


@pytest.mark.parametrize('role', ['metric', 'mono'])
def test_version_3_learns_also_with_sky(monkeypatch, tmp_path, role):
    """Of the size of ViT-S, as the published networks are large."""
    name = f'depth_anything_v3_{role}_large'
    preset = dataclasses.replace(PRESETS[name], variant=f'v3_{role}_vits')
    monkeypatch.setitem(PRESETS, name, preset)
    variant = Variant.of(preset)
    torch.manual_seed(0)
    path = tmp_path / 'start.safetensors'
    write_weights(path, published(build(variant).state_dict(), variant))
    student = student_of(name, options_of(name, path))
    camera = camera_of(student)
    wide = Camera(camera.width, camera.height, camera.fx / 2, camera.fy / 2, camera.cx, camera.cy)
    rgb = texture(camera)
    difference = student.log_depth(rgb, camera) - student.log_depth(rgb, wide)
    assert torch.allclose(difference, torch.tensor(math.log(2) if role == 'metric' else 0.0))
    errors = learn(student, steps=3)
    assert errors[-1] < errors[0]
    write_weights(path, student.state())
    bytes_ = (rgb[0].permute(1, 2, 0) * 255).round().byte()
    with torch.inference_mode():
        expected = student.log_depth(bytes_.permute(2, 0, 1)[None] / 255, camera)[0].exp()
    found = through_the_model(name, path, camera, bytes_)
    solid = found.isfinite()
    assert solid.float().mean() > 0.9
    assert (found / expected - 1).abs()[solid].max() < 1e-4


def test_any_view_keeps_its_layers_for_two_views(weights, tmp_path):
    student = student_of(ANY, options_of(ANY, weights(ANY)))
    learn(student)
    write_weights(tmp_path / 'a.safetensors', student.state())
    options = dataclasses.replace(options_of(ANY, tmp_path / 'a.safetensors'), views=2)
    model = models.load(ANY, options)
    camera = camera_of(student)
    frames = [
        Frame((texture(camera, shift)[0].permute(1, 2, 0) * 255).byte(), camera)
        for shift in (0.0, 5.0)
    ]
    assert model.predict_views(frames).z.shape == camera.size


def test_an_input_larger_than_the_images_is_interpolated():
    """Depth Anything takes 518 rows of images of 480."""
    small, large = Camera(64, 48, 50, 50, 31.5, 23.5), Camera(84, 70, 50, 50, 41.5, 34.5)
    found = shrunk(texture(small), large.size)
    assert found.shape == (1, 3, *large.size)
    steps = found.diff(dim=3).abs().amax((0, 1, 2))[10:-10]  # of columns; of blocks some are 0
    assert steps.min() > 0.3 * steps.max()


def test_networks_that_cannot_learn_are_refused_and_others_named():
    for name in ('glpdepth_nyu', 'depth_anything_v1_metric_indoor_large', 'flat_wall'):
        with pytest.raises(ConfigError, match=f'{name} cannot learn .*: .*nano'):
            student_of(name, ModelOptions())
    with pytest.raises(ConfigError, match="did you mean 'nano'"):
        student_of('nanno', ModelOptions())
    able = {preset.family for preset in PRESETS.values() if can_learn(preset)}
    assert able == {'nano', 'monodepth2', 'depth_anything'}


@pytest.mark.parametrize(
    ('name', 'scale'),
    [('nano', None), (STEREO, None), (MONO, 1.0), (RELATIVE, 1.0), (METRIC, None)],
)
def test_a_scale_is_needed_where_the_preset_has_no_metres(name, scale):
    assert scale_of(name) == scale


def test_stereo_training_has_metres_from_the_start(weights):
    mono = student_of(MONO, ModelOptions(weights=weights(MONO)))
    stereo = student_of(STEREO, ModelOptions(weights=weights(STEREO)))
    camera = camera_of(mono)
    with torch.inference_mode():
        ratio = stereo.log_depth(texture(camera), camera) - mono.log_depth(texture(camera), camera)
    assert torch.allclose(ratio, torch.tensor(math.log(5.4)), atol=1e-5)


def pose_files():
    """Tensors of pose_encoder.pth and pose.pth."""
    encoder = formula('monodepth2-640x192-encoder')
    encoder['encoder.conv1.weight'] = tensor('pose.conv1.weight', (64, 6, 7, 7))
    shapes = [(256, 512, 1, 1), (256, 256, 3, 3), (256, 256, 3, 3), (12, 256, 1, 1)]
    decoder = {}
    for k, shape in enumerate(shapes):
        decoder[f'net.{k}.weight'] = tensor(f'net.{k}.weight', shape)
        decoder[f'net.{k}.bias'] = tensor(f'net.{k}.bias', shape[:1])
    return encoder, decoder


@pytest.fixture
def pose_folder(tmp_path, weights):
    """A folder as published, of all four files."""
    folder = tmp_path / 'published'
    folder.mkdir()
    for file in weights(MONO).parent.iterdir():
        (folder / file.name).symlink_to(file)
    encoder, decoder = pose_files()
    torch.save(encoder, folder / 'pose_encoder.pth')
    torch.save(decoder, folder / 'pose.pth')
    return folder


def pair(height=96, width=128):
    camera = Camera(width, height, 100.0, 100.0, width / 2 - 0.5, height / 2 - 0.5)
    return texture(camera), texture(camera, 4.0)


def test_the_pose_network_is_that_of_the_paper(pose_folder):
    """Layer by layer from the published names: both images by their order, four convolutions."""
    earlier, later = pair()
    motion = motion_of(MONO, pose_folder / 'encoder.pth', CPU)
    encoder, decoder = pose_files()
    x = (torch.cat((earlier, later), 1) - 0.45) / 0.225
    first = {
        k: encoder[f'encoder.bn1.{k}'] for k in ('running_mean', 'running_var', 'weight', 'bias')
    }
    y = F.conv2d(x, encoder['encoder.conv1.weight'], stride=2, padding=3)
    y = F.relu(F.batch_norm(y, *first.values()))
    with torch.inference_mode():
        features = motion.network.encoder(x)
        assert torch.allclose(features[0], y, atol=1e-4)
        y = features[-1]
        for k, padding in enumerate((0, 1, 1, 0)):
            y = F.conv2d(y, decoder[f'net.{k}.weight'], decoder[f'net.{k}.bias'], padding=padding)
            y = F.relu(y) if k < 3 else y
        expected = 0.01 * y.mean((2, 3))[:, :6]
        turn, offset = motion.network(earlier, later)
        T = motion.motion(earlier, later)[0].double()
    assert torch.allclose(torch.cat((turn, offset), 1), expected, atol=1e-6)
    a, b, c = turn[0].double().tolist()
    cross = torch.tensor([[0, -c, b], [c, 0, -a], [-b, a, 0]], dtype=torch.float64)
    assert torch.allclose(T[:3, :3], torch.linalg.matrix_exp(cross), atol=1e-6)
    assert torch.allclose(T[:3, 3], offset[0].double(), atol=1e-7)
    assert torch.equal(T[3], torch.tensor([0.0, 0, 0, 1], dtype=torch.float64))


def fixed_motion(motion, turn, offset):
    """A pose network that gives one motion for any images."""
    with torch.no_grad():
        last = motion.network.net[-1]
        last.weight.zero_()
        last.bias[:6] = torch.tensor([*turn, *offset]) / 0.01


def test_the_motion_moves_points_of_the_earlier_camera_to_the_later_one(pose_folder):
    """A camera that goes to the right sees a wall move to the left."""
    motion = motion_of(MONO, pose_folder / 'encoder.pth', CPU)
    camera = Camera(128, 96, 100.0, 100.0, 63.5, 47.5)
    fixed_motion(motion, (0.0, 0.0, 0.0), (-OFFSET, 0.0, 0.0))
    earlier, later = texture(camera), texture(camera, 100 * OFFSET / 2)
    points = rays(camera)[None] * 2.0
    forward = motion.motion(earlier, later)
    moved = warp(later, camera, points, forward, camera.size)
    back = warp(earlier, camera, points, torch.linalg.inv(forward), camera.size)
    for found, image in ((moved, earlier), (back, later)):
        assert found.seen.float().mean() > 0.9
        assert (found.rgb - image).abs().mean(1)[found.seen].max() < 0.01


def test_the_motion_is_in_the_unit_of_the_depth_beside_it(pose_folder):
    both = 'monodepth2_mono_stereo_640x192'
    mono, stereo = (motion_of(name, pose_folder / 'encoder.pth', CPU) for name in (MONO, both))
    with torch.inference_mode():
        unit, metres = (m.motion(*pair())[0] for m in (mono, stereo))
        assert torch.allclose(metres[:3, 3], 5.4 * unit[:3, 3])
        assert torch.equal(metres[:3, :3], unit[:3, :3])
        mono.rescale(5.4)
        assert torch.allclose(mono.motion(*pair())[0], metres, atol=1e-6)


def test_the_motion_learns_from_images_alone_and_is_kept(pose_folder):
    motion = motion_of(MONO, pose_folder / 'encoder.pth', CPU)
    camera = Camera(128, 96, 100.0, 100.0, 63.5, 47.5)
    earlier, later = texture(camera), texture(camera, 5.0)
    fixed_motion(motion, (0.0, 0.0, 0.0), (-0.07, 0.0, 0.0))  # 0.1 is right
    buffers = {k: v.clone() for k, v in motion.network.named_buffers()}
    optimizer = torch.optim.Adam(motion.network.parameters(), 1e-3)
    errors = []
    for _ in range(4):
        T = motion.motion(earlier, later)
        moved = warp(later, camera, rays(camera)[None] * 2.0, T, camera.size)
        error = losses.average(losses.photometric(earlier, moved.rgb), moved.seen)
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
        errors.append(float(error.detach()))
    assert errors[-1] < errors[0]
    assert all(torch.equal(v, buffers[k]) for k, v in motion.network.named_buffers())
    depth = student_of(MONO, ModelOptions(weights=pose_folder / 'encoder.pth'))
    assert not depth.state().keys() & motion.state().keys()
    for name, state in (('motion', {}), ('both', depth.state())):
        write_weights(pose_folder / f'{name}.safetensors', {**state, **motion.state()})
        again = motion_of(MONO, pose_folder / f'{name}.safetensors', CPU)
        with torch.inference_mode():
            found, expected = again.motion(earlier, later), motion.motion(earlier, later)
        assert torch.equal(found, expected)
    loaded = student_of(MONO, ModelOptions(weights=pose_folder / 'both.safetensors')).state()
    assert all(torch.equal(value, loaded[name]) for name, value in depth.state().items())


def test_a_zip_has_the_pose_network_too(pose_folder, tmp_path):
    archive = tmp_path / 'download.zip'
    with zipfile.ZipFile(archive, 'w') as target:
        for file in pose_folder.iterdir():
            target.write(file, f'inside/{file.name}')
    motion = motion_of(MONO, archive, CPU)
    expected = motion_of(MONO, pose_folder / 'depth.pth', CPU)
    assert torch.equal(motion.motion(*pair()), expected.motion(*pair()))


def test_without_a_pose_network_the_remedy_is_named(pose_folder, weights, tmp_path):
    (pose_folder / 'pose.pth').unlink()
    with pytest.raises(WeightsError, match=r'has no pose\.pth, so .* record poses'):
        motion_of(MONO, pose_folder / 'encoder.pth', CPU)
    with pytest.raises(ConfigError, match='nano has no pose network: record poses'):
        motion_of('nano', pose_folder / 'encoder.pth', CPU)
    torch.save(formula('monodepth2-640x192-depth'), pose_folder / 'pose.pth')
    with pytest.raises(WeightsError, match='does not fit'):
        motion_of(MONO, pose_folder / 'encoder.pth', CPU)
    torch.save(formula('monodepth2-640x192-depth'), tmp_path / 'x.pt')
    with pytest.raises(WeightsError, match='a Monodepth2 decoder checkpoint, and has no pose'):
        motion_of(MONO, tmp_path / 'x.pt', CPU)


def test_a_deeper_pose_network_is_recognised_by_its_layers(tmp_path):
    torch.manual_seed(0)
    network = PoseNetwork('resnet50').eval()
    write_weights(tmp_path / 'm.safetensors', published_motion(network.state_dict()))
    motion = motion_of('monodepth2_mono_resnet50_640x192', tmp_path / 'm.safetensors', CPU)
    with torch.inference_mode():
        found, expected = motion.network(*pair()), network(*pair())
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(found, expected, strict=True))
