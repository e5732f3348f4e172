# SPDX-License-Identifier: Apache-2.0
"""`depth-ros run INPUT...`: depth of pictures, videos and bags."""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import depth_ros
from depth_ros import models
from depth_ros.cli.arguments import count, positive
from depth_ros.core.camera import Camera, check_calibration
from depth_ros.core.errors import CameraError, ConfigError, ImageError
from depth_ros.models import EstimatesCamera
from depth_ros.offline import anchors_file, image_file
from depth_ros.offline.files import ENDINGS, Files, claim
from depth_ros.offline.image_file import ImageFile
from depth_ros.offline.inputs import Input, find
from depth_ros.offline.recorded import Recorded, Selection
from depth_ros.offline.run import CameraOf, Job
from depth_ros.parameters import layers
from depth_ros.parameters.settings import Settings
from depth_ros.pipeline.abilities import without_effect
from depth_ros.pipeline.build import Choices, build
from depth_ros.pipeline.choose_model import resolve
from depth_ros.pipeline.depth_pipeline import Pipeline
from depth_ros.pipeline.floor import check_floor
from depth_ros.pipeline.scaling.anchored import AnchoredScale
from depth_ros.pipeline.steady_camera import SteadyCamera

#: arguments that define the camera
CAMERA = ('fx', 'fy', 'cx', 'cy', 'hfov')
#: what can be written; the last two are of whole videos and bags
KINDS = (*ENDINGS, 'video', 'bag')


def add_command(commands: Any) -> None:
    """Add this command to the subparsers of `depth-ros`."""
    parser = commands.add_parser('run', help='write depth of pictures, videos and bags to files')
    parser.add_argument(
        'inputs',
        nargs='+',
        metavar='INPUT',
        help='picture, video, bag, folder, or pattern in quotes',
    )
    parser.add_argument('--topic', default='', help='of the images of bags; default: the only one')
    parser.add_argument('--model', default=Settings().model, help='preset [%(default)s]')
    parser.add_argument('--weights', default='', help='file, folder or hub id')
    parser.add_argument('--device', default='auto', help='auto, cpu or cuda:N')
    parser.add_argument(
        '--output', type=Path,
        help='folder of the files; for a single picture their prefix, by default the picture',
    )  # fmt: skip
    parser.add_argument(
        '--write', type=_kinds, metavar='KINDS',
        help=f'some of {",".join(KINDS)}; default: all files of pictures, the video of videos',
    )  # fmt: skip
    parser.add_argument(
        '--no-copy', action='store_true', help="bags: without the input's messages"
    )
    parser.add_argument('--overwrite', action='store_true', help='make again what is there')
    parser.add_argument('--every', type=count, default=1, metavar='N', help='use one of N')
    parser.add_argument('--start', type=float, default=0.0, help='of a video [s]')
    parser.add_argument('--end', type=float, default=math.inf, help='of a video [s]')
    parser.add_argument('--limit', type=count, metavar='N', help='use N images at most')
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
        help='a parameter of depth_node that has an effect on images',
    )  # fmt: skip
    parser.set_defaults(execute=execute)


def _kinds(text: str) -> list[str]:
    kinds = text.split(',')
    for kind in kinds:
        if kind not in KINDS:
            raise argparse.ArgumentTypeError(f'{kind!r} is none of {", ".join(KINDS)}')
    return kinds


def execute(args: argparse.Namespace) -> None:
    """Predict depth and write what is asked for.

    Raises:
        DepthRosError: an input, camera, preset or weights cannot be used.
    """
    inputs = find(args.inputs, args.topic)
    single = len(inputs) == 1 and not inputs[0].is_sequence and not Path(args.inputs[0]).is_dir()
    first = image_file.read(inputs[0].path) if single else None  # before anything that takes time
    known = all(one.has_camera for one in inputs) or (first is not None and first.focal_px)
    asked, values = _asked(args, known=bool(known))
    _refuse_what_cannot_work(args, asked, values, single=single)
    anchors = None
    if args.anchors is not None:
        assert first is not None  # a single picture, checked above
        anchors = anchors_file.read(args.anchors, first.rgb.shape[:2], args.anchors_per_metre)
    if asked.intrinsics != 'estimated' and first is not None:
        camera_from_arguments(args, first)  # its error too
    prefix_of = _prefixes(args, inputs, single=single)
    _, settings, choice = resolve(values)
    preset = models.get(choice.name)
    _refuse(without_effect(settings, preset, node=False))
    size = (first.rgb.shape[1], first.rgb.shape[0]) if first is not None else None
    pipeline, choices = build(settings, lambda: size, chosen_by=choice.reason)
    _refuse(without_effect(settings, preset, pipeline.device, node=False))
    print(choices)
    since_ns = 0
    if not single:
        made_by = _made_by(args, values, choices)
        since_ns = claim(args.output, made_by, overwrite=args.overwrite)
    scale = None
    if anchors is not None:
        scale = AnchoredScale(lambda frame, prediction: {args.anchors.name: anchors})
    kinds = args.write or (['video'] if all(i.is_sequence for i in inputs) else list(ENDINGS))
    stride = settings.points.stride if 'points.stride' in values else 1  # a file is not a topic
    files = Files([kind for kind in kinds if kind in ENDINGS], settings, stride)
    job = Job(
        pipeline,
        _cameras(args, pipeline, settings),
        files,
        prefix_of,
        Selection(args.every, args.start, args.end, args.limit),
        films='video' in kinds,
        bags='bag' in kinds,
        copy=not args.no_copy,
        overwrite=args.overwrite or single,
        since_ns=since_ns,
        scale=scale,
    )
    summary = job(inputs)
    if scale is not None:
        print(scale.state)
    if single:
        for path in files.paths(prefix_of(inputs[0].name)):
            print(path)
    print(summary)
    if summary.failed:
        raise ImageError(f'{summary.failed} of the inputs have no depth, for the reasons above')


