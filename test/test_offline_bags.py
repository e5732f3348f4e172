# SPDX-License-Identifier: Apache-2.0
"""`depth-ros run` on bags: real ones, and written ones whose truth is known."""

import math

import cv2
import numpy as np
import pytest
from bag_writer import Written
from recordings import picture
from test_offline import written

from depth_ros.cli import main
from depth_ros.offline.inputs import find


@pytest.fixture
def bags(data):
    pytest.importorskip('rosbags', reason='rosbags is not installed')
    return data / 'bags'


def test_a_bag_with_two_picture_sizes_has_its_own_cameras(bags, tmp_path, capsys):
    out = tmp_path / 'out'
    command = ['run', str(bags / 'kitti_object_lidar_mcap'), '--model', 'flat_ground']
    assert main([*command, '--output', str(out), '--write', 'npy,video']) == 0
    said = capsys.readouterr().out
    assert 'camera 1224x370, fx 707.0' in said and 'camera 1242x375, fx 721.5' in said
    z = [np.load(path) for path in sorted(out.rglob('*.npy'))]
    assert [a.shape for a in z] == [(370, 1224), (375, 1242), (375, 1242)]
    assert z[0][-1, 0] == pytest.approx(1.2 * 707.0493 / (369 - 180.5066), rel=1e-4)
    # a camera that is given counts
    given = ['--output', str(tmp_path / 'x'), '--write', 'npy', '--fx', '1000']
    assert main([*command, *given]) == 0
    z = np.load(min((tmp_path / 'x').rglob('*.npy')))
    assert z[-1, 0] == pytest.approx(1.2 * 1000 / (369 - 184.5), rel=1e-4)


def test_bags_of_every_storage_and_files_without_metadata(bags, tmp_path, capsys):
    out = ['--output', str(tmp_path / 'out'), '--write', 'npy', '--model', 'flat_wall']
    assert main(['run', str(bags / 'kitchen_7scenes_mcap'), '--limit', '3', *out]) == 0
    alone = bags / 'tum_desk_sqlite3' / 'tum_desk_sqlite3.db3'
    assert main(['run', str(alone), *out]) == 0
    times = ['--start', '1', '--end', '2', '--every', '2']
    assert main(['run', str(bags / 'kitchen_7scenes_mcap'), *times, *out]) == 0
    names = written(tmp_path / 'out')
    assert len([n for n in names if n.startswith('tum_desk_sqlite3/')]) == 3
    kitchen = [int(n[-16:-10]) for n in names if n.startswith('kitchen')]
    assert kitchen[:3] == [0, 1, 2] and all(k % 2 == 0 and 5 <= k <= 12 for k in kitchen[3:])


def test_topics_of_a_bag(bags, tmp_path, capsys):
    bag = bags / 'tum_desk_sqlite3'
    command = ['run', str(bag), '--model', 'flat_wall', '--output', str(tmp_path / 'o')]
    assert main([*command, '--topic', '/nothing']) == 2
    said = capsys.readouterr().err
    assert 'no image topic /nothing; name one with --topic: /camera/depth' in said
    assert main([*command, '--topic', '/camera/image_raw', '--limit', '1']) == 0
    # what its one image cannot be read does not end the run
    generated = bags / 'rerun_rosbag2_2025_09_10' / 'rosbag2_2025_09_10-13_03_56_0.mcap'
    assert main(['run', str(generated), '--model', 'flat_wall', '--output', str(tmp_path)]) == 2
    assert 'depth-ros: ' in capsys.readouterr().err


