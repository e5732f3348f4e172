# SPDX-License-Identifier: Apache-2.0
"""Every preset through the node: what it publishes is what its network says, in metres."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from graph import FRAME, NodeProcess, camera, depth_of, image, noise, points_of
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from stand_ins import write
from test_errors import refused

from depth_ros import models
from depth_ros.core.types import Frame, Kind
from depth_ros.models import PRESETS, ModelOptions
from depth_ros.parameters import layers
from depth_ros.parameters.layers import with_values
from depth_ros.parameters.settings import Settings
from depth_ros.pipeline.depth_pipeline import Pipeline
from depth_ros.pipeline.export import export

CAM = camera(64, 48)
#: One of each network with each kind of head, but for those whose files take GB.
QUICK = (
    'depth_anything_v1_small',
    'depth_anything_v2_small',
    'depth_anything_v2_metric_indoor_small',
    'depth_anything_v3_small',
    'monodepth2_mono_640x192',
    'monodepth2_stereo_640x192',
    'monodepth2_mono_resnet50_640x192',
    'glpdepth_nyu',
    'moge2_vits_normal',
    'fastdepth_nyu',
    'transformers',
    'nano',
    'flat_wall',
    'flat_ground',
)
#: Small inputs [px], where a family allows them.
SIDES = {'depth_anything': 42, 'glpdepth': 64, 'moge': 84, 'dust3r': 64, 'nano': 64}
METRES = {  # for networks without metres of their own, what a user has measured
    Kind.SCALE_INVARIANT: {'scaling.method': 'constant', 'scaling.scale': 0.5},
    Kind.AFFINE_INVERSE: {
        'scaling.method': 'constant',
        'scaling.scale': 0.5,
        'scaling.shift': 0.1,
    },
}


@pytest.fixture
def tmp_path(tmp_path):
    """As pytest's, but gone after the test: a checkpoint takes up to 2 GB."""
    yield tmp_path
    shutil.rmtree(tmp_path)


@pytest.fixture
def values_of(tmp_path):
    """`values_of(name)`: the parameters a user would set, with stand-in weights."""

    def values(name):
        preset = PRESETS[name]
        given = {'points.stride': 1, **layers.preset_values(name), 'model': name}
        if preset.family in SIDES:
            given['input_size'] = SIDES[preset.family]
        if preset.family == 'onnx':
            pytest.importorskip('onnxruntime', reason='pip install .[onnx]')
        if preset.family == 'transformers':
            pytest.importorskip('transformers', reason='pip install .[transformers]')
        if preset.source.needed and not preset.source.packaged:
            given['weights'] = str(write(preset, tmp_path))
        return given

    return values


def named(values):
    return {name.replace('.', '__'): value for name, value in values.items()}


def expected(values, rgb):
    """Depth of `rgb` [m], from the same network in this process."""
    settings = with_values(Settings(), values)
    preset = PRESETS[settings.model]
    path = Path(settings.weights) if settings.weights else preset.source.packaged
    options = ModelOptions(weights=path, input_size=settings.input_size, onnx=settings.onnx)
    pipeline = Pipeline(models.load(settings.model, options), settings)
    return pipeline(Frame(torch.from_numpy(rgb), CAM)).z.numpy()


def check(depth, described, cloud):
    """What the contract asks of every preset; the depth."""
    z = depth_of(depth)  # 32FC1
    assert z.shape == CAM.size
    assert depth.header.frame_id == FRAME
    assert described.header == depth.header and cloud.header == depth.header
    assert (described.width, described.height) == (CAM.width, CAM.height)
    np.testing.assert_allclose(
        np.array(described.k)[[0, 2, 4, 5]], [CAM.fx, CAM.cx, CAM.fy, CAM.cy]
    )
    there = np.isfinite(z)
    assert there.any() and (z[there] > 0).all(), 'unknown is NaN, +Inf or -Inf, never 0'
    points = points_of(cloud)[..., :3]
    assert cloud.is_dense and points.shape == (1, there.sum(), 3)
    np.testing.assert_allclose(points[0, :, 2], z[there], rtol=1e-6)
    assert (np.linalg.norm(points, axis=-1) > 0.05).all(), 'the origin is an obstacle'
    return z