def _asked(args: argparse.Namespace, *, known: bool) -> tuple[Settings, dict[str, Any]]:
    """All settings that are asked for, and those that are not the defaults, by name.

    Args:
        args: of the command line.
        known: the inputs tell the camera.
    """
    values: dict[str, Any] = {
        'model': args.model, 'weights': args.weights, 'device': args.device,
    }  # fmt: skip
    if args.anchors is not None:
        values['scaling.method'] = 'anchors'
    values |= layers.parse(args.parameters)
    described = bool(_given_camera(args))
    by_name = values['model'] != 'auto'
    unknown = by_name and not described and not known
    if unknown and models.get(values['model']).estimates_camera:
        values.setdefault('intrinsics', 'estimated')
    asked = layers.with_values(Settings(), values)
    if asked.intrinsics == 'estimated' and described:
        raise ConfigError(
            "intrinsics is 'estimated' but the camera is given too: omit one of them"
        )
    return asked, values


def _refuse_what_cannot_work(
    args: argparse.Namespace, asked: Settings, values: dict[str, Any], *, single: bool
) -> None:
    """Before the network is chosen and loaded, which takes longer."""
    check_floor(asked)
    if asked.two_views.mode != 'off':
        raise ConfigError(
            f'two_views.mode is {asked.two_views.mode!r}; run takes one image at a time, so it '
            'must be off'
        )
    if args.anchors is not None and asked.scaling.method != 'anchors':
        raise ConfigError(
            f'--anchors is given, but scaling.method is {asked.scaling.method!r}: set it to '
            "'anchors'"
        )
    if args.anchors is not None and not single:
        raise ConfigError('--anchors is for a single picture, and there are more inputs')
    if args.output is None and not single:
        raise ConfigError('give --output a folder for the files: there is more than one picture')
    by_name = values['model'] != 'auto'
    _refuse(without_effect(asked, models.get(values['model']) if by_name else None, node=False))


def _refuse(reasons: list[str]) -> None:
    if reasons:
        raise ConfigError('; '.join(reasons))


def _prefixes(
    args: argparse.Namespace, inputs: list[Input], *, single: bool
) -> Callable[[str], Path]:
    """Name of an image -> path of its files without ending."""
    if not single:
        folder: Path = args.output
        return lambda name: folder / name
    prefix = args.output or inputs[0].path.with_suffix('')
    if not os.access(prefix.absolute().parent, os.W_OK):
        raise ConfigError(
            f'--output: {prefix.absolute().parent} is not a writable folder; choose another prefix'
        )
    return lambda name: prefix


def _given_camera(args: argparse.Namespace) -> dict[str, float]:
    """The arguments that describe the camera, those that were given."""
    return {name: getattr(args, name) for name in CAMERA if getattr(args, name) is not None}


def _made_by(args: argparse.Namespace, values: dict[str, Any], choices: Choices) -> dict[str, Any]:
    """All that changes the files of a folder, except their inputs."""
    given = {name: value for name, value in values.items() if name not in ('model', 'device')}
    return {
        'depth_ros': depth_ros.__version__,
        **given,
        **_given_camera(args),
        'model': choices.model,
        'weights': choices.weights,
        'scaling': choices.scaling,
    }


def _cameras(args: argparse.Namespace, pipeline: Pipeline, settings: Settings) -> CameraOf:
    """Finds the camera of each image, and says each only once."""
    printed: set[str] = set()
    videos: dict[str, SteadyCamera] = {}

    def say(text: str, *, warning: bool = False) -> None:
        if text not in printed:
            printed.add(text)
            print(text, file=sys.stderr if warning else sys.stdout)

    def camera_of(recorded: Recorded, image: ImageFile, rgb: torch.Tensor) -> Camera:
        if image.orientation != 1:
            height, width = image.rgb.shape[:2]
            say(f'turned upright by EXIF orientation {image.orientation}: now {width}x{height}')
        if settings.intrinsics == 'estimated':
            assert isinstance(pipeline.model, EstimatesCamera)  # `build` refuses others
            estimate = pipeline.model.estimate_camera
            if recorded.is_frame:
                video = recorded.name.rpartition('/')[0]
                estimate = videos.setdefault(video, SteadyCamera(estimate, label=f'{video}: '))
            camera = estimate(rgb)
            say(f'camera {camera}, estimated by the network')
            return camera
        if recorded.calibration is not None and not _given_camera(args):
            height, width = image.rgb.shape[:2]
            found = recorded.calibration(width, height)
            say(f'camera {found.camera}; {found.source}')
            for doubt in found.doubts:
                say(f'warning: {doubt}', warning=True)
            return found.camera
        camera = camera_from_arguments(args, image)
        if args.fx is None and args.hfov is None:
            say(
                f'camera {camera}; field of view {camera.hfov_deg:.1f} x {camera.vfov_deg:.1f} '
                f'deg: {image.focal_35mm:g} mm on 35 mm film by EXIF. If the photo was cropped, '
                'give --hfov'
            )
        for doubt in check_calibration(camera):
            say(f'warning: {doubt}', warning=True)
        return camera

    return camera_of


def camera_from_arguments(args: argparse.Namespace, image: ImageFile) -> Camera:
    """Camera of an image, as given on the command line, else by its EXIF data.

    Raises:
        CameraError: focal length and field of view are both missing, both given, or invalid.
    """
    height, width = image.rgb.shape[:2]
    if args.fx is None and args.hfov is None and image.focal_px is None:
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
    check_calibration(camera)
    return camera
