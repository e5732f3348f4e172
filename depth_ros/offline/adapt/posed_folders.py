# SPDX-License-Identifier: Apache-2.0
"""Folders of images and poses, in the layouts that people have.

Each function looks whether a folder has its layout; see `sources.LAYOUTS`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from depth_ros.core.camera import Camera
from depth_ros.core.errors import CameraError, ConfigError, ImageError
from depth_ros.offline import image_file
from depth_ros.offline.adapt.posed import (
    NONE_LEFT,
    Options,
    Poses,
    PosesByImage,
    PosesByTime,
    Source,
)
from depth_ros.offline.evaluation.layouts import (
    are_same,
    intrinsics,
    stamped,
    trajectory,
    tum_camera,
    tum_pose,
)
from depth_ros.offline.evaluation.measured import calibration_of
from depth_ros.offline.inputs import PICTURES
from depth_ros.offline.recorded import Recorded
from depth_ros.pipeline.two_views.poses import Pose4x4, Track

#: files with poses in the form of TUM RGB-D, in the order in which they are looked for
TRAJECTORIES = (
    'groundtruth.txt', 'trajectory.txt', 'CameraTrajectory.txt', 'KeyFrameTrajectory.txt',
)  # fmt: skip
NOT_RIGID = 'a pose is no rotation and position'
NO_IMAGE = 'a pose has no image'
FARTHEST_M = 1e9  #: of a position from the origin; the Earth has a radius of 6.4e6
MOST_SKEW = 0.02  #: of R R^T - 1 of a pose with few digits


def source_of(
    path: Path,
    name: str,
    layout: str,
    images: Sequence[tuple[Path, int]],
    camera: Camera | None,
    poses: Poses | None,
    lacks: str,
    skipped: Counter[str],
    options: Options,
) -> Source:
    """A folder of image files with their stamps [ns].

    Raises:
        ImageError: there are none.
        ConfigError: the selection leaves none.
    """
    if not images:
        raise ImageError(f'{path} has the layout {layout}, and no images')
    calibration = None if camera is None else partial(calibration_of, camera)
    chosen = options.selection
    first_ns = images[0][1]
    if chosen.has_times and len(images) > 1 and images[-1][1] == first_ns:
        raise ConfigError(f'{path}: its images have no times, so omit --start and --end')
    shots = [
        Recorded(
            shot_name(name, image), partial(image_file.read, image), stamp_ns, is_frame=True,
            calibration=calibration,
        )
        for k, (image, stamp_ns) in enumerate(images)
        if chosen.uses(k, (stamp_ns - first_ns) * 1e-9)
    ][: chosen.limit]  # fmt: skip
    if not shots:
        raise ConfigError(NONE_LEFT.format(path=path, count=len(images)))
    return Source(path, name, layout, shots, poses, lacks, partial(_read, shots), skipped)


def shot_name(name: str, image: Path) -> str:
    """Of an image of a folder."""
    return f'{name}/{image.stem}'


def _read(shots: Sequence[Recorded], numbers: Sequence[int]) -> Iterator[tuple[int, Recorded]]:
    for k in numbers:
        yield k, shots[k]


def tum(path: Path, name: str, options: Options) -> Source | None:
    """TUM RGB-D: rgb.txt, or images named by their time in rgb/, and groundtruth.txt.

    Poses are `stamp x y z qx qy qz qw` of the optical frame, as SLAM programs write them too. The
    camera is that of intrinsics.json, or by freiburg1, 2 or 3 in the path.

    Raises:
        ImageError: a list cannot be read.
    """
    listed = path / 'rgb.txt'
    poses_file = options.trajectory or next(
        (path / file for file in TRAJECTORIES if (path / file).is_file()), None
    )
    if listed.is_file():
        images = {ns: words[0] for ns, words in stamped(listed).items()}
    elif poses_file is not None and (path / 'rgb').is_dir():
        images = _named_by_time(path / 'rgb')
    else:
        return None
    camera = None
    if images:
        camera, _ = tum_camera(path, {ns: [file] for ns, file in images.items()})
    lacks = f'there is no {" or ".join(TRAJECTORIES[:2])}, and no --trajectory'
    files = [(path / file, ns) for ns, file in sorted(images.items())]
    skipped: Counter[str] = Counter()
    poses = None if poses_file is None else PosesByTime(read_track(poses_file, skipped))
    return source_of(path, name, 'TUM RGB-D', files, camera, poses, lacks, skipped, options)


def _named_by_time(folder: Path) -> dict[int, str]:
    """Stamp [ns] -> file, of images named by seconds or nanoseconds."""
    found: dict[int, str] = {}
    for image in sorted(folder.iterdir()):
        stem = image.stem
        if image.suffix.lower() not in PICTURES or not re.fullmatch(r'\d+(\.\d+)?', stem):
            continue
        seconds, _, fraction = stem.partition('.')
        ns = int(seconds) if len(seconds) > 16 else int(seconds) * 10**9
        found[ns + int(fraction[:9].ljust(9, '0'))] = f'{folder.name}/{image.name}'
    return found


def read_track(path: Path, skipped: Counter[str]) -> Track:
    """Poses of a file in the form of TUM RGB-D; lines that are no pose are counted.

    Raises:
        ImageError: a line has no stamp, or there is no such file.
    """
    track = Track()
    try:
        rows = stamped(path)
    except OSError as error:
        raise ImageError(f'{path} has no poses: {error.strerror}; check --trajectory') from error
    for stamp_ns, words in sorted(rows.items()):
        T = tum_pose(words)
        if T is None or np.abs(T[:3, 3]).max() > FARTHEST_M:
            skipped[NOT_RIGID] += 1
        else:
            track.add(stamp_ns, T)
    return track


def per_image(path: Path, name: str, options: Options) -> Source | None:
    """A file with the 4 x 4 pose T_world_camera beside each image: 7-Scenes and ScanNet.

    7-Scenes: frame-000000.color.png and frame-000000.pose.txt. ScanNet: color/0.jpg, pose/0.txt
    and intrinsic/intrinsic_color.txt. The camera may be in intrinsics.json.

    Raises:
        ImageError: the camera's file cannot be used.
    """
    camera: Camera | None = None
    if (path / 'color').is_dir() and (path / 'pose').is_dir():
        layout = 'ScanNet'
        images = {p.stem: p for p in (path / 'color').iterdir() if is_picture(p)}
        files = {p.stem: p for p in (path / 'pose').glob('*.txt')}
    else:
        layout = '7-Scenes'
        images = {p.name.partition('.')[0]: p for p in path.glob('*.color.*') if is_picture(p)}
        files = {p.name.partition('.')[0]: p for p in path.glob('*.pose.txt')}
    if not images:
        return None
    ordered = sorted(images.items(), key=lambda item: (len(item[0]), item[0]))
    if (path / 'intrinsics.json').is_file():
        camera, _ = intrinsics(path, ordered[0][1])
    elif (path / 'intrinsic' / 'intrinsic_color.txt').is_file():
        camera = _scannet_camera(path / 'intrinsic' / 'intrinsic_color.txt', ordered[0][1])
    skipped: Counter[str] = Counter()
    poses: dict[str, Pose4x4] = {}
    for stem, file in sorted(files.items()):
        if stem not in images:
            skipped[NO_IMAGE] += 1
        elif (T := rigid(numbers_of(file), 16)) is None:
            skipped[NOT_RIGID] += 1
        else:
            poses[shot_name(name, images[stem])] = T
    lacks = f'none of {len(images)} images has a pose file with four lines of four numbers'
    return source_of(
        path, name, layout, [(image, 0) for _, image in ordered], camera,
        PosesByImage(poses) if poses else None, lacks, skipped, options,
    )  # fmt: skip


def is_picture(path: Path) -> bool:
    """Whether a file is an image by its ending."""
    return path.suffix.lower() in PICTURES


def numbers_of(path: Path) -> list[float]:
    """All numbers of a text file; none if there is something else in it."""
    try:
        return [float(word) for word in path.read_text().split()]
    except (OSError, ValueError):
        return []


def rigid(numbers: Sequence[float], count: int) -> Pose4x4 | None:
    """A pose (4, 4) of 12 or 16 numbers, row by row; None if it is no rotation and position."""
    if len(numbers) != count or not np.isfinite(numbers).all():
        return None
    if np.abs(numbers).max() > FARTHEST_M:  # squares of it would overflow
        return None
    T = np.eye(4)
    T[:3] = np.reshape(numbers[:12], (3, 4))
    R = T[:3, :3]
    if np.abs(R @ R.T - np.eye(3)).max() > MOST_SKEW or np.linalg.det(R) < 0:
        return None
    U, _, V = np.linalg.svd(R)  # the closest rotation
    T[:3, :3] = U @ V
    return T


def _scannet_camera(file: Path, image: Path) -> Camera:
    """Camera of a matrix of 4 x 4 numbers, for images of the size of one.

    Raises:
        ImageError: the file cannot be used.
    """
    k = numbers_of(file)
    rows = image_file.read(image).rgb.shape
    try:
        return Camera(rows[1], rows[0], k[0], k[5], k[2], k[6])
    except (IndexError, CameraError) as error:
        raise ImageError(f'{file} must be K as four lines of four numbers ({error})') from error


def scene(path: Path, name: str, options: Options) -> Source | None:
    """rgb*.png or .jpg, intrinsics.json, and trajectory.log (Open3D) with a pose for each image.

    Raises:
        ImageError: intrinsics.json cannot be used.
    """
    if not (path / 'intrinsics.json').is_file():
        return None
    images = sorted(p for p in path.glob('rgb*') if is_picture(p))
    for plain in [p for p in images if p.stem == 'rgb']:
        if any(are_same(plain, image) for image in images if image != plain):
            images.remove(plain)  # one of the numbered images again
    if not images:
        return None
    camera, _ = intrinsics(path, images[0])
    found = [rigid(list(T.ravel()), 16) for T in trajectory(path / 'trajectory.log')]
    poses = None
    lacks = 'there is no trajectory.log with poses'
    skipped = Counter({NOT_RIGID: sum(T is None for T in found)})
    if len(found) == len(images):
        both = zip(images, found, strict=True)
        poses = PosesByImage({shot_name(name, p): T for p, T in both if T is not None})
    elif found:
        lacks = f'trajectory.log has {len(found)} poses for {len(images)} images'
    files = [(image, 0) for image in images]
    return source_of(
        path, name, 'rgb, intrinsics, trajectory', files, camera, poses, lacks, +skipped, options
    )
