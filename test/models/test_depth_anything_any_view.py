# SPDX-License-Identifier: Apache-2.0
"""Depth Anything 3 any-view: agreement with the published networks, positions, cameras."""

import math

import numpy as np
import pytest
import torch
from stand_ins import formula, write

from depth_ros import models
from depth_ros.checkpoints.load import load_strict
from depth_ros.core.camera import Camera
from depth_ros.core.errors import ConfigError
from depth_ros.core.geometry import pixel_rays
from depth_ros.core.types import Frame, Kind
from depth_ros.models import PRESETS, ModelOptions
from depth_ros.models.depth_anything import AnyViewModel, build
from depth_ros.models.depth_anything.agreement import compared
from depth_ros.models.depth_anything.any_view import (
    REFERENCES,
    AnyView,
    apply_rope,
    rope_table,
    rope_tables,
    uv_embedding,
)
from depth_ros.models.depth_anything.cameras import (
    encode,
    focal_lengths_of,
    normalised,
    poses_of,
)
from depth_ros.models.depth_anything.checkpoint import LAYOUTS, UNUSED, translate
from depth_ros.models.depth_anything.variant import Variant
from depth_ros.parameters.layers import with_values
from depth_ros.parameters.settings import Settings
from depth_ros.pipeline.depth_pipeline import Pipeline

LIMIT = 2e-5  # max |difference| / max |expected|; a wrong rule shows from 1e-3 upwards

# Base: depth and confidence at every 24th row and 50th column, from the publishers' network
# (ByteDance-Seed/Depth-Anything-3 at 2c21ea8, encoder and head in float32) with the formula's
# weights, the picture's crop of 98x126 px at (250, 200) not resized.
BASE = (
    [
        [1.8254174, 2.3960546, 2.0559902],
        [1.3473247, 1.2013270, 1.2088914],
        [1.4073814, 1.1336219, 0.9284775],
        [1.7144903, 1.0073305, 1.0155175],
        [1.4946009, 1.7796559, 1.4058284],
    ],
    [
        [2.9615016, 2.3582721, 3.1033075],
        [3.3852949, 3.0074834, 3.6215861],
        [3.2434018, 3.3549876, 3.2134316],
        [2.7307873, 2.4482946, 3.1507430],
        [2.6394215, 2.8167458, 2.6521788],
    ],
)


def network_of(size, **options):
    with torch.device('meta'):
        network = build(Variant.of(PRESETS[f'depth_anything_v3_{size}']), **options)
    rules = LAYOUTS['Depth Anything 3 (any-view)'][1]
    state = translate(formula(f'da3-{size}'), rules)
    load_strict(network, state, path='formula', ignore=UNUSED)
    return network.eval().requires_grad_(False)


def adapter(network, **options):
    return AnyViewModel(network, network.variant, Kind.SCALE_INVARIANT, ModelOptions(**options))


@pytest.fixture(scope='module')
def small():
    return network_of('small')


@pytest.fixture(scope='module')
def several():
    return network_of('small', cameras=True)


def posed(fixture, case):
    """The known cameras of a case, (V, 4, 4) and one `Camera` for each view."""
    poses = normalised(np.array(fixture.cases[case]['extrinsics_in'], np.float32))
    h, w = fixture.cases[case]['size']
    matrices = fixture.arrays[f'{case}_intrinsics_network']
    return poses, [Camera(w, h, k[0, 0], k[1, 1], k[0, 2], k[1, 2]) for k in matrices]


@pytest.fixture
def crop(fixture_of):
    return fixture_of('da3-small', 'odd1').network_input('odd1')


def test_small_agrees_with_the_published_network(small, fixture_of, crop):
    fixture = fixture_of('da3-small', 'odd1')
    with torch.inference_mode():
        depth, confidence = small(crop)
    assert fixture.error('odd1', 'depth', depth) < LIMIT
    assert fixture.error('odd1', 'conf', confidence) < LIMIT


def test_base_agrees_with_the_published_network(crop):
    with torch.inference_mode():
        answer = network_of('base')(crop)
    for values, expected in zip(answer, map(torch.tensor, BASE), strict=True):
        error = (values[0, ::24, ::50] - expected).abs().max() / expected.max()
        assert error < LIMIT