def test_a_damaged_bag_gives_what_it_has(bags, tmp_path, capsys):
    content = (bags / 'kitchen_7scenes_mcap' / 'kitchen_7scenes_mcap.mcap').read_bytes()
    for kept in (100, len(content) // 2):
        path = tmp_path / f'{kept}.mcap'
        path.write_bytes(content[:kept])
        assert (
            main(['run', str(path), '--model', 'flat_wall', '--output', str(tmp_path / 'o')]) == 2
        )
        said = capsys.readouterr().err
        assert said.startswith('depth-ros: ') and 'is no bag that can be read' in said


def read_bag(path):
    """topic -> [(time of recording, message)], read by the library."""
    from rosbags.highlevel import AnyReader

    found = {}
    with AnyReader([path]) as reader:
        for connection, at_ns, raw in reader.messages():
            message = reader.deserialize(raw, connection.msgtype)
            found.setdefault(connection.topic, []).append((at_ns, message, raw))
    return found


@pytest.mark.parametrize('name', ['kitchen_7scenes_mcap', 'tum_desk_sqlite3'])
def test_a_bag_with_depth_beside_what_was_in_it(bags, tmp_path, name):
    out = tmp_path / 'out'
    command = ['run', str(bags / name), '--model', 'flat_ground', '--output', str(out)]
    command += ['--write', 'bag,npy', '--limit', '3', '-p', 'range.max:=8.0']
    assert main(command) == 0
    assert not list(out.glob('*.part'))
    before, after = read_bag(bags / name), read_bag(out / f'{name}_depth')
    for topic, messages in before.items():
        assert [(at, bytes(raw)) for at, _, raw in messages] == [
            (at, bytes(raw)) for at, _, raw in after[topic]
        ]
    images = next(
        m for topic, m in before.items() if 'image_raw' in topic and 'depth' not in topic
    )
    for k, (at_ns, depth, _) in enumerate(after['/depth/image']):
        assert at_ns == images[k][0] and str(depth.header) == str(images[k][1].header)
        z = np.frombuffer(depth.data, np.float32).reshape(depth.height, depth.width)
        np.testing.assert_array_equal(z, np.load(out / name / f'{k:06d}_depth.npy'))
        _, info, _ = after['/depth/camera_info'][k]
        assert info.header == depth.header and (info.width, info.height) == (640, 480)
        assert z[-1, 0] == pytest.approx(1.2 * info.k[4] / (479 - info.k[5]), rel=1e-4)
        _, cloud, _ = after['/points'][k]
        points = np.frombuffer(cloud.data, np.float32).reshape(-1, 4)
        assert len(points) == cloud.width == np.isfinite(z[::2, ::2]).sum()
        np.testing.assert_allclose(points[:, 1], 1.2, rtol=1e-4)  # the floor
    assert k == 2
    alone = ['--no-copy', '--overwrite']
    assert main([*command, *alone]) == 0
    assert set(read_bag(out / f'{name}_depth')) == {
        '/depth/image',
        '/depth/camera_info',
        '/points',
    }


def test_what_was_written_is_no_input_of_the_same_folder(tmp_path, capsys):
    wall_bag(tmp_path / 'wall')
    (tmp_path / 'sun_depth').mkdir()
    picture(tmp_path / 'sun_depth' / 'a.png')
    command = ['run', str(tmp_path), '--model', 'flat_wall', '--fx', '50', '--write']
    command += ['video,bag,npy', '--output']
    assert main([*command, str(tmp_path)]) == 2
    assert f'files of images into the bag {tmp_path}/wall: choose' in capsys.readouterr().err
    assert main([*command, str(tmp_path / 'made')]) == 0
    made = tmp_path / 'made'
    assert (made / 'wall_depth').is_dir() and (made / 'wall_depth.mp4').is_file()
    assert [one.name for one in find([str(tmp_path)])] == ['sun_depth/a', 'wall']


def test_rclpy_reads_what_was_written(bags, tmp_path):
    serialization = pytest.importorskip('rclpy.serialization')
    from sensor_msgs.msg import CameraInfo, Image, PointCloud2

    command = ['run', str(bags / 'tum_desk_sqlite3'), '--model', 'flat_wall', '--limit', '1']
    assert main([*command, '--output', str(tmp_path), '--write', 'bag']) == 0
    bag = read_bag(tmp_path / 'tum_desk_sqlite3_depth')
    for topic, kind in {
        '/depth/image': Image, '/depth/camera_info': CameraInfo, '/points': PointCloud2,
    }.items():  # fmt: skip
        ((_, expected, raw),) = bag[topic]
        message = serialization.deserialize_message(bytes(raw), kind)
        assert message.header.frame_id == expected.header.frame_id
        assert message.height == expected.height and message.width == expected.width
        assert bytes(getattr(message, 'data', b'')) == bytes(getattr(expected, 'data', b''))
    assert message.is_dense and [f.name for f in message.fields] == ['x', 'y', 'z', 'rgb']


def test_a_bag_that_was_made_is_not_an_input_for_the_same(bags, tmp_path, capsys):
    command = ['run', str(bags / 'tum_desk_sqlite3'), '--model', 'flat_wall', '--limit', '1']
    assert main([*command, '--output', str(tmp_path), '--write', 'bag']) == 0
    made = tmp_path / 'tum_desk_sqlite3_depth'
    again = ['run', str(made), '--model', 'flat_wall', '--output', str(tmp_path / 'x')]
    again += ['--write', 'bag', '--topic', '/camera/image_raw']
    assert main(again) == 2
    assert 'has a topic /depth/camera_info, too' in capsys.readouterr().err
    assert main([*again, '--no-copy']) == 0


HEIGHT = 1.2  #: of the camera of flat_ground [m]
LIDAR = ['--model', 'flat_wall', '-p', 'anchors.sources:=[points]', '-p', 'range.max:=100.0']


def wall_bag(path, distances=(2.0, 4.0, 8.0), late_s=0.05, frame_id='lidar', damaged=()):
    """A camera that sees a wall at these distances, 2 Hz, and a LiDAR half a metre behind it.

    A cloud is recorded `late_s` after its image.
    """
    rng = np.random.default_rng(0)
    with Written(path) as bag:
        for topic in damaged:
            bag.damaged(topic, damaged[topic], 100)
        # the LiDAR looks along x, z up, and its origin is 0.5 m behind the camera
        bag.tf('base', 'camera', (0.5, 0, 1), (-0.5, 0.5, -0.5, 0.5), static=True)
        bag.tf('base', 'lidar', (0, 0, 1), static=True)
        for k, distance in enumerate(distances):
            at_s = 100 + 0.5 * k
            bag.image(
                '/camera/image_raw', at_s, 'camera', rng.integers(0, 256, (48, 64, 3), np.uint8)
            )
            bag.info('/camera/camera_info', at_s, 'camera')
            y, z = np.mgrid[-0.4:0.4:12j, -0.3:0.3:9j] * distance
            points = np.stack([np.full(y.size, distance + 0.5), y.ravel(), z.ravel()], 1)
            bag.cloud('/lidar', at_s, frame_id, points, recorded_s=at_s + late_s)
    return path


def depths(folder):
    return [float(np.nanmedian(np.load(path))) for path in sorted(folder.rglob('*_depth.npy'))]


@pytest.mark.parametrize('late_s', [-0.2, 0.05])
def test_a_lidar_of_the_bag_gives_the_metres(tmp_path, capsys, late_s):
    """flat_wall itself says 2 m always. The cloud of an image may be recorded after it."""
    bag, out = wall_bag(tmp_path / 'wall', late_s=late_s), tmp_path / 'out'
    assert main(['run', str(bag), *LIDAR, '--output', str(out), '--write', 'npy']) == 0
    assert depths(out) == pytest.approx([2, 4, 8], rel=0.02)
    said = capsys.readouterr().out
    assert 'scaling anchors' in said and 'wall: scale ' in said and 'anchors agree' in said
    # begun again, as a scale depends on the images before
    assert main(['run', str(bag), *LIDAR, '--output', str(out), '--write', 'npy']) == 0
    assert '0 images, 3 were there before' in capsys.readouterr().out
    (out / 'wall' / '000001_depth.npy').unlink()
    assert main(['run', str(bag), *LIDAR, '--output', str(out), '--write', 'npy']) == 0
    assert '3 images; median depth' in capsys.readouterr().out


def test_anchors_that_do_not_fit_say_why(tmp_path, capsys):
    bag = wall_bag(tmp_path / 'wall', frame_id='elsewhere')
    assert main(['run', str(bag), *LIDAR, '--output', str(tmp_path / 'o'), '--write', 'npy']) == 2
    said = capsys.readouterr().err
    assert "no transform from 'elsewhere' to 'camera'; its frames: base, camera, lidar" in said
    given = ['-p', 'anchors.points.pose:=[0.0, 0.0, -0.5, 0.5, -0.5, 0.5, 0.5]']
    command = ['run', str(bag), *LIDAR, *given, '--output', str(tmp_path / 'o'), '--overwrite']
    assert main([*command, '--write', 'npy']) == 0
    assert depths(tmp_path / 'o') == pytest.approx([2, 4, 8], rel=0.02)


def test_topics_of_sensors_are_found_or_named(tmp_path, capsys):
    bag = tmp_path / 'two'
    with Written(bag) as writer:
        writer.image('/image', 1, 'camera')
        writer.info('/camera_info', 1, 'camera')
        for topic, distance in (('/near', 3.0), ('/far', 30.0)):
            x, y = np.mgrid[-0.4:0.4:12j, -0.3:0.3:9j] * distance
            points = np.stack([x.ravel(), y.ravel(), np.full(x.size, distance)], 1)
            writer.cloud(topic, 1, 'camera', points)
    command = ['run', str(bag), *LIDAR, '--output', str(tmp_path / 'o'), '--write', 'npy']
    assert main(command) == 2
    said = capsys.readouterr().err
    assert '2 topics of sensor_msgs/msg/PointCloud2 for anchors/points; name one with -r' in said
    assert said.strip().endswith(': /far, /near')
    assert main([*command, '--overwrite', '-r', 'anchors/points:=/nowhere']) == 2
    assert 'has no sensor_msgs/msg/PointCloud2 /nowhere' in capsys.readouterr().err
    assert main([*command, '--overwrite', '-r', 'anchors/points:=/far']) == 0
    assert depths(tmp_path / 'o') == pytest.approx([30], rel=0.02)
    assert main([*command, '-r', 'anchors/points:=/near']) == 2, 'they are of another topic'
    assert 'made with another anchors/points (/far, now /near)' in capsys.readouterr().err
    scan = [*command[:-4], '-p', 'anchors.sources:=[scan]', *command[-4:]]
    assert main([*scan, '--overwrite']) == 2
    assert 'no topics of sensor_msgs/msg/LaserScan for anchors/scan' in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*command, '-r', 'points:=/far'])
    assert "'points:=/far' is not NAME:=/TOPIC with one of anchors/points" in (
        capsys.readouterr().err
    )


