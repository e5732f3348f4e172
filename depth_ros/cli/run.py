# SPDX-License-Identifier: Apache-2.0
"""`depth-ros run IMAGE`: write depth of one image to files."""

from __future__ import annotations

import argparse
import math
import os
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from depth_ros import models
from depth_ros.cli import anchors_file, image_file
from depth_ros.cli.arguments import positive
from depth_ros.cli.image_file import ImageFile
from depth_ros.core import encode
from depth_ros.core.camera import Camera, check_calibration
from depth_ros.core.errors import CameraError, ConfigError, ImageError
from depth_ros.core.types import DepthMap, Frame
from depth_ros.models import EstimatesCamera
from depth_ros.parameters import layers
from depth_ros.parameters.settings import Settings
from depth_ros.pipeline.abilities import without_effect
from depth_ros.pipeline.build import build
from depth_ros.pipeline.choose_model import resolve
from depth_ros.pipeline.filters.clouds import kept, surfaces
from depth_ros.pipeline.scaling.anchored import AnchoredScale

#: arguments that define the camera
CAMERA = ('fx', 'fy', 'cx', 'cy', 'hfov')


def add_command(commands: Any) -> None:
    """Add this command to the subparsers of `depth-ros`."""
    parser = commands.add_parser('run', help='write depth of one image to files')
    parser.add_argument('image', type=Path, help='image file')
    parser.add_argument('--model', default=Settings().model, help='preset [%(default)s]')
    parser.add_argument('--weights', default='', help='file, folder or hub id')
    parser.add_argument('--device', default='auto', help='auto, cpu or cuda:N')
    parser.add_argument('--output', type=Path, help='prefix of the files; default: the image')
    parser.add_argument('--fx', type=float, help='focal length [px]; default: by EXIF')
    parser.add_argument('--fy', type=float, help='default: fx')
    parser.add_argument('--cx', type=float, help='default: image centre')
    parser.add_argument('--cy', type=float, help='default: image centre')
    parser.add_argument('--hfov', type=float, help='horizontal field of view [deg], instead of fx')
    parser.add_argument(
        '--anchors', type=Path, metavar='FILE',
        help='pixels of known depth that give the metres: PNG of 16 bits, .npy or .npz',
    )  # fmt: skip
    parser.add_argument(
        '--anchors-per-metre', type=positive, default=1000.0, metavar='VALUE',
        help='value of that PNG for one metre [%(default)g]',
    )  # fmt: skip
    parser.add_argument(
        '-p', dest='parameters', action='append', default=[], metavar='NAME:=VALUE',
        help='a parameter of depth_node that has an effect on one image',
    )  # fmt: skip
    parser.set_defaults(execute=execute)


def execute(args: argparse.Namespace) -> None:
    """Predict depth and write the files of `write`.

    Raises:
        DepthRosError: the image, camera, preset or weights cannot be used.
    """
    image = image_file.read(args.image)
    values: dict[str, Any] = {
        'model': args.model, 'weights': args.weights, 'device': args.device,
    }  # fmt: skip
    if args.anchors is not None:
        values['scaling.method'] = 'anchors'
    values |= layers.parse(args.parameters)
    described = any(getattr(args, name) is not None for name in CAMERA)
    by_name = values['model'] != 'auto'
    unknown = not described and image.focal_px is None
    if unknown and by_name and models.get(values['model']).estimates_camera:
        values.setdefault('intrinsics', 'estimated')
    asked = layers.with_values(Settings(), values)
    estimated = asked.intrinsics == 'estimated'
    if estimated and described:
        raise ConfigError(
            "intrinsics is 'estimated' but the camera is given too: omit one of them"
        )
    if asked.two_views.mode != 'off':
        raise ConfigError(
            f'two_views.mode is {asked.two_views.mode!r}; run takes one image, so it must be off'
        )
    # before the network is chosen and loaded, which takes longer
    _refuse(without_effect(asked, models.get(values['model']) if by_name else None, node=False))
    height, width = image.rgb.shape[:2]
    anchors = None
    if args.anchors is not None:
        anchors = anchors_file.read(args.anchors, (height, width), args.anchors_per_metre)
    if image.orientation != 1:
        print(f'turned upright by EXIF orientation {image.orientation}: now {width}x{height}')
    camera = None if estimated else camera_from_arguments(args, image)
    prefix = args.output or args.image.with_suffix('')
    if not os.access(prefix.absolute().parent, os.W_OK):
        raise ConfigError(
            f'--output: {prefix.absolute().parent} is not a writable folder; choose another prefix'
        )
    _, settings, choice = resolve(values)
    preset = models.get(choice.name)
    _refuse(without_effect(settings, preset, node=False))
    pipeline, choices = build(settings, lambda: (width, height), chosen_by=choice.reason)
    _refuse(without_effect(settings, preset, pipeline.device, node=False))
    print(choices)
    rgb = torch.from_numpy(image.rgb).to(pipeline.device)
    if camera is None:
        assert isinstance(pipeline.model, EstimatesCamera)  # `build` refuses others
        camera = pipeline.model.estimate_camera(rgb)
        print(f'camera {camera}, estimated by the network')
    scale = None
    if anchors is not None:
        scale = AnchoredScale(lambda frame, prediction: {args.anchors.name: anchors})
    depth_map = pipeline(Frame(rgb, camera), scale=scale)
    if scale is not None:
        print(scale.state)
    stride = settings.points.stride if 'points.stride' in values else 1  # a file is not a topic
    for path in write_files(depth_map, prefix, settings, stride):
        print(path)


