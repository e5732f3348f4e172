# SPDX-License-Identifier: Apache-2.0
"""Filters, switched while the node runs."""

import importlib.util

import numpy as np
from compressed_depth import decoded
from diagnostic_msgs.msg import DiagnosticArray
from graph import FRAME, NodeProcess, Source, camera, depth_of, points_of
from sensor_msgs.msg import CompressedImage, Image, PointCloud2

CAM = camera(64, 48)
NO_TF = importlib.util.find_spec('tf2_ros') is None


def scene():
    """A near and a far wall with one mixed column between them, and a speck: red is decimetres."""
    rgb = np.zeros((*CAM.size, 3), np.uint8)
    rgb[:, :30, 0], rgb[:, 30, 0], rgb[:, 31:, 0] = 15, 40, 95
    rgb[10, 10, 0] = 200
    return rgb


def test_flying_pixels_and_specks_are_removed_live(node, source, collect):
    running = node(points__stride=1)
    depths, clouds = collect(Image, 'depth/image'), collect(PointCloud2, 'points')

    def answer():
        depth, cloud = source.answer([depths, clouds], CAM, scene())
        return depth_of(depth), points_of(cloud)

    z, points = answer()
    assert np.isfinite(z).all() and (z[:, 30] == 4.5).all() and z[10, 10] == 20.5
    assert running.set(filters__edges=0.006) == []
    z, points = answer()
    assert np.isnan(z[:, 30]).all() and np.isnan(z).sum() == CAM.height
    assert points.shape[1] == CAM.width * CAM.height - CAM.height
    assert running.set(filters__median=1) == []
    z, _ = answer()
    assert z[10, 10] == 2 and np.isnan(z[:, 30]).all()
    assert running.set(filters__median=0, filters__edges=0.0) == []
    z, _ = answer()
    assert np.isfinite(z).all() and z[10, 10] == 20.5


def test_flicker_is_averaged_live(node, source, collect):
    running = node()
    depths = collect(Image, 'depth/image')
    pattern = np.random.default_rng(0).integers(0, 256, (*CAM.size, 3), np.uint8)

    def answer(red):
        # only blue and green are seen alike in all images; red is the depth
        pattern[..., 0] = red
        return depth_of(source.answer(depths, CAM, pattern))

    assert (answer(15) == 2.0).all() and (answer(19) == 2.4).all()
    assert running.set(filters__temporal=0.6) == []
    assert (answer(15) == 2.0).all(), 'nothing is remembered from before'
    between = answer(19)
    assert (between > 2.05).all() and (between < 2.35).all()
    assert running.set(filters__temporal=0.0) == []
    assert (answer(15) == 2.0).all()


def test_a_pixel_that_loses_its_confidence_is_held_live(node, source, collect):
    running = node(model='fake_confident', min_confidence=99.0, filters__temporal_hold=10)
    depths = collect(Image, 'depth/image')
    rgb = np.full((*CAM.size, 3), 100, np.uint8)
    rgb[..., 2] = np.random.default_rng(0).integers(0, 256, CAM.size, np.uint8)
    assert np.isfinite(depth_of(source.answer(depths, CAM, rgb))).all()
    rgb[10:20, 10:20, 1] = 98  # not confident, and hardly darker
    assert np.isfinite(depth_of(source.answer(depths, CAM, rgb))).all()
    assert running.set(filters__temporal_hold=0) == []
    z = depth_of(source.answer(depths, CAM, rgb))
    assert np.isnan(z[10:20, 10:20]).all() and np.isnan(z).sum() == 100


