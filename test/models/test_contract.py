# SPDX-License-Identifier: Apache-2.0
"""What every row of the table of presets must keep; a new row is tested by being there."""

import re
import shutil
from importlib import import_module
from pathlib import Path

import pytest
import torch
from stand_ins import write

from depth_ros import models
from depth_ros.core.camera import Camera
from depth_ros.core.types import Frame, Kind
from depth_ros.models import PRESETS, ModelOptions
from depth_ros.models.onnx_form import HasOnnxForm
from depth_ros.parameters import layers
from depth_ros.parameters.declare import ABILITIES
from depth_ros.parameters.layers import with_values
from depth_ros.parameters.settings import Settings
from depth_ros.pipeline.abilities import without_effect
from depth_ros.pipeline.choose_model import resolve
from depth_ros.pipeline.depth_pipeline import Pipeline

BIG = re.compile('vit[bl]|depth_pro|224_linear|512_|1024x320|resnet50|no_pt')
SMALL = [n for n, p in PRESETS.items() if not BIG.search(p.variant)]
HEAVY = [pytest.param(n, marks=pytest.mark.slow) for n in PRESETS if n not in SMALL]


#: Families whose networks take one frame at a time.
NO_ONNX_FORM = ('dust3r', 'flat', 'onnx', 'transformers')
ONE_AT_A_TIME = ('dust3r', 'flat', 'onnx')


@pytest.fixture(scope='module', params=[*SMALL, *HEAVY])
def loaded(request, tmp_path_factory):
    """A preset, its model with stand-in weights from a file as published, and its settings."""
    preset = PRESETS[request.param]
    settings = with_values(Settings(model=preset.name), layers.preset_values(preset.name))
    folder = tmp_path_factory.mktemp('checkpoint')
    weights = preset.source.packaged
    if preset.source.needed and not preset.source.packaged:
        weights = write(preset, folder)
    options = ModelOptions(weights=weights, input_size=settings.input_size, onnx=settings.onnx)
    if preset.family in ('depth_anything', 'dust3r', 'moge'):
        options = ModelOptions(weights=weights, input_size=126)
    model = models.load(preset.name, options)
    if preset.family == 'depth_pro':  # minutes a picture; its own tests run it
        model.network = lambda x: x.mean(1).relu()
    yield preset, model, settings
    shutil.rmtree(folder)  # up to 2 GB


@pytest.mark.parametrize('name', PRESETS)
def test_a_row_has_source_licence_and_size(name):
    preset = PRESETS[name]
    assert preset.source.licence
    assert hasattr(import_module(f'depth_ros.models.{preset.family}'), 'load')
    assert bool(preset.source.repo or preset.source.url) == bool(preset.source.file)
    if preset.source.file:
        assert preset.paper.startswith('https://')
        assert preset.kind is not None or 'onnx' in preset.takes  # described in config/models


# 'confidence' is of predictions: `test_a_preset_predicts_every_pixel_of_any_frame`; 'max_depth' is
# read for all families at once: `test_a_largest_depth_of_its_own_scales_all_depth`; 'normals' not
# every network of its family has
ELSEWHERE = {'confidence', 'max_depth', 'normals'}


@pytest.mark.parametrize('ability', sorted({*ABILITIES} - ELSEWHERE))
def test_a_row_names_the_parameters_that_its_family_reads(ability):
    for preset in PRESETS.values():
        folder = Path(models.__file__).parent / preset.family
        code = ''.join(path.read_text() for path in folder.glob('*.py'))
        assert (f'options.{ability}' in code) == (ability in preset.takes), preset.name


@pytest.mark.parametrize('name', PRESETS)
def test_all_parameters_of_a_preset_have_an_effect(name):
    _, settings, _ = resolve({'model': name, 'scaling.method': scaling_for(PRESETS[name])})
    assert without_effect(settings, PRESETS[name], torch.device('cpu'), has=()) == []


def scaling_for(preset):
    """A method that all kinds without metres accept."""
    relative = preset.kind in (Kind.SCALE_INVARIANT, Kind.AFFINE_INVERSE)
    return 'constant' if relative else 'auto'


def test_a_preset_predicts_every_pixel_of_any_frame(loaded):
    preset, model, settings = loaded
    assert model.kind is (preset.kind or Kind(settings.onnx.kind))
    assert isinstance(model, models.EstimatesCamera) == preset.estimates_camera
    assert isinstance(model, models.TakesViews) == (preset.max_views > 1)
    assert isinstance(model, HasOnnxForm) == (preset.family not in NO_ONNX_FORM)
    for height, width in ((90, 130), (131, 77)):
        camera = Camera(width, height, 100.0, 101.0, width / 2, height / 2)
        picture = torch.randint(0, 256, (height, width, 3), dtype=torch.uint8)
        with torch.inference_mode():
            prediction = model.predict(Frame(picture, camera))
        assert prediction.values.shape == (height, width)
        assert prediction.values.dtype == torch.float32
        assert prediction.kind is model.kind
        assert torch.isfinite(prediction.values).any()
        assert (prediction.focal_px is not None) == (model.kind is Kind.CANONICAL)
        described = preset.family != 'onnx' or bool(settings.onnx.confidence)
        has_confidence = 'confidence' in preset.takes and described
        assert (prediction.confidence is not None) == has_confidence
        assert (prediction.normals is not None) == ('normals' in preset.takes)
        if prediction.normals is not None:
            assert prediction.normals.shape == (height, width, 3)
            lengths = prediction.normals.norm(dim=2)
            torch.testing.assert_close(
                lengths, torch.where(prediction.values.isnan(), torch.nan, 1.0), equal_nan=True
            )
        for extra in (prediction.confidence, prediction.sky):
            assert extra is None or extra.shape == (height, width)


def test_frames_of_several_cameras_at_once_are_those_frames_one_by_one(loaded):
    preset, model, _ = loaded
    assert isinstance(model, models.TakesBatches) == (preset.family not in ONE_AT_A_TIME)
    if preset.family in ONE_AT_A_TIME:
        return
    noise = torch.Generator().manual_seed(0)
    frames = []
    for height, width, fx in ((90, 130, 120.0), (131, 77, 90.0), (90, 130, 60.0)):
        camera = Camera(width, height, fx, fx, width / 2, height / 2)
        picture = torch.randint(0, 256, (height, width, 3), dtype=torch.uint8, generator=noise)
        frames.append(Frame(picture, camera))
    for together, frame in zip(model.predict_many(frames), frames, strict=True):
        alone = model.predict(frame)
        assert together.focal_px == alone.focal_px
        close = {'rtol': 1e-3, 'atol': 1e-4, 'equal_nan': True}
        torch.testing.assert_close(together.values, alone.values, **close)


def test_a_preset_reaches_metres_or_refuses(loaded):
    _, model, settings = loaded
    if model.kind in (Kind.SCALE_INVARIANT, Kind.AFFINE_INVERSE):
        settings = with_values(settings, {'scaling.method': 'constant'})
    camera = Camera(130, 90, 120.0, 120.0, 64.5, 44.5)
    picture = torch.randint(0, 256, (90, 130, 3), dtype=torch.uint8)
    depth = Pipeline(model, settings)(Frame(picture, camera))
    assert depth.z.shape == (90, 130) and not (depth.z == 0).any()
    if model.kind is Kind.CANONICAL:
        tele = Camera(130, 90, 240.0, 240.0, 64.5, 44.5)
        zoomed = Pipeline(model, settings)(Frame(picture, tele))
        both = torch.isfinite(depth.z) & torch.isfinite(zoomed.z)
        torch.testing.assert_close(zoomed.z[both], 2 * depth.z[both])
