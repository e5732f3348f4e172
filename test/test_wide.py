# SPDX-License-Identifier: Apache-2.0
"""A wide lens seen as several pinholes: distances of known scenes, along all rays."""

import json
import math

import cv2
import numpy as np
import pytest
import torch
from raycast import SCENES, Oracle, room

from depth_ros.core import encode
from depth_ros.core.camera import Camera
from depth_ros.core.errors import CameraError, ConfigError, InferenceError
from depth_ros.core.lens import pinhole, pixel_grid, project
from depth_ros.core.types import Frame, Kind, Prediction
from depth_ros.models import PRESETS, TakesBatches
from depth_ros.parameters.layers import layered, with_values
from depth_ros.parameters.settings import Settings
from depth_ros.pipeline.abilities import check_abilities
from depth_ros.pipeline.depth_pipeline import Pipeline
from depth_ros.pipeline.filters.clouds import surfaces, thinning
from depth_ros.pipeline.filters.free_space import free_space
from depth_ros.pipeline.wide import merge
from depth_ros.pipeline.wide.layout import layout
from depth_ros.pipeline.wide.tables import Sampling, tables


def fisheye(width, height, field_deg, model='equidistant', d=(0.0,) * 4):
    f = width / math.radians(field_deg)
    return Camera(width, height, f, f, (width - 1) / 2, (height - 1) / 2, model, d)


LENS = fisheye(240, 240, 190)
BLACK = torch.zeros((240, 240, 3), dtype=torch.uint8)
WIDE = {'undistort.projection': 'wide', 'undistort.max_angle': 94.0}


def settings_of(**values):
    return with_values(Settings(), WIDE | {n.replace('__', '.'): v for n, v in values.items()})


def depth_of(scene, camera=LENS, kind=Kind.METRIC, factors=None, **values):
    settings = settings_of(**values)
    oracle = Oracle(scene, camera, settings.undistort, kind, factors)
    black = torch.zeros((*camera.size, 3), dtype=torch.uint8)
    return Pipeline(oracle, settings)(Frame(black, camera))


def smooth(scene, rays):
    """Pixels with one surface within two pixels, that is not seen at a grazing angle."""
    which = scene.which(np.nan_to_num(rays, nan=1.0)).astype(np.float32)
    kernel = np.ones((5, 5), np.uint8)
    truth = scene(rays)
    far = np.where(np.isfinite(truth), truth, 1e4).astype(np.float32)
    one = cv2.dilate(which, kernel) == cv2.erode(which, kernel)
    return one & (cv2.dilate(far, kernel) < 1.5 * cv2.erode(far, kernel)) & (far < 1e4)


def assert_right(found, truth, compared, factor=1.0):
    """Depth is right within the error of interpolation, which is largest at the edge of a box."""
    error = np.abs(found[compared] / truth[compared] / factor - 1)
    assert error.max() < 0.01 and np.percentile(error, 99) < 1e-3


def angles_deg(camera):
    return np.degrees(np.arccos(pixel_grid(camera)[..., 2].clip(-1, 1)))


@pytest.mark.parametrize('fov', [75.0, 90.0, 110.0])
@pytest.mark.parametrize(
    ('camera', 'max_angle'),
    [
        (LENS, 94.0),
        (LENS, 180.0),
        (fisheye(320, 240, 150, d=(0.02, -0.01, 0.0, 0.0)), 180.0),
        (Camera(320, 240, 160, 158, 150, 122, 'plumb_bob', (-0.28, 0.074, 0.0, 0.0)), 180.0),
        (Camera(320, 320, 100, 100, 159.5, 159.5, 'double_sphere', (-0.2, 0.6)), 100.0),
        (Camera(320, 180, 100, 100, 159.5, 89.5), 180.0),
    ],
    ids=str,
)
def test_every_ray_of_the_lens_is_well_inside_a_tile(camera, max_angle, fov):
    rays = pixel_grid(camera)
    tiles = layout(camera, fov, max_angle)
    weight = np.max([tile.weight(rays) for tile in tiles], axis=0)
    used = rays[..., 2] >= math.cos(math.radians(max_angle))
    assert weight[used].min() > 1e-3
    assert (tiles[0].R_lens_tile == np.eye(3)).all() and len(tiles) <= 12
    for tile in tiles:
        np.testing.assert_allclose(tile.R_lens_tile @ tile.R_lens_tile.T, np.eye(3), atol=1e-12)
        # no image is upside down, and those that look about ahead are level
        right = tile.R_lens_tile[:, 0]
        steep = abs(tile.R_lens_tile[1, 2]) > 0.93
        assert steep or (abs(right[1]) < 1e-9 and tile.R_lens_tile[1, 1] > 0)