def test_odometry_of_the_bag_gives_the_metres(tmp_path):
    """A camera that moves sideways along a textured wall 3 m away; flat_wall says 2 m."""
    rng, fx = np.random.default_rng(0), 200.0
    wall = np.kron(rng.integers(0, 256, (60, 200)), np.ones((8, 8))).astype(np.uint8)
    with Written(tmp_path / 'moving') as bag:
        bag.tf('base', 'camera', (0, 0, 0), static=True)
        for k in range(12):
            shift = 10 * k  # px
            rgb = np.repeat(wall[100:340, 200 + shift : 520 + shift, None], 3, 2)
            bag.odometry('/odom', 5 + 0.1 * k, 'base', (shift * 3.0 / fx, 0, 0))
            bag.image('/image', 5 + 0.1 * k, 'camera', rgb)
            bag.info('/camera_info', 5 + 0.1 * k, 'camera', (320, 240), fx)
    words = ['--model', 'flat_wall', '-p', 'anchors.sources:=[odometry]', '--write', 'npy']
    out = tmp_path / 'o'
    # the first images have not moved enough
    assert main(['run', str(tmp_path / 'moving'), *words, '--output', str(out)]) == 2
    found = depths(out)
    assert len(found) >= 6 and found[-4:] == pytest.approx([3] * 4, rel=0.05)