def test_rays_to_the_sky_get_finite_ends(node, source, collect):
    running = node(model='fake_holes', range__max=9.0, points__stride=1)
    depths, clouds = collect(Image, 'depth/image'), collect(PointCloud2, 'points_clearing')
    rgb = scene()
    rgb[4, :, 0] = 250  # beyond the range
    depth, cloud = source.answer([depths, clouds], CAM, rgb)
    z, points = depth_of(depth), points_of(cloud)[0]
    assert cloud.header == depth.header and cloud.is_dense
    assert [f.name for f in cloud.fields] == ['x', 'y', 'z']
    lengths = np.linalg.norm(points[:, :3], axis=1)
    # two rows are unknown; sky, infinite and far ones end at 10 m, the default
    assert len(points) == (CAM.height - 2) * CAM.width
    assert np.isposinf(z[2:5]).all()
    assert (abs(lengths - 10) < 1e-3).sum() == np.isposinf(z).sum()
    near = z[np.isfinite(z)]
    np.testing.assert_allclose(np.sort(points[:, 2])[: len(near)], np.sort(near), rtol=1e-6)
    assert running.set(points__clearing_range=1.0) == []
    points = points_of(source.answer(clouds, CAM, rgb))[0]
    lengths = np.linalg.norm(points[:, :3], axis=1)
    np.testing.assert_allclose(lengths, 1.0, rtol=1e-5)


def test_both_clouds_have_the_rate_of_clouds(node, source, collect):
    node(points__rate=5.0, points__stride=4)
    depths = collect(Image, 'depth/image')
    clouds, ends = collect(PointCloud2, 'points'), collect(PointCloud2, 'points_clearing')
    source.answer([depths, clouds, ends], CAM, period_ns=10**9)
    counts = [len(depths), len(clouds), len(ends)]
    stamps = [source.send(CAM, period_ns=50_000_000)]
    for _ in range(19):
        source.graph.wait(lambda: depths.stamped(stamps[-1]), 'depth')
        stamps.append(source.send(CAM, period_ns=50_000_000))
    source.graph.wait(lambda: depths.stamped(stamps[-1]), 'depth')
    source.graph.wait(lambda: len(ends) - counts[2] >= 4, 'clouds')
    assert len(depths) - counts[0] == 20
    assert 4 <= len(clouds) - counts[1] <= 6 and 4 <= len(ends) - counts[2] <= 6
    assert {m.header.stamp.nanosec for m in clouds} == {m.header.stamp.nanosec for m in ends}


def test_compressed_depth_is_the_depth(node, source, collect):
    running = node(model='fake_holes')
    depths = collect(Image, 'depth/image')
    small = collect(CompressedImage, 'depth/image/compressedDepth')

    def answer():
        return source.answer([depths, small], CAM, scene())

    for form in ('png', 'rvl'):
        assert running.set(compressed_depth__format=form, compressed_depth__png_level=3) == []
        depth, message = answer()
        assert message.header == depth.header
        assert message.format == f'32FC1; compressedDepth {form}'
        z = depth_of(depth)
        out = decoded(message.format, bytes(message.data))
        assert np.array_equal(np.isfinite(out), np.isfinite(z))
        np.testing.assert_allclose(out, np.where(np.isfinite(z), z, np.nan), rtol=2e-3)
        assert running.set(depth_encoding='16UC1') == []
        depth, message = answer()
        assert message.format == f'16UC1; compressedDepth {form}'
        millimetres = np.frombuffer(depth.data, np.uint16).reshape(CAM.size)
        assert np.array_equal(decoded(message.format, bytes(message.data)), millimetres)
        assert running.set(depth_encoding='32FC1') == []


def floor_and_wall():
    """A camera, its image of a floor 1.2 m below it and a wall, and how many pixels are floor."""
    cam = camera(160, 120)
    y = (np.arange(cam.height) - cam.cy) / cam.fy
    z = np.minimum(1.2 / np.maximum(y, 1e-3), 6.0)
    rgb = np.zeros((*cam.size, 3), np.uint8)
    rgb[..., 0] = np.round((z - 0.5) * 10)[:, None]  # red is decimetres above 0.5 m
    return cam, rgb, (z < 6.0).sum() * cam.width


