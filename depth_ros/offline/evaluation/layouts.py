# SPDX-License-Identifier: Apache-2.0
"""Folders of images with measured depth, in the layouts that people have.

Each function of `LAYOUTS` looks whether a folder has its layout.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from depth_ros.core.camera import Camera
from depth_ros.core.errors import CameraError, ConfigError, ImageError
from depth_ros.core.stamps import from_decimal, nearest
from depth_ros.offline.evaluation.measured import Pair, Pictures
from depth_ros.pipeline.two_views.poses import Pose4x4, pose_from_quaternion

IMAGES = ('.png', '.jpg', '.jpeg')
KITTI_PER_METRE, TUM_PER_METRE, NYU_PER_METRE = 256.0, 5000.0, 1000.0
KITTI_PERIOD_NS = 100_000_000  #: between the frames of a drive
#: stamps of TUM RGB-D that belong together differ by less [ns]; its own tools use this value
TUM_GAP_NS = 20_000_000
#: colour cameras of TUM RGB-D: fx fy cx cy [px] of 640x480, and plumb_bob coefficients, from
#: https://cvg.cit.tum.de/data/datasets/rgbd-dataset/file_formats
TUM_CAMERAS: dict[str, tuple[float, float, float, float, tuple[float, ...]]] = {
    'freiburg1': (517.3, 516.5, 318.6, 255.3, (0.2624, -0.9531, -0.0054, 0.0026, 1.1633)),
    'freiburg2': (520.9, 521.0, 325.1, 249.7, (0.2312, -0.7849, -0.0033, -0.0001, 0.9172)),
    'freiburg3': (535.4, 539.2, 320.1, 247.6, ()),
}
#: colour camera of NYU Depth V2, of the toolbox of that data set
NYU_CAMERA = Camera(640, 480, 518.8579, 519.46961, 325.58245, 253.73617)


def scene(path: Path, name: str) -> Pictures | None:
    """rgb*.png or .jpg, depth*.png with the same ending, and intrinsics.json.

    intrinsics.json has fx, fy, cx, cy [px] and depth_scale, the value of depth.png for 1 m; width
    and height if the image is of another size. trajectory.log (Open3D) has poses.

    Raises:
        ImageError: intrinsics.json cannot be used, or a depth.png or its image is missing.
    """
    if not (path / 'intrinsics.json').is_file() or (path / 'rgb.txt').is_file():
        return None
    depths = sorted(path.glob('depth*.png'))
    if not depths:
        return None
    camera, per_metre = intrinsics(path, depths[0])
    plain = path / 'depth.png'
    if any(are_same(plain, depth) for depth in depths if depth != plain):
        depths.remove(plain)  # one of the numbered images again
    pairs = []
    for depth in depths:
        stem = f'rgb{depth.stem.removeprefix("depth")}'
        image = next(
            (path / f'{stem}{e}' for e in IMAGES if (path / f'{stem}{e}').is_file()), None
        )
        if image is None:
            raise ImageError(f'{depth} has no {stem}.png or {stem}.jpg beside it')
        pairs.append(Pair(image, depth, per_metre, camera))
    poses = trajectory(path / 'trajectory.log')
    if len(poses) == len(pairs) > 1:
        pairs = [
            Pair(p.image, p.depth, per_metre, camera, 0, T)
            for p, T in zip(pairs, poses, strict=True)
        ]
        return Pictures(path, name, 'rgb, depth, intrinsics', tuple(pairs), is_sequence=True)
    return Pictures(path, name, 'rgb, depth, intrinsics', tuple(pairs))


def are_same(one: Path, other: Path) -> bool:
    """Whether two files are there and have the same content."""
    if not one.is_file() or one.stat().st_size != other.stat().st_size:
        return False
    return one.read_bytes() == other.read_bytes()


def _size(image: Path) -> tuple[int, int]:
    """Width and height of an image, by its header.

    Raises:
        ValueError: it is no image.
    """
    try:
        with Image.open(image) as opened:
            return opened.size
    except OSError as error:
        raise ValueError(f'{image.name} is no image that can be read') from error


def intrinsics(path: Path, like: Path) -> tuple[Camera, float]:
    """Camera and depth_scale of intrinsics.json; without width and height those of an image.

    Raises:
        ImageError: it cannot be used.
    """
    file = path / 'intrinsics.json'
    try:
        found = json.loads(file.read_text())
        if 'width' not in found:
            found['width'], found['height'] = _size(like)
        fx, fy, cx, cy = (float(found[key]) for key in ('fx', 'fy', 'cx', 'cy'))
        d = tuple(float(x) for x in found.get('distortion', ()))
        model = 'equidistant' if found.get('model') == 'equidistant' else 'plumb_bob'
        size = int(found['width']), int(found['height'])
        camera = Camera(*size, fx, fy, cx, cy, model if d else '', d)
        per_metre = float(found.get('depth_scale', 1000.0))
        if not 0 < per_metre < np.inf:
            raise ValueError(f'depth_scale is {per_metre:g}; it must be above 0')
    except (OSError, ValueError, KeyError, TypeError, CameraError) as error:
        raise ImageError(
            f'{file} must have fx, fy, cx, cy and depth_scale: {type(error).__name__}: {error}'
        ) from error
    return camera, per_metre


def trajectory(path: Path) -> list[Pose4x4]:
    """Poses T_world_camera of a trajectory of Open3D; none without such a file."""
    try:
        lines = path.read_text().split('\n')
        return [
            np.array([[float(x) for x in line.split()] for line in lines[k + 1 : k + 5]], float)
            for k in range(0, len(lines) - 4, 5)
        ]
    except (OSError, ValueError):
        return []


def kitti_selection(path: Path, name: str) -> Pictures | None:
    """KITTI's depth selection: image/, groundtruth_depth/ and intrinsics/.

    Raises:
        ImageError: an image of its depth is missing.
    """
    truth = path / 'groundtruth_depth'
    if not truth.is_dir() or not (path / 'image').is_dir():
        return None
    pairs = []
    for depth in sorted(truth.glob('*.png')):
        image = path / 'image' / depth.name.replace('_groundtruth_depth_', '_image_')
        if not image.is_file():
            raise ImageError(f'{depth} has no image {image}')
        pairs.append(Pair(image, depth, KITTI_PER_METRE, _kitti_k(path / 'intrinsics', image)))
    return Pictures(path, name, 'KITTI selection', tuple(pairs)) if pairs else None


def _kitti_k(folder: Path, image: Path) -> Camera | None:
    """Camera of nine numbers in a text file with the name of the image; None without it.

    Raises:
        ImageError: the file or the image cannot be read.
    """
    file = folder / f'{image.stem}.txt'
    if not file.is_file():
        return None
    try:
        k = [float(x) for x in file.read_text().split()]
        return Camera(*_size(image), k[0], k[4], k[2], k[5])
    except (ValueError, IndexError, CameraError) as error:
        raise ImageError(f'{file} must be the nine numbers of K ({error})') from error


def kitti_raw(path: Path, name: str) -> Pictures | None:
    """A drive of KITTI's annotated depth, DRIVE/proj_depth/groundtruth/image_0N.

    The images, DATE/DRIVE/image_0N/data, and DATE/calib_cam_to_cam.txt are looked for in the
    folders above, up to four, and in their folders named by the date.

    Args:
        path: of the drive.
        name: of it in reports.

    Raises:
        ImageError: its images or their calibration are not found.
    """
    truths = sorted((path / 'proj_depth' / 'groundtruth').glob('image_0[0-9]'))
    if not truths:
        return None
    pairs: list[Pair] = []
    for truth in truths:
        date, camera = path.name[:10], truth.name
        wanted = f'{date}/{path.name}/{camera}/data'
        images = next((p for p in _near(path, wanted) if p.is_dir()), None)
        if images is None:
            raise ImageError(f'{truth} has no images: put KITTI raw, {wanted}, beside or above it')
        calibration = next((p for p in (images.parents[2], *images.parents[:2])
                            if (p / 'calib_cam_to_cam.txt').is_file()), None)  # fmt: skip
        k = _rectified(calibration / 'calib_cam_to_cam.txt', camera[-2:]) if calibration else None
        for depth in sorted(truth.glob('*.png')):
            image = next((images / f'{depth.stem}{e}' for e in IMAGES
                          if (images / f'{depth.stem}{e}').is_file()), None)  # fmt: skip
            if image is not None:
                number = int(depth.stem) if depth.stem.isdigit() else len(pairs)
                stamp_ns = number * KITTI_PERIOD_NS
                own = f'{camera}/{depth.stem}' if len(truths) > 1 else ''
                pairs.append(Pair(image, depth, KITTI_PER_METRE, k, stamp_ns, None, own))
    if not pairs:
        raise ImageError(f'{path}: no depth file has an image of the same number')
    # two cameras are no sequence
    return Pictures(path, name, 'KITTI raw', tuple(pairs), is_sequence=len(truths) == 1)


def _near(path: Path, wanted: str) -> Iterator[Path]:
    """Where `wanted` may be: in the folders above, and next to them."""
    short = wanted.partition('/')[2]
    for above in list(path.parents)[:5]:
        yield above / wanted
        yield above / short
        yield from (p / w for w in (wanted, short) for p in sorted(above.glob('*')) if p.is_dir())


def _rectified(path: Path, camera: str) -> Camera:
    """Rectified camera of a calib_cam_to_cam.txt of KITTI raw.

    Raises:
        ImageError: the file does not have it.
    """
    try:
        rows = dict(line.split(':', 1) for line in path.read_text().splitlines() if ':' in line)
        p = [float(x) for x in rows[f'P_rect_{camera}'].split()]
        width, height = (float(x) for x in rows[f'S_rect_{camera}'].split())
        return Camera(int(width), int(height), p[0], p[5], p[2], p[6])
    except (OSError, KeyError, IndexError, ValueError, CameraError) as error:
        raise ImageError(
            f'{path} must have P_rect_{camera} and S_rect_{camera} ({type(error).__name__}: '
            f'{error})'
        ) from error


def tum(path: Path, name: str) -> Pictures | None:
    """A sequence of TUM RGB-D: rgb.txt, depth.txt and, for poses, groundtruth.txt.

    Images and depth belong together where their stamps differ by less than 20 ms. The camera is
    that of intrinsics.json, or by freiburg1, 2 or 3 in the path.

    Raises:
        ImageError: no image has a depth, or a list cannot be read.
    """
    if not (path / 'rgb.txt').is_file() or not (path / 'depth.txt').is_file():
        return None
    images, depths = (stamped(path / f'{kind}.txt') for kind in ('rgb', 'depth'))
    camera, per_metre = tum_camera(path, depths)
    poses = stamped(path / 'groundtruth.txt') if (path / 'groundtruth.txt').is_file() else {}
    of_depths, of_poses = sorted(depths), sorted(poses)
    pairs = []
    for stamp_ns, (file, *_) in sorted(images.items()):
        depth_ns = _nearest(of_depths, stamp_ns)
        if depth_ns is None:
            continue
        pose_ns = _nearest(of_poses, stamp_ns)
        T = tum_pose(poses[pose_ns]) if pose_ns is not None else None
        depth = path / depths[depth_ns][0]
        pairs.append(Pair(path / file, depth, per_metre, camera, stamp_ns, T))
    if not pairs:
        raise ImageError(f'{path}: no image of rgb.txt has a depth within 20 ms in depth.txt')
    return Pictures(path, name, 'TUM RGB-D', tuple(pairs), is_sequence=True)


def stamped(path: Path) -> dict[int, list[str]]:
    """Stamp [ns] -> words, of a list of TUM RGB-D.

    Raises:
        ImageError: a line has no stamp.
    """
    rows: dict[int, list[str]] = {}
    for number, line in enumerate(path.read_text(errors='replace').splitlines(), 1):
        words = line.replace(',', ' ').split()
        if not words or words[0].startswith('#'):
            continue
        if not re.fullmatch(r'\d+(\.\d+)?', words[0]) or len(words) < 2:
            raise ImageError(f'{path}, line {number}: {line[:60]!r} is no stamp and file')
        rows[from_decimal(words[0])] = words[1:]
    return rows


def _nearest(stamps_ns: list[int], stamp_ns: int) -> int | None:
    """The stamp closest to another, of a sorted list, if it is close enough."""
    found_ns = nearest(stamps_ns, stamp_ns) if stamps_ns else None
    return found_ns if found_ns is not None and abs(found_ns - stamp_ns) < TUM_GAP_NS else None


def tum_pose(words: list[str]) -> Pose4x4 | None:
    """Pose (4, 4) of x y z [m] qx qy qz qw; None if it is none."""
    try:
        x, y, z, *quaternion = (float(word) for word in words)
        return pose_from_quaternion(x, y, z, *quaternion)
    except (ValueError, ConfigError):
        return None


def tum_camera(path: Path, files: dict[int, list[str]]) -> tuple[Camera | None, float]:
    """Camera of a sequence of TUM RGB-D, None if it is not known, and depth of 1 m.

    Args:
        path: of the sequence.
        files: of `stamped`, images or depths.

    Raises:
        ImageError: intrinsics.json cannot be used.
    """
    if (path / 'intrinsics.json').is_file():
        like = path / next(iter(files.values()), ['none'])[0]
        return intrinsics(path, like)
    place = str(path.resolve())
    # the innermost name counts
    which = max(TUM_CAMERAS, key=place.rfind)
    if which not in place:
        return None, TUM_PER_METRE
    fx, fy, cx, cy, d = TUM_CAMERAS[which]
    model = 'plumb_bob' if d else ''
    return Camera(640, 480, fx, fy, cx, cy, model, d), TUM_PER_METRE


def nyu(path: Path, name: str) -> Pictures | None:
    """Images of NYU Depth V2 as files: rgb_NNNNN.jpg and sync_depth_NNNNN.png beside it."""
    pairs = []
    for depth in sorted(path.glob('sync_depth_*.png')):
        stem = f'rgb_{depth.stem.removeprefix("sync_depth_")}'
        for image in (path / f'{stem}{ending}' for ending in IMAGES):
            if image.is_file():
                pairs.append(Pair(image, depth, NYU_PER_METRE, NYU_CAMERA))
                break
    return Pictures(path, name, 'NYU', tuple(pairs)) if pairs else None


Layout = Callable[[Path, str], Pictures | None]
#: in this order
LAYOUTS: tuple[Layout, ...] = (scene, tum, kitti_selection, kitti_raw, nyu)