def test_a_camera_that_one_tile_shows_has_one():
    (tile,) = layout(Camera(320, 240, 300, 300, 159.5, 119.5), 90.0)
    assert 55 < tile.camera.hfov_deg < 65


def test_a_crop_beside_the_axis_has_the_tiles_that_show_it():
    crop = LENS.cropped(150, 20, 90, 120)  # from 24 to 94 deg to the right
    rays = pixel_grid(crop)
    used = rays[..., 2] >= math.cos(math.radians(94))
    weight = np.max([tile.weight(rays) for tile in layout(crop, 60.0, 94.0)], axis=0)
    assert weight[used].min() > 1e-3
    found = tables(crop, 60.0, 94.0, 'cpu')  # every tile shows something
    assert all(float(table.weight.max()) > 0.1 for table in found.tiles)
    settings = settings_of(undistort__tile_fov=60.0, undistort__depth_image='lens')
    black = torch.zeros((*crop.size, 3), dtype=torch.uint8)
    depth = Pipeline(Oracle(room, crop, settings.undistort), settings)(Frame(black, crop))
    assert_right(depth.lens.ranges.numpy(), room(rays), smooth(room, rays) & used)


@pytest.mark.parametrize('size', [(1, 1), (1, 8), (8, 1), (2, 2)])
def test_an_image_of_a_few_pixels_has_tiles(size):
    for model, d in (('', ()), ('equidistant', (0.0,) * 4)):
        camera = Camera(*size, 4.0, 4.0, (size[0] - 1) / 2, (size[1] - 1) / 2, model, d)
        depth = depth_of(room, camera)
        # tiles of a few pixels as well
        np.testing.assert_allclose(depth.lens.ranges, room(pixel_grid(camera)), rtol=0.15)


def test_a_camera_without_distortion_has_the_same_depth_as_without_tiles():
    camera = Camera(160, 120, 120.0, 122.0, 77.0, 61.0)
    depth = depth_of(room, camera, undistort__max_angle=180.0)
    rays = pixel_grid(camera)
    assert depth.camera == camera
    assert_right(depth.z.numpy(), room(rays) * rays[..., 2], smooth(room, rays))


def test_an_angle_without_rays_is_refused():
    with pytest.raises(CameraError, match=r'within 10 deg of its axis: make undistort\.max_angle'):
        layout(LENS.cropped(200, 0, 40, 40), 90.0, 10.0)


def test_more_tiles_than_make_sense_are_refused():
    with pytest.raises(CameraError, match=r'undistort\.tile_fov is 50: more than 24'):
        layout(fisheye(320, 320, 300), 50.0)


def test_tiles_show_what_is_in_their_direction():
    rays = pixel_grid(LENS)
    image = np.nan_to_num(127.5 * (rays + 1)).round().astype(np.uint8)
    found = tables(LENS, 90.0, 94.0, 'cpu')
    for table in found.tiles:
        shown = table.source.image(torch.from_numpy(image)).numpy() / 127.5 - 1
        own = pixel_grid(table.tile.camera) @ table.tile.R_lens_tile.T
        inside = table.seen.numpy() & (own[..., 2] > math.cos(math.radians(94)))
        assert inside.mean() > 0.5
        assert np.abs(shown - own)[inside].max() < 0.02


def test_a_gpu_would_render_the_same_tiles():
    coarse = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    image = torch.from_numpy(cv2.resize(coarse, (240, 240)))
    for table in tables(LENS, 90.0, 94.0, 'cpu').tiles:
        by_torch = Sampling(table.source.grid, None).image(image)
        difference = (by_torch.int() - table.source.image(image).int()).abs()
        assert difference.max() <= 4 and (difference > 2).float().mean() < 0.01


