# SPDX-License-Identifier: Apache-2.0
"""Real indoor pictures with measured depth, and guesses that look at no picture at all."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from depth_ros.core.camera import Camera
from depth_ros.core.errors import ConfigError
from depth_ros.core.types import Frame
from tools.train.loss import FAR, NEAR
from tools.train.views import held_out

#: folders of the data folder
INDOORS = (
    'sunrgbd_000017',
    'nyu_raw_00000',
    'tum_fr2_desk',
    'icl_livingroom_open3d',
    'middlebury2014_motorcycle',
)
ROWS = 48  # of the prior, whatever a picture's height
FITTED_ON = range(9_000_000, 9_000_192)  # scenes


def folder() -> Path:
    """Where the real pictures are: $DEPTH_ROS_DATA, else shared/data beside the repository."""
    beside = Path(__file__).resolve().parents[3] / 'shared' / 'data'
    return Path(os.environ.get('DEPTH_ROS_DATA') or beside)


def pictures(where: Path | None = None) -> Iterator[tuple[str, Frame, Tensor]]:
    """Name, frame and depth (H, W) [m], NaN where not measured.

    Args:
        where: folder whose folders have a picture each: rgb.png or .jpg, depth.png of 16 bits, and
            intrinsics.json with fx, fy, cx, cy [px] and depth_scale, what depth.png has for 1 m.
            By default those of `INDOORS` that are in the data folder.

    Raises:
        ConfigError: `where` has no such folder, or one that cannot be read.
    """
    if where is None:
        paths = [folder() / 'images' / name for name in INDOORS]
        paths = [path for path in paths if path.is_dir()]
    else:
        paths = sorted(path.parent for path in where.glob('*/intrinsics.json'))
        if not paths:
            raise ConfigError(f'{where} has no folders with an intrinsics.json')
    for path in paths:
        try:
            yield path.name, *_picture(path)
        except (OSError, ValueError, KeyError, StopIteration, RuntimeError) as error:
            raise ConfigError(
                f'{path} needs rgb.*, depth.png of its size, and intrinsics.json with fx, fy, cx, '
                f'cy and depth_scale: {type(error).__name__}: {error}'
            ) from error


def _picture(path: Path) -> tuple[Frame, Tensor]:
    said = json.loads((path / 'intrinsics.json').read_text())
    bgr = cv2.imread(str(next(path.glob('rgb.*'))), cv2.IMREAD_COLOR)
    raw = cv2.imread(str(path / 'depth.png'), cv2.IMREAD_UNCHANGED)
    if bgr is None or raw is None or raw.shape != bgr.shape[:2]:
        raise ValueError('rgb and depth are no pictures of one size')
    fx, fy, cx, cy = (float(said[key]) for key in ('fx', 'fy', 'cx', 'cy'))
    camera = Camera(bgr.shape[1], bgr.shape[0], fx, fy, cx, cy)
    rgb = torch.from_numpy(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB))
    z = torch.from_numpy(raw.astype(np.float32)) / float(said['depth_scale'])
    return Frame(rgb, camera), torch.where(z > 0, z, torch.nan)


class RowPrior:
    """The median depth of each row over many scenes; the best guess without looking.

    Args:
        rows: (`ROWS`,) [m], top to bottom.
        everywhere: median of all pixels [m], the best constant.
    """

    def __init__(self, scenes: range = FITTED_ON) -> None:
        z = torch.cat([views.z for views in held_out(scenes, (ROWS, ROWS * 4 // 3))]).float()
        seen = torch.where((z >= NEAR) & (z <= FAR), z, torch.nan)
        self.rows = seen.transpose(0, 1).flatten(1).nanmedian(1).values  # (ROWS,)
        self.rows = torch.where(torch.isnan(self.rows), FAR, self.rows)
        self.everywhere = float(seen.nanmedian())

    def constant(self, frame: Frame) -> Tensor:
        """(H, W) [m], everywhere the same."""
        return torch.full(frame.camera.size, self.everywhere)

    def per_row(self, frame: Frame) -> Tensor:
        """(H, W) [m], by row only."""
        height, width = frame.camera.size
        which = (torch.arange(height) * ROWS) // height
        return self.rows[which][:, None].expand(height, width)