@pytest.mark.parametrize(
    'name',
    [
        pytest.param(name, marks=() if name in QUICK else pytest.mark.slow)
        for name in PRESETS
        if name not in ('onnx', 'depth_pro')  # a network of your own; and the test below
    ],
)
def test_a_preset_publishes_the_metres_of_its_network(
    process, node, source, collect, graph, values_of, name
):
    values = values_of(name)
    kind = PRESETS[name].kind
    if kind in METRES:
        said = refused(process, **named(values))
        assert f'the network is {kind.value}: its output is not metric' in said
        assert "scaling.method to 'constant' and scaling.scale" in said
        outputs = ('/depth/image', '/points')
        graph.wait(lambda: not any(map(graph.node.count_publishers, outputs)), 'no outputs')
        values |= METRES[kind]
    node(**named(values))
    outputs = [collect(Image, 'depth/image'), collect(CameraInfo, 'depth/camera_info')]
    outputs += [collect(PointCloud2, 'points')]
    rgb = noise(CAM)
    z = check(*source.answer(outputs, CAM, rgb, tries=60))
    np.testing.assert_allclose(z, expected(values, rgb), rtol=1e-3)


def test_moge2_publishes_the_camera_that_it_estimates_and_normals(
    node, source, collect, graph, values_of
):
    values = values_of('moge2_vits_normal')
    settings = with_values(Settings(), values)
    options = ModelOptions(weights=Path(settings.weights), input_size=settings.input_size)
    model = models.load(settings.model, options)
    node(**named(values), intrinsics='estimated')
    outputs = [collect(Image, 'depth/image'), collect(CameraInfo, 'depth/camera_info')]
    outputs += [collect(Image, 'depth/normals')]
    rgb = noise(CAM)
    graph.wait(source.images.get_subscription_count, 'the node to subscribe')
    source.stamp_ns += 10**9
    source.images.publish(image(rgb, source.stamp_ns))
    depth, described, normals = (
        graph.wait(lambda got=got: got.stamped(source.stamp_ns), 'an output') for got in outputs
    )
    pixels = torch.from_numpy(rgb)
    estimated = model.estimate_camera(pixels)
    np.testing.assert_allclose(
        np.array(described.k)[[0, 2, 4, 5]],
        [estimated.fx, estimated.cx, estimated.fy, estimated.cy],
        rtol=1e-4,
    )
    expected = model.predict(Frame(pixels, estimated))
    np.testing.assert_allclose(depth_of(depth), expected.values.numpy(), rtol=1e-3)
    assert normals.header == depth.header and normals.encoding == '32FC3'
    found = np.frombuffer(normals.data, np.float32).reshape(*CAM.size, 3)
    np.testing.assert_allclose(found, expected.normals.numpy(), atol=1e-3)


@pytest.mark.slow
def test_an_exported_file_publishes_the_metres_of_its_preset(graph, source, collect, tmp_path):
    """The node is started with the params file that the export wrote."""
    pytest.importorskip('onnxruntime', reason='pip install .[onnx]')
    pytest.importorskip('onnxscript', reason='pip install onnxscript')
    values = {'model': 'nano', 'input_size': 64, **layers.preset_values('nano')}
    export(with_values(Settings(), values), (64, 48), tmp_path / 'n.onnx')
    words = ('--params-file', str(tmp_path / 'n.yaml'))
    process = NodeProcess(graph, *words, name='exported', points__stride=1)
    try:
        process.said('listening to')
        outputs = [collect(Image, 'depth/image'), collect(CameraInfo, 'depth/camera_info')]
        outputs += [collect(PointCloud2, 'points')]
        rgb = noise(CAM)
        z = check(*source.answer(outputs, CAM, rgb, tries=60))
        np.testing.assert_allclose(z, expected(values, rgb), rtol=1e-4)
    finally:
        assert process.stop() == 0, process.log


@pytest.mark.slow
def test_depth_pro_publishes_metres_of_this_focal_length(graph, source, collect, values_of):
    """In a process of its own: a picture takes minutes on a CPU, a service call must not."""
    process = NodeProcess(graph, name='depth_pro', **named(values_of('depth_pro')))
    try:
        process.said('listening to', timeout=1200)
        outputs = [collect(Image, 'depth/image'), collect(CameraInfo, 'depth/camera_info')]
        outputs += [collect(PointCloud2, 'points')]
        z = check(*source.answer(outputs, CAM, tries=600))
        assert np.ptp(z[np.isfinite(z)]) > 0
    finally:
        # it finishes the frame at hand
        assert process.stop(patience_s=1200) == 0, process.log