@pytest.mark.parametrize(
    ('kind', 'fov'),
    [(Kind.METRIC, 75.0), (Kind.METRIC, 90.0), (Kind.METRIC, 110.0), (Kind.CANONICAL, 90.0)],
)
@pytest.mark.parametrize('name', SCENES)
def test_metres_are_right_along_all_rays(name, kind, fov):
    depth = depth_of(SCENES[name], kind=kind, undistort__tile_fov=fov)
    rays = pixel_grid(LENS)
    truth = SCENES[name](rays)
    ranges, used = depth.lens.ranges.numpy(), angles_deg(LENS) <= 94
    compared = smooth(SCENES[name], rays) & used
    assert compared.sum() > 0.6 * (used & np.isfinite(truth)).sum()
    assert_right(ranges, truth, compared)
    assert not np.isnan(ranges[used]).any() and np.isnan(ranges[~used]).all()
    assert (np.isinf(ranges) == np.isinf(truth))[used].mean() > 0.998


@pytest.mark.parametrize('name', SCENES)
@pytest.mark.parametrize('kind', [Kind.METRIC, Kind.CANONICAL, Kind.SCALE_INVARIANT])
def test_tiles_of_different_scale_have_no_seam(name, kind):
    """As of networks, whose scale differs from image to image."""
    count = len(layout(LENS, 90.0, 94.0))
    factors = np.exp(np.random.default_rng(3).normal(0, 0.15, count))
    invariant = kind is Kind.SCALE_INVARIANT
    scaling = {'scaling__method': 'constant'} if invariant else {}
    depth = depth_of(SCENES[name], kind=kind, factors=factors, **scaling)
    rays = pixel_grid(LENS)
    truth = SCENES[name](rays)
    compared = smooth(SCENES[name], rays) & (angles_deg(LENS) <= 94)
    ranges = depth.lens.ranges.numpy()
    assert_right(ranges, truth, compared, factors[0])
    for axis in (0, 1):  # from pixel to pixel
        both = compared & np.roll(compared, 1, axis)
        step, expected = (np.roll(r, 1, axis)[both] / r[both] for r in (ranges, truth))
        assert np.abs(step / expected - 1).max() < 0.01


def test_without_alignment_there_would_be_seams():
    """So the test above can fail."""
    count = len(layout(LENS, 90.0, 94.0))
    found = tables(LENS, 90.0, 94.0, 'cpu')
    factors = np.exp(np.random.default_rng(3).normal(0, 0.15, count))
    oracle = Oracle(room, LENS, settings_of().undistort, factors=factors)
    frames = [
        Frame(torch.zeros((*t.camera.size, 3), dtype=torch.uint8), t.camera) for t in oracle.tiles
    ]
    depths = [p.values for p in oracle.predict_many(frames)]
    ranges = merge.blended(depths, torch.ones(count), found).numpy()
    compared = smooth(room, pixel_grid(LENS)) & (angles_deg(LENS) <= 94)
    assert np.ptp(np.log(ranges / room(pixel_grid(LENS)))[compared]) > 0.2


def test_a_tile_that_nothing_relates_to_the_first_has_no_scale():
    found = tables(LENS, 90.0, 94.0, 'cpu')
    depths = [torch.full(t.tile.camera.size, 2.0) for t in found.tiles]
    depths[3][:] = torch.inf  # all sky
    factors = merge.aligned(depths, found, Kind.SCALE_INVARIANT)
    assert torch.isnan(factors[3]) and torch.isfinite(factors[[0, 1, 2]]).all()
    assert torch.isfinite(merge.aligned(depths, found, Kind.METRIC)).all()


@pytest.mark.parametrize('name', SCENES)
def test_depth_of_the_raw_image_is_along_the_optical_axis(name):
    depth = depth_of(SCENES[name], undistort__depth_image='lens')
    assert depth.camera == LENS and depth.rgb.shape == (240, 240, 3)
    rays = pixel_grid(LENS)
    truth = SCENES[name](rays)
    z, beyond = depth.z.numpy(), rays[..., 2] <= 0
    assert np.isnan(z[beyond]).all()
    assert np.isfinite(depth.lens.ranges.numpy()[beyond & (angles_deg(LENS) < 93)]).any()
    with np.errstate(invalid='ignore'):
        compared = smooth(SCENES[name], rays) & ~beyond & (truth * rays[..., 2] > 0.11)
    assert_right(z, truth * rays[..., 2], compared)


@pytest.mark.parametrize('zoom', ['keep_k', 'keep_valid'])
@pytest.mark.parametrize('name', SCENES)
def test_depth_of_the_pinhole_is_that_of_its_camera(name, zoom):
    depth = depth_of(SCENES[name], undistort__zoom=zoom)
    target = pinhole(LENS, zoom)
    assert depth.camera == target
    rays = pixel_grid(target)
    truth = SCENES[name](rays)
    compared = smooth(SCENES[name], rays)
    assert_right(depth.z.numpy(), truth * rays[..., 2], compared)