@pytest.mark.parametrize(
    ('case', 'reference'),
    [
        ('odd', 'saddle_balanced'),
        ('odd1', 'saddle_balanced'),
        ('one', 'saddle_balanced'),
        ('two', 'saddle_balanced'),
        ('three', 'saddle_balanced'),
        ('three_first', 'first'),
        ('three_middle', 'middle'),
        ('three_saddle_sim_range', 'saddle_sim_range'),
        ('posed2', 'saddle_balanced'),
        ('posed3', 'saddle_balanced'),
    ],
)
def test_several_views_agree_with_the_published_network(several, fixture_of, case, reference):
    fixture = fixture_of('da3-small', case)
    facts = fixture.cases[case]
    inputs, count = facts.get('inputs_of', case), facts.get('views', 1)
    x = torch.cat([fixture.network_input(inputs, f'input{k + 1}') for k in range(count)])
    cameras = encode(*posed(fixture, case)) if 'extrinsics_in' in facts else None
    with torch.inference_mode():
        depth, confidence, found = several.views(x, cameras, reference)
    height, width = facts['size']
    K = torch.zeros(count, 3, 3)
    K[:, [0, 1], [0, 1]] = torch.tensor(focal_lengths_of(found, width, height)).float()
    K[:, [0, 1, 2], 2] = torch.tensor([width / 2, height / 2, 1.0])
    answer = {
        'depth': depth,
        'conf': confidence,
        'pose_enc': found,
        'extrinsics': torch.tensor(np.linalg.inv(poses_of(found))[:, :3]),
        'intrinsics': K,
    }
    compared = answer.keys() & facts['arrays'].keys()
    assert compared >= {'depth'} and len(compared) >= 3
    for name in compared:
        assert fixture.error(case, name, answer[name]) < LIMIT, name


@pytest.mark.parametrize('case', ['posed2', 'posed3'])
def test_known_cameras_become_the_published_tokens(several, fixture_of, case):
    fixture = fixture_of('da3-small', case)
    poses, cameras = posed(fixture, case)
    assert fixture.error(case, 'extrinsics_normalised', torch.tensor(poses)) < LIMIT
    with torch.inference_mode():
        tokens = several.camera_encoder(encode(poses, cameras))
    assert fixture.error(case, 'cam_token', tokens) < LIMIT


def test_the_published_reference_view_is_chosen(fixture_of):
    fixture = fixture_of('da3-small', 'three')
    tokens = torch.tensor(fixture.arrays['three_cls_before_selection'])
    chosen = {name: choose(tokens) for name, choose in REFERENCES.items()}
    assert chosen == {'saddle_balanced': 1, 'saddle_sim_range': 2, 'middle': 1, 'first': 0}


def test_the_order_of_further_views_does_not_matter_with_the_first_as_reference(several, crop):
    x = torch.cat((crop, crop.flip(3), crop.flip(2)))
    with torch.inference_mode():
        answer = several.views(x, reference='first')
        other = several.views(x[[0, 2, 1]], reference='first')
    for a, b in zip(answer, other, strict=True):
        torch.testing.assert_close(a[[0, 2, 1]], b, rtol=1e-4, atol=1e-4)


def test_one_of_several_views_is_that_view_alone(several, small, crop):
    with torch.inference_mode():
        depth, confidence, _ = several.views(crop)
        for found, alone in zip((depth, confidence), small(crop), strict=True):
            assert torch.equal(found, alone)


def test_poses_are_taken_from_the_first_camera_in_a_unit_of_their_own():
    rng = np.random.default_rng(0)
    world = np.tile(np.eye(4), (3, 1, 1))
    for T in world:
        T[:3, :3] = np.linalg.qr(rng.normal(size=(3, 3)))[0]
        T[:3, :3] *= np.linalg.det(T[:3, :3])
        T[:3, 3] = rng.normal(size=3)
    found = normalised(world)
    np.testing.assert_allclose(found[0], np.eye(4), atol=1e-12)
    assert np.linalg.norm(found[1:, :3, 3], axis=1).min() == pytest.approx(1)
    moved = normalised(world @ np.linalg.inv(world[2]))  # another frame to measure in
    np.testing.assert_allclose(moved, found, atol=1e-12)
    # of two the lower median is always 0, so their unit is the shortest one
    pair = normalised(world[:2])
    np.testing.assert_allclose(pair[1, :3, 3], 10 * (world[1] @ np.linalg.inv(world[0]))[:3, 3])


