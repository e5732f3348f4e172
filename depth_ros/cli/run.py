# SPDX-License-Identifier: Apache-2.0
"""`depth-ros run IMAGE`: depth of one picture, into files."""

from __future__ import annotations

import argparse
import math
import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from depth_ros import models
from depth_ros.core import encode
from depth_ros.core.camera import Camera
from depth_ros.core.errors import CameraError, ConfigError, ImageError
from depth_ros.core.types import DepthMap, Frame
from depth_ros.models import EstimatesCamera
from depth_ros.parameters import layers
from depth_ros.parameters.settings import Settings
from depth_ros.pipeline.build import load

#: arguments that describe the camera
CAMERA = ('fx', 'fy', 'cx', 'cy', 'hfov')


def add_to(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser('run', help='depth of one picture, into files')
    parser.add_argument('image', type=Path, help='picture')
    parser.add_argument('--model', default=Settings().model, help='preset [%(default)s]')
    parser.add_argument('--weights', default='', help='file, folder or hub id')
    parser.add_argument('--device', default='auto', help='auto, cpu or cuda:N')
    parser.add_argument('--output', type=Path, help='prefix of the files; default: the image')
    parser.add_argument('--fx', type=float, help='focal length [px]')
    parser.add_argument('--fy', type=float, help='default: fx')
    parser.add_argument('--cx', type=float, help='default: the middle')
    parser.add_argument('--cy', type=float, help='default: the middle')
    parser.add_argument('--hfov', type=float, help='horizontal field of view [deg], instead of fx')
    parser.add_argument(
        '-p', dest='parameters', action='append', default=[], metavar='NAME:=VALUE',
        help='any parameter of depth_node',
    )  # fmt: skip
    parser.set_defaults(call=call)


def call(given: argparse.Namespace) -> None:
    """Infer and write.

    Raises:
        DepthRosError: the picture, camera, preset or weights cannot be used.
    """
    bgr = cv2.imread(str(given.image), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if bgr is None:
        raise ImageError(f'{given.image} is no picture that OpenCV can read')
    values: dict[str, Any] = {
        'model': given.model, 'weights': given.weights, 'device': given.device,
    }  # fmt: skip
    values |= layers.parse(given.parameters)
    described = any(getattr(given, name) is not None for name in CAMERA)
    by_name = values['model'] != 'auto'
    if not described and by_name and models.get(values['model']).estimates_camera:
        values.setdefault('intrinsics', 'estimated')
    asked = layers.with_values(Settings(), values)
    estimated = asked.intrinsics == 'estimated'
    if estimated and described:
        raise ConfigError("intrinsics is 'estimated' but the camera is given too: leave one out")
    if asked.two_views.mode != 'off':
        raise ConfigError(f'two_views.mode is {asked.two_views.mode!r}; this is one picture')
    # before the network is chosen and loaded, which takes longer
    height, width = bgr.shape[:2]
    camera = None if estimated else camera_of(given, width, height)
    prefix = given.output or given.image.with_suffix('')
    if not os.access(prefix.absolute().parent, os.W_OK):
        raise ConfigError(f'--output: {prefix.absolute().parent} is no folder one can write to')
    depth_of, choices = load(values, lambda: (width, height))
    print(choices)
    rgb = torch.from_numpy(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)).to(depth_of.device)
    if camera is None:
        assert isinstance(depth_of.model, EstimatesCamera)  # `build` refuses others
        camera = depth_of.model.estimate_camera(rgb)
        print(f'camera {camera}, estimated by the network')
    depth = depth_of(Frame(rgb, camera))
    for path in write(depth, prefix, depth_of.snapshot.settings):
        print(path)


def camera_of(given: argparse.Namespace, width: int, height: int) -> Camera:
    """The camera the arguments describe.

    Raises:
        CameraError: neither a focal length nor a field of view, or both, or such as cannot be.
    """
    if (given.fx is None) == (given.hfov is None):
        raise CameraError('give the focal length, in one way: --fx [px] or --hfov [deg]')
    for name in ('fx', 'fy'):
        value = getattr(given, name)
        if value is not None and not value > 0:
            raise CameraError(f'--{name} is {value:g}; a focal length is more than 0 px')
    if given.hfov is not None and not 0 < given.hfov < 180:
        raise CameraError(
            f'--hfov is {given.hfov:g}; a pinhole sees more than 0 and less than 180'
        )
    fx = given.fx or width / 2 / math.tan(math.radians(given.hfov / 2))
    middle_x, middle_y = (width - 1) / 2, (height - 1) / 2
    cx = middle_x if given.cx is None else given.cx
    cy = middle_y if given.cy is None else given.cy
    return Camera(width, height, fx, given.fy or fx, cx, cy)


def write(depth: DepthMap, prefix: Path, settings: Settings) -> list[Path]:
    """Depth as metres (NPY), millimetres (PNG) and colours (PNG), and the cloud (PLY)."""
    look = settings.colorized
    colours = encode.colorize(depth.z, look.min, look.max, look.colormap).cpu().numpy()
    files = {
        end: Path(f'{prefix}{end}') for end in ('_depth.npy', '_depth.png', '_color.png', '.ply')
    }
    np.save(files['_depth.npy'], depth.z.cpu().numpy())
    for end, picture in (
        ('_depth.png', encode.millimetres(depth.z).cpu().numpy()),
        ('_color.png', colours[..., ::-1]),
    ):
        if not cv2.imwrite(str(files[end]), picture):
            raise ImageError(f'{files[end]} cannot be written')
    files['.ply'].write_bytes(ply(encode.dense(encode.cloud(depth))))
    return list(files.values())


def ply(points: torch.Tensor) -> bytes:
    """Points of `encode.dense` as a binary PLY: float x y z [m], uchar red green blue."""
    xyz = points[:, :3].cpu().numpy()
    bgr = np.ascontiguousarray(points.cpu().numpy()[:, 3:]).view(np.uint8)
    table = np.empty(len(xyz), np.dtype([('xyz', '<f4', 3), ('rgb', 'u1', 3)]))
    table['xyz'], table['rgb'] = xyz, bgr[:, 2::-1]
    head = ['ply', 'format binary_little_endian 1.0', f'element vertex {len(xyz)}']
    head += [f'property float {axis}' for axis in 'xyz']
    head += [f'property uchar {colour}' for colour in ('red', 'green', 'blue')]
    return '\n'.join([*head, 'end_header', '']).encode() + table.tobytes()