def test_the_cloud_has_the_rays_beside_and_behind_the_camera():
    depth = depth_of(room)
    image = torch.randint(0, 256, (240, 240, 3), dtype=torch.uint8)
    cloud = encode.cloud(depth, color=False).numpy()
    for degrees in (-92, -85, -60, 0, 45, 85, 92):
        for across in (np.array([1.0, 0, 0]), np.array([0, 1.0, 0])):
            ray = math.sin(math.radians(degrees)) * across + np.array(
                [0, 0, math.cos(math.radians(degrees))]
            )
            u, v = project(ray, LENS)
            pixel = round(float(v)), round(float(u))
            exact = pixel_grid(LENS)[pixel]
            np.testing.assert_allclose(cloud[pixel][:3], exact * room(exact), rtol=2e-3, atol=2e-3)
    assert (cloud[..., 2][np.isfinite(cloud[..., 2])] < 0).any()
    dense = encode.dense(torch.from_numpy(cloud), depth.lens.ranges)
    assert len(dense) == np.isfinite(cloud[..., 0]).sum()
    colored = encode.cloud(type(depth)(depth.z, depth.camera, image, lens=type(depth.lens)(
        depth.lens.ranges, depth.lens.free_ranges, LENS, image)), stride=3)  # fmt: skip
    bits = colored.view(torch.int32)[..., 3]
    assert torch.equal(bits >> 16, image[::3, ::3, 0].int())


def test_rays_without_a_surface_end_at_the_clearing_range():
    ends = free_space(depth_of(SCENES['street']), 7.0).lens.ranges
    truth = SCENES['street'](pixel_grid(LENS))
    used = angles_deg(LENS) <= 94
    assert (ends[torch.from_numpy(used & np.isinf(truth))] == 7.0).float().mean() > 0.99
    assert float(ends[torch.from_numpy(used)].max()) == 7.0


def test_limits_are_of_the_distance_along_the_ray():
    depth = depth_of(room, range__min=1.5, range__max=3.0)
    truth, used = room(pixel_grid(LENS)), angles_deg(LENS) <= 94
    compared = (
        smooth(room, pixel_grid(LENS))
        & used
        & (np.abs(truth - 1.5) > 0.01)
        & (np.abs(truth - 3) > 0.01)
    )
    ranges = depth.lens.ranges.numpy()
    assert (ranges[compared & (truth < 1.5)] == -np.inf).all()
    assert (ranges[compared & (truth > 3)] == np.inf).all()
    assert np.isfinite(ranges[compared & (truth > 1.5) & (truth < 3)]).all()


def test_flying_pixels_are_removed_from_the_cloud_and_not_from_free_space():
    plain, filtered = depth_of(room), depth_of(room, filters__edges=0.02)
    used = torch.from_numpy(angles_deg(LENS) <= 94)
    gone = torch.isnan(filtered.lens.ranges) & used
    assert 10 < gone.sum() < 0.06 * used.sum() and not torch.isnan(plain.lens.ranges[used]).any()
    torch.testing.assert_close(
        filtered.lens.free_ranges, plain.lens.ranges, equal_nan=True, rtol=1e-5, atol=0
    )
    # all of it is near a change of surface
    which = room.which(np.nan_to_num(pixel_grid(LENS), nan=1.0)).astype(np.float32)
    kernel = np.ones((17, 17), np.uint8)
    assert (cv2.dilate(which, kernel) != cv2.erode(which, kernel))[gone.numpy()].all()


class Flickering(Oracle):
    """The same scene, 10 % nearer and farther in turn."""

    def predict_many(self, frames):
        factor = 1.1 if len(self.batches) % 2 else 0.9
        found = super().predict_many(frames)
        return [Prediction(p.values * factor, p.kind, sky=p.sky) for p in found]


