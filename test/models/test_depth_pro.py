# SPDX-License-Identifier: Apache-2.0
"""Depth Pro: agreement with the published network, its parts in miniature, geometry."""

import pytest
import timm
import torch
import torch.nn.functional as F
from frames import frame_of
from stand_ins import formula

from depth_ros.checkpoints.load import load_strict
from depth_ros.core.camera import Camera
from depth_ros.core.errors import ConfigError
from depth_ros.core.types import Frame, Kind
from depth_ros.models import PRESETS, ModelOptions
from depth_ros.models import load as load_preset
from depth_ros.models.depth_pro import DepthProModel, load, network
from depth_ros.models.depth_pro.checkpoint import LAYOUTS, translate
from depth_ros.models.depth_pro.network import DepthPro, merge, split
from depth_ros.parameters.settings import Settings
from depth_ros.pipeline.depth_pipeline import Pipeline
from depth_ros.pipeline.scaling import canonical_focal
from tools.bench import random_weights

PRESET = PRESETS['depth_pro']
LIMIT = 2e-5  # max |difference| / max |expected|; a wrong rule shows from 8e-4 upwards


def metres(prediction, camera):
    """As the pipeline's method for canonical networks."""
    return canonical_focal.to_metres(prediction, camera)


def filled(module, name, published):
    """A part of the network, called `name` in it, with the formula's weights of these names."""
    state = translate(formula('depth_pro', published), LAYOUTS['Depth Pro'])
    load_strict(
        module,
        {k.removeprefix(f'{name}.'): v for k, v in state.items()},
        path='formula',
        ignore=('.*mask_token',),
    )
    return module.eval().requires_grad_(False)


def test_a_picture_is_resized_as_by_the_publishers(fixture_of, picture):
    x = answering(1.0).network_input(frame_of(picture))[None]
    assert fixture_of('depth_pro', 'picture').error('picture', 'network_input', x) < 1e-6


def test_the_coarsest_map_and_the_field_of_view_agree_with_the_published_network(
    fixture_of, picture
):
    """All three ViTs, one after the other: together they take 4 GB."""
    fixture = fixture_of('depth_pro', 'picture')
    x = answering(1.0).network_input(frame_of(picture))[None]
    with torch.device('meta'):
        net = DepthPro(fov=True)
    with torch.inference_mode():
        encoder = filled(net.encoder, 'encoder', r'encoder\.')
        coarsest = encoder.coarsest(x)
        assert fixture.error('picture', 'encoding4', coarsest[0, ::32]) < LIMIT
        encoder.to('meta')
        lateral = filled(net.decoder.laterals[4], 'decoder.laterals.4', r'decoder\.convs\.4')
        fov = filled(net.fov, 'fov', r'fov\.')
        small = F.interpolate(x, size=(384, 384), mode='bilinear', align_corners=False)
        assert fixture.error('picture', 'fov_deg', fov(small, lateral(coarsest))) < LIMIT


@pytest.mark.slow
def test_the_published_network_is_reproduced(fixture_of, picture, tmp_path):
    fixture = fixture_of('depth_pro', 'picture')
    path = tmp_path / PRESET.source.file
    torch.save({k: v.half() for k, v in formula('depth_pro').items()}, path)  # as published
    model = load(PRESET, ModelOptions(weights=path, estimate_camera=True))
    x = model.network_input(frame_of(picture))[None]
    guessed = model.estimate_camera(picture)
    with torch.inference_mode():
        assert fixture.error('picture', 'fov_deg', model.network.fov_deg(x)) < LIMIT
    assert fixture.error('picture', 'f_px_predicted_f', torch.tensor([guessed.fx])) < LIMIT

    def compare_maps(_module, _inputs, maps):
        for i, level in enumerate(maps):
            assert fixture.error('picture', f'encoding{i}', level[0, ::32]) < LIMIT

    answers = []
    model.network.encoder.register_forward_hook(compare_maps)
    model.network.register_forward_hook(lambda _module, _inputs, out: answers.append(out[0]))
    # one picture takes minutes: the other focal lengths are taken from the same answer
    given = Camera(640, 480, 520.9, 521.0, 325.1, 249.7)
    prediction = model.predict(Frame(picture, given))
    assert not prediction.sky.any()
    assert fixture.error('picture', 'depth_given_f0', metres(prediction, given)) < LIMIT
    assert fixture.error('picture', 'output', answers[0]) < LIMIT
    for case, fx in {'given_f1': 350.0, 'predicted_f': guessed.fx}.items():
        camera = Camera(640, 480, fx, 1.1 * fx, 319.5, 239.5)  # the network knows no fy
        z = metres(model.postprocess((answers[0],), Frame(picture, camera)), camera)
        assert fixture.error('picture', f'depth_{case}', z) < LIMIT