def test_cameras_that_are_encoded_are_decoded():
    T = np.tile(np.eye(4), (2, 1, 1))
    T[1, :3, :3] = [[0, 0, 1], [-1, 0, 0], [0, -1, 0]]
    T[1, :3, 3] = 1.0, 2.0, 3.0
    camera = Camera(252, 196, 200.0, 150.0, 125.5, 97.5)
    encoded = encode(np.linalg.inv(T), [camera, camera])
    np.testing.assert_allclose(poses_of(encoded), T, atol=1e-6)
    np.testing.assert_allclose(focal_lengths_of(encoded, 252, 196)[1], [200, 150], rtol=1e-6)


def test_cameras_stay_in_float32_in_half_precision():
    network = AnyView(Variant.of(PRESETS['depth_anything_v3_small']), cameras=True).half()
    assert network.encoder.norm.weight.dtype is torch.float16
    for layers in (network.camera_encoder, network.camera_decoder):
        assert {p.dtype for p in layers.parameters()} == {torch.float32}


def test_views_of_a_batch_do_not_see_each_other(small, crop):
    both = torch.cat((crop, crop.flip(3)))
    with torch.inference_mode():
        for together, alone in zip(small(both), small(crop.flip(3)), strict=True):
            torch.testing.assert_close(together[1], alone[0], atol=1e-5, rtol=1e-5)


def test_one_view_is_the_reference_view(small, crop):
    with torch.inference_mode():
        before = small(crop)[0]
        small.encoder.camera_token[:, 1] += 1
        assert torch.equal(small(crop)[0], before)
        small.encoder.camera_token[:, 1] -= 1
        small.encoder.camera_token[:, 0] += 1
        assert not torch.equal(small(crop)[0], before)
        small.encoder.camera_token[:, 0] -= 1


def test_rotation_turns_each_pair_of_channels_by_its_angle():
    torch.manual_seed(0)
    x = torch.randn(64)
    y_index, x_index = 3, 7
    turned = apply_rope(x, *(t[0] for t in rope_table(torch.tensor([[y_index, x_index]]))))
    for first, index in ((0, y_index), (32, x_index)):
        for j in range(16):
            angle = index * 100 ** (-2 * j / 32)
            a, b = x[first + j].item(), x[first + j + 16].item()
            z = complex(a, b) * complex(math.cos(angle), math.sin(angle))
            assert turned[first + j] == pytest.approx(z.real, abs=1e-5)
            assert turned[first + j + 16] == pytest.approx(z.imag, abs=1e-5)


def test_attention_depends_on_where_tokens_are_to_each_other():
    torch.manual_seed(0)
    q, k = torch.randn(2, 64)
    products = []
    for offset in (0, 5):
        cos, sin = rope_table(torch.tensor([[2, 9], [4, 3]]) + offset)
        products.append(apply_rope(q, cos[0], sin[0]) @ apply_rope(k, cos[1], sin[1]))
    assert products[0] == pytest.approx(products[1].item(), abs=1e-4)


def test_local_blocks_use_positions_and_global_ones_do_not():
    local, everywhere = rope_tables((2, 3), torch.float32, torch.device('cpu'))
    for cos, sin in (local, everywhere):
        assert cos.shape == (7, 64)
        assert (cos[0] == 1).all() and (sin[0] == 0).all()  # the camera is at (0, 0)
    assert len(local[1][1:].unique(dim=0)) == 6
    assert len(everywhere[1][1:].unique(dim=0)) == 1
    assert torch.equal(local[0][1], everywhere[0][1])  # (1, 1) is the first patch
    assert torch.equal(local[0][-1], rope_table(torch.tensor([[2, 3]]))[0][0])