def test_the_temporal_filter_calms_every_tile():
    texture = torch.from_numpy(
        cv2.resize(np.random.default_rng(0).integers(0, 256, (60, 60, 3), np.uint8), (240, 240))
    )
    spreads = []
    for weight in (0.0, 0.8):
        settings = settings_of(filters__temporal=weight)
        pipeline = Pipeline(Flickering(room, LENS, settings.undistort), settings)
        found = [
            pipeline(Frame(texture, LENS, stamp_ns=k * 100_000_000)).lens.ranges for k in range(8)
        ]
        ratio = (found[-1] / found[-2]).numpy()
        spreads.append(np.abs(np.log(ratio))[angles_deg(LENS) <= 90])
    assert np.median(spreads[0]) == pytest.approx(math.log(1.1 / 0.9), abs=0.01)
    assert np.percentile(spreads[1], 90) < 0.5 * np.median(spreads[0])


def test_pixels_with_low_confidence_are_nan():
    class Doubtful(Oracle):
        def _predicted(self, frame, k):
            found = super()._predicted(frame, k)
            sure = torch.full_like(found.values, 5.0 if k == 0 else 1.0)
            return Prediction(found.values, found.kind, confidence=sure)

    settings = settings_of(min_confidence=3.0)
    depth = Pipeline(Doubtful(room, LENS, settings.undistort), settings)(Frame(BLACK, LENS))
    ahead, beside = angles_deg(LENS) < 30, (angles_deg(LENS) > 70) & (angles_deg(LENS) < 90)
    assert np.isfinite(depth.lens.ranges.numpy()[ahead]).all()
    assert np.isnan(depth.lens.ranges.numpy()[beside]).all()
    assert depth.confidence.shape == depth.z.shape and float(depth.confidence[120, 120]) > 4


@pytest.mark.parametrize('image', ['lens', 'pinhole'])
def test_normals_are_those_of_the_frame_of_the_lens(image):
    class Ball(Oracle):
        """The camera is in the middle of a ball, whose normals point at it; a hole has none."""

        def _predicted(self, frame, k):
            found = super()._predicted(frame, k)
            normals = -torch.from_numpy(pixel_grid(frame.camera).astype(np.float32))
            if k == 0:
                normals[:20, :20] = torch.nan
            return Prediction(found.values, found.kind, normals=normals)

    settings = settings_of(undistort__depth_image=image)
    ball = Ball(lambda rays: np.full(rays.shape[:-1], 2.0), LENS, settings.undistort)
    depth = Pipeline(ball, settings)(Frame(BLACK, LENS))
    rays = pixel_grid(depth.camera)
    seen = rays[..., 2] > math.cos(math.radians(94))
    assert depth.normals.shape == (240, 240, 3)
    np.testing.assert_allclose(depth.normals.numpy()[seen], -rays[seen], atol=2e-3)
    assert torch.isnan(depth.normals[torch.from_numpy(~seen)]).all()


@pytest.mark.parametrize(('pitch', 'mounted'), [(0.0, 1.4), (20.0, 1.3), (90.0, 1.5)])
def test_the_floor_all_around_is_dropped_and_nothing_else(pitch, mounted):
    """Of a camera that looks ahead, down a little, and straight down, 1.4 m above the floor."""
    turn = math.radians(-pitch)
    c, s = math.cos(turn), math.sin(turn)
    R_room_camera = np.array([[1, 0, 0], [0, c, -s], [0, s, c]])

    def scene(rays):
        return room(rays @ R_room_camera.T)

    values = {'points__ground': 'drop', 'floor__height': mounted, 'floor__pitch': pitch}
    depth = depth_of(scene, **values)
    settings = settings_of(**values)
    kept = surfaces(depth, settings.points, 1).lens.ranges.numpy()
    rays = pixel_grid(LENS) @ R_room_camera.T
    before = depth.lens.ranges.numpy()
    height = before * rays[..., 1]  # below the camera
    floor, above = np.abs(height - 1.4) < 0.03, height < 1.28
    assert floor.sum() > 2000 and above.sum() > 2000
    assert np.isnan(kept[floor]).all()
    np.testing.assert_array_equal(kept[above], before[above])


def test_where_no_floor_is_found_all_points_stay():
    depth = depth_of(room, points__ground='drop', floor__height=4.0)
    kept = surfaces(depth, settings_of(points__ground='drop').points, 1)
    assert torch.equal(torch.isnan(kept.lens.ranges), torch.isnan(depth.lens.ranges))


def test_a_voxel_holds_points_on_one_side_of_the_camera_only():
    points = torch.zeros(5, 4)
    points[:, 2] = torch.tensor([-3.05, -3.02, -0.5, 0.52, 3.0])
    kept = thinning(settings_of(points__voxel=0.1).points, around=True)(points)
    assert kept.tolist() == [False, True, True, True, True]
    growing = settings_of(points__voxel=0.1, points__voxel_growth=0.2).points
    assert thinning(growing, around=True)(points).tolist() == [False, True, True, True, True]
    points[:, 2] *= 10
    assert thinning(growing, around=True)(points).sum() == 4