@pytest.mark.parametrize(('side', 'stride', 'n', 'margin'), [(1536, 288, 5, 3), (768, 192, 3, 6)])
def test_tiles_put_together_are_the_picture(side, stride, n, margin):
    x = torch.rand(2, 1, side, side)
    tiles = split(x, stride)
    assert tiles.shape == (n * n * 2, 1, 384, 384)
    assert torch.equal(tiles[2 * 1 + 1], x[1, :, :384, stride : stride + 384])  # second in its row
    patches = F.avg_pool2d(tiles, 16)  # as the encoder makes of them
    torch.testing.assert_close(merge(patches, n, margin), F.avg_pool2d(x, 16))


def test_layers_have_the_published_sizes():
    with torch.device('meta'):
        net = DepthPro(fov=True)
        x = torch.empty(1, 3, 1536, 1536)
    maps = net.encoder(x)
    sides, channels = (768, 384, 192, 96, 48), (256, 256, 512, 1024, 1024)
    assert [m.shape for m in maps] == [(1, c, s, s) for c, s in zip(channels, sides, strict=True)]
    assert net(x).shape == (1, 1536, 1536)
    assert net.fov_deg(x).shape == (1,)


def test_the_field_of_view_network_is_loaded_only_if_needed():
    with torch.device('meta'):
        plain, full = DepthPro(), DepthPro(fov=True)
    assert plain.fov is None
    weights = [sum(p.numel() for p in net.parameters()) for net in (plain, full)]
    assert weights[0] == pytest.approx(647e6, rel=0.01)
    assert weights[1] - weights[0] == pytest.approx(304e6, rel=0.01)


@pytest.fixture
def miniature(monkeypatch):
    """The network with 16 channels instead of 1024, on the CPU."""

    def vit():
        options = {'embed_dim': 16, 'depth': 12, 'num_heads': 2, 'img_size': 384, 'patch_size': 16}
        return timm.create_model('vit_large_patch14_dinov2', num_classes=0, **options)

    monkeypatch.setattr(network, '_vit', vit)
    monkeypatch.setattr(network, 'WIDTH', 16)
    monkeypatch.setattr(network, 'FEATURES', 8)
    monkeypatch.setattr(network, 'LEVELS', ((8, 3), (8, 2), (12, 1), (16, 1), (16, 1)))
    torch.manual_seed(0)
    net = DepthPro(fov=True).eval().requires_grad_(False)
    for name, values in net.named_parameters():
        if name.endswith('gamma'):
            values.fill_(0.3)  # timm starts with blocks that do next to nothing
    return net


def test_the_number_of_tiles_at_once_does_not_matter(miniature):
    x = torch.rand(1, 3, 1536, 1536)
    answers = []
    with torch.inference_mode():
        for miniature.encoder.tiles_per_batch in (35, 5, 4):
            answers.append(miniature.encoder(x))
        coarsest = miniature.encoder.coarsest(x)
    for other in answers[1:]:
        for a, b in zip(answers[0], other, strict=True):
            torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(coarsest, answers[0][4], atol=1e-5, rtol=1e-5)


