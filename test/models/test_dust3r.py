# SPDX-License-Identifier: Apache-2.0
"""DUSt3R: agreement with the published network, and its rules in miniature."""

import argparse
import math

import numpy as np
import pytest
import torch
from parity import PARITY
from PIL import Image
from stand_ins import formula

from depth_ros.checkpoints.keys import rename
from depth_ros.checkpoints.load import load_strict
from depth_ros.core.camera import Camera
from depth_ros.core.errors import CameraError, ConfigError
from depth_ros.core.types import Frame, Kind
from depth_ros.models import ModelOptions, load
from depth_ros.models.dust3r import Dust3rModel
from depth_ros.models.dust3r.checkpoint import RULES, UNUSED
from depth_ros.models.dust3r.focal import weiszfeld_focal
from depth_ros.models.dust3r.heads import Shape
from depth_ros.models.dust3r.network import Attention, Dust3r, apply_rope, rope_tables
from depth_ros.models.dust3r.preprocessing import network_camera

LIMIT = 2e-5  # max |difference| / max |expected|; a wrong rule shows from 2e-4 upwards
TINY = Shape(
    width=64, depth=2, decoder_width=64, decoder_depth=4, features=8, channels=(4, 4, 8, 8)
)


def camera_of(height, width, focal=525.0):
    return Camera(width, height, focal, focal, (width - 1) / 2, (height - 1) / 2)


def noise(height, width):
    return Frame(
        torch.randint(0, 256, (height, width, 3), dtype=torch.uint8), camera_of(height, width)
    )


@pytest.fixture(params=['linear', 'dpt'])
def tiny(request):
    """A network of two and four blocks."""
    torch.manual_seed(3)
    network = Dust3r(request.param, TINY).eval().requires_grad_(False)
    for head in network.heads:  # else depth of random weights is as often behind the camera
        last = head.proj.bias if request.param == 'linear' else head.out[2].bias
        last.view(4, -1)[2] += 1
    return network


# Against the published network


def published(layout):
    """The network with the formula's weights."""
    with torch.device('meta'):
        network = Dust3r(layout.partition('_')[2])
    load_strict(network, rename(formula(f'dust3r-{layout}'), RULES), path=layout, ignore=UNUSED)
    return network.eval().requires_grad_(False)


def check(fixture, case, view, found):
    assert fixture.error(case, f'pts3d{view}', found.points) < LIMIT
    assert fixture.error(case, f'conf{view}', found.confidence) < LIMIT


@pytest.mark.parametrize(('layout', 'pair'), [('224_linear', 'main'), ('512_dpt', 'odd')])
def test_the_network_agrees_with_the_published_one(fixture_of, layout, pair):
    fixture, network = fixture_of(f'dust3r-{layout}', pair), published(layout)
    with torch.inference_mode():
        views = (fixture.network_input(pair, f'input{i}') for i in (1, 2))
        for i, found in enumerate(network(*views)):
            check(fixture, pair, i + 1, found)
        if 'mono' in fixture:
            x = fixture.network_input('mono')
            check(fixture, 'mono', 1, network(x)[0])  # encoded once, without the second head
            check(fixture, 'mono', 2, network(x, x)[1])


@pytest.mark.slow
def test_a_published_file_gives_the_published_points_of_a_large_pair(fixture_of, tmp_path):
    fixture = fixture_of('dust3r-512_dpt', 'main')
    path = tmp_path / 'DUSt3R_ViTLarge_BaseDecoder_512_dpt.pth'
    # as published: with the command line of the training next to the tensors
    extra = {'args': argparse.Namespace(model='Some(head_type="dpt")'), 'epoch': 3}
    torch.save({'model': formula('dust3r-512_dpt'), **extra}, path)
    model = load('dust3r_512_dpt', ModelOptions(weights=path))
    with torch.inference_mode():
        views = (fixture.network_input('main', f'input{i}') for i in (1, 2))
        for i, found in enumerate(model.network(*views)):
            check(fixture, 'main', i + 1, found)


@pytest.mark.parametrize(
    ('layout', 'case', 'side'), [('224_linear', 'main', 224), ('512_dpt', 'picture', 512)]
)
def test_a_picture_is_cropped_and_resized_as_by_the_published_loader(
    fixture_of, picture, layout, case, side
):
    model = Dust3rModel(None, side, ModelOptions())
    x = model.network_input(Frame(picture, Camera(640, 480, 520.9, 521.0, 325.1, 249.7)))
    off = fixture_of(f'dust3r-{layout}', case).input_difference(case, x[0], 'input1').abs()
    assert off.max() < 1.5 / 255 and off.mean() < 0.001 / 255  # theirs is rounded to bytes


