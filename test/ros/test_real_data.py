# SPDX-License-Identifier: Apache-2.0
"""Real pictures, real bags and a real network through DDS; metres against measured depth."""

import json
import time

import cv2
import numpy as np
import pytest
from graph import NodeProcess, Source, depth_of, header, nanoseconds, points_of
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2
from test_sensors import cloud

from depth_ros.core.camera import Camera
from depth_ros.pipeline.anchors.points import from_points
from depth_ros.pipeline.two_views.poses import pose_from_quaternion

pytest.importorskip('onnxruntime', reason='onnxruntime is not installed: pip install .[onnx]')


@pytest.fixture(scope='module')
def fastdepth(graph, data):
    weights = data / 'weights' / 'fastdepth' / 'fastdepth_nyu_pruned_224.onnx'
    process = NodeProcess(graph, name='fastdepth', model='fastdepth_nyu', weights=weights)
    process.said('listening to')
    yield process
    assert process.stop() == 0, process.log


def real(folder):
    k = json.loads((folder / 'intrinsics.json').read_text())
    rgb = cv2.cvtColor(cv2.imread(str(next(folder.glob('rgb.*')))), cv2.COLOR_BGR2RGB)
    truth = cv2.imread(str(folder / 'depth.png'), cv2.IMREAD_UNCHANGED) / k['depth_scale']
    return rgb, truth, Camera(k['width'], k['height'], k['fx'], k['fy'], k['cx'], k['cy'])


def errors(z, truth):
    """AbsRel and delta1 over pixels with both, and the share of the truth that has depth."""
    valid = (truth > 0) & np.isfinite(z)
    ratio = z[valid] / truth[valid]
    delta1 = (np.maximum(ratio, 1 / ratio) < 1.25).mean()
    return abs(ratio - 1).mean(), delta1, valid.sum() / (truth > 0).sum()


def test_metres_are_right_for_any_size_and_crop_of_the_picture(fastdepth, source, collect, data):
    rgb, truth, cam = real(data / 'images' / 'sunrgbd_000017')
    depths = collect(Image, 'depth/image')
    z = depth_of(source.answer(depths, cam, rgb))
    whole = errors(z, truth)
    assert whole[0] <= 0.07 and whole[1] >= 0.94 and whole[2] > 0.7
    # the training camera sees 58.7 degrees of this camera's 69.2
    assert np.isnan(z[:, 0]).all() and np.isnan(z[:, -1]).all() and np.isfinite(z[265, 365])

    half = cam.resized(365, 265)
    small = cv2.resize(rgb, (365, 265), interpolation=cv2.INTER_AREA)
    z_half = depth_of(source.answer(depths, half, small))
    z_half = cv2.resize(z_half, (730, 530), interpolation=cv2.INTER_NEAREST)
    assert errors(z_half, truth)[0] == pytest.approx(whole[0], abs=0.02)

    left, top, width, height = 60, 30, 600, 470
    window = np.s_[top : top + height, left : left + width]
    z_crop = depth_of(source.answer(depths, cam.cropped(left, top, width, height), rgb[window]))
    assert errors(z_crop, truth[window])[0] == pytest.approx(whole[0], abs=0.02)


def messages(bag):
    """(topic, message) of a bag in order, deserialised by rclpy."""
    AnyReader = pytest.importorskip('rosbags.highlevel').AnyReader
    kinds = {
        'sensor_msgs/msg/Image': Image,
        'sensor_msgs/msg/CompressedImage': CompressedImage,
        'sensor_msgs/msg/CameraInfo': CameraInfo,
    }
    with AnyReader([bag]) as reader:
        for connection, _, raw in reader.messages():
            if connection.msgtype in kinds:
                yield connection.topic, deserialize_message(bytes(raw), kinds[connection.msgtype])


def metres(message):
    """Depth of a bag, 32FC1 or 16UC1."""
    if message.encoding == '32FC1':
        return depth_of(message)
    return np.frombuffer(message.data, np.uint16).reshape(message.height, message.width) / 1000


