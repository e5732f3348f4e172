# SPDX-License-Identifier: Apache-2.0
"""`depth-ros eval` on bags: written here with exact depth, and the real ones, scored once more."""

import csv
import json
import struct

import cv2
import numpy as np
import pytest

from depth_ros.cli import main
from depth_ros.offline.evaluation.bag_truth import TruthOptions, projected
from depth_ros.offline.evaluation.truth import find
from depth_ros.offline.recorded import Selection

pytest.importorskip('rosbags', reason='rosbags is not installed')
from rosbags.highlevel import AnyReader
from rosbags.rosbag2 import Writer
from rosbags.typesys import Stores, get_typestore

from depth_ros.core.camera import Camera
from depth_ros.core.geometry import undistort_depth

STORE = get_typestore(Stores.LATEST)
WIDTH, HEIGHT = 64, 48
K = (50.0, 0.0, 31.5, 0.0, 52.0, 23.5, 0.0, 0.0, 1.0)
OPTICAL = 'camera_optical'
START_NS = 1_700_000_000_000_000_000
MS = 1_000_000


def make(name, *values, **more):
    return STORE.types[f'{name}'](*values, **more)


def header(ns, frame):
    stamp = make('builtin_interfaces/msg/Time', int(ns // 10**9), int(ns % 10**9))
    return make('std_msgs/msg/Header', stamp, frame)


def image(ns, rgb, frame=OPTICAL):
    height, width = rgb.shape[:2]
    data = np.ascontiguousarray(rgb).reshape(-1)
    return make(
        'sensor_msgs/msg/Image', header(ns, frame), height, width, 'rgb8', 0, 3 * width, data
    )


def depth(ns, z, encoding='16UC1', frame=OPTICAL):
    raw = np.rint(1000 * z).astype('<u2') if encoding == '16UC1' else z.astype('<f4')
    data = raw.reshape(-1).view(np.uint8)
    height, width = z.shape
    head = header(ns, frame)
    return make(
        'sensor_msgs/msg/Image', head, height, width, encoding, 0, len(data) // height, data
    )


def info(ns, frame=OPTICAL, k=K, size=(WIDTH, HEIGHT)):
    p = [k[0], 0, k[2], 0, 0, k[4], k[5], 0, 0, 0, 1, 0]
    roi = make('sensor_msgs/msg/RegionOfInterest', 0, 0, 0, 0, False)
    arrays = (np.zeros(5), np.array(k), np.eye(3).ravel(), np.array(p, float))
    return make('sensor_msgs/msg/CameraInfo', header(ns, frame), size[1], size[0], 'plumb_bob',
                *arrays, 0, 0, roi)  # fmt: skip


def cloud(ns, points, frame='lidar'):
    fields = [make('sensor_msgs/msg/PointField', n, 4 * k, 7, 1) for k, n in enumerate('xyz')]
    data = np.asarray(points, '<f4').reshape(-1).view(np.uint8)
    head, count = header(ns, frame), len(points)
    return make('sensor_msgs/msg/PointCloud2', head, 1, count, fields, False, 12, 12 * count, data,
                True)  # fmt: skip


def transform(ns, parent, child, xyz, q=(0, 0, 0, 1)):
    t = make('geometry_msgs/msg/Vector3', *map(float, xyz))
    r = make('geometry_msgs/msg/Quaternion', *map(float, q))
    both = make('geometry_msgs/msg/Transform', t, r)
    one = make('geometry_msgs/msg/TransformStamped', header(ns, parent), child, both)
    return make('tf2_msgs/msg/TFMessage', [one])


def write(path, messages):
    """A bag of (topic, time of recording [ns], message)."""
    with Writer(path, version=9) as bag:
        known = {}
        for topic, ns, message in sorted(messages, key=lambda m: m[1]):
            kind = message.__msgtype__
            if topic not in known:
                known[topic] = bag.add_connection(topic, kind, typestore=STORE)
            bag.write(known[topic], ns, STORE.serialize_cdr(message, kind))
    return path


def frames(count=3, period_ns=100 * MS):
    return [START_NS + k * period_ns for k in range(count)]


def camera_messages(times):
    rgb = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    return [
        m
        for ns in times
        for m in (('/cam/image', ns, image(ns, rgb)), ('/cam/camera_info', ns, info(ns)))
    ]


def ground():
    """What flat_ground predicts, within 20 m; 0 elsewhere."""
    slope = (np.arange(HEIGHT) - K[5]) / K[4]
    with np.errstate(divide='ignore'):
        rows = np.where(slope > 0, 1.2 / slope, 0)
    return np.repeat(np.where(rows < 20, rows, 0)[:, None], WIDTH, 1)


def truths(path, **options):
    (source,), skipped = find([str(path)], '', TruthOptions(**options))
    assert not skipped
    found = []
    for one in source.images(Selection()):
        camera = one.recorded.calibration(WIDTH, HEIGHT).camera
        found.append((one, one.truth(camera) if not one.lacks_s else None))
    return found


def compressed_depth(ns, z, encoding):
    """As compressed_depth_image_transport writes it; for 32FC1 with inverse depth."""
    a, b = 100.0, 3.0
    if encoding == '16UC1':
        raw, head = np.rint(1000 * z).astype(np.uint16), struct.pack('<iff', 0, 0, 0)
    else:
        raw = np.where(z > 0, a / np.where(z > 0, z, 1) + b, 0).astype(np.uint16)
        head = struct.pack('<iff', 0, a, b)
    png = cv2.imencode('.png', raw)[1].tobytes()
    data = np.frombuffer(head + png, np.uint8)
    form = f'{encoding}; compressedDepth png'
    return make('sensor_msgs/msg/CompressedImage', header(ns, OPTICAL), form, data)


@pytest.mark.parametrize('encoding', ['16UC1', '32FC1', '16UC1 compressed', '32FC1 compressed'])
def test_registered_depth(tmp_path, encoding):
    times, (code, _, compressed) = frames(), encoding.partition(' ')
    z = ground()
    if compressed:
        topic = '/cam/depth/compressedDepth'
        messages = [(topic, ns, compressed_depth(ns, z, code)) for ns in times]
    else:
        messages = [('/cam/depth', ns, depth(ns, z, code)) for ns in times]
    path = write(tmp_path / 'bag', camera_messages(times) + messages)
    found = truths(path)
    assert len(found) == 3
    for one, truth in found:
        assert np.allclose(truth[z > 0], z[z > 0], rtol=0.15 if encoding == '32FC1 compressed' else
                           1e-3)  # fmt: skip
        assert np.isnan(truth[z == 0]).all() and one.T_world_camera is None
    assert [one.time_s for one, _ in found] == pytest.approx([0, 0.1, 0.2])


def test_depth_of_another_size_is_resampled_by_nearest_pixels(tmp_path):
    times = frames(1)
    z = np.where(np.arange(WIDTH // 2) < 16, 1.0, 3.0) * np.ones((HEIGHT // 2, 1))
    messages = [('/cam/depth', ns, depth(ns, z)) for ns in times]
    ((_, truth),) = truths(write(tmp_path / 'bag', camera_messages(times) + messages))
    assert truth.shape == (HEIGHT, WIDTH) and set(np.unique(truth)) == {1, 3}


def test_depth_of_another_camera_is_projected_by_tf(tmp_path):
    times = frames(1)
    # the depth camera is 0.1 m to the left, with another focal length; a wall at 2 m, a box at 1 m
    wide = (40.0, 0.0, 31.5, 0.0, 40.0, 23.5, 0.0, 0.0, 1.0)
    z = np.full((HEIGHT, WIDTH), 2.0)
    z[16:32, 24:40] = 1.0
    messages = [('/depth_cam/image', ns, depth(ns, z, frame='depth_optical')) for ns in times]
    messages += [('/depth_cam/camera_info', ns, info(ns, 'depth_optical', wide)) for ns in times]
    still = transform(0, OPTICAL, 'depth_optical', (-0.1, 0, 0))
    messages.append(('/tf_static', times[0], still))
    path = write(tmp_path / 'bag', camera_messages(times) + messages)
    ((_, truth),) = truths(path)
    # the middle of the box: x = (32 - 31.5) / 40 - 0.1 of the image's camera, at 1 m
    u, v = round(50 * (0.5 / 40 - 0.1) + 31.5), round(52 * (0.5 / 40) + 23.5)
    near = truth[v - 6 : v + 7, u - 6 : u + 7]
    assert np.nanmedian(near) == pytest.approx(1) and np.isfinite(near).sum() > 5
    assert set(np.round(np.unique(truth[np.isfinite(truth)]), 3)) == {1, 2}


def test_depth_registered_to_a_distorted_image_moves_with_its_pixels(tmp_path):
    times = frames(1)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    z = (1 + rows / 10 + columns / 20).astype(np.float32)
    messages = camera_messages(times) + [('/cam/depth', ns, depth(ns, z, '32FC1')) for ns in times]
    for _, _, message in messages:
        if hasattr(message, 'distortion_model'):
            message.d[:2] = -0.2, 0.05
    ((one, truth),) = truths(write(tmp_path / 'bag', messages))
    camera = one.recorded.calibration(WIDTH, HEIGHT).camera
    assert camera.is_distorted
    assert np.allclose(truth, undistort_depth(z, camera), equal_nan=True)
    assert np.abs(np.nan_to_num(truth) - z).max() > 0.2


def test_without_tf_or_camera_info_another_camera_is_refused(tmp_path, capsys):
    times = frames(1)
    z = np.full((HEIGHT, WIDTH), 2.0)
    messages = [('/other/depth', ns, depth(ns, z, frame='depth_optical')) for ns in times]
    write(tmp_path / 'a', camera_messages(times) + messages)
    messages += [('/other/camera_info', ns, info(ns, 'depth_optical')) for ns in times]
    write(tmp_path / 'b', camera_messages(times) + messages)
    words = ['--model', 'flat_wall', '--out', str(tmp_path / 'out')]
    assert main(['eval', str(tmp_path / 'a'), str(tmp_path / 'b'), *words]) == 2
    said = capsys.readouterr().err
    assert (
        'has no camera_info: record that' in said and 'the TF of the bag has no transform' in said
    )


def lidar_points(visible_only=False):
    """A wall at 8 m and a pole at 2 m, as a LiDAR 0.5 m above the camera measures them.

    In the frame of the LiDAR: x forward, y left, z up. Behind the pole the LiDAR sees the wall
    where the camera does not.
    """
    y, z = np.meshgrid(np.linspace(-4, 4, 161), np.linspace(-2, 2, 81))
    wall = np.stack([np.full(y.size, 8.0), y.ravel(), z.ravel()], 1)
    y, z = np.meshgrid(np.linspace(-0.2, 0.2, 21), np.linspace(-1.2, -0.2, 51))
    pole = np.stack([np.full(y.size, 2.0), y.ravel(), z.ravel()], 1)
    return np.concatenate([wall, pole])


def test_points_of_a_lidar_without_those_that_the_camera_does_not_see(tmp_path):
    times = frames(2)
    # optical frame from x forward, y left, z up; 0.5 m higher is y = -0.5
    q = (0.5, -0.5, 0.5, 0.5)
    messages = [('/tf_static', times[0], transform(0, OPTICAL, 'lidar', (0, -0.5, 0), q))]
    messages += [('/lidar', ns + 5 * MS, cloud(ns + 5 * MS, lidar_points())) for ns in times]
    messages += [
        ('/tf', ns, transform(ns, 'map', OPTICAL, (k, 0, 0))) for k, ns in enumerate(times)
    ]
    found = truths(write(tmp_path / 'bag', camera_messages(times) + messages))
    assert [one.T_world_camera[0, 3] for one, _ in found] == [0, 1]
    for _, truth in found:
        assert set(np.round(np.unique(truth[np.isfinite(truth)]), 2)) == {2, 8}
        # the pole spans y = -0.3 to 0.7 m of the optical frame at 2 m; no wall shines through it
        u, v = np.meshgrid(np.arange(28, 36), np.arange(17, 40))
        on_pole = truth[v, u]
        assert np.nanmax(on_pole) == pytest.approx(2) and np.isfinite(on_pole).sum() > 5
        assert np.nanmedian(truth[:, 5:20]) == pytest.approx(8)


def test_a_projection_keeps_the_nearest_of_a_square():
    camera = Camera(WIDTH, HEIGHT, 50, 52, 31.5, 23.5)
    points = np.array([[0.0, 0.0, 4.0], [0.0, 0.0, 3.0], [0.0, 0.0, -3.0], [9.0, 0.0, 3.0]])
    truth = projected(points, np.eye(4), camera)
    assert truth[np.isfinite(truth)].tolist() == [3.0]


def test_images_and_depth_belong_together_by_their_stamps(tmp_path, capsys):
    times = frames(4)
    offsets = (0, 15 * MS, 40 * MS, -10 * MS)
    messages = [
        # recorded later than it was measured, as drivers do
        (
            '/cam/depth',
            ns + offset + 30 * MS,
            depth(ns + offset, np.full((HEIGHT, WIDTH), 1.0 + k)),
        )
        for k, (ns, offset) in enumerate(zip(times, offsets, strict=True))
    ]
    path = write(tmp_path / 'bag', camera_messages(times) + messages)
    found = [None if z is None else float(z[0, 0]) for _, z in truths(path)]
    assert found == [1, 2, None, 4]
    assert [float(z[0, 0]) for _, z in truths(path, max_offset_ns=50 * MS)] == [1, 2, 3, 4]
    out = ['--model', 'flat_wall', '--out', str(tmp_path / 'out')]
    assert main(['eval', str(path), *out]) == 0
    assert '1 images have no depth at their time; the closest is 40 ms' in capsys.readouterr().err
    assert main(['eval', str(path), *out, '--max-offset', '1e-9', '--start', '0.15']) == 2
    assert 'the closest is 10 ms' in capsys.readouterr().err


def test_a_bag_without_truth_and_one_with_two(tmp_path, capsys):
    times = frames(2)
    write(tmp_path / 'none', camera_messages(times))
    z = np.full((HEIGHT, WIDTH), 2.0)
    two = [(topic, ns, depth(ns, z)) for ns in times for topic in ('/cam/depth', '/b/depth')]
    write(tmp_path / 'two', camera_messages(times) + two)
    words = ['--model', 'flat_wall', '--out', str(tmp_path / 'out')]
    assert main(['eval', str(tmp_path / 'none'), *words]) == 2
    assert 'no topic of depth or points, so no measured depth' in capsys.readouterr().err
    assert main(['eval', str(tmp_path / 'two'), *words]) == 2
    assert 'name one with --truth: /b/depth, /cam/depth' in capsys.readouterr().err
    assert main(['eval', str(tmp_path / 'two'), *words, '--truth', '/cam/depth']) == 0
    assert main(['eval', str(tmp_path / 'two'), *words, '--truth', '/none']) == 2
    assert 'has no depth topic /none (--truth); it has: /b/depth' in capsys.readouterr().err


def test_a_named_fixed_frame_that_is_not_there_is_an_error_of_the_input(tmp_path, capsys):
    times = frames(2)
    z = np.full((HEIGHT, WIDTH), 2.0)
    messages = [('/cam/depth', ns, depth(ns, z)) for ns in times]
    path = write(tmp_path / 'bag', camera_messages(times) + messages)
    words = ['--model', 'flat_wall', '--out', str(tmp_path / 'out'), '--fixed-frame', 'earth']
    assert main(['eval', str(path), *words]) == 2
    assert "has no transform from 'camera_optical' to 'earth'" in capsys.readouterr().err


@pytest.mark.parametrize('command', ['eval', 'calibrate'])
@pytest.mark.parametrize('what', ['a message', 'the file'])
def test_a_damaged_bag_costs_only_what_is_damaged(tmp_path, capsys, command, what):
    times = frames(3)
    messages = [
        ('/cam/depth', ns, depth(ns, np.full((HEIGHT, WIDTH), 2.0 + k)))
        for k, ns in enumerate(times)
    ]
    write(tmp_path / 'in' / 'good', camera_messages(times) + messages)
    bad = write(tmp_path / 'in' / 'bad', camera_messages(times) + messages)
    (file,) = bad.glob('*.db3')
    content = bytearray(file.read_bytes())
    if what == 'the file':
        content[8 * 4096 :] = bytes(len(content) - 8 * 4096)
    else:  # the length of frame_id, of the second depth
        second = content.find(b'16UC1', content.find(b'16UC1') + 1)
        at = content.rfind(OPTICAL.encode(), 0, second) - 4
        assert content[at] == len(OPTICAL) + 1
        content[at : at + 4] = b'\xff\xff\xff\x7f'
    file.write_bytes(content)
    words = [command, str(tmp_path / 'in'), '--model', 'flat_wall']
    out = ['--out', str(tmp_path / 'out')] if command == 'eval' else []
    assert main([*words, *out]) == 0
    said = capsys.readouterr()
    assert str(bad) in said.err
    if command == 'eval':
        found = json.loads((tmp_path / 'out' / 'evaluation.json').read_text())
        (wall,) = (m for m in found['models'] if m['model'] == 'flat_wall')
        compared = {name: one['frames_compared'] for name, one in wall['inputs'].items()}
        assert compared == {'in/good': 3} | ({'in/bad': 2} if what == 'a message' else {})
    else:
        assert ('5 frames' if what == 'a message' else '3 frames') in said.err


def test_a_moving_camera_has_a_temporal_alignment_error(tmp_path):
    times = frames(5)
    z = ground()
    messages = [('/cam/depth', ns, depth(ns, z, '32FC1')) for ns in times]
    # it drives forward over the floor, at 1 m/s
    messages += [('/tf', ns, transform(ns, 'odom', OPTICAL, (0, 0, 0.1 * k)))
                 for k, ns in enumerate(times)]  # fmt: skip
    path = write(tmp_path / 'bag', camera_messages(times) + messages)
    out = tmp_path / 'out'
    words = ['--model', 'flat_ground', '--out', str(out), '-p', 'range.max:=4.0']
    assert main(['eval', str(path), *words]) == 0
    found = json.loads((out / 'evaluation.json').read_text())
    (ours,) = (m for m in found['models'] if m['model'] == 'flat_ground')
    sequence = ours['sequences']['bag']
    # a level floor agrees with itself, but for the nearest pixel
    assert 0 < sequence['tae'] < 0.03
    assert sequence['median'] == pytest.approx(1, abs=1e-3)
    assert sequence['slope'] == pytest.approx(0, abs=1e-3)
    assert found['inputs'][0]['tae_of_truth'] < 0.15


# the real bags, read and scored once more from what `run` writes


def read(path, topic):
    """Stamp [ns] -> message."""
    with AnyReader([path], default_typestore=STORE) as bag:
        found = {}
        for c, _, raw in bag.messages([c for c in bag.connections if c.topic == topic]):
            m = bag.deserialize(raw, c.msgtype)
            found[m.header.stamp.sec * 10**9 + m.header.stamp.nanosec] = m
    return found


def recomputed(z, truth, far):
    """AbsRel and delta1 of a saved depth against a truth [m]."""
    used = (truth >= 0.1) & (truth <= far) & ~np.isnan(z)
    d, t = np.clip(z[used], 1e-3, far).astype(float), truth[used].astype(float)
    ratio = np.maximum(d / t, t / d)
    fitted = d * np.median(t) / np.median(d)
    return np.mean(np.abs(d - t) / t), np.mean(ratio < 1.25), np.mean(np.abs(fitted - t) / t)


@pytest.mark.parametrize(
    ('name', 'images', 'depths', 'far'),
    [
        (
            'kitchen_7scenes_mcap',
            '/camera/color/image_raw/compressed',
            '/camera/depth/image_raw',
            80,
        ),
        ('tum_desk_sqlite3', '/camera/image_raw', '/camera/depth/image_raw', 4),
    ],
)
def test_figures_of_a_real_bag_are_those_of_its_files(data, tmp_path, name, images, depths, far):
    bag = data / 'bags' / name
    same = [str(bag), '--model', 'nano', '-p', f'range.max:={float(far)}', '--limit', '4']
    assert main(['run', *same, '--output', str(tmp_path / 'run'), '--write', 'npy']) == 0
    assert main(['eval', *same, '--out', str(tmp_path / 'eval')]) == 0
    rows = list(csv.DictReader((tmp_path / 'eval' / 'frames.csv').open()))
    rows = [row for row in rows if row['model'] == 'nano']
    stamps, measured = sorted(read(bag, images)), read(bag, depths)
    assert len(rows) == min(4, len(stamps))
    for k, row in enumerate(rows):
        z = np.load(tmp_path / 'run' / name / f'{k:06d}_depth.npy')
        m = measured[stamps[k]]
        kind = np.uint16 if m.encoding == '16UC1' else np.float32
        truth = np.frombuffer(bytes(m.data), kind).reshape(m.height, m.width).astype(float)
        truth = np.nan_to_num(truth / (1000 if m.encoding == '16UC1' else 1))
        abs_rel, delta1, fitted = recomputed(z, truth, far)
        assert float(row['metres_abs_rel']) == pytest.approx(abs_rel, rel=1e-4)
        assert float(row['metres_delta1']) == pytest.approx(delta1, abs=1e-4)
        assert float(row['median_abs_rel']) == pytest.approx(fitted, rel=1e-4)


def test_points_of_a_real_lidar_agree_with_its_depth_image(data):
    """The first scan of the bag is that of the picture, whose depth.png was projected before."""
    (source,), _ = find([str(data / 'bags' / 'kitti_object_lidar_mcap')])
    images = source.images(Selection(limit=1))  # the bag is open as long as it lives
    one = next(images)
    height, width = one.recorded.read().rgb.shape[:2]
    z = one.truth(one.recorded.calibration(width, height).camera)
    file = data / 'images' / 'kitti_object_000000' / 'depth.png'
    before = cv2.imread(str(file), cv2.IMREAD_UNCHANGED) / 256.0
    both = np.isfinite(z) & (before > 0)
    assert both.sum() > 3000
    difference = np.abs(z[both] / before[both] - 1)
    assert np.median(difference) < 0.01 and np.mean(difference < 0.05) > 0.95


def test_all_real_inputs_at_once(data, tmp_path, capsys):
    out = tmp_path / 'out'
    words = [str(data), '--model', 'nano', '--every', '8', '--out', str(out)]
    assert main(['eval', *words]) == 0
    found = json.loads((out / 'evaluation.json').read_text())
    assert len(found['inputs']) >= 5
    said = capsys.readouterr().err
    assert 'euroc_v101_micro: no measured depth' in said and '2 image topics' in said
    (nano, constant, rows) = found['models']
    assert [m['model'] for m in (nano, constant, rows)] == ['nano', 'constant', 'depth per row']
    assert nano['frames_compared'] == constant['frames_compared'] == rows['frames_compared']
    # what a network of rooms is for; on streets it is not better than a guess
    rooms = nano['inputs']['data/images/icl_livingroom_open3d']['errors']['metres']['abs_rel']
    assert (
        rooms
        < constant['inputs']['data/images/icl_livingroom_open3d']['errors']['metres']['abs_rel']
    )


def test_the_scale_of_a_real_bag(data, tmp_path, capsys):
    bag = str(data / 'bags' / 'kitchen_7scenes_mcap')
    words = [bag, '--model', 'nano', '--every', '6']
    assert main(['calibrate', *words]) == 0
    said = capsys.readouterr()
    scale = float(said.out.split('scale: ')[1])
    assert 'the frames disagree' in said.err and 'anchors.sources' in said.err
    out = ['--out', str(tmp_path / 'out')]
    assert main(['eval', *words, *out, '-p', f'scaling.scale:={scale}']) == 0
    rows = list(csv.DictReader((tmp_path / 'out' / 'frames.csv').open()))
    ratios = [float(row['ratio']) for row in rows if row['model'] == 'nano']
    assert np.median(ratios) == pytest.approx(1, abs=2e-3)