def test_the_floor_of_the_bag_leaves_its_cloud(tmp_path, capsys):
    """flat_ground predicts a floor 1.2 m below the camera; TF says that it is there."""
    with Written(tmp_path / 'yard') as bag:
        bag.image('/image', 1, 'camera')
        bag.info('/camera_info', 1, 'camera')
        bag.tf('base_footprint', 'camera', (0, 0, HEIGHT), (-0.5, 0.5, -0.5, 0.5), static=True)
    command = ['run', str(tmp_path / 'yard'), '--model', 'flat_ground', '--write', 'ply']
    command += ['-p', 'range.max:=20.0', '--output', str(tmp_path / 'o'), '--overwrite']

    def points(*words):
        assert main([*command, *words]) == 0
        (path,) = (tmp_path / 'o').rglob('*.ply')
        return int(path.read_bytes().partition(b'vertex ')[2].split()[0])

    assert points('-p', 'points.ground:=drop') < points() / 20
    wrong = ['-p', 'points.ground:=drop', '-p', 'floor.frame:=floor']
    capsys.readouterr()
    assert points(*wrong) == points()
    assert "no transform from 'camera' to 'floor'; its frames:" in capsys.readouterr().err


def test_what_only_bags_have_is_refused_for_a_mixture(tmp_path, capsys):
    wall_bag(tmp_path / 'in' / 'wall')
    cv2.imwrite(str(tmp_path / 'in' / 'a.png'), np.zeros((48, 64, 3), np.uint8))
    command = ['run', str(tmp_path / 'in'), *LIDAR, '--output', str(tmp_path / 'o'), '--fx', '50']
    assert main(command) == 2
    assert 'anchors.sources is' in (said := capsys.readouterr().err)
    assert 'only depth_node and bags use it' in said
    command = ['run', str(tmp_path / 'in' / 'wall'), '--model', 'flat_wall', '--write', 'npy']
    command += ['--output', str(tmp_path / 'o')]
    for rule in ('frame_id:=x', 'depth_encoding:=16UC1'):
        assert main([*command, '-p', rule]) == 2
        assert 'only depth_node and written bags use it' in capsys.readouterr().err
    assert main([*command, '-p', 'scaling.method:=anchors']) == 2
    assert 'anchors.sources names none' in capsys.readouterr().err