def test_focal_lengths_are_those_of_the_published_estimator():
    stored = np.load(PARITY / 'dust3r_focal.npz')
    points = torch.from_numpy(stored['pts3d'])
    centre = tuple(map(float, stored['principal_point']))
    assert weiszfeld_focal(points, centre) == pytest.approx(
        float(stored['focal_weiszfeld']), rel=1e-6
    )


def test_focal_lengths_are_estimated_from_a_map_with_holes():
    camera = camera_of(40, 60, 110.0)
    u, v = torch.arange(60) - camera.cx, torch.arange(40) - camera.cy
    x, y = torch.meshgrid(u / 110, v / 110, indexing='xy')
    z = 3 + x + torch.sin(5 * y)
    points = torch.stack((x * z, y * z, z), 2)
    points[3, 4] = torch.nan
    points[5, 6, 2] = 0
    centre = (camera.cx, camera.cy)
    assert weiszfeld_focal(points, centre) == pytest.approx(110, rel=1e-5)


# The rules, in miniature


def test_positions_turn_pairs_of_channels_by_row_then_by_column():
    x = torch.randn(15, 64)
    turned = apply_rope(x, *rope_tables((3, 5), torch.float32, torch.device('cpu')))
    for n in range(15):
        for axis, place in enumerate(divmod(n, 5)):
            for j in range(16):
                angle = place * 100 ** (-2 * j / 32)
                a, b = float(x[n, 32 * axis + j]), float(x[n, 32 * axis + 16 + j])
                want = [
                    a * math.cos(angle) - b * math.sin(angle),
                    a * math.sin(angle) + b * math.cos(angle),
                ]
                found = turned[n, [32 * axis + j, 32 * axis + 16 + j]].tolist()
                assert found == pytest.approx(want, abs=1e-5)


def test_attention_knows_only_how_far_apart_tokens_are():
    attention = Attention(64).eval()
    x = torch.randn(1, 6, 64)
    cos, sin = rope_tables((9, 9), torch.float32, torch.device('cpu'))
    grid = torch.arange(81).view(9, 9)
    near, far = grid[:2, :3].flatten(), grid[4:6, 5:8].flatten()
    a, b = (attention(x, (cos[i], sin[i])) for i in (near, far))
    torch.testing.assert_close(a, b)
    assert not torch.allclose(a, attention(x, (cos[near.flip(0)], sin[near.flip(0)])), atol=1e-3)


def test_decoders_see_what_the_other_was_before_the_block(tiny):
    x, y = torch.rand(1, 3, 32, 48), torch.rand(1, 3, 48, 32)
    grids = ((2, 3), (3, 2))
    tokens = tiny.encode(x), tiny.encode(y)
    a, b = tiny.decode(tokens, grids)
    turns = [rope_tables(g, torch.float32, torch.device('cpu')) for g in grids]
    p, q = (tiny.project(t) for t in tokens)
    for i in range(4):
        p, q = (
            tiny.decoders[0][i](p, q, *turns),
            tiny.decoders[1][i](q, p, *turns[::-1]),
        )
        if i < 3:
            torch.testing.assert_close(a[i + 1], p)
            torch.testing.assert_close(b[i + 1], q)
    torch.testing.assert_close(a[4], tiny.decoder_norm(p))
    torch.testing.assert_close(b[4], tiny.decoder_norm(q))


@pytest.mark.parametrize('size', [(32, 48), (80, 48), (48, 16)])
def test_one_view_is_a_pair_of_the_same_picture(tiny, size):
    x = torch.rand(1, 3, *size)
    (single,) = tiny(x)
    first, second = tiny(x, x)
    assert single.points.shape == second.points.shape == (1, *size, 3)
    torch.testing.assert_close(single.points, first.points)
    torch.testing.assert_close(single.confidence, first.confidence)
    assert (second.confidence > 1).all()
    assert not torch.allclose(first.points, second.points)


def test_one_view_is_encoded_once(tiny):
    calls = []
    tiny.patch_embed.register_forward_hook(lambda *_: calls.append(1))
    tiny.heads[1].register_forward_hook(lambda *_: calls.append(2))
    tiny(torch.rand(1, 3, 32, 32))
    assert calls == [1]