def test_cells_and_the_floor_live(node, source, collect):
    running = node(points__stride=1)
    clouds = collect(PointCloud2, 'points')
    cam, rgb, floor = floor_and_wall()

    def points():
        message = source.answer(clouds, cam, rgb)
        return message, points_of(message)

    assert points()[1].shape == (1, cam.width * cam.height, 4)
    if NO_TF:
        refused = running.set(points__ground='drop')
        assert len(refused) == 1 and 'tf2_ros is not installed: set floor.height' in refused[0]
    assert running.set(floor__height=1.2, points__ground='drop') == []
    left = points()[1][0]
    lost = cam.width * cam.height - len(left)
    assert 0.9 * floor < lost <= floor + 4 * cam.width  # and the lowest 0.1 m of the wall
    assert left[:, 1].max() < 1.15
    assert running.set(floor__height=2.5) == []
    assert points()[1].shape[1] == cam.width * cam.height, 'no plane is that far below'
    assert running.set(floor__height=1.2) == []
    assert points()[1].shape[1] == len(left)
    assert running.set(points__ground='keep', points__voxel=0.5) == []
    message, left = points()
    assert message.is_dense and np.isfinite(left[0, :, :3]).all()
    cells = {*map(tuple, np.floor(left[0, :, :3] / np.float32(0.5)))}
    assert len(cells) <= left.shape[1] < 1.05 * len(cells) < 2000
    assert running.set(points__organized=True) == []
    message, grid = points()
    assert grid.shape[:2] == cam.size and not message.is_dense
    assert np.isfinite(grid[..., 2]).sum() == left.shape[1]
    assert running.set(points__voxel=0.0, points__organized=False) == []
    assert points()[1].shape == (1, cam.width * cam.height, 4)


def test_rays_through_flying_pixels_clear(node, source, collect):
    node(points__stride=1, filters__edges=0.006)
    clouds, ends = collect(PointCloud2, 'points'), collect(PointCloud2, 'points_clearing')
    cloud, rays = source.answer([clouds, ends], CAM, scene())
    assert cloud.width == CAM.width * CAM.height - CAM.height
    assert rays.width == CAM.width * CAM.height


def test_the_floor_comes_from_tf_or_stays_with_the_reason(graph, collect, tf):
    # the camera is 1.2 m above the floor, and known at even seconds only
    tf(
        {('base_footprint', FRAME): (0.1, 0, 1.2, -0.5, 0.5, -0.5, 0.5)},
        "if time.nanoseconds // 10**9 % 2: raise LookupError('unconnected trees')",
    )
    running = NodeProcess(
        graph, '-r', '__ns:=/tf', name='floor', model='fake_red', points__stride=1
    )
    clouds = collect(PointCloud2, '/tf/points')
    reports = collect(DiagnosticArray, '/diagnostics')
    source = Source(graph, topic='/tf/image', info='/tf/camera_info')
    cam, rgb, floor = floor_and_wall()

    def count(seconds):
        source.stamp_ns = (2 * 10**9 + seconds) * 10**9
        return points_of(source.answer(clouds, cam, rgb, period_ns=1000)).shape[1]

    try:
        assert count(0) == cam.width * cam.height
        running.name = 'tf/floor'
        assert running.set(points__ground='drop') == []
        lost = cam.width * cam.height - count(20)
        assert 0.9 * floor < lost <= floor + 4 * cam.width
        assert 'no floor is dropped' not in running.log
        assert count(41) == cam.width * cam.height, 'TF does not know this moment'
        why = "no floor is dropped: TF has no transform from 'camera_optical_frame' to 'base_foot"
        running.said(why)
        graph.wait(
            lambda: any(why in s.message for r in list(reports) for s in r.status), 'diagnostics'
        )
        assert running.set(floor__frame='odom') == []
        assert count(60) == cam.width * cam.height
        running.said("to 'odom'")
        assert running.set(floor__height=1.2) == []
        assert cam.width * cam.height - count(81) == lost, 'parameters need no TF'
    finally:
        source.close()
        assert running.stop() == 0, running.log
