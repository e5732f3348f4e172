# SPDX-License-Identifier: Apache-2.0
import math

import cv2
import numpy as np
import pytest
import torch

from depth_ros.core.camera import Camera
from depth_ros.core.errors import CameraError, ConfigError
from depth_ros.core.geometry import undistort
from depth_ros.core.types import Frame
from depth_ros.sim.sequence import SequenceSettings
from depth_ros.sim.world import (
    Light,
    camera_pose,
    path,
    random_camera,
    random_pose,
    random_scene,
    render,
    render_many,
)
from depth_ros.sim.world import materials as m
from depth_ros.sim.world.builder import Builder
from depth_ros.sim.world.distortion import ray_directions
from depth_ros.sim.world.layouts import LAYOUTS, outside

CAMERA = Camera(96, 72, 80.0, 78.0, 46.0, 37.0)
SUN = Light(position=(0.0, 0.0, 3000.0), rgb=(1.0, 1.0, 1.0))
DEVICES = ['cpu', pytest.param('cuda', marks=pytest.mark.gpu)]
on_each_device = pytest.mark.parametrize('device', DEVICES)


def scene_of(put, light=SUN):
    b = Builder(3)
    put(b, m.paint(b.rng))
    return b.scene('test', m.concrete(b.rng), light, (-5, -5, 5, 5))


def world_rays(camera, pose):
    """Rays of the pixels with forward part 1, (H, W, 3) float64, and where they start."""
    v, u = np.mgrid[: camera.height, : camera.width].astype(np.float64)
    x, y = (u - camera.cx) / camera.fx, (v - camera.cy) / camera.fy
    if camera.is_distorted:  # a test of their own is below
        x, y = ray_directions(camera)
    pose = pose.numpy()
    return np.stack((x, y, np.ones_like(x)), -1) @ pose[:3, :3].T, pose[:3, 3]


def first_root(a, b, c):
    """Smaller root of a t^2 + 2 b t + c, Inf where there is none."""
    with np.errstate(invalid='ignore', divide='ignore'):
        root = (-b - np.sqrt(b * b - a * c)) / a
    return np.where(root > 0, root, np.inf)


def ball_depth(o, d, centre, radius):
    w = o - centre
    return first_root((d * d).sum(-1), d @ w, w @ w - radius**2)


def box_depth(o, d, centre, half, cos, sin):
    """By its six faces, one after another."""
    turn = np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]])
    o, d = turn @ (o - centre), d @ turn.T
    best = np.full(d.shape[:-1], np.inf)
    for axis in range(3):
        for side in (-1, 1):
            with np.errstate(invalid='ignore', divide='ignore'):
                t = (side * half[axis] - o[axis]) / d[..., axis]
                at = np.abs(o + t[..., None] * d) <= half + 1e-12
            at[..., axis] = True
            best = np.where((t > 0) & at.all(-1) & (t < best), t, best)
    return best


def tube_depth(o, d, centre, axis, half, radius, round_ends):
    w = o - centre
    across, slant = w - (w @ axis) * axis, d - (d @ axis)[..., None] * axis
    side = first_root((slant * slant).sum(-1), slant @ across, across @ across - radius**2)
    with np.errstate(invalid='ignore'):
        on = np.abs(w @ axis + side * (d @ axis)) <= half
    best = np.where(on, side, np.inf)
    for sign in (-1, 1):
        end = centre + sign * half * axis
        if round_ends:
            best = np.minimum(best, ball_depth(o, d, end, radius))
            continue
        with np.errstate(invalid='ignore', divide='ignore'):
            t = ((end - o) @ axis) / (d @ axis)
            off = o + t[..., None] * d - end
            best = np.where((t > 0) & ((off**2).sum(-1) <= radius**2) & (t < best), t, best)
    return best