def test_an_odd_number_of_patches_keeps_its_size():
    network = Dust3r('dpt', TINY)
    features = [torch.rand(1, 35, 64) for _ in range(5)]
    assert network.heads[0](features, (5, 7)).shape == (1, 4, 80, 112)


# What of a picture the network sees


@pytest.mark.parametrize(
    ('picture', 'side', 'square', 'view'),
    [
        ((480, 640), 512, False, (384, 512)),
        ((720, 1280), 512, False, (288, 512)),
        ((376, 1241), 512, False, (144, 512)),
        ((640, 480), 512, False, (512, 384)),
        ((300, 300), 512, False, (384, 512)),
        ((48, 64), 512, False, (384, 512)),
        ((480, 640), 224, True, (224, 224)),
        ((1080, 1920), 224, True, (224, 224)),
        ((100, 90), 224, True, (224, 224)),
        ((480, 640), 128, False, (96, 128)),
    ],
)
def test_the_published_sizes(picture, side, square, view):
    assert network_camera(camera_of(*picture), side, square=square).size == view


def test_the_crop_is_central_and_its_camera_exact():
    view = network_camera(Camera(1241, 376, 718.9, 718.9, 607.2, 185.2), 512, square=False)
    assert view.size == (144, 512)  # 155 rows, of which 77 - 72 = 5 are cut at the top
    assert view.fx == pytest.approx(718.9 * 512 / 1241)
    assert view.fy == pytest.approx(718.9 * 155 / 376)
    assert view.cx == pytest.approx((607.2 + 0.5) * 512 / 1241 - 0.5)
    assert view.cy == pytest.approx((185.2 + 0.5) * 155 / 376 - 0.5 - 5)


def test_patches_are_limited_and_a_picture_without_one_is_refused():
    view = network_camera(camera_of(480, 640), 512, square=False, max_tokens=300)
    assert view.width * view.height <= 300 * 256 and view.width >= 304
    with pytest.raises(CameraError, match='image is 2000x50: resized to 512x13'):
        network_camera(camera_of(50, 2000), 512, square=False)


@pytest.mark.parametrize('size', [(60, 80), (300, 400)])
def test_pictures_are_resized_as_by_pillow(size):
    model = Dust3rModel(None, 512, ModelOptions(input_size=160))
    frame = noise(*size)
    kind = Image.LANCZOS if size[0] > 120 else Image.BICUBIC
    theirs = np.asarray(Image.fromarray(frame.rgb.numpy()).resize((160, 120), kind))
    theirs = torch.from_numpy(theirs.copy())[4:116].permute(2, 0, 1).float()
    ours = (model.network_input(frame)[0] + 1) / 2 * 255
    assert (ours - theirs).abs().max() < 1e-4


# The adapter


def test_crop_borders_and_what_is_behind_the_camera_have_no_depth(tiny):
    model = Dust3rModel(tiny, 512, ModelOptions(input_size=64))
    prediction = model.predict(noise(100, 130))  # resized 64x49, shown 64x48
    assert prediction.kind is Kind.SCALE_INVARIANT and prediction.focal_px is None
    assert prediction.values.dtype is torch.float32
    assert torch.isfinite(prediction.confidence[3:97]).all()
    assert torch.isnan(prediction.values[-1]).all()
    assert torch.isnan(prediction.confidence[-1]).all()
    valid = prediction.values.isfinite()
    assert valid.any() and (prediction.values[valid] > 0).all()

    square = Dust3rModel(tiny, 224, ModelOptions(input_size=48)).predict(noise(100, 130))
    assert torch.isfinite(square.confidence[:, 16:114]).all()
    assert torch.isnan(square.confidence[:, :14]).all()
    assert torch.isnan(square.confidence[:, 116:]).all()


def test_half_precision_returns_float32(tiny):
    options = ModelOptions(input_size=64, dtype=torch.bfloat16)
    model = Dust3rModel(tiny.to(torch.bfloat16), 512, options)
    prediction = model.predict(noise(48, 64))
    assert prediction.values.dtype is prediction.confidence.dtype is torch.float32


def test_a_pair_may_be_of_two_cameras(tiny):
    model = Dust3rModel(tiny, 512, ModelOptions(input_size=64))
    pair = model.predict_views([noise(100, 130), noise(77, 50)])
    assert pair.z.shape == pair.confidence.shape == (100, 130)
    (pose,) = pair.poses
    assert pose is None or 0 <= pose.inliers <= 1
    with pytest.raises(ConfigError, match='two views at once, not 3'):
        model.predict_views([noise(100, 130)] * 3)
