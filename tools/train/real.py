# SPDX-License-Identifier: Apache-2.0
"""Real images with measured depth, and how the baselines were fitted."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from depth_ros.core.errors import ConfigError, DepthRosError, in_words
from depth_ros.core.types import Frame
from depth_ros.offline import image_file
from depth_ros.offline.evaluation import layouts
from depth_ros.offline.evaluation.measured import calibration_of
from tools.train.loss import FAR, NEAR
from tools.train.samples import held_out_samples

#: folders in data/images, of rooms and of streets
INDOORS = (
    'sunrgbd_000017',
    'nyu_raw_00000',
    'tum_fr2_desk',
    'icl_livingroom_open3d',
    'middlebury2014_motorcycle',
)
STREETS = ('kitti_object_000000', 'kitti_raw_0000000050')
ROWS = 48  # of the prior, for every image height
FITTED_ON = range(9_000_000, 9_000_192)  # seeds of scenes


def data_folder() -> Path:
    """Folder of the real images: $DEPTH_ROS_DATA, else ../shared/data of the repository."""
    default = Path(__file__).resolve().parents[3] / 'shared' / 'data'
    return Path(os.environ.get('DEPTH_ROS_DATA') or default)


def load_images(
    where: Path | None = None, names: Sequence[str] = INDOORS
) -> Iterator[tuple[str, Frame, Tensor]]:
    """Load images with depth: name, frame and depth (H, W) [m], NaN where not measured.

    Args:
        where: folder with one folder for each image: rgb.png or .jpg, depth.png of 16 bits, and
            intrinsics.json with fx, fy, cx, cy [px] and depth_scale, the value of depth.png for
            1 m. None loads those of `names` that exist in the data folder.
        names: folders in the images of the data folder.

    Raises:
        ConfigError: `where` has no such folder, or one that cannot be read.
    """
    if where is None:
        paths = [data_folder() / 'images' / name for name in names]
        paths = [path for path in paths if path.is_dir()]
    else:
        paths = sorted(path.parent for path in where.glob('*/intrinsics.json'))
        if not paths:
            raise ConfigError(f'{where} has no folders with an intrinsics.json')
    for path in paths:
        try:
            yield path.name, *_load_image(path)
        except (OSError, DepthRosError) as error:
            raise ConfigError(
                f'{path} needs rgb.*, depth.png of its size, and intrinsics.json with fx, fy, cx, '
                f'cy and depth_scale: {in_words(error)}'
            ) from error


def _load_image(path: Path) -> tuple[Frame, Tensor]:
    found = layouts.scene(path, path.name)
    if found is None:
        raise FileNotFoundError('depth.png')
    # of several images the one without a number, which may be one of the others again
    pair = next((p for p in found.pairs if p.depth.name == 'depth.png'), found.pairs[0])
    rgb = image_file.read(pair.image).rgb
    assert pair.camera is not None  # `layouts.scene` has it
    camera = calibration_of(pair.camera, rgb.shape[1], rgb.shape[0]).camera
    truth = pair.measured(path.name, 0, is_frame=False).truth(camera)
    return Frame(torch.from_numpy(rgb), camera), torch.from_numpy(truth)


def fitted_prior(scenes: range = FITTED_ON) -> tuple[float, list[float]]:
    """Median depth of all pixels, and of each of `ROWS` rows from top to bottom [m].

    `depth_ros.offline.evaluation.baselines` has these numbers.

    Args:
        scenes: seeds, which are not held out.
    """
    z = torch.cat(
        [samples.z for samples in held_out_samples(scenes, (ROWS, ROWS * 4 // 3))]
    ).float()
    valid = torch.where((z >= NEAR) & (z <= FAR), z, torch.nan)
    rows = valid.transpose(0, 1).flatten(1).nanmedian(1).values  # (ROWS,)
    return float(valid.nanmedian()), torch.where(torch.isnan(rows), FAR, rows).tolist()