def test_a_written_bag_has_the_encoding_and_frame_that_are_asked_for(tmp_path):
    bag = wall_bag(tmp_path / 'wall')
    command = ['run', str(bag), '--model', 'flat_wall', '--write', 'bag,npy', '-p']
    command += ['depth_encoding:=16UC1', '-p', 'frame_id:=front', '--output', str(tmp_path / 'o')]
    assert main(command) == 0
    for _, image, _ in read_bag(tmp_path / 'o' / 'wall_depth')['/depth/image']:
        assert image.encoding == '16UC1' and image.step == 2 * image.width
        assert image.header.frame_id == 'front'
        assert set(np.frombuffer(image.data, np.uint16)) == {2000}


def test_rectification_is_by_the_parameter(tmp_path, capsys):
    """A lens with distortion, whose images are rectified although no name says so."""
    with Written(tmp_path / 'bent') as bag:
        bag.image('/image', 1, 'camera')
        bag.info('/camera_info', 1, 'camera', d=[0.2, 0.0, 0.0, 0.0, 0.0])
    command = ['run', str(tmp_path / 'bent'), '--model', 'flat_wall', '--write', 'npy']
    command += ['--output', str(tmp_path / 'o'), '--overwrite']
    assert main(command) == 0
    assert 'K and D of camera_info (camera_info has distortion)' in capsys.readouterr().out
    assert main([*command, '-p', 'rectification:=rectified']) == 0
    assert 'P of camera_info (rectification is rectified)' in capsys.readouterr().out