def test_a_tile_shows_where_it_lies(miniature):
    x = torch.rand(1, 3, 1536, 1536)
    changed = x.clone()
    changed[..., :200, -200:] = 0  # seen by the last tile of the first row of either grid
    with torch.inference_mode():
        pairs = zip(miniature.encoder(x), miniature.encoder(changed), strict=True)
        differ = [(a != b).any(1)[0] for a, b in pairs]
    for level, side in ((0, 768), (1, 384), (2, 192), (3, 96)):
        # bottom left is in no tile that changed
        assert differ[level][: side // 8, -side // 8 :].all()
        assert not differ[level][side // 2 :, : side // 2].any()


def frame(width=640, height=480, fx=500.0, fy=510.0):
    camera = Camera(width, height, fx, fy, width / 2, height / 2)
    return Frame(torch.zeros(height, width, 3, dtype=torch.uint8), camera)


class Answers:
    """Stands for the network: the same canonical inverse depth for every picture."""

    def __init__(self, inverse):
        self.inverse = inverse

    def __call__(self, x):
        assert x.shape == (1, 3, 1536, 1536)
        return self.inverse[None]


def answering(value):
    return DepthProModel(Answers(torch.full((1536, 1536), value)), ModelOptions())


def test_metres_are_focal_length_in_widths_by_inverse_depth():
    for shot in (frame(), frame(fy=400.0), frame(1280, 720, 1000.0), frame(641, 479)):
        prediction = answering(0.25).predict(shot)
        assert prediction.kind is Kind.CANONICAL
        expected = shot.camera.fx / shot.camera.width / 0.25
        z = metres(prediction, shot.camera)
        torch.testing.assert_close(z, torch.full(shot.camera.size, expected))


def test_depth_is_resized_in_inverse_depth():
    model = answering(0.0)
    model.network.inverse = torch.linspace(0.1, 2.0, 1536).repeat(1536, 1)
    z = metres(model.predict(frame()), frame().camera)
    resized = torch.linspace(0.1, 2.0, 1536).view(1, 1, -1)
    expected = F.interpolate(resized, size=640, mode='linear', align_corners=False)[0, 0]
    torch.testing.assert_close(1 / z[100], expected * 640 / 500)


def test_depth_at_ten_kilometres_is_out_of_range():
    model = answering(1.0)
    model.network.inverse[:, :512] = 0.0
    model.network.inverse[:, 512:1024] = 5e-5
    prediction = model.predict(frame())
    assert prediction.sky[:, :420].all() and not prediction.sky[:, 430:].any()
    far = metres(prediction, frame().camera)[:, :420]
    torch.testing.assert_close(far, torch.full_like(far, 1e4))  # as theirs, before it is +Inf
    assert (Pipeline(model, Settings())(frame()).z[:, :420] == torch.inf).all()


def test_no_depth_is_below_a_tenth_of_a_millimetre():
    prediction = answering(1e30).predict(frame())
    z = metres(prediction, frame().camera)
    torch.testing.assert_close(z, torch.full_like(z, 1e-4))


def test_a_camera_is_estimated_from_the_field_of_view():
    model = answering(1.0)
    model.network.fov = True
    model.network.fov_deg = lambda x: torch.tensor([90.0])
    camera = model.estimate_camera(torch.zeros(480, 640, 3, dtype=torch.uint8))
    assert (camera.width, camera.height, camera.cx, camera.cy) == (640, 480, 319.5, 239.5)
    assert camera.fx == camera.fy == pytest.approx(320.0)
    assert camera.hfov_deg == pytest.approx(90.0)
    model.network.fov = None
    with pytest.raises(ConfigError, match='without its field of view'):
        model.estimate_camera(torch.zeros(480, 640, 3, dtype=torch.uint8))


@pytest.mark.parametrize(
    ('options', 'message'),
    [({}, 'set weights to depth_pro.pt'), ({'input_size': 768}, 'supports 1536 only')],
)
def test_what_it_cannot_do_is_refused(options, message, tmp_path):
    if options:
        options['weights'] = tmp_path / 'none.pt'
    with pytest.raises(ConfigError, match=message):
        load_preset('depth_pro', ModelOptions(**options))


@pytest.mark.parametrize(('asked', 'at_once'), [(0, 5), (3, 3), (35, 35)])
def test_memory_is_bounded_by_the_tiles_at_once(asked, at_once):
    options = ModelOptions(device=torch.device('meta'), tile_batch=asked)
    model = random_weights.load('depth_pro', options, empty=True)
    assert model.network.encoder.tiles_per_batch == at_once
