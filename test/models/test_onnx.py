# SPDX-License-Identifier: Apache-2.0
"""A network of one's own: what it is shown, where its depth goes, and what is refused."""

import pytest
import torch

onnx = pytest.importorskip(
    'onnx', reason='the package onnx, which writes the test networks, is missing'
)
pytest.importorskip('onnxruntime', reason='onnxruntime is not installed: pip install .[onnx]')

from onnx import TensorProto, helper  # noqa: E402

from depth_ros import models  # noqa: E402
from depth_ros.core.camera import Camera  # noqa: E402
from depth_ros.core.errors import ConfigError, WeightsError  # noqa: E402
from depth_ros.core.types import Frame, Kind  # noqa: E402
from depth_ros.models import ModelOptions  # noqa: E402
from depth_ros.parameters.settings import Onnx  # noqa: E402


def network(path, shape=(1, 3, 48, 64), inputs=1, pool=1):
    """A file whose network answers with the red channel, averaged over `pool` pixels a side."""
    takes = [
        helper.make_tensor_value_info(f'x{k}', TensorProto.FLOAT, shape) for k in range(inputs)
    ]
    gives = [helper.make_tensor_value_info('depth', TensorProto.FLOAT, None)]
    bounds = [
        helper.make_tensor(n, TensorProto.INT64, [1], [v])
        for n, v in (('a', 0), ('b', 1), ('axis', 1))
    ]
    nodes = [
        helper.make_node('Slice', ['x0', 'a', 'b', 'axis'], ['red']),
        helper.make_node(
            'AveragePool', ['red'], ['depth'], kernel_shape=[pool] * 2, strides=[pool] * 2
        ),
    ]
    graph = helper.make_graph(nodes, 'red', takes, gives, bounds)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 17)], ir_version=8)
    onnx.save(model, path)
    return path


def load(path, **described):
    return models.load('onnx', ModelOptions(weights=path, onnx=Onnx(**described)))


def frame(camera):
    """Red is a smooth function of the ray: what it is does not depend on the camera."""
    x = (torch.arange(camera.width) - camera.cx) / camera.fx
    y = (torch.arange(camera.height) - camera.cy) / camera.fy
    red = 128 + 60 * torch.sin(3 * x)[None, :] + 40 * torch.cos(4 * y)[:, None]
    picture = torch.zeros((camera.height, camera.width, 3), dtype=torch.uint8)
    picture[..., 0] = red.round().to(torch.uint8)
    return Frame(picture, camera)


CAM = Camera(200, 120, 160.0, 150.0, 103.0, 57.0)


@pytest.mark.parametrize('pool', [1, 2])
@pytest.mark.parametrize('camera', [CAM, Camera(120, 200, 90.0, 90.0, 60.0, 110.0)])
def test_the_whole_picture_is_shown_with_its_aspect_and_depth_lands_on_its_pixels(
    tmp_path, camera, pool
):
    asked = frame(camera)
    prediction = load(network(tmp_path / 'n.onnx', pool=pool)).predict(asked)
    assert torch.isfinite(prediction.values).all()
    inner = (slice(12, -12), slice(12, -12))
    error = (prediction.values - asked.rgb[..., 0] / 255)[inner].abs()
    assert error.max() < 0.05


def test_a_training_camera_sees_its_part_and_the_rest_is_nan(tmp_path):
    trained = Camera(64, 48, 90.0, 85.0, 30.2, 25.1)
    asked = frame(CAM)
    values = (
        load(network(tmp_path / 'n.onnx'), training_camera=[90.0, 85.0, 30.2, 25.1])
        .predict(asked)
        .values
    )
    valid = torch.isfinite(values)
    u = (torch.arange(200).double() - CAM.cx) / CAM.fx * trained.fx + trained.cx
    v = (torch.arange(120).double() - CAM.cy) / CAM.fy * trained.fy + trained.cy
    inside = ((v > -0.5) & (v < 47.5))[:, None] & ((u > -0.5) & (u < 63.5))[None]
    assert (valid == inside).all() and 0 < valid.sum() < valid.numel()
    assert (values - asked.rgb[..., 0] / 255)[valid].abs().max() < 0.05


def test_normalisation_is_applied(tmp_path):
    flat = Frame(torch.full((120, 200, 3), 51, dtype=torch.uint8), CAM)  # 0.2
    model = load(network(tmp_path / 'n.onnx'), mean=[0.1, 0.9, 0.9], std=[0.5, 1.0, 1.0])
    torch.testing.assert_close(model.predict(flat).values, torch.full((120, 200), 0.2))


def test_a_canonical_focal_length_is_brought_to_the_frame(tmp_path):
    model = load(network(tmp_path / 'n.onnx'), kind='canonical', canonical_focal=70.0)
    prediction = model.predict(frame(CAM))
    assert prediction.kind is Kind.CANONICAL
    # 200x120 fits into 64x48 at 0.32
    assert prediction.focal_px == pytest.approx((70 / 0.32, 70 / 0.32))


def test_any_size_networks_take_the_size_described(tmp_path):
    path = network(tmp_path / 'n.onnx', shape=(1, 3, 'h', 'w'))
    assert load(path, input_size=[80, 56]).predict(frame(CAM)).values.shape == (120, 200)
    with pytest.raises(ConfigError, match='takes any size; set onnx'):
        load(path)


@pytest.mark.parametrize(
    ('described', 'said'),
    [
        ({'input_size': [64, 64]}, 'is made for 64x48'),
        ({'input_size': [64]}, 'takes 2 numbers'),
        ({'std': [1.0, 0.0, 1.0]}, 'it divides, so no value can be 0'),
        ({'kind': 'canonical'}, 'set onnx.canonical_focal'),
        ({'canonical_focal': 70.0}, 'set the kind to canonical'),
        ({'training_camera': [1.0, 2.0]}, 'takes 4 numbers'),
    ],
)
def test_descriptions_that_cannot_be_right_are_refused(tmp_path, described, said):
    with pytest.raises(ConfigError, match=said):
        load(network(tmp_path / 'n.onnx'), **described)


@pytest.mark.parametrize(('shape', 'inputs'), [((1, 3, 48, 64), 2), ((1, 48, 64, 3), 1)])
def test_networks_with_other_inputs_are_refused(tmp_path, shape, inputs):
    with pytest.raises(WeightsError, match='takes one input'):
        load(network(tmp_path / 'n.onnx', shape, inputs))


def test_a_file_that_is_no_network_is_refused(tmp_path):
    path = tmp_path / 'n.onnx'
    path.write_bytes(b'not a network')
    with pytest.raises(WeightsError, match='not an ONNX network'):
        load(path)