def play(graph, bag, depths, image_topic, info_topic, kind=Image):
    """Publish each image of a bag and wait for its depth: [(image, depth)]."""
    recorded = list(messages(bag))
    source = Source(
        graph, topic='image/compressed' if kind is CompressedImage else 'image', kind=kind
    )
    infos = {nanoseconds(m.header.stamp): m for topic, m in recorded if topic == info_topic}
    answers = []
    try:
        source.ready()
        for topic, message in recorded:
            if topic != image_topic:
                continue
            stamp = nanoseconds(message.header.stamp)

            def sent(message=message, stamp=stamp):
                """Again every 2 s: the first may meet an output that is not yet connected."""
                source.infos.publish(infos[stamp])
                source.images.publish(message)
                end = time.monotonic() + 2
                while depths.stamped(stamp) is None and time.monotonic() < end:
                    time.sleep(0.005)
                return depths.stamped(stamp)

            answer = graph.wait(sent, 'depth')
            answers.append((message, answer))
    finally:
        source.close()
    return answers


def test_the_published_int8_file_gives_metres(graph, source, collect, data):
    pytest.importorskip('openvino', reason='openvino is not installed: pip install .[openvino]')
    weights = data / 'weights' / 'fastdepth' / 'fast_depth_224.tflite'
    remap = ('-r', 'depth/image:=int8/image')  # the other node publishes, too
    process = NodeProcess(graph, *remap, name='int8', model='fastdepth_nyu', weights=weights)
    try:
        process.said('listening to')
        rgb, truth, cam = real(data / 'images' / 'nyu_raw_00000')
        z = depth_of(source.answer(collect(Image, 'int8/image'), cam, rgb))
        abs_rel, delta1, covered = errors(z, truth)
        assert abs_rel <= 0.08 and delta1 >= 0.96 and covered > 0.9
    finally:
        assert process.stop() == 0, process.log


def test_a_bag_of_raw_images_gives_sane_metres(fastdepth, graph, collect, data):
    bag = data / 'bags' / 'tum_desk_sqlite3'
    depths, clouds = collect(Image, 'depth/image'), collect(PointCloud2, 'points')
    truth = {
        nanoseconds(m.header.stamp): metres(m)
        for topic, m in messages(bag)
        if topic == '/camera/depth/image_raw'
    }
    answers = play(graph, bag, depths, '/camera/image_raw', '/camera/camera_info')
    assert len(answers) == 3
    for image, depth in answers:
        assert depth.header == image.header
        z, expected = depth_of(depth), truth[nanoseconds(image.header.stamp)]
        # the network is poor at this desk (0.23 on its card); a wrong unit or camera is far off
        assert errors(z, np.nan_to_num(expected))[0] < 0.4
    cloud = points_of(graph.wait(lambda: clouds and clouds[-1], 'a cloud'))
    assert np.isfinite(cloud).all() and (np.linalg.norm(cloud[..., :3], axis=-1) > 0.05).all()


def test_a_bag_with_two_picture_sizes_keeps_each_frames_camera(fastdepth, graph, collect, data):
    bag = data / 'bags' / 'kitti_object_lidar_mcap'
    depths, infos = collect(Image, 'depth/image'), collect(CameraInfo, 'depth/camera_info')
    sent = {
        nanoseconds(m.header.stamp): m
        for topic, m in messages(bag)
        if topic == '/camera/camera_info'
    }
    answers = play(graph, bag, depths, '/camera/image_raw', '/camera/camera_info')
    assert len({(i.width, i.height) for i, _ in answers}) == 2
    for image, depth in answers:
        assert (depth.width, depth.height) == (image.width, image.height)
        stamp = nanoseconds(image.header.stamp)
        described = graph.wait(lambda s=stamp: infos.stamped(s), 'camera_info')
        assert described.k[0] == pytest.approx(sent[stamp].p[0] or sent[stamp].k[0])
        z = depth_of(depth)
        assert np.isfinite(z).any() and (z[np.isfinite(z)] > 0.1).all()


