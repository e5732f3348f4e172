# SPDX-License-Identifier: Apache-2.0
"""What a person who starts the node sees on its topics."""

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from graph import FRAME, NodeProcess, camera, depth_of, image, info, noise, points_of
from sensor_msgs.msg import CameraInfo, Image, PointCloud2

from depth_ros.core.camera import Camera
from depth_ros.core.lens import pinhole
from depth_ros.messages.camera_info import camera_from

CAM = camera()


def red_depth(rgb):
    return rgb[..., 0].astype(np.float32) / 10 + 0.5


def test_depth_has_the_header_of_the_image_bit_for_bit(node, source, collect):
    node()
    outputs = [
        collect(Image, 'depth/image'),
        collect(CameraInfo, 'depth/camera_info'),
        collect(PointCloud2, 'points'),
    ]
    depth, camera_info, points = source.answer(outputs, CAM)
    assert depth.header.frame_id == FRAME
    assert camera_info.header == depth.header and points.header == depth.header


def test_depth_is_metres_of_each_pixel(node, source, collect):
    node()
    rgb = noise(CAM)
    depth = source.answer(collect(Image, 'depth/image'), CAM, rgb)
    assert (depth.width, depth.height) == (CAM.width, CAM.height)
    np.testing.assert_allclose(depth_of(depth), red_depth(rgb), rtol=1e-6)


def test_millimetres_on_request(node, source, collect):
    running = node()
    depth = collect(Image, 'depth/image')
    assert running.set(depth_encoding='16UC1') == []
    rgb = noise(CAM)
    message = source.answer(depth, CAM, rgb)
    assert message.encoding == '16UC1' and message.step == 2 * CAM.width
    mm = np.frombuffer(message.data, np.uint16).reshape(CAM.size)
    np.testing.assert_array_equal(mm, np.round(red_depth(rgb) * 1000))


@pytest.mark.parametrize('stride', [1, 2, 3])
@pytest.mark.parametrize('organized', [True, False])
@pytest.mark.parametrize(
    'cam', [CAM, Camera(320, 240, 200, 210, 150, 118, 'plumb_bob', (-0.28, 0.07, 2e-4, 2e-5, 0))]
)
def test_points_are_the_back_projection_of_depth(node, source, collect, cam, organized, stride):
    node(points__stride=stride, points__organized=organized)
    depths, infos = collect(Image, 'depth/image'), collect(CameraInfo, 'depth/camera_info')
    clouds = collect(PointCloud2, 'points')
    cloud, depth, camera_info = source.answer([clouds, depths, infos], cam)
    z = depth_of(depth)[::stride, ::stride]
    k = camera_info.k
    assert list(camera_info.d) == [0.0] * 5
    v, u = np.mgrid[0 : cam.height : stride, 0 : cam.width : stride]
    expected = np.stack(((u - k[2]) / k[0] * z, (v - k[5]) / k[4] * z, z), -1)
    points = points_of(cloud)
    assert cloud.is_dense is not organized
    if not organized:
        assert cloud.height == 1
        expected = expected[np.isfinite(z)][None]
    np.testing.assert_allclose(points[..., :3], expected, atol=1e-3)


def test_no_zero_depth_no_point_at_the_origin_and_infinity_only_in_the_image(
    node, source, collect
):
    node(model='fake_holes', points__stride=1, points__organized=True)
    depths, clouds = collect(Image, 'depth/image'), collect(PointCloud2, 'points')
    cloud, depth = source.answer([clouds, depths], CAM)
    cloud, z = points_of(cloud), depth_of(depth)
    assert np.isnan(z[:2]).all() and np.isposinf(z[2:4]).all() and np.isfinite(z[4:]).all()
    assert not (z == 0).any()
    assert np.isnan(cloud[:4, :, :3]).all() and np.isfinite(cloud[4:]).all()


def test_range_limits_are_infinities_and_live(node, source, collect):
    running = node()
    depths = collect(Image, 'depth/image')
    assert running.set(range__min=5.0, range__max=10.0) == []
    rgb = noise(CAM)
    z, expected = depth_of(source.answer(depths, CAM, rgb)), red_depth(rgb)
    assert np.isneginf(z[expected < 4.99]).all() and np.isposinf(z[expected > 10.01]).all()
    assert np.isfinite(z[(expected > 5.01) & (expected < 9.99)]).all()


def test_colours_of_the_cloud_are_the_pixels(node, source, collect):
    node(points__stride=1, points__organized=True)
    rgb = noise(CAM)
    cloud = source.answer(collect(PointCloud2, 'points'), CAM, rgb)
    assert [f.name for f in cloud.fields] == ['x', 'y', 'z', 'rgb']
    packed = np.frombuffer(cloud.data, np.uint8).reshape(*CAM.size, 16)[..., 12:]
    np.testing.assert_array_equal(packed[..., :3], rgb[..., ::-1])
    assert not packed[..., 3].any()


def test_cloud_without_colour_has_no_rgb_field(node, source, collect):
    node(points__color=False)
    cloud = source.answer(collect(PointCloud2, 'points'), CAM)
    assert [f.name for f in cloud.fields] == ['x', 'y', 'z'] and cloud.point_step == 16


def test_colorized_is_a_picture_of_the_same_size(node, source, collect):
    node(colorized__colormap='bone', colorized__max=26.0)
    picture = source.answer(collect(Image, 'depth/colorized'), CAM, noise(CAM))
    assert (picture.encoding, picture.width, picture.height) == ('rgb8', CAM.width, CAM.height)
    assert len(set(picture.data.tolist())) > 100