def _refuse(reasons: list[str]) -> None:
    if reasons:
        raise ConfigError('; '.join(reasons))


def camera_from_arguments(args: argparse.Namespace, image: ImageFile) -> Camera:
    """Camera of an image, as given on the command line, else by its EXIF data.

    Prints a camera by EXIF data, and a warning about unlikely values.

    Raises:
        CameraError: focal length and field of view are both missing, both given, or invalid.
    """
    height, width = image.rgb.shape[:2]
    by_exif = args.fx is None and args.hfov is None
    if by_exif and image.focal_px is None:
        raise CameraError(
            'give the focal length by one of --fx [px] and --hfov [deg]: the file does not have '
            'it (EXIF FocalLengthIn35mmFilm)'
        )
    if args.fx is not None and args.hfov is not None:
        raise CameraError('give the focal length by one of --fx [px] and --hfov [deg], not both')
    for name in ('fx', 'fy'):
        value = getattr(args, name)
        if value is not None and not value > 0:
            raise CameraError(f'--{name} is {value:g}; a focal length must be above 0 px')
    if args.hfov is not None and not 0 < args.hfov < 180:
        raise CameraError(f'--hfov is {args.hfov:g}; it must be above 0 and below 180 deg')
    if args.hfov is not None:
        fx = width / 2 / math.tan(math.radians(args.hfov / 2))
    else:
        fx = image.focal_px if args.fx is None else args.fx
    cx = (width - 1) / 2 if args.cx is None else args.cx
    cy = (height - 1) / 2 if args.cy is None else args.cy
    camera = Camera(width, height, fx, args.fy or fx, cx, cy)
    if by_exif:
        print(
            f'camera {camera}; field of view {camera.hfov_deg:.1f} x {camera.vfov_deg:.1f} deg: '
            f'{image.focal_35mm:g} mm on 35 mm film by EXIF. If the photo was cropped, give --hfov'
        )
    for doubt in check_calibration(camera):
        print(f'warning: {doubt}', file=sys.stderr)
    return camera


def write_files(depth: DepthMap, prefix: Path, settings: Settings, stride: int = 1) -> list[Path]:
    """Write depth in metres (NPY), in millimetres and in colours (PNG), and the cloud (PLY).

    Args:
        depth: depth map.
        prefix: path of the files without their endings.
        settings: range and map of the colours; whether points have the colour of the image.
        stride: use every n-th column and row for the cloud.

    Returns:
        Paths of the files.

    Raises:
        ImageError: a PNG cannot be written.
    """
    colors = settings.colorized
    rgb = encode.colorize(depth.z, colors.min, colors.max, colors.colormap).cpu().numpy()
    files = {
        end: Path(f'{prefix}{end}') for end in ('_depth.npy', '_depth.png', '_color.png', '.ply')
    }
    np.save(files['_depth.npy'], depth.z.cpu().numpy())
    for end, pixels in (
        ('_depth.png', encode.millimetres(depth.z).cpu().numpy()),
        ('_color.png', rgb[..., ::-1]),
    ):
        if not cv2.imwrite(str(files[end]), pixels):
            raise ImageError(
                f'{files[end]} cannot be written; choose another prefix with --output'
            )
    points = encode.dense(encode.cloud(surfaces(depth, settings.points, stride), stride))
    mask = kept(points, settings.points)
    points = points if mask is None else encode.selected(points, mask)
    files['.ply'].write_bytes(encode_ply(points, settings.points.color))
    return list(files.values())


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