def all_depths(scene, camera, pose):
    """Depth of every pixel by trying every solid with the formulas above."""
    d, o = world_rays(camera, pose)
    with np.errstate(divide='ignore'):
        best = (scene.ground - o[2]) / d[..., 2]
    best = np.where(best > 0, best, np.inf)
    for f in scene.solids['box'].cpu().numpy().T:
        best = np.minimum(best, box_depth(o, d, f[:3], f[3:6], f[6], f[7]))
    for f in scene.solids['ball'].cpu().numpy().T:
        best = np.minimum(best, ball_depth(o, d, f[:3], f[3]))
    for kind in ('rod', 'capsule'):
        for f in scene.solids[kind].cpu().numpy().T:
            depth = tube_depth(o, d, f[:3], f[3:6], f[6], f[7], kind == 'capsule')
            best = np.minimum(best, depth)
    return best


def assert_same_depth(z, truth, strays=0.0):
    """To 1e-4 m up to 100 m and 1e-6 of it beyond; a share of silhouette pixels may differ."""
    z = z.cpu().numpy().astype(np.float64)
    same = np.isinf(z) & np.isinf(truth)
    with np.errstate(invalid='ignore'):
        same |= np.abs(z - truth) <= np.maximum(1e-4, 1e-6 * truth)
    assert (~same).mean() <= strays, np.argwhere(~same)[:5]


@on_each_device
def test_ground_is_a_plane_and_above_it_is_sky(device):
    scene = scene_of(lambda b, of: None).to(device)
    pose = camera_pose((0.3, -0.2, 1.4), 0.4, -0.1, 0.05)
    view = render(scene, CAMERA, pose)
    d, o = world_rays(CAMERA, pose)
    assert_same_depth(view.z, np.where(d[..., 2] < 0, -o[2] / d[..., 2], np.inf))
    assert torch.equal(view.sky, torch.isinf(view.z)) and view.sky.any() and not view.sky.all()
    assert (view.z > 0).all()


@on_each_device
@pytest.mark.parametrize(
    'put',
    [
        lambda b, of: b.box(3, 0.2, 0, (1.0, 2.0, 1.5), of, yaw=0.7),
        lambda b, of: b.ball(4, -0.3, 0.5, 0.8, of),
        lambda b, of: b.post(3, 0, 0, 1.8, 0.3, of),
        lambda b, of: b.post(3, 0, 0.2, 1.7, 0.3, of, round_ends=True),
        lambda b, of: b.at(3, 0, 0, 0.6).wheel(0, 0, 0.5, 0.4, of, z=0.6),
        lambda b, of: b.ball(140, 0, -3, 30, of),
    ],
    ids=['box', 'ball', 'cylinder', 'capsule', 'wheel', 'hill'],
)
@pytest.mark.parametrize('height', [0.4, 1.1, 3.0])
def test_each_solid_is_where_its_formula_says(put, height, device):
    scene = scene_of(put).to(device)
    pose = camera_pose((0.0, 0.1, height), 0.05, -0.3 if height > 2 else 0.02, 0.1)
    view = render(scene, CAMERA, pose)
    assert_same_depth(view.z, all_depths(scene, CAMERA, pose), strays=2e-4)


@on_each_device
@pytest.mark.parametrize('kind', list(LAYOUTS))
def test_depth_of_whole_scenes_is_exact(kind, device):
    for seed in range(4):
        scene = random_scene(seed, kind, device)
        pose, camera = random_pose(scene, 1), random_camera(seed, 80, 60, distorted=seed == 3)
        assert_same_depth(
            render(scene, camera, pose).z, all_depths(scene, camera, pose), strays=1e-3
        )