@pytest.mark.parametrize('fov', [60.0, 90.0])
def test_the_tiles_of_a_real_picture_are_the_picture(data, fov):
    folder = data / 'images' / 'euroc_v101_micro'
    k = json.loads((folder / 'intrinsics.json').read_text())
    camera = Camera(
        k['width'], k['height'], k['fx'], k['fy'], k['cx'], k['cy'],
        'plumb_bob', tuple(k['distortion']),
    )  # fmt: skip
    picture = torch.from_numpy(cv2.imread(str(folder / 'rgb.png')))
    found = tables(camera, fov, 180.0, 'cpu')
    assert len(found.tiles) == {60.0: 5, 90.0: 3}[fov]
    maps = [table.source.image(picture)[..., 0].float() for table in found.tiles]
    again = merge.mean(maps, found)
    difference = (again - picture[..., 0].float()).abs()
    # each is resampled twice, and the details of the picture are as fine as its pixels
    blurred = torch.from_numpy(cv2.GaussianBlur(picture.numpy(), (3, 3), 0))[..., 0].float()
    assert difference.mean() < (blurred - picture[..., 0]).abs().mean()
    assert not torch.isnan(again).any()


def test_the_tiles_of_several_cameras_are_one_batch():
    settings = settings_of()
    oracle = Oracle(room, LENS, settings.undistort)
    pipeline = Pipeline(oracle, settings)
    assert isinstance(oracle, TakesBatches)
    found = pipeline.many([Frame(BLACK, LENS), Frame(BLACK, LENS)], pipeline.snapshot)
    assert oracle.batches == [2 * len(oracle.tiles)]
    torch.testing.assert_close(found[0].lens.ranges, found[1].lens.ranges, equal_nan=True)


def test_a_camera_that_cannot_be_costs_the_others_nothing():
    settings = with_values(Settings(), {**WIDE, 'undistort.zoom': 'keep_all'})
    pipeline = Pipeline(Oracle(room, LENS, settings.undistort), settings)
    (error,) = pipeline.many([Frame(BLACK, LENS)], pipeline.snapshot)
    assert isinstance(error, CameraError) and "undistort.zoom is 'keep_all'" in str(error)


def test_a_prediction_of_another_size_is_an_error():
    class Small(Oracle):
        def _predicted(self, frame, k):
            return Prediction(torch.ones(3, 4), Kind.METRIC)

    settings = settings_of()
    with pytest.raises(InferenceError, match=r'returned \(3, 4\) for a tile'):
        Pipeline(Small(room, LENS, settings.undistort), settings)(Frame(BLACK, LENS))


@pytest.mark.parametrize(
    ('values', 'said'),
    [
        ({'anchors.sources': ['scan']}, 'anchors are pixels of one pinhole'),
        ({'two_views.mode': 'stereo'}, 'two views are compared as two pinholes'),
        ({'intrinsics': 'estimated'}, 'an estimated camera is a pinhole'),
    ],
)
def test_what_needs_one_pinhole_is_refused_with_the_reason(values, said):
    settings = with_values(Settings(), {**WIDE, **values})
    with pytest.raises(ConfigError, match=f"undistort.projection is 'wide'.*{said}"):
        Pipeline(Oracle(room, LENS, settings.undistort), settings)


def test_tiles_that_a_network_of_one_camera_sees_in_part_are_refused():
    name = 'fastdepth_nyu'
    values = {**layered({'model': name, **WIDE}, name), 'undistort.tile_fov': 60.0}
    with pytest.raises(ConfigError, match=r'depth for 59 x 46 deg only.*set it to 50 or less'):
        check_abilities(with_values(Settings(), values), PRESETS[name])
    fits = with_values(Settings(), {**values, 'undistort.tile_fov': 50.0})
    check_abilities(fits, PRESETS[name])


def test_networks_of_inverse_depth_with_a_shift_are_refused():
    settings = settings_of(scaling__method='constant')
    with pytest.raises(ConfigError, match='each tile has its own unknown factor and shift'):
        Pipeline(Oracle(room, LENS, settings.undistort, Kind.AFFINE_INVERSE), settings)
