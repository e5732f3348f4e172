# SPDX-License-Identifier: Apache-2.0
"""Scaling and the meaning of every pixel, without ROS."""

import subprocess
import sys

import pytest
import torch

from depth_ros import models
from depth_ros.core.camera import Camera
from depth_ros.core.errors import CameraError, ConfigError, InferenceError
from depth_ros.core.types import Frame, Kind, Prediction
from depth_ros.parameters.layers import with_values
from depth_ros.parameters.settings import ScalingSettings, Settings
from depth_ros.pipeline.depth_pipeline import Pipeline
from depth_ros.pipeline.scaling import METHODS, Scaling

CAM = Camera(4, 2, 300.0, 330.0, 1.5, 0.5)
FRAME = Frame(torch.zeros((2, 4, 3), dtype=torch.uint8), CAM)


class Fixed:
    """A model with a fixed answer."""

    def __init__(self, values, kind=Kind.METRIC, **extra):
        self.kind = kind
        self.prediction = Prediction(torch.as_tensor(values), kind, **extra)

    def predict(self, frame):
        return self.prediction


def depth(values, kind=Kind.METRIC, parameters=None, **extra):
    settings = with_values(Settings(), parameters or {})
    return Pipeline(Fixed(values, kind, **extra), settings)(FRAME).z


ONES = torch.ones(2, 4)
nan, inf = torch.nan, torch.inf


def test_invalid_is_nan_far_is_inf_near_is_minus_inf_and_zero_is_no_depth():
    values = torch.tensor([[1.0, 0.0, -2.0, nan], [0.05, 9.0, 11.0, inf]])
    expected = torch.tensor([[1.0, nan, nan, nan], [-inf, 9.0, inf, inf]])
    torch.testing.assert_close(
        depth(values, parameters={'range.max': 10.0}), expected, equal_nan=True
    )


def test_without_a_limit_nothing_is_too_far():
    assert (depth(ONES * 1e6) == 1e6).all()


def test_sky_is_inf_even_where_the_network_gives_a_number():
    sky = torch.zeros(2, 4, dtype=torch.bool)
    sky[0] = True
    z = depth(ONES, sky=sky)
    assert (z[0] == inf).all() and (z[1] == 1).all()


def test_an_image_of_sky_alone_is_valid():
    assert (depth(ONES * nan, sky=torch.ones(2, 4, dtype=torch.bool)) == inf).all()


def test_pixels_with_low_confidence_are_nan():
    confidence = torch.arange(8.0).reshape(2, 4)
    z = depth(ONES, parameters={'min_confidence': 3.0}, confidence=confidence)
    assert torch.isnan(z).sum() == 3


def test_canonical_depth_is_multiplied_by_the_ratio_of_focal_lengths():
    z = depth(ONES, Kind.CANONICAL, focal_px=(150.0, 110.0))
    torch.testing.assert_close(z, ONES * (300 / 150 + 330 / 110) / 2)


def test_inverse_depth_is_inverted_after_scale_and_shift():
    parameters = {'scaling.method': 'constant', 'scaling.scale': 0.5, 'scaling.shift': 0.25}
    values = torch.tensor([[0.5, 1.5, -0.5, -9.0], [nan, 0, 0, 0]])
    z = depth(values, Kind.AFFINE_INVERSE, parameters)
    torch.testing.assert_close(z[0], torch.tensor([2.0, 1.0, inf, inf]))
    assert torch.isnan(z[1, 0]) and z[1, 1] == 4


def test_the_factor_of_the_user_applies_to_every_method():
    assert (depth(ONES, parameters={'scaling.scale': 1.1}) == 1.1).all()


@pytest.mark.parametrize('kind', list(Kind))
@pytest.mark.parametrize('method', list(METHODS))
def test_mismatch_is_refused_before_any_frame_naming_what_fits(kind, method):
    settings = ScalingSettings(method=method)
    if kind in METHODS[method].ACCEPTS:
        assert Scaling(settings, kind, two_views=method == 'baseline').method == method
        return
    with pytest.raises(ConfigError, match='methods that can') as said:
        Scaling(settings, kind)
    for name, other in METHODS.items():
        assert (f"'{name}'" in str(said.value).split('can:')[1]) == (kind in other.ACCEPTS)


