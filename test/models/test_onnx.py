# SPDX-License-Identifier: Apache-2.0
"""A network of one's own: what it is shown, where its depth goes, and what is refused."""

import subprocess
import sys

import bad_input
import cv2
import numpy as np
import pytest
import torch
from PIL import Image

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
from depth_ros.parameters.settings import RESIZES, Onnx  # noqa: E402


def network(path, shape=(1, 3, 48, 64), inputs=1, pool=1, takes_type='FLOAT', others=()):
    """A file whose network answers with the first channel, averaged over `pool` pixels a side.

    Its output is of float32, its further outputs are of the types `others`.
    """
    channels_last = shape[3] == 3
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
    order = [0, 3, 1, 2] if channels_last else [0, 1, 2, 3]
    nodes = [
        helper.make_node('Transpose', ['x0'], ['first'], perm=order),
        helper.make_node('Cast', ['first'], ['x'], to=TensorProto.FLOAT),
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
        ({'image_size': [640]}, 'takes 2 numbers'),
        ({'image_size': [640, 0]}, 'both must be positive, or both 0'),
        ({'kind': 'affine_inverse', 'inverse': True}, 'leave onnx.inverse at false'),
        ({'longer_side': 504}, "onnx.resize 'area' resizes once"),
        (
            {'image_size': [640, 480], 'training_camera': [50.0, 50.0, 32.0, 24.0]},
            'leave one of them at its default',
        ),
    ],
)
def test_descriptions_that_cannot_be_right_are_refused(tmp_path, described, said):
    with pytest.raises(ConfigError, match=said):
        load(network(tmp_path / 'n.onnx'), **described)


@pytest.mark.parametrize('shape', [(1, 4, 48, 64), (1, 48, 64, 1), (2, 48, 64, 3)])
def test_networks_with_other_inputs_are_refused(tmp_path, shape):
    with pytest.raises(WeightsError, match=r'takes one input|a batch of 2 images'):
        load(network(tmp_path / 'n.onnx', shape))


@pytest.mark.parametrize('shape', [(1, 48, 64, 3), ('n', 'h', 'w', 3)])
def test_channels_may_be_last(tmp_path, shape):
    asked = frame(CAM)
    expected = load(network(tmp_path / 'first.onnx')).predict(asked).values
    model = load(network(tmp_path / 'last.onnx', shape), input_size=[64, 48])
    torch.testing.assert_close(model.predict(asked).values, expected)


def test_channels_may_be_as_opencv_reads_them(tmp_path):
    picture = torch.zeros((120, 200, 3), dtype=torch.uint8)
    picture[..., 2] = 51
    model = load(network(tmp_path / 'n.onnx'), channel_order='bgr', mean=[0.1, 0.0, 0.0])
    values = model.predict(Frame(picture, CAM)).values
    torch.testing.assert_close(values, torch.full((120, 200), 0.1))