def test_a_bag_of_a_fisheye_camera_keeps_its_whole_view(tmp_path):
    with Written(tmp_path / 'fish') as bag:
        bag.image('/image', 1, 'camera')
        bag.info('/camera_info', 1, 'camera', fx=20.0, d=[0.0] * 4, model='equidistant')
    command = ['run', str(tmp_path / 'fish'), '--model', 'flat_wall', '--write', 'bag']
    command += [
        '--output',
        str(tmp_path),
        '-p',
        'undistort.projection:=wide',
        '-p',
        'points.stride:=1',
    ]
    assert main([*command, '-p', 'undistort.depth_image:=lens']) == 0
    found = read_bag(tmp_path / 'fish_depth')
    ((_, info, _),) = found['/depth/camera_info']
    assert info.distortion_model == 'equidistant' and list(info.d) == [0.0] * 4
    ((_, cloud, _),) = found['/points']
    points = np.frombuffer(cloud.data, np.float32).reshape(-1, 4)
    assert len(points) == 64 * 48
    angles = np.degrees(np.arctan2(np.hypot(points[:, 0], points[:, 1]), points[:, 2]))
    corner = math.degrees(math.hypot(31.5, 23.5) / 20)  # 113
    assert angles.max() == pytest.approx(corner, abs=0.1)


def test_a_bag_without_camera_info(tmp_path, capsys):
    """It has TF, which is no camera_info."""
    with Written(tmp_path / 'bare') as bag:
        bag.image('/image', 1, 'camera')
        bag.tf('base', 'camera')
    command = ['run', str(tmp_path / 'bare'), '--model', 'flat_wall', '--write', 'npy']
    command += ['--output', str(tmp_path / 'o')]
    assert main(command) == 2
    assert 'give the focal length by one of --fx [px] and --hfov' in capsys.readouterr().err
    assert main([*command, '--overwrite', '--fx', '50']) == 0


def test_damaged_messages_cost_only_themselves(tmp_path, capsys):
    kinds = {
        '/camera/image_raw': 'sensor_msgs/msg/Image',
        '/camera/camera_info': 'sensor_msgs/msg/CameraInfo',
        '/lidar': 'sensor_msgs/msg/PointCloud2',
        '/tf': 'tf2_msgs/msg/TFMessage',
        '/tf_static': 'tf2_msgs/msg/TFMessage',
    }
    bag = tmp_path / 'wall'
    wall_bag(bag, damaged=kinds)
    out = ['--output', str(tmp_path / 'o'), '--write', 'npy']
    assert main(['run', str(bag), *LIDAR, *out]) == 2
    said = capsys.readouterr()
    assert '3 images, 1 failed' in said.out
    assert '/camera/image_raw: a message cannot be read' in said.err
    assert '/lidar: a message cannot be read' in said.err
    assert depths(tmp_path / 'o') == pytest.approx([2, 4, 8], rel=0.02)


def test_nothing_but_damaged_camera_info(tmp_path, capsys):
    with Written(tmp_path / 'blind') as bag:
        bag.image('/image', 1, 'camera')
        bag.damaged('/camera_info', 'sensor_msgs/msg/CameraInfo', 1)
    command = ['run', str(tmp_path / 'blind'), '--model', 'flat_wall', '--write', 'npy']
    assert main([*command, '--output', str(tmp_path / 'o')]) == 2
    said = capsys.readouterr().err
    assert '/camera_info has no message that can be read; give the focal length by --fx' in said