@pytest.mark.parametrize('kind', [Kind.SCALE_INVARIANT, Kind.AFFINE_INVERSE])
def test_relative_networks_have_no_automatic_metres(kind):
    with pytest.raises(ConfigError, match=r"scaling\.method to 'constant'"):
        Scaling(ScalingSettings(), kind)


@pytest.mark.parametrize(
    ('values', 'said'),
    [
        (torch.zeros(0), r'\(0,\)'),
        (torch.ones(4, 2), r'\(4, 2\)'),
        (ONES * nan, 'no finite value'),
    ],
)
def test_an_output_that_is_no_depth_map_is_an_error(values, said):
    with pytest.raises(InferenceError, match=said):
        depth(values)


@pytest.mark.parametrize('known', [(0, 0), (1, 1), (0, 3)])
def test_one_finite_value_is_enough(known):
    values = ONES * nan
    values[known] = 2.0
    assert torch.isfinite(depth(values)).sum() == 1


def test_a_frame_and_its_camera_agree_in_size():
    with pytest.raises(CameraError, match='but its camera is 4x2'):
        Frame(torch.zeros((3, 4, 3), dtype=torch.uint8), CAM)


def test_unknown_preset_lists_them_and_proposes_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'fastdepth_nyu'") as said:
        models.get('fastdepth_nyc')
    assert 'depth_anything_v3_metric_large' in str(said.value)


def test_the_core_imports_no_ros():
    code = """
import sys, pkgutil, importlib, depth_ros
for m in pkgutil.walk_packages(depth_ros.__path__, 'depth_ros.'):
    if not m.name.startswith(('depth_ros.ros', 'depth_ros.sim.camera_node')):
        importlib.import_module(m.name)
bad = [n for n in sys.modules if n.split('.')[0] in
       ('rclpy', 'sensor_msgs', 'std_msgs', 'builtin_interfaces', 'diagnostic_msgs')]
assert 'depth_ros.pipeline.depth_pipeline' in sys.modules and not bad, bad
"""
    subprocess.run([sys.executable, '-c', code], check=True)


class Choosy:
    """Refuses narrow pictures; counts what it is asked for."""

    kind = Kind.METRIC

    def __init__(self):
        self.asked = 0

    def predict(self, frame):
        self.asked += 1
        if frame.camera.width < 10:
            raise CameraError('too narrow')
        return Prediction(torch.ones(frame.camera.size), self.kind)


def run(pipeline, frames):
    return pipeline.many(frames, pipeline.snapshot)


def test_a_frame_that_is_refused_costs_the_others_nothing():
    cameras = [Camera(w, 8, 10.0, 10.0, w / 2, 4.0) for w in (16, 8, 20)]
    frames = [Frame(torch.zeros((*c.size, 3), dtype=torch.uint8), c) for c in cameras]
    model = Choosy()
    wide, narrow, wider = run(Pipeline(model, Settings()), frames)
    assert wide.z.shape == (8, 16) and wider.z.shape == (8, 20) and model.asked == 3
    assert isinstance(narrow, CameraError)


class Interrupted(Fixed):
    """A parameter is set while it predicts."""

    def predict(self, frame):
        self.interrupt()
        return self.prediction


@pytest.mark.parametrize(
    ('before', 'after', 'metres'),
    [
        ({'scaling.scale': 2.0}, {'scaling.scale': 5.0}, 2.0),
        ({'range.max': 0.5}, {'range.max': 0.0}, inf),
        ({'range.max': 0.0}, {'range.max': 0.5}, 1.0),
    ],
)
def test_a_change_while_a_frame_is_inferred_counts_from_the_next_frame_on(before, after, metres):
    model = Interrupted(ONES)
    pipeline = Pipeline(model, with_values(Settings(), before))
    model.interrupt = lambda: pipeline.update(with_values(Settings(), after))
    assert (pipeline(FRAME).z == metres).all()
    assert (pipeline(FRAME).z == depth(ONES, parameters=after)).all()