@pytest.mark.parametrize('size', [(7, 9), (1, 1), (10, 4)])
def test_uv_embeddings_are_sines_and_cosines_of_the_half_diagonal(size):
    (h, w), aspect, channels = size, 1.5, 12
    table = uv_embedding(channels, size, aspect)
    diagonal = math.hypot(aspect, 1)
    for row, column in ((0, 0), (h - 1, w - 1), (h // 2, w // 3)):
        x = aspect / diagonal * (w - 1) / w * (2 * column / max(w - 1, 1) - 1)
        y = 1 / diagonal * (h - 1) / h * (2 * row / max(h - 1, 1) - 1)
        omega = [100 ** (-k / 3) for k in range(3)]
        expected = [f(v * o) for v in (x, y) for f in (math.sin, math.cos) for o in omega]
        assert table[:, row, column].tolist() == pytest.approx(expected, abs=1e-6)


def test_pixels_with_low_confidence_can_be_masked(small, picture):
    frame = Frame(picture, Camera(640, 480, 520.0, 520.0, 319.5, 239.5))
    model = adapter(small, input_size=126)
    prediction = model.predict(frame)
    assert prediction.kind is Kind.SCALE_INVARIANT and prediction.sky is None
    assert prediction.confidence.shape == prediction.values.shape == (480, 640)
    assert (prediction.confidence > 1).all()
    least = float(prediction.confidence.median())
    values = {'scaling.method': 'constant', 'min_confidence': least, 'range.min': 0.0}
    depth = Pipeline(model, with_values(Settings(), values))(frame)
    assert torch.equal(depth.z.isnan(), prediction.confidence < least)
    assert torch.equal(depth.confidence, prediction.confidence)


def test_half_precision_returns_float32(small, picture):
    network = network_of('small').bfloat16()
    model = adapter(network, dtype=torch.bfloat16, input_size=126)
    frame = Frame(picture, Camera(640, 480, 520.0, 520.0, 319.5, 239.5))
    prediction = model.predict(frame)
    full = adapter(small, input_size=126).predict(frame)
    for name in ('values', 'confidence'):
        half = getattr(prediction, name)
        assert half.dtype is torch.float32
        # the formula's weights react more strongly than trained ones
        assert (half / getattr(full, name) - 1).abs().median() < 0.1


CAMERA = Camera(126, 98, 100.0, 101.0, 62.5, 48.5)


def frames_of(fixture):
    """The two views of the case `odd`, which are of the size of the network's input."""
    pixels = (fixture.pixels('odd', f'input{k}') for k in (1, 2))
    return [Frame(torch.from_numpy(np.ascontiguousarray(p)), CAMERA) for p in pixels]


def pose_at(x, y=0.0, z=0.0):
    T = np.eye(4)
    T[:3, 3] = x, y, z
    return T


def test_the_model_returns_depth_of_the_first_of_several_views(several, fixture_of):
    fixture = fixture_of('da3-small', 'odd')
    model = adapter(several, input_size=126)
    found = model.predict_views(frames_of(fixture))
    for name, values in (('depth', found.z), ('conf', found.confidence)):
        expected, (_, *part) = fixture.stored('odd', name)
        error = np.abs(values[tuple(part)].numpy() - expected[0]).max() / np.abs(expected).max()
        assert error < LIMIT
    assert len(found.poses) == 1
    for pose in filter(None, found.poses):
        T = np.tile(np.eye(4), (2, 1, 1))
        T[:, :3] = fixture.arrays['odd_extrinsics']  # world to camera
        np.testing.assert_allclose(pose.T_first_second, T[0] @ np.linalg.inv(T[1]), atol=1e-5)


def test_known_poses_change_the_prediction_and_their_unit_does_not(several, fixture_of):
    model, views = adapter(several, input_size=126), frames_of(fixture_of('da3-small', 'odd'))
    near, far, other = (
        model.predict_views(views, [T]).z
        for T in (pose_at(0.1, 0.05), pose_at(0.2, 0.1), pose_at(-0.1, 0.05))
    )
    torch.testing.assert_close(near, far, rtol=1e-5, atol=1e-5)
    assert (near - other).abs().max() > 1e-4
    assert (near - model.predict_views(views).z).abs().max() > 1e-4


def test_three_views_have_the_unit_of_the_publishers(several, fixture_of):
    fixture = fixture_of('da3-small', 'posed3')
    h, w = fixture.cases['posed3']['size']
    poses = np.array(fixture.cases['posed3']['extrinsics_in'])
    K = fixture.arrays['posed3_intrinsics_network']
    views = [
        Frame(
            torch.from_numpy(fixture.pixels('three', f'input{k + 1}').copy()),
            Camera(w, h, float(K[k, 0, 0]), float(K[k, 1, 1]), w / 2 - 0.5, h / 2 - 0.5),
        )
        for k in range(3)
    ]
    known = [poses[0] @ np.linalg.inv(T) for T in poses[1:]]
    found = adapter(several, input_size=w).predict_views(views, known)
    expected, (_, *part) = fixture.stored('posed3', 'depth')
    error = np.abs(found.z[tuple(part)].numpy() - expected[0]).max() / np.abs(expected).max()
    assert error < LIMIT


def test_images_of_another_size_are_cut_to_the_shape_of_the_first(several, fixture_of):
    first, second = frames_of(fixture_of('da3-small', 'odd'))
    wide = torch.cat((second.rgb[:, :10], second.rgb, second.rgb[:, -10:]), 1)
    camera = Camera(146, 98, 100.0, 101.0, 72.5, 48.5)
    model = adapter(several, input_size=126)
    for known in (None, [pose_at(0.1)]):
        expected = model.predict_views([first, second], known)
        found = model.predict_views([first, Frame(wide, camera)], known)
        torch.testing.assert_close(found.z, expected.z)
    twice = second.rgb.repeat_interleave(2, 0).repeat_interleave(2, 1)
    found = model.predict_views([first, Frame(twice, CAMERA.resized(252, 196))])
    torch.testing.assert_close(found.z, model.predict_views([first, second]).z)


def test_layers_of_several_views_are_loaded_if_they_are_needed(tmp_path):
    name = 'depth_anything_v3_small'
    file = write(PRESETS[name], tmp_path)
    one, two = (
        models.load(name, ModelOptions(weights=file, input_size=126, views=n)) for n in (1, 2)
    )
    assert one.network.camera_encoder is None and one.network.camera_decoder is None
    views = [Frame(torch.zeros(98, 126, 3, dtype=torch.uint8), CAMERA)] * 2
    with pytest.raises(ConfigError, match=r'set ModelOptions\.views'):
        one.predict_views(views)
    assert two.predict_views(views).z.shape == (98, 126)


def test_several_views_in_half_precision_return_float32(several, fixture_of):
    views, known = frames_of(fixture_of('da3-small', 'odd')), [pose_at(0.1)]
    half = adapter(
        network_of('small', cameras=True).bfloat16(), dtype=torch.bfloat16, input_size=126
    ).predict_views(views, known)
    full = adapter(several, input_size=126).predict_views(views, known)
    for name in ('z', 'confidence'):
        found = getattr(half, name)
        assert found.dtype is torch.float32
        # the formula's weights react more strongly than trained ones
        assert (found / getattr(full, name) - 1).abs().median() < 0.1


def test_layers_of_several_views_can_be_without_memory(tmp_path):
    """As an engine is measured in the place of the network."""
    options = ModelOptions(weights=tmp_path / 'none.pth', views=2, without_weights=True)
    network = models.load('depth_anything_v3_small', options).network
    assert all(p.is_meta for p in network.camera_encoder.parameters())


def plane(camera, T_world_camera, normal, distance):
    """Depth (h, w) of the plane normal . X = distance, in the frame of a camera."""
    u, v = np.meshgrid(np.arange(camera.width), np.arange(camera.height))
    rays = pixel_rays(u, v, camera) @ T_world_camera[:3, :3].T
    return torch.tensor((distance - T_world_camera[:3, 3] @ normal) / (rays @ normal))


@pytest.mark.parametrize('noise', [0.01, 0.04])
def test_a_pose_agrees_with_depth_that_it_explains(noise):
    T, normal = pose_at(0.3, -0.1, 0.2), np.array((0.2, 0.3, 1.0))
    first, other = (plane(CAMERA, view, normal, 3.0) for view in (np.eye(4), T))
    torch.manual_seed(0)
    first = first * torch.exp(noise * torch.randn(first.shape))
    sure = torch.ones(first.shape)
    pose = compared(T, (first, CAMERA), (other, CAMERA), sure)
    assert pose.inliers > 0.97
    assert pose.compared > 2000
    # a shift of 8x8 blocks' mean depth
    assert pose.length_std == pytest.approx(noise * 2.6 / 8, rel=0.2)
    wrong = compared(pose_at(0.3, -0.1, 0.8), (first, CAMERA), (other, CAMERA), sure)
    assert wrong is None or wrong.inliers < 0.2


def test_a_view_of_something_else_has_no_pose():
    z = torch.full((98, 126), 2.0)
    apart = compared(pose_at(5.0), (z, CAMERA), (z, CAMERA), torch.ones(98, 126))
    behind = compared(pose_at(0, 0, -3.0), (z, CAMERA), (z, CAMERA), torch.ones(98, 126))
    no_number = compared(np.eye(4), (z * math.nan, CAMERA), (z, CAMERA), torch.ones(98, 126))
    assert apart is None and behind is None and no_number is None


def test_pixels_without_confidence_are_not_compared():
    z, other, sure = (torch.full((98, 126), 2.0) for _ in range(3))
    other[:40], sure[:40] = 7.0, 1.0  # sky, say
    assert compared(pose_at(0.1), (z, CAMERA), (other, CAMERA), sure).inliers == 1