def test_a_bag_whose_data_are_damaged_in_the_middle(tmp_path, capsys):
    smooth = np.add.outer(np.arange(480), np.arange(640))
    with Written(tmp_path / 'raw', 'storage') as writer:
        writer.info('/camera_info', 0, 'camera')
        for k in range(12):
            writer.image(
                '/image',
                k,
                'camera',
                np.repeat((smooth + 7 * k).astype(np.uint8)[..., None], 3, 2),
            )
    (path,) = (tmp_path / 'raw').glob('*.mcap')
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 200] = b'\xaa' * 200
    path.write_bytes(content)
    command = ['run', str(tmp_path / 'raw'), '--model', 'flat_wall', '--write', 'npy']
    assert main([*command, '--output', str(tmp_path / 'o')]) == 2
    said = capsys.readouterr().err
    assert 'Traceback' not in said and ('damaged' in said or 'cannot be read' in said)


@pytest.mark.parametrize('compressed', ['file', 'message', 'storage'])
def test_compressed_bags(tmp_path, compressed):
    bag = tmp_path / 'small'
    with Written(bag, compressed) as writer:
        writer.image('/image', 1, 'camera')
        writer.info('/camera_info', 1, 'camera')
    command = ['run', str(bag), '--model', 'flat_wall', '--write', 'bag']
    assert main([*command, '--output', str(tmp_path / 'o')]) == 0
    made = read_bag(tmp_path / 'o' / 'small_depth')
    assert {topic: len(found) for topic, found in made.items()} == dict.fromkeys(
        ['/image', '/camera_info', '/depth/image', '/depth/camera_info', '/points'], 1
    )


@pytest.mark.parametrize('batch', ['1', '4'])
def test_images_at_once_have_the_same_depth(tmp_path, batch):
    rng = np.random.default_rng(1)
    with Written(tmp_path / 'some') as bag:
        for k in range(6):
            bag.image('/image', k, 'camera', rng.integers(0, 256, (48, 64, 3), np.uint8))
        bag.info('/camera_info', 1, 'camera')
    command = ['run', str(tmp_path / 'some'), '--model', 'nano', '--write', 'npy']
    for size in (batch, '1'):
        assert main([*command, '--batch', size, '--output', str(tmp_path / size)]) == 0
    for path in sorted((tmp_path / '1').rglob('*.npy')):
        other = tmp_path / batch / path.relative_to(tmp_path / '1')
        np.testing.assert_allclose(np.load(other), np.load(path), rtol=1e-4)


def test_lidar_of_a_real_bag_makes_metres(bags, tmp_path):
    """nano knows rooms; in a street it is off by half, which the LiDAR corrects."""
    from depth_ros.messages.sensors import cloud_points
    from depth_ros.offline.bag_tf import BagTransforms

    bag = bags / 'kitti_object_lidar_mcap'
    command = ['run', str(bag), '--model', 'nano', '--write', 'npy', '-p', 'range.max:=80.0']
    sources = ['-p', 'anchors.sources:=[points]']
    assert main([*command, '--output', str(tmp_path / 'plain')]) == 0
    assert main([*command, *sources, '--output', str(tmp_path / 'lidar')]) == 0
    found = read_bag(bag)
    tf = BagTransforms()
    for _, message, _ in found['/tf']:
        tf.put(message)
    errors = {'plain': [], 'lidar': []}
    for k, (_, cloud, _) in enumerate(found['/velodyne_points']):
        info = found['/camera/camera_info'][k][1]
        T = tf.between(info.header.frame_id, cloud.header.frame_id)
        x, y, z = (cloud_points(cloud) @ T[:3, :3].T + T[:3, 3]).T
        u = np.round(info.p[0] * x / z + info.p[2]).astype(int)
        v = np.round(info.p[5] * y / z + info.p[6]).astype(int)
        seen = (z > 2) & (z < 70) & (u >= 0) & (v >= 0) & (u < info.width) & (v < info.height)
        for name, values in errors.items():
            depth = np.load(tmp_path / name / bag.name / f'{k:06d}_depth.npy')[v[seen], u[seen]]
            values.append(np.nanmedian(np.abs(np.minimum(depth, 80) / z[seen] - 1)))
    assert np.mean(errors['plain']) > 0.4 and np.mean(errors['lidar']) < 0.08, errors
