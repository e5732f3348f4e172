# SPDX-License-Identifier: Apache-2.0
"""A network of one's own: what it is shown, where its depth goes, and what is refused."""

import subprocess
import sys

import bad_input
import pytest
import torch

onnx = pytest.importorskip(
    'onnx', reason='the package onnx, which writes the test networks, is missing'
)
pytest.importorskip('onnxruntime', reason='onnxruntime is not installed: pip install .[onnx]')

from onnx import TensorProto, helper  # noqa: E402

from depth_ros import models  # noqa: E402
from depth_ros.core.camera import Camera  # noqa: E402
from depth_ros.core.errors import ConfigError, DepthRosError, InferenceError, WeightsError  # noqa: E402
from depth_ros.core.types import Frame, Kind  # noqa: E402
from depth_ros.models import ModelOptions  # noqa: E402
from depth_ros.parameters.settings import Onnx  # noqa: E402


def network(path, shape=(1, 3, 48, 64), inputs=1, pool=1, takes_type='FLOAT', others=()):
    """A file whose network answers with the red channel, averaged over `pool` pixels a side.

    Its output is of float32, its further outputs are of the types `others`.
    """
    kind = getattr(TensorProto, takes_type)
    takes = [helper.make_tensor_value_info(f'x{k}', kind, shape) for k in range(inputs)]
    gives = [helper.make_tensor_value_info('depth', TensorProto.FLOAT, None)]
    gives += [
        helper.make_tensor_value_info(f'other_{n}', getattr(TensorProto, n), None) for n in others
    ]
    bounds = [
        helper.make_tensor(n, TensorProto.INT64, [1], [v])
        for n, v in (('a', 0), ('b', 1), ('axis', 1))
    ]
    nodes = [
        helper.make_node('Cast', ['x0'], ['x'], to=TensorProto.FLOAT),
        helper.make_node('Slice', ['x', 'a', 'b', 'axis'], ['red']),
        helper.make_node(
            'AveragePool', ['red'], ['depth'], kernel_shape=[pool] * 2, strides=[pool] * 2
        ),
        *(
            helper.make_node('Cast', ['x'], [f'other_{n}'], to=getattr(TensorProto, n))
            for n in others
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


@pytest.mark.parametrize('kind', ['FLOAT16', 'DOUBLE', 'UINT8'])
def test_an_input_may_be_of_other_floats_or_of_pixels(tmp_path, kind):
    flat = Frame(torch.full((120, 200, 3), 51, dtype=torch.uint8), CAM)
    model = load(network(tmp_path / 'n.onnx', takes_type=kind))
    expected = 51.0 if kind == 'UINT8' else 0.2
    values = model.predict(flat).values
    torch.testing.assert_close(values, torch.full((120, 200), expected), rtol=1e-3, atol=0)


@pytest.mark.parametrize('kind', ['INT64', 'BFLOAT16', 'BOOL'])
def test_inputs_of_other_types_are_refused(tmp_path, kind):
    with pytest.raises(WeightsError, match=r'takes x0 tensor.*takes tensor\(float\).*export it'):
        load(network(tmp_path / 'n.onnx', takes_type=kind))


def test_pixels_are_not_normalised(tmp_path):
    path = network(tmp_path / 'n.onnx', takes_type='UINT8')
    with pytest.raises(ConfigError, match=r'onnx\.mean is .* uint8.*leave both at their defaults'):
        load(path, mean=[0.5, 0.5, 0.5])


@pytest.mark.parametrize('batch', [1, 'n'])
def test_a_batch_of_one_is_taken(tmp_path, batch):
    path = network(tmp_path / 'n.onnx', shape=(batch, 3, 48, 64))
    assert load(path).predict(frame(CAM)).values.shape == (120, 200)


def test_a_larger_batch_is_refused(tmp_path):
    with pytest.raises(WeightsError, match=r'a batch of 2 images; export it again with a batch'):
        load(network(tmp_path / 'n.onnx', shape=(2, 3, 48, 64)))


def test_of_several_outputs_one_is_chosen_by_name(tmp_path, caplog):
    caplog.set_level('INFO', logger='depth_ros')
    path = network(tmp_path / 'n.onnx', others=['FLOAT', 'INT64'])
    with pytest.raises(ConfigError, match=r'has 3 outputs: depth .*other_INT64.*set onnx\.output'):
        load(path)
    with pytest.raises(ConfigError, match=r"onnx\.output is 'deep', which .*one of: depth"):
        load(path, output='deep')
    with pytest.raises(WeightsError, match=r'output other_INT64 is tensor\(int64\), and depth'):
        load(path, output='other_INT64')
    values = load(path, output='depth').predict(frame(CAM)).values
    assert values.shape == (120, 200)
    assert "depth is the output 'depth' of 'depth', 'other_FLOAT', 'other_INT64'" in caplog.text
    with pytest.raises(InferenceError, match=r'is \(1, 3, 48, 64\).*set onnx\.output to another'):
        load(path, output='other_FLOAT').predict(frame(CAM))


def test_what_the_runtime_refuses_is_reported_with_a_remedy(tmp_path):
    path = tmp_path / 'n.onnx'
    takes = helper.make_tensor_value_info('x', TensorProto.FLOAT, (1, 3, 'h', 'w'))
    gives = helper.make_tensor_value_info('depth', TensorProto.FLOAT, None)
    fixed = helper.make_tensor('fixed', TensorProto.FLOAT, [1, 3, 32, 32], [0.0] * 3072)
    node = helper.make_node('Add', ['x', 'fixed'], ['depth'])
    graph = helper.make_graph([node], 'fixed size', [takes], [gives], [fixed])
    opset = [helper.make_opsetid('', 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    with pytest.raises(InferenceError, match=r'fails with an image of 8x8 .*set onnx\.input_size'):
        load(path, input_size=[8, 8]).predict(frame(CAM))


@pytest.mark.parametrize('row', bad_input.ONNX_FILES, ids=lambda row: row.given)
def test_what_the_page_on_bad_input_says_of_onnx_files(tmp_path, caplog, row):
    caplog.set_level('INFO', logger='depth_ros')
    path = tmp_path / 'n.onnx'
    if 'content' in row.values:
        path.write_bytes(row.values['content'])
    else:
        network(path, **row.values['network'])

    def predict():
        return load(path, **row.values.get('described', {})).predict(frame(CAM))

    if row.does == bad_input.REFUSED:
        with pytest.raises(DepthRosError) as error:
            predict()
        assert row.message in str(error.value)
        return
    assert torch.isfinite(predict().values).all() and row.message in caplog.text


def test_the_files_of_a_network_in_use_can_be_replaced(tmp_path):
    path = tmp_path / 'n.onnx'
    script = """
import sys
from pathlib import Path
import torch
from depth_ros import models
from depth_ros.core.camera import Camera
from depth_ros.core.types import Frame
from depth_ros.models import ModelOptions
folder = Path(sys.argv[1])
model = models.load('onnx', ModelOptions(weights=folder / 'n.onnx'))
for file in folder.iterdir():
    file.write_bytes(b'')
frame = Frame(torch.full((256, 256, 3), 51, dtype=torch.uint8), Camera(256, 256, 99, 99, 9, 9))
torch.testing.assert_close(model.predict(frame).values, torch.full((256, 256), 1.2))
"""
    takes = helper.make_tensor_value_info('x', TensorProto.FLOAT, (1, 3, 256, 256))
    gives = helper.make_tensor_value_info('depth', TensorProto.FLOAT, None)
    ones = onnx.numpy_helper.from_array(torch.ones(1, 1, 256, 256).numpy(), 'ones')
    start, stop, axis = (
        helper.make_tensor(n, TensorProto.INT64, [1], [v])
        for n, v in (('a', 0), ('b', 1), ('axis', 1))
    )
    nodes = [
        helper.make_node('Slice', ['x', 'a', 'b', 'axis'], ['red']),
        helper.make_node('Add', ['red', 'ones'], ['depth']),
    ]
    graph = helper.make_graph(nodes, 'n', [takes], [gives], [ones, start, stop, axis])
    opset = [helper.make_opsetid('', 17)]
    onnx.save(
        helper.make_model(graph, opset_imports=opset, ir_version=8),
        str(path),
        save_as_external_data=True,
        location='n.data',
        size_threshold=1024,
        convert_attribute=False,
    )
    raw = onnx.load(path, load_external_data=False).graph.initializer[0]
    assert raw.data_location == TensorProto.EXTERNAL
    process = subprocess.run(
        [sys.executable, '-c', script, tmp_path], capture_output=True, text=True
    )
    assert process.returncode == 0, process.stderr


def test_a_file_that_is_no_network_is_refused(tmp_path):
    path = tmp_path / 'n.onnx'
    path.write_bytes(b'not a network')
    with pytest.raises(WeightsError, match='not an ONNX network'):
        load(path)