def several(path, shape=(1, 3, 3), kind='FLOAT'):
    """A file with image and intrinsics, and as outputs depth, the intrinsics, sky, confidence.

    Depth is 2 + red, sky is where red is above 0.5, the confidence is twice red.
    """
    takes = [
        helper.make_tensor_value_info('picture', TensorProto.FLOAT, (1, 3, 48, 64)),
        helper.make_tensor_value_info('K', getattr(TensorProto, kind), shape),
    ]
    gives = [
        helper.make_tensor_value_info('depth', TensorProto.FLOAT, None),
        helper.make_tensor_value_info('camera', getattr(TensorProto, kind), None),
        helper.make_tensor_value_info('sky', TensorProto.BOOL, None),
        helper.make_tensor_value_info('sure', TensorProto.FLOAT, None),
    ]
    constants = [
        helper.make_tensor(n, TensorProto.INT64, [1], [v])
        for n, v in (('a', 0), ('b', 1), ('axis', 1))
    ]
    constants += [
        helper.make_tensor(n, TensorProto.FLOAT, [], [v]) for n, v in (('half', 0.5), ('two', 2.0))
    ]
    nodes = [
        helper.make_node('Slice', ['picture', 'a', 'b', 'axis'], ['red']),
        helper.make_node('Add', ['red', 'two'], ['depth']),
        helper.make_node('Identity', ['K'], ['camera']),
        helper.make_node('Greater', ['red', 'half'], ['sky']),
        helper.make_node('Mul', ['red', 'two'], ['sure']),
    ]
    graph = helper.make_graph(nodes, 'several', takes, gives, constants)
    opset = [helper.make_opsetid('', 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    return path


@pytest.mark.parametrize(
    ('shape', 'kind'), [((1, 3, 3), 'FLOAT'), ((3, 3), 'DOUBLE'), (('n', 4), 'FLOAT')]
)
def test_intrinsics_are_those_of_the_resized_image(tmp_path, shape, kind):
    model = load(
        several(tmp_path / 'n.onnx', shape, kind),
        input='picture', intrinsics='K', output='depth', sky='sky', confidence='sure',
    )  # fmt: skip
    inner = model.resizing.camera(CAM)
    (camera,) = model.session.run(
        ['camera'],
        {
            'picture': torch.zeros(1, 3, 48, 64).numpy(),
            'K': model._intrinsics(inner),
        },
    )
    # 200x120 fits into 64x48 at 0.32, with 4.8 rows above and below
    K = [51.2, 48.0, (103 + 0.5) * 0.32 - 0.5, (57 + 0.5) * 0.32 - 0.5 + 4.8]
    if shape[-1] == 3:
        K = [K[0], 0, K[2], 0, K[1], K[3], 0, 0, 1]
    assert camera.ravel() == pytest.approx(K)
    assert torch.isfinite(model.predict(frame(CAM)).values).any()


def test_sky_and_confidence_are_outputs_by_name(tmp_path):
    picture = torch.zeros((120, 200, 3), dtype=torch.uint8)
    picture[:60, :, 0] = 204
    names = {'intrinsics': 'K', 'output': 'depth', 'sky': 'sky', 'confidence': 'sure'}
    prediction = load(several(tmp_path / 'n.onnx'), **names).predict(Frame(picture, CAM))
    rows = torch.arange(120)[:, None].expand(-1, 200)
    clear = (rows - 59.5).abs() > 3  # from the border between them
    assert (prediction.sky == (rows < 60))[clear].all()
    torch.testing.assert_close(
        prediction.values[clear & (rows > 60)], torch.tensor(2.0).expand(57 * 200)
    )
    # depth beside the sky is not mixed with that of the sky
    assert prediction.values[~prediction.sky].max() < 2.2
    confidence = torch.where(rows < 60, 1.6, 0.0)
    torch.testing.assert_close(prediction.confidence[clear], confidence[clear])


@pytest.mark.parametrize(
    ('described', 'said'),
    [
        ({}, r'set onnx\.input to the name of the image, and onnx\.intrinsics'),
        ({'input': 'image'}, r"onnx\.input is 'image', which .* one of: picture .* K tensor"),
        ({'input': 'K', 'intrinsics': 'K'}, r"onnx\.input and onnx\.intrinsics are both 'K'"),
        ({'input': 'K', 'intrinsics': 'picture'}, r'K tensor.*; a depth network here takes one'),
        ({'intrinsics': 'K'}, 'has 4 outputs: .*; set onnx.output'),
        ({'intrinsics': 'K', 'output': 'depth', 'sky': 'sky!'}, r"onnx\.sky is 'sky!', which"),
        ({'intrinsics': 'K', 'output': 'sky', 'sky': 'sky'}, 'and so is onnx.sky'),
        (
            {'intrinsics': 'K', 'output': 'depth', 'confidence': 'sky'},
            r'the output sky is tensor\(bool\), and onnx\.confidence takes',
        ),
    ],
)
def test_names_that_cannot_be_right_are_refused(tmp_path, described, said):
    with pytest.raises(DepthRosError, match=said):
        load(several(tmp_path / 'n.onnx'), **described)


@pytest.mark.parametrize(('shape', 'kind'), [((1, 5), 'FLOAT'), ((3, 3), 'INT64')])
def test_an_input_that_takes_no_intrinsics_is_refused(tmp_path, shape, kind):
    with pytest.raises(
        WeightsError, match=r'K tensor.* takes no intrinsics.*set onnx\.intrinsics'
    ):
        load(several(tmp_path / 'n.onnx', shape, kind), intrinsics='K', output='depth')


def test_inverse_depth_is_resized_before_it_is_divided(tmp_path):
    asked = frame(CAM)
    plain = load(network(tmp_path / 'n.onnx'), std=[2.0, 1.0, 1.0]).predict(asked).values
    inverse = load(network(tmp_path / 'n.onnx'), std=[2.0, 1.0, 1.0], inverse=True)
    torch.testing.assert_close(inverse.predict(asked).values, 1 / plain)
    black = Frame(torch.zeros((120, 200, 3), dtype=torch.uint8), CAM)
    assert (inverse.predict(black).values == torch.inf).all(), 'as far as there is'


def noise(width, height):
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randint(0, 256, (height, width, 3), dtype=torch.uint8, generator=generator)
    return Frame(pixels, Camera(width, height, 1.1 * width, 1.2 * width, 0.4 * width, 30.0))


LIBRARIES = {
    'opencv_area': lambda x: cv2.resize(x, (64, 48), interpolation=cv2.INTER_AREA),
    'opencv_linear': lambda x: cv2.resize(x, (64, 48), interpolation=cv2.INTER_LINEAR),
    'opencv_cubic': lambda x: cv2.resize(x, (64, 48), interpolation=cv2.INTER_CUBIC),
    'opencv_area_or_cubic': lambda x: cv2.resize(x, (64, 48), interpolation=cv2.INTER_AREA),
    'pillow_lanczos': lambda x: np.array(Image.fromarray(x).resize((64, 48), Image.LANCZOS)),
    'linear': lambda x: cv2.resize(x.astype(np.float32), (64, 48)),
    'cubic': lambda x: cv2.resize(x.astype(np.float32), (64, 48), interpolation=cv2.INTER_CUBIC),
}


@pytest.mark.parametrize('resize', LIBRARIES)
def test_images_are_resized_as_the_library_does(tmp_path, resize):
    """Also one of another shape, which is stretched if it is said so."""
    asked = noise(200, 120)
    described = {'resize': resize, 'image_size': [200, 120]}
    model = load(network(tmp_path / 'n.onnx'), **described)
    found = 255 * model._image(asked, model.resizing.camera(asked.camera))[0].transpose(1, 2, 0)
    expected = LIBRARIES[resize](asked.rgb.numpy())
    np.testing.assert_allclose(found, expected, atol=1e-3)
    assert model.predict(asked).values.isfinite().all()


@pytest.mark.parametrize('resize', RESIZES)
def test_images_of_another_shape_are_padded(tmp_path, resize):
    """With any kernel the whole image is seen, in its place."""
    described = {'resize': resize, 'image_size': [200, 120]}
    asked = frame(Camera(120, 200, 90.0, 90.0, 60.0, 110.0))
    values = load(network(tmp_path / 'n.onnx'), **described).predict(asked).values
    inner = (slice(12, -12), slice(12, -12))
    assert (values - asked.rgb[..., 0] / 255)[inner].abs().max() < 0.1


def test_the_first_of_two_steps_keeps_the_aspect_ratio(tmp_path):
    asked = noise(320, 180)
    described = {'resize': 'opencv_area', 'longer_side': 100, 'image_size': [320, 180]}
    model = load(network(tmp_path / 'n.onnx'), **described)
    found = 255 * model._image(asked, model.resizing.camera(asked.camera))[0].transpose(1, 2, 0)
    first = cv2.resize(asked.rgb.numpy(), (100, 56), interpolation=cv2.INTER_AREA)
    expected = cv2.resize(first, (64, 48), interpolation=cv2.INTER_AREA)
    np.testing.assert_allclose(found, expected, atol=1e-3)


@pytest.mark.parametrize('align', ['none', 'output', 'both'])
def test_corners_are_aligned_as_torch_does(tmp_path, align):
    asked = noise(200, 120)
    described = {'resize': 'linear', 'image_size': [200, 120], 'align_corners': align}
    model = load(network(tmp_path / 'n.onnx'), **described)
    red = asked.rgb[None, None, ..., 0] / 255
    resize = torch.nn.functional.interpolate
    seen = resize(red, (48, 64), mode='bilinear', align_corners=align == 'both')
    expected = resize(seen, (120, 200), mode='bilinear', align_corners=align != 'none')[0, 0]
    torch.testing.assert_close(model.predict(asked).values, expected, rtol=1e-4, atol=1e-5)


def with_metadata(path, **values):
    model = onnx.load(network(path))
    helper.set_model_props(model, {name.replace('__', '.'): v for name, v in values.items()})
    onnx.save(model, path)
    return path


@pytest.mark.parametrize(
    ('text', 'said'),
    [
        ('{', 'the description in its metadata is damaged .*: export it again'),
        ('3', 'the description in its metadata is damaged'),
        ('{"lens": "fisheye"}', r'is described by onnx\.lens, which depth_ros .* does not have'),
    ],
)
def test_a_description_in_a_file_that_cannot_be_read_is_refused(tmp_path, text, said):
    with pytest.raises(WeightsError, match=said):
        load(with_metadata(tmp_path / 'n.onnx', depth_ros__onnx=text))


def test_a_description_that_contradicts_the_file_is_refused(tmp_path, caplog):
    caplog.set_level('INFO', logger='depth_ros')
    about = {'depth_ros__onnx': '{"kind": "scale_invariant"}', 'licence': 'CC-BY-NC-4.0'}
    path = with_metadata(tmp_path / 'n.onnx', **about)
    with pytest.raises(
        ConfigError, match=r"onnx\.kind is 'metric', but .* 'scale_invariant': use"
    ):
        load(path)
    assert load(path, kind='scale_invariant').kind is Kind.SCALE_INVARIANT
    assert 'licence of the weights: CC-BY-NC-4.0' in caplog.text


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
