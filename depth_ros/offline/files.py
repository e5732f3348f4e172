# SPDX-License-Identifier: Apache-2.0
"""Depth maps as files, each of which is whole or not there."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from depth_ros.core import encode
from depth_ros.core.errors import ConfigError, ImageError
from depth_ros.core.types import DepthMap
from depth_ros.offline.colors import colored, legend
from depth_ros.offline.folder import part_of
from depth_ros.parameters.settings import Points, Settings
from depth_ros.pipeline.filters.clouds import surfaces, thinning

#: kind of file -> ending of its name: metres, millimetres, colours with legend, cloud
ENDINGS = {'npy': '_depth.npy', 'png': '_depth.png', 'color': '_color.png', 'ply': '.ply'}
#: endings of the video and the bag of an input
FILM, BAG = '_depth.mp4', '_depth'
RECORD = 'run.json'  #: what made the files of a folder


class Files:
    """Writes depth maps to files.

    Args:
        kinds: of `ENDINGS`.
        settings: range and map of the colours; filters of the cloud, and its colours.
        stride: use every n-th column and row for the cloud.
    """

    def __init__(self, kinds: Iterable[str], settings: Settings, stride: int = 1) -> None:
        self.kinds = tuple(kinds)
        self.settings = settings
        self.stride = stride

    def paths(self, prefix: Path) -> list[Path]:
        """The files of an image."""
        return [Path(f'{prefix}{ENDINGS[kind]}') for kind in self.kinds]

    def are_there(self, prefix: Path, since_ns: int) -> bool:
        """Whether all files of an image are there, and not older than `claim` says."""
        return all(is_there(path, since_ns) for path in self.paths(prefix))

    def write(self, depth: DepthMap, prefix: Path) -> list[Path]:
        """Write the files of an image; returns their paths.

        Raises:
            ImageError: a file cannot be written.
        """
        for kind, path in zip(self.kinds, self.paths(prefix), strict=True):
            write_whole(path, self._content(kind, depth))
        return self.paths(prefix)

    def _content(self, kind: str, depth: DepthMap) -> bytes:
        if kind == 'npy':
            file = io.BytesIO()
            np.save(file, depth.z.cpu().numpy())
            return file.getvalue()
        if kind == 'png':
            return _png(encode.millimetres(depth.z).cpu().numpy())
        if kind == 'color':
            colors = colored(depth, self.settings)
            return _png(np.hstack([colors, legend(len(colors), self.settings)]))
        points = self.settings.points
        return encode_ply(cloud_of(depth, points, self.stride), points.color)


def cloud_of(depth: DepthMap, points: Points, stride: int) -> torch.Tensor:
    """The points of a depth map, as `encode.dense` gives them, filtered.

    Args:
        depth: depth map with its image.
        points: filters of the cloud.
        stride: use every n-th column and row.
    """
    cloud = encode.dense(encode.cloud(surfaces(depth, points, stride), stride))
    kept = thinning(points, around=depth.lens is not None)
    return cloud if kept is None else encode.selected(cloud, kept(cloud))


def is_there(path: Path, since_ns: int) -> bool:
    """Whether there is a file that is not older."""
    return path.is_file() and path.stat().st_mtime_ns >= since_ns


def _png(pixels: Any) -> bytes:
    return bytes(cv2.imencode('.png', pixels)[1])


def write_whole(path: Path, content: bytes) -> None:
    """Write a file under another name first, so that it is never there in part.

    Raises:
        ImageError: the file cannot be written.
    """
    part = part_of(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(content)
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise ImageError(
            f'{path} cannot be written ({error.strerror}); choose another place with --output'
        ) from error


def claim(folder: Path, made_by: Mapping[str, Any], *, overwrite: bool) -> int:
    """Record in a folder what makes its files, or check that the same goes on there.

    Args:
        folder: of the outputs; it is made if need be.
        made_by: all that changes the files.
        overwrite: replace the record; files of before then count as not there.

    Returns:
        Time of the record [ns]: older files were made in another way.

    Raises:
        ConfigError: its files were made in another way.
        ImageError: the folder cannot be written.
    """
    path = folder / RECORD
    new = json.loads(json.dumps(made_by))
    if path.is_file():
        try:
            old = json.loads(path.read_text())
        except ValueError:
            old = {}
        differing = sorted(k for k in {*old, *new} if old.get(k) != new.get(k))
        if differing and not overwrite:
            was, now = (some.get(differing[0], 'default') for some in (old, new))
            raise ConfigError(
                f'--output {folder} has files that were made with another {differing[0]} '
                f'({was}, now {now}): choose another folder, or replace them with --overwrite'
            )
        if not differing:
            return path.stat().st_mtime_ns
    write_whole(path, f'{json.dumps(new, indent=1, sort_keys=True)}\n'.encode())
    return path.stat().st_mtime_ns


def encode_ply(points: torch.Tensor, color: bool = True) -> bytes:
    """Binary PLY of points (n, 4) from `encode.dense`: float x y z [m], uchar red green blue.

    Args:
        points: (n, 4) float32.
        color: False omits red, green and blue.
    """
    xyz = points[:, :3].cpu().numpy()
    bgr = np.ascontiguousarray(points.cpu().numpy()[:, 3:]).view(np.uint8)
    columns: list[tuple[str, str, int]] = [('xyz', '<f4', 3), ('rgb', 'u1', 3)]
    table = np.empty(len(xyz), np.dtype(columns if color else columns[:1]))
    table['xyz'] = xyz
    if color:
        table['rgb'] = bgr[:, 2::-1]
    head = ['ply', 'format binary_little_endian 1.0', f'element vertex {len(xyz)}']
    head += [f'property float {axis}' for axis in 'xyz']
    head += [f'property uchar {channel}' for channel in ('red', 'green', 'blue') if color]
    return '\n'.join([*head, 'end_header', '']).encode() + table.tobytes()