@on_each_device
def test_same_seed_same_picture(device):
    a, b = (random_scene(11, device=device) for _ in range(2))
    assert a.kind == b.kind and all(torch.equal(a.solids[k], b.solids[k]) for k in a.solids)
    pose = random_pose(a, 5)
    assert torch.equal(pose, random_pose(b, 5))
    one, two = (render(s, CAMERA, pose, seed=9) for s in (a, b))
    assert torch.equal(one.rgb, two.rgb) and torch.equal(one.z, two.z)
    assert not torch.equal(one.rgb, render(a, CAMERA, pose, seed=10).rgb)
    assert not torch.equal(pose, random_pose(a, 6))
    assert random_camera(4, 64, 48, distorted=True) == random_camera(4, 64, 48, distorted=True)


def test_frames_of_a_video_differ_in_noise_only():
    scene = random_scene(0, 'room')
    pose = random_pose(scene, 0)
    # seeds of cameras that are noisy enough to see it
    frames = [
        render(scene, CAMERA, pose, seed=s, frame=f).rgb.float() for s in range(8) for f in (0, 1)
    ]
    changes = [(a - b).abs().mean() for a, b in zip(frames[::2], frames[1::2], strict=True)]
    assert 0.3 < max(changes) < 25
    means = torch.stack([frame.mean() for frame in frames])
    assert (means[::2] - means[1::2]).abs().max() < 2


def test_a_batch_gives_the_results_of_single_images():
    scenes = [random_scene(s) for s in range(4)]
    cameras = [random_camera(s, 50, 38) for s in range(4)]
    poses = [random_pose(s, 0) for s in scenes]
    together = render_many(scenes, cameras, poses)
    for i, job in enumerate(zip(scenes, cameras, poses, strict=True)):
        alone = render(*job)
        assert torch.equal(together.z[i], alone.z)
        assert (together.rgb[i].int() - alone.rgb.int()).abs().max() <= 2


def test_cameras_of_a_batch_must_agree_in_size():
    scene = random_scene(0)
    with pytest.raises(CameraError, match='one size'):
        render_many([scene] * 2, [CAMERA, CAMERA.resized(40, 30)], [camera_pose((0, 0, 1), 0)] * 2)


def test_unknown_kind_is_named():
    with pytest.raises(ConfigError, match='castle'):
        random_scene(0, 'castle')


def test_a_crown_keeps_to_the_room_it_is_given():
    for seed in range(20):
        builder = Builder(seed)
        outside.tree(builder.at(0, 0), 1.2)
        assert max(math.hypot(x, y) + r for x, y, _, r in builder._rows['ball']) <= 1.2


def test_depth_belongs_to_the_ray_whatever_the_focal_length():
    scene = random_scene(2, 'room')
    pose = random_pose(scene, 0)
    wide = Camera(81, 61, 50.0, 50.0, 40.0, 30.0)
    long = Camera(81, 61, 100.0, 100.0, 40.0, 30.0)
    a, b = render(scene, wide, pose).z, render(scene, long, pose).z
    # every second pixel of the long lens looks where a pixel of the wide one does
    assert torch.allclose(b[::2, ::2], a[15:46, 20:61], atol=1e-5)


def test_cropped_and_doubled_cameras_see_parts_of_the_same_picture():
    scene = random_scene(5, 'street')
    pose = random_pose(scene, 0)
    whole = render(scene, CAMERA, pose).z
    part = render(scene, CAMERA.cropped(20, 10, 40, 30), pose).z
    assert torch.equal(part, whole[10:40, 20:60])
    finer = render(scene, CAMERA.resized(288, 216), pose).z
    assert torch.equal(finer[1::3, 1::3].isinf(), whole.isinf())
    near = whole < 50
    assert torch.allclose(finer[1::3, 1::3][near], whole[near], atol=1e-4)


def missed(camera):
    """How far from its pixel each direction is projected [px], NaN where there is none."""
    x, y = ray_directions(camera)
    matrix = np.array([[camera.fx, 0, camera.cx], [0, camera.fy, camera.cy], [0, 0, 1]])
    points = np.stack((x, y, np.ones_like(x)), -1).reshape(-1, 1, 3)
    fisheye = camera.distortion_model == 'equidistant'
    project = cv2.fisheye.projectPoints if fisheye else cv2.projectPoints
    lens = np.array(camera.distortion)
    at = project(points, np.zeros(3), np.zeros(3), matrix, lens)[0].reshape(*camera.size, 2)
    v, u = np.mgrid[: camera.height, : camera.width]
    return np.abs(at - np.stack((u, v), -1)).max(-1)


