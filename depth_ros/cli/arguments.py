# SPDX-License-Identifier: Apache-2.0
"""Arguments that several commands have, and types for `argparse` with clear error messages."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from depth_ros import models
from depth_ros.core.errors import ConfigError
from depth_ros.offline.bag_sensors import TYPES
from depth_ros.offline.cameras import GivenCamera
from depth_ros.offline.recorded import Selection
from depth_ros.parameters import layers
from depth_ros.parameters.settings import Settings

WHAT = 'picture, video, bag, folder, pattern in quotes, /dev/video0, or rtsp:// address'


class HasCamera(Protocol):
    """An input."""

    @property
    def has_camera(self) -> bool:
        """Whether it tells the camera."""


def positive(text: str) -> float:
    """Parse a number above 0; for `type=` of argparse."""
    value = _number(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f'{text!r} is not a number above 0')
    return value


def not_negative(text: str) -> float:
    """Parse 0 or a number above it; for `type=` of argparse."""
    value = _number(text)
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f'{text!r} is neither 0 nor a number above 0')
    return value


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def count(text: str) -> int:
    """Parse an integer above 0; for `type=` of argparse."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f'{text!r} is not an integer above 0')
    return int(text)


def _renamed(text: str) -> tuple[str, str]:
    name, found, topic = text.partition(':=')
    if not found or name not in TYPES or not topic.startswith('/'):
        raise argparse.ArgumentTypeError(
            f'{text!r} is not NAME:=/TOPIC with one of {", ".join(TYPES)}'
        )
    return name, topic


def topics(args: argparse.Namespace) -> dict[str, str]:
    """Topics of bags, by their names in depth_node."""
    return dict(args.topics)


def add_inputs(parser: argparse.ArgumentParser, nargs: str = '+') -> None:
    """Add the arguments that name recorded images, and choose some of them."""
    parser.add_argument('inputs', nargs=nargs, metavar='INPUT', help=WHAT)
    add_topic(parser)
    parser.add_argument(
        '-r', dest='topics', type=_renamed, action='append', default=[], metavar='NAME:=TOPIC',
        help=f'topic of a bag for one of {", ".join(TYPES)}; default: the only one of its type',
    )  # fmt: skip
    add_selection(parser)


def add_topic(parser: argparse.ArgumentParser) -> None:
    """Add the topic of the images."""
    parser.add_argument('--topic', default='', help='of the images of bags; default: the only one')


def add_selection(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that choose some of the images."""
    parser.add_argument('--every', type=count, default=1, metavar='N', help='use one of N')
    parser.add_argument('--start', type=float, default=0.0, help='of a video or bag [s]')
    parser.add_argument('--end', type=float, default=math.inf, help='of a video or bag [s]')
    parser.add_argument('--limit', type=count, metavar='N', help='use N images at most')


def add_camera(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that describe the camera."""
    parser.add_argument('--fx', type=float, help='focal length [px]; default: by EXIF')
    parser.add_argument('--fy', type=float, help='default: fx')
    parser.add_argument('--cx', type=float, help='default: image centre')
    parser.add_argument('--cy', type=float, help='default: image centre')
    parser.add_argument('--hfov', type=float, help='horizontal field of view [deg], instead of fx')


def add_model(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that choose the network and its parameters."""
    parser.add_argument('--model', default=Settings().model, help='preset [%(default)s]')
    parser.add_argument('--weights', default='', help='file, folder or hub id')
    parser.add_argument(
        '--params-file', type=Path, metavar='FILE',
        help='a params file of depth_node; the other options count more',
    )  # fmt: skip
    add_parameters(parser)


def add_parameters(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that set parameters of a network."""
    parser.add_argument('--device', default='auto', help='auto, cpu or cuda:N')
    parser.add_argument(
        '-p', dest='parameters', action='append', default=[], metavar='NAME:=VALUE',
        help='a parameter of depth_node that has an effect on images',
    )  # fmt: skip


def with_file(args: argparse.Namespace) -> None:
    """Complete `--model`, `--weights` and `--device` from `--params-file`; `values` has the rest.

    Raises:
        ConfigError: the file cannot be read.
    """
    path = getattr(args, 'params_file', None)
    args.file_values = {} if path is None else layers.read_params_file(path)
    for name, default in (('model', Settings().model), ('weights', ''), ('device', 'auto')):
        if getattr(args, name, None) == default and name in args.file_values:
            setattr(args, name, layers.checked(name, args.file_values[name]))


def selection(args: argparse.Namespace) -> Selection:
    """The images that `add_inputs` chooses."""
    return Selection(args.every, args.start, args.end, args.limit)


def camera(args: argparse.Namespace) -> GivenCamera:
    """The camera that `add_camera` describes."""
    return GivenCamera(args.fx, args.fy, args.cx, args.cy, args.hfov)


def given(args: argparse.Namespace, **more: Any) -> dict[str, Any]:
    """The parameters that the options of `add_model` give, by name.

    Args:
        args: of the command line.
        **more: parameters that other arguments choose.

    Raises:
        ConfigError: one is not name:=value.
    """
    named = {'model': args.model, 'weights': args.weights, 'device': args.device}
    return {**args.file_values, **named, **more, **layers.parse(args.parameters)}


def values(
    args: argparse.Namespace, inputs: Sequence[HasCamera], *, known: bool = False, **more: Any
) -> dict[str, Any]:
    """The parameters that `add_model` chooses, by name.

    Without a camera, a network that estimates it does so.

    Args:
        args: of the command line.
        inputs: found by `add_inputs`.
        known: the camera is known, although the inputs do not have it.
        **more: parameters that other arguments choose.

    Raises:
        ConfigError: a parameter does not exist or is out of range, or there are two cameras.
    """
    chosen = given(args, **more)
    described = bool(camera(args).values())
    known = known or described or all(one.has_camera for one in inputs)
    if not known and chosen['model'] != 'auto' and models.get(chosen['model']).estimates_camera:
        chosen.setdefault('intrinsics', 'estimated')
    if layers.with_values(Settings(), chosen).intrinsics == 'estimated' and described:
        raise ConfigError(
            "intrinsics is 'estimated' but the camera is given too: omit one of them"
        )
    return chosen
