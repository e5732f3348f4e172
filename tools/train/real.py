# SPDX-License-Identifier: Apache-2.0
"""Real images with measured depth, and baselines that do not use the image."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from depth_ros.core.camera import Camera
from depth_ros.core.errors import ConfigError
from depth_ros.core.types import Frame
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
        except (OSError, ValueError, KeyError, StopIteration, RuntimeError) as error:
            raise ConfigError(
                f'{path} needs rgb.*, depth.png of its size, and intrinsics.json with fx, fy, cx, '
                f'cy and depth_scale: {type(error).__name__}: {error}'
            ) from error


def _load_image(path: Path) -> tuple[Frame, Tensor]:
    intrinsics = json.loads((path / 'intrinsics.json').read_text())
    bgr = cv2.imread(str(next(path.glob('rgb.*'))), cv2.IMREAD_COLOR)
    raw = cv2.imread(str(path / 'depth.png'), cv2.IMREAD_UNCHANGED)
    if bgr is None or raw is None or raw.shape != bgr.shape[:2]:
        raise ValueError('rgb and depth are not images of the same size')
    fx, fy, cx, cy = (float(intrinsics[key]) for key in ('fx', 'fy', 'cx', 'cy'))
    camera = Camera(bgr.shape[1], bgr.shape[0], fx, fy, cx, cy)
    rgb = torch.from_numpy(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB))
    z = torch.from_numpy(raw.astype(np.float32)) / float(intrinsics['depth_scale'])
    return Frame(rgb, camera), torch.where(z > 0, z, torch.nan)


class RowPrior:
    """Baselines: the median depth of each row, and of all pixels, over many scenes.

    Args:
        scenes: seeds, which are not held out.

    Attributes:
        rows: (`ROWS`,) median of each row [m], top to bottom.
        everywhere: median of all pixels [m].
    """

    def __init__(self, scenes: range = FITTED_ON) -> None:
        z = torch.cat(
            [samples.z for samples in held_out_samples(scenes, (ROWS, ROWS * 4 // 3))]
        ).float()
        valid = torch.where((z >= NEAR) & (z <= FAR), z, torch.nan)
        self.rows = valid.transpose(0, 1).flatten(1).nanmedian(1).values  # (ROWS,)
        self.rows = torch.where(torch.isnan(self.rows), FAR, self.rows)
        self.everywhere = float(valid.nanmedian())

    def constant(self, frame: Frame) -> Tensor:
        """(H, W) [m], `everywhere` for all pixels."""
        return torch.full(frame.camera.size, self.everywhere)

    def per_row(self, frame: Frame) -> Tensor:
        """(H, W) [m], `rows` resized to the image."""
        height, width = frame.camera.size
        index = (torch.arange(height) * ROWS) // height
        return self.rows[index][:, None].expand(height, width)