def test_a_bag_of_compressed_images_gives_sane_metres(graph, collect, data):
    bag = data / 'bags' / 'kitchen_7scenes_mcap'
    weights = data / 'weights' / 'fastdepth' / 'fastdepth_nyu_pruned_224.onnx'
    process = NodeProcess(
        graph,
        name='compressed',
        model='fastdepth_nyu',
        weights=weights,
        image_transport='compressed',
    )
    try:
        process.said('listening to /image/compressed')
        depths = collect(Image, 'depth/image')
        truth = {
            nanoseconds(m.header.stamp): metres(m)
            for topic, m in messages(bag)
            if topic == '/camera/depth/image_raw'
        }
        answers = play(
            graph,
            bag,
            depths,
            '/camera/color/image_raw/compressed',
            '/camera/color/camera_info',
            CompressedImage,
        )
        assert len(answers) == 40
        found = [
            errors(depth_of(depth), np.where(t := truth[nanoseconds(i.header.stamp)], t, 0))
            for i, depth in answers
            if nanoseconds(i.header.stamp) in truth
        ]
        assert found and np.median([f[0] for f in found]) < 0.4
    finally:
        assert process.stop() == 0, process.log


def test_a_lidar_of_a_bag_gives_metres(graph, collect, data):
    """One ring in eight or so as anchors, the other points as truth."""
    AnyReader = pytest.importorskip('rosbags.highlevel').AnyReader
    first = {}
    with AnyReader([data / 'bags' / 'kitti_object_lidar_mcap']) as reader:
        for connection, _, raw in reader.messages():
            first.setdefault(connection.topic, reader.deserialize(raw, connection.msgtype))
            if len(first) == 4:
                break
    transform = first['/tf'].transforms[0].transform
    t, q = transform.translation, transform.rotation
    pose = [t.x, t.y, t.z, q.x, q.y, q.z, q.w]
    points = np.frombuffer(first['/velodyne_points'].data, np.float32).reshape(-1, 4)[:, :3]
    elevation = np.degrees(np.arctan2(points[:, 2], np.hypot(*points[:, :2].T)))
    shown = (elevation % 3.4) < 0.4
    message = first['/camera/image_raw']
    rgb = np.frombuffer(message.data, np.uint8).reshape(message.height, message.width, 3)[
        ..., ::-1
    ]
    k = np.reshape(first['/camera/camera_info'].k, (3, 3))
    cam = Camera(message.width, message.height, k[0, 0], k[1, 1], k[0, 2], k[1, 2])
    others = from_points(points[~shown], pose_from_quaternion(*pose), cam, sigma=0.1)

    def error(depth):
        z = depth_of(depth)[others.v.round().astype(int), others.u.round().astype(int)]
        return np.abs(z / others.z - 1)[np.isfinite(z)].mean()

    # in a namespace: the node of other tests listens to image, too
    lidar = graph.publisher(PointCloud2, '/street/anchors/points')
    for parameters, low, high in (
        ({}, 0.25, 1.0),
        ({'anchors__sources': ['points'], 'anchors__points__pose': pose}, 0.0, 0.15),
    ):
        process = NodeProcess(graph, '-r', '__ns:=/street', model='nano', **parameters)
        source = Source(graph, topic='/street/image', info='/street/camera_info')
        try:
            process.said('listening to')
            depths = collect(Image, '/street/depth/image')

            def send(source=source):
                beam = cloud(points[shown].astype(np.float64))
                beam.header = header(source.stamp_ns + 100_000_000, 'velodyne')
                lidar.publish(beam)
                return source.send(cam, rgb, 100_000_000)

            graph.wait(
                lambda: send() and (len(depths) >= 3 or time.sleep(0.3)),  # noqa: B023
                'depth',
                120,
            )
            found = [error(depth) for depth in depths]
            assert low <= found[-1] <= high, f'{found}; the log is:\n{process.log}'
        finally:
            source.close()
            assert process.stop() == 0, process.log
    graph.node.destroy_publisher(lidar)