def test_a_lens_projects_each_direction_to_its_pixel():
    for seed in range(200):
        assert missed(random_camera(seed, 40, 30, distorted=True)).max() < 1e-6, seed
    for hfov in (30, 90, 120, 150):
        for width, height in ((64, 48), (40, 160)):
            settings = SequenceSettings(width=width, height=height, hfov_deg=hfov, distortion=True)
            assert missed(settings.camera).max() < 1e-6, settings.camera


EUROC = Camera(
    752, 480, 458.654, 457.296, 367.215, 248.375, 'plumb_bob',
    (-0.28340811, 0.07395907, 0.00019359, 1.76187114e-05, 0.0),
)  # fmt: skip
TUM_VI = Camera(
    512, 512, 190.978, 190.973, 254.93, 256.9, 'equidistant',
    (0.0034823894, 0.0007150348, -0.0020532361, 0.00020293673),
)  # fmt: skip
#: its polynomial turns back long before the corners
WIDE = Camera(640, 360, 280.0, 280.0, 319.5, 179.5, 'plumb_bob', (-0.33, 0.1, 0.0, 0.0, -0.013))


@pytest.mark.parametrize(('lens', 'dark'), [(EUROC, 0.0), (TUM_VI, 0.08), (WIDE, 0.22)])
def test_a_real_lens_is_inverted_and_black_where_it_shows_nothing(lens, dark):
    away = missed(lens)
    assert np.nanmax(away) < 1e-6 and np.isnan(away).mean() == pytest.approx(dark, abs=0.01)
    small = lens.resized(lens.width // 8, lens.height // 8)
    scene = scene_of(lambda b, of: b.ball(4, 0, 0.2, 1.0, of))
    view = render(scene, small, camera_pose((0, 0, 1.2), 0.0), sensor=False)
    nothing = torch.from_numpy(np.isnan(missed(small)))
    assert torch.equal(torch.isnan(view.z), nothing)
    assert (view.rgb[nothing] == 0).all() and view.rgb[~nothing].float().mean() > 50


def coarse(rgb):
    """Means of 4 x 4 pixels: to resample blurs what is finer."""
    return rgb.float().unflatten(1, (-1, 4)).unflatten(0, (-1, 4)).mean((1, 3))


def test_a_lens_bends_what_undistortion_makes_straight():
    scene = random_scene(3, 'room')
    pose = random_pose(scene, 3)
    bend = (-0.2, 0.03, 0.02, -0.02, 0.0)
    lens = Camera(160, 120, 117.0, 117.0, 79.5, 59.5, 'plumb_bob', bend)
    bent, straight = (
        render(scene, c, pose, sensor=False, supersample=3) for c in (lens, lens.undistorted())
    )
    frame, _ = undistort(Frame(bent.rgb, lens))
    before, after = (
        (coarse(rgb) - coarse(straight.rgb))[4:25, 6:34].abs().mean()
        for rgb in (bent.rgb, frame.rgb)
    )
    assert after < 0.5 * before, (before, after)


@pytest.mark.parametrize('seed', [-7, 10**17])
def test_there_is_no_such_seed(seed):
    with pytest.raises(ConfigError, match=f'seed is {seed}; it must be an integer of 0 to'):
        random_scene(seed, 'room')


def test_ball_throws_its_shadow_where_the_sun_says():
    sun = Light(position=(-1500.0, 0.0, 1500.0), rgb=(2.0, 2.0, 2.0))  # 45 degrees, from behind
    scene = scene_of(lambda b, of: b.ball(0, 0, 1.0, 0.3, of), sun)
    pose = camera_pose((0.0, 0.0, 8.0), 0.0, -math.pi / 2)  # from above, +x is up in the picture
    camera = Camera(101, 101, 100.0, 100.0, 50.0, 50.0)
    grey = render(scene, camera, pose, sensor=False).rgb.float().mean(-1)
    shade = grey[50 - int(100 * 1.3 / 8), 50]  # the ball's middle is 1.3 m up
    assert shade < 0.8 * grey[80, 50] and shade < 0.8 * grey[34, 80]


@pytest.mark.parametrize('kind', list(LAYOUTS))
def test_cameras_stand_in_free_space(kind):
    small, nearest = Camera(32, 24, 20.0, 20.0, 15.5, 11.5), []
    for seed in range(40):
        scene = random_scene(seed, kind)
        pose = random_pose(scene, seed)
        assert float(scene.clearance(pose[None, :3, 3])) > 0.2
        assert 0.3 <= pose[2, 3] <= 2.0
        nearest.append(float(render(scene, small, pose, sensor=False).z.min()))
    assert min(nearest) > 0.15  # Z is shorter than the distance, at the picture's corners


def test_depths_are_plausible_for_the_kind_of_scene():
    def medians(kinds):
        z = [
            float(render(scene, CAMERA, random_pose(scene, 1)).z.median())
            for kind in kinds
            for scene in (random_scene(s, kind) for s in range(12))
        ]
        return float(np.median(z))

    assert 1.5 < medians(['room', 'corridor']) < 5
    assert 3 < medians(['street', 'yard']) < 20


def test_pictures_are_neither_black_nor_white_nor_empty():
    for seed in range(15):
        scene = random_scene(seed)
        view = render(scene, CAMERA, random_pose(scene, 2))
        grey = view.rgb.float()
        assert 25 < grey.mean() < 230 and grey.std() > 4
        assert view.sky.float().mean() < 0.9
        assert not view.z.isnan().any()


def test_supersampling_changes_colour_only():
    scene = random_scene(1, 'room')
    pose = random_pose(scene, 0)
    one, four = (render(scene, CAMERA, pose, sensor=False, supersample=n) for n in (1, 2))
    assert torch.equal(one.z, four.z) and not torch.equal(one.rgb, four.rgb)
    assert (one.rgb.float().mean() - four.rgb.float().mean()).abs() < 6


@pytest.mark.parametrize('kind', list(LAYOUTS))
def test_walk_is_smooth_closed_and_clear(kind):
    scene = random_scene(4, kind)
    walk = path(scene, 0)
    times = np.linspace(0, 60, 241)
    poses = torch.stack([walk(float(t)) for t in times])
    assert torch.allclose(poses[0], poses[-1], atol=1e-9)
    assert (poses[1:, :3, 3] - poses[:-1, :3, 3]).norm(dim=1).max() < 0.6  # 2.4 m/s
    assert float(scene.clearance(poses[:, :3, 3]).min()) > 0.2
    turn = (poses[1:, :3, :3] * poses[:-1, :3, :3]).sum((1, 2))
    assert (((turn - 1) / 2).clamp(-1, 1).acos() < 0.2).all()  # 45 degrees a second
    eye = poses[:, :3, :3] @ poses[:, :3, :3].transpose(1, 2)
    assert torch.allclose(eye, torch.eye(3, dtype=torch.float64).expand_as(eye), atol=1e-9)


@pytest.mark.gpu
def test_gpu_and_cpu_agree_in_depth():
    for seed in range(10):
        scene = random_scene(seed)
        pose, camera = random_pose(scene, 0), random_camera(seed, 160, 120)
        here, there = (render(scene.to(d), camera, pose).z.cpu() for d in ('cpu', 'cuda'))
        assert_same_depth(there, here.double().numpy(), strays=1e-4)