def test_confidence_is_published_and_masks(node, source, collect):
    node(model='fake_confident', min_confidence=100.0)
    confidences, depths = collect(Image, 'depth/confidence'), collect(Image, 'depth/image')
    rgb = noise(CAM)
    sure, depth = source.answer([confidences, depths], CAM, rgb)
    z = depth_of(depth)
    np.testing.assert_array_equal(depth_of(sure), rgb[..., 1])
    np.testing.assert_array_equal(np.isnan(z), rgb[..., 1] < 100)


def test_normals_are_published_to_those_who_subscribe(node, source, collect):
    node(model='fake_normal')
    normals, depths = collect(Image, 'depth/normals'), collect(Image, 'depth/image')
    rgb = noise(CAM)
    found, depth = source.answer([normals, depths], CAM, rgb)
    assert found.header == depth.header
    assert (found.encoding, found.width, found.height) == ('32FC3', CAM.width, CAM.height)
    assert found.step == 12 * CAM.width and not found.is_bigendian
    vectors = np.frombuffer(found.data, np.float32).reshape(*CAM.size, 3)
    assert np.isnan(vectors[0]).all()
    np.testing.assert_allclose(vectors[1:, :, 0], rgb[1:, :, 0] / -300.0, rtol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(vectors[1:], axis=-1), 1, rtol=1e-6)


def test_a_network_without_normals_publishes_none(node, source, collect):
    node()
    normals, depths = collect(Image, 'depth/normals'), collect(Image, 'depth/image')
    for _ in range(3):
        source.answer(depths, CAM)
    assert not normals


def test_canonical_depth_follows_the_focal_length(node, source, collect):
    node(model='fake_canonical')
    depths, rgb = collect(Image, 'depth/image'), noise(CAM)
    z = depth_of(source.answer(depths, CAM, rgb))
    np.testing.assert_allclose(z, red_depth(rgb) * CAM.fx / 300, rtol=1e-5)


def test_rectified_topic_uses_p_and_raw_uses_k_and_d(node, source, collect):
    cam = Camera(320, 240, 200, 210, 150, 118, 'plumb_bob', (-0.28, 0.07, 2e-4, 2e-5, 0.0))
    rect = Camera(320, 240, 180, 180, 160, 120)
    infos = collect(CameraInfo, 'depth/camera_info')
    running = node()

    def answer():
        source.ready()
        source.stamp_ns += 10**9
        both = info(cam, source.stamp_ns)
        both.p = info(rect, 0, rectified=True).p
        source.infos.publish(both)
        source.images.publish(image(noise(cam), source.stamp_ns))
        return source.graph.wait(lambda: infos.stamped(source.stamp_ns), 'camera_info')

    assert answer().k[0] == 200
    running = node(rectification='rectified')
    assert answer().k[0] == 180
    assert 'undistorting' in running.log


@pytest.mark.parametrize('zoom', ['keep_valid', 'keep_all'])
def test_the_published_camera_is_that_of_the_zoom(node, source, collect, zoom):
    cam = Camera(320, 240, 200, 210, 150, 118, 'plumb_bob', (-0.28, 0.07, 2e-4, 2e-5, 0.0))
    running = node(undistort__zoom=zoom)
    depths, infos = collect(Image, 'depth/image'), collect(CameraInfo, 'depth/camera_info')
    depth, camera_info = source.answer([depths, infos], cam)
    assert camera_from(camera_info, 320, 240, None) == pinhole(cam, zoom)
    known = np.isfinite(depth_of(depth))
    assert known.all() if zoom == 'keep_valid' else 0.5 < known.mean() < 1.0
    assert f'with undistort.zoom {zoom} to 320x240, fx' in running.log


def test_frame_id_can_be_replaced(node, source, collect):
    running = node()
    assert running.set(frame_id='other_optical_frame') == []
    assert (
        source.answer(collect(Image, 'depth/image'), CAM).header.frame_id == 'other_optical_frame'
    )


def test_the_cloud_is_read_by_ros_own_reader(node, source, collect):
    reader = pytest.importorskip(
        'sensor_msgs_py.point_cloud2', reason='sensor_msgs_py is only in a ROS installation'
    )
    node(model='fake_holes', points__stride=1, points__organized=True)
    cloud = source.answer(collect(PointCloud2, 'points'), CAM)
    theirs = reader.read_points_numpy(cloud, ('x', 'y', 'z'), skip_nans=True)
    ours = points_of(cloud)[..., :3]
    np.testing.assert_array_equal(theirs, ours[np.isfinite(ours[..., 2])])


def test_without_a_model_and_without_weights_nano_runs_with_a_warning(
    graph, tmp_path, monkeypatch, collect
):
    monkeypatch.setenv('HF_HUB_OFFLINE', '1')
    monkeypatch.setenv('HF_HUB_CACHE', str(tmp_path))
    running = NodeProcess(graph, name='no_model', device='cpu')
    try:
        running.said('listening to')
        (warning,) = (line for line in running.lines if 'is used instead' in line)
        assert 'WARN' in warning and 'nano is used instead' in warning
        assert 'depth_anything_v2_metric_indoor_small' in warning
        received = collect(DiagnosticArray, '/diagnostics')

        def status():
            found = [s for m in received for s in m.status if s.name == '/no_model: depth']
            return found and {v.key: v.value for v in found[-1].values}

        values = graph.wait(status, 'diagnostics')
        assert values['model'] == 'nano' and 'not available' in values['chosen_by']
        assert running.get('model') == ['auto']
    finally:
        assert running.stop() == 0, running.log
