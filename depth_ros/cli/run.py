# SPDX-License-Identifier: Apache-2.0
"""`depth-ros run INPUT...`: depth of pictures, videos and bags."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from depth_ros.cli import arguments
from depth_ros.core.errors import ConfigError, ImageError
from depth_ros.offline import anchors_file, image_file, many
from depth_ros.offline.bag import Bag
from depth_ros.offline.files import ENDINGS
from depth_ros.offline.inputs import Input, Picture, find, first_size
from depth_ros.offline.live import Live
from depth_ros.offline.load import check, has
from depth_ros.offline.plan import KINDS, Plan
from depth_ros.offline.run import Summary
from depth_ros.parameters.settings import Settings


def add_command(commands: Any) -> None:
    """Add this command to the subparsers of `depth-ros`."""
    parser = commands.add_parser('run', help='write depth of pictures, videos and bags to files')
    arguments.add_inputs(parser)
    arguments.add_model(parser)
    arguments.add_camera(parser)
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
    parser.add_argument(
        '--batch', type=arguments.count, default=1, metavar='N',
        help='images that go through the network at once [%(default)s]; more can pay on a GPU',
    )  # fmt: skip
    parser.add_argument('--overwrite', action='store_true', help='make again what is there')
    parser.add_argument(
        '--anchors', type=Path, metavar='FILE',
        help='pixels of known depth that give the metres: PNG of 16 bits, .npy or .npz',
    )  # fmt: skip
    parser.add_argument(
        '--anchors-per-metre', type=arguments.positive, default=1000.0, metavar='VALUE',
        help='value of that PNG for one metre [%(default)g]',
    )  # fmt: skip
    parser.add_argument(
        '--verify', action='store_true',
        help='compare inputs and outputs that are there with their hashes in manifest.jsonl',
    )  # fmt: skip
    fleet = parser.add_argument_group('fleets, see docs/fleets.md')
    fleet.add_argument(
        '--ray', nargs='?', const='', metavar='ADDRESS',
        help='use a Ray cluster: HOST:PORT, auto, or without ADDRESS that of RAY_ADDRESS, else '
        'the cores of this machine',
    )  # fmt: skip
    fleet.add_argument(
        '--workers',
        type=arguments.count,
        metavar='N',
        help='default: as many as there is room for',
    )
    fleet.add_argument(
        '--cpus-per-worker', type=arguments.positive, metavar='N',
        help="default: the parameter threads, 1 if it is not set",
    )  # fmt: skip
    fleet.add_argument(
        '--gpus-per-worker', type=arguments.positive, metavar='N',
        help='0.5 for two workers on a GPU; default: 1 where the cluster has GPUs',
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
    alone = len(inputs) == 1 and not Path(args.inputs[0]).is_dir()
    picture = inputs[0] if alone and isinstance(inputs[0], Picture) else None
    single = picture is not None
    first = image_file.read(picture.path) if picture else None  # before anything that takes time
    more = {'scaling.method': 'anchors'} if args.anchors is not None else {}
    known = first is not None and first.focal_px is not None
    values = arguments.values(args, inputs, known=known, **more)
    kinds = tuple(args.write or _usual_kinds(inputs))
    there = has(inputs, written='bag' in kinds)
    asked = check(values, there)
    _check_files(args, asked, single=single)
    camera, anchors = arguments.camera(args), None
    if first is not None:
        height, width = first.rgb.shape[:2]
        size: tuple[int, int] | None = (width, height)
        if args.anchors is not None:
            anchors = anchors_file.read(args.anchors, (height, width), args.anchors_per_metre)
        if asked.intrinsics != 'estimated':
            camera.of(first)  # its error too
    else:
        size = first_size(inputs[0]) if asked.engine != 'torch' else None
    plan = Plan(
        values,
        camera,
        kinds,
        arguments.selection(args),
        _output(args, picture),
        single=single,
        copy=not args.no_copy,
        overwrite=args.overwrite,
        anchors=anchors,
        topics=arguments.topics(args),
        batch=args.batch,
        there=there,
        size=size,
    )
    _check_bags(plan, inputs)
    if args.ray is not None:
        summary = many.on_fleet(plan, inputs, _wish(args, single=single), verify=args.verify)
    elif single or isinstance(inputs[0], Live):
        summary = _at_once(plan, inputs)
    else:
        summary = many.here(plan, inputs, verify=args.verify)
    print(summary)
    if summary.failed:
        if len(summary.reasons) == len(inputs) == 1 and not summary.images:
            raise ImageError(*summary.reasons)
        raise ImageError(f'{summary.failed} of the inputs have no depth, for the reasons above')


def _at_once(plan: Plan, inputs: list[Input]) -> Summary:
    """A single picture, or a camera; there is nothing to go on with."""
    pipeline, choices = plan.load()
    print(choices)
    job = plan.job(pipeline, 0 if plan.single else plan.claim(choices))
    summary = job(inputs)
    if plan.single:
        for path in job.files.paths(plan.output):
            print(path)
    return summary


def _wish(args: argparse.Namespace, *, single: bool) -> many.Wish:
    if os.path.exists(args.ray):
        raise ConfigError(f'--ray {args.ray} is a file, not an address: put --ray at the end')
    if single:
        raise ConfigError('--ray is for several inputs, and there is a single picture')
    return many.Wish(args.ray, args.workers, args.cpus_per_worker, args.gpus_per_worker)


def _usual_kinds(inputs: Sequence[Input]) -> list[str]:
    return ['video'] if all(one.is_sequence for one in inputs) else list(ENDINGS)


def _check_files(args: argparse.Namespace, asked: Settings, *, single: bool) -> None:
    """Before the network is chosen and loaded, which takes longer."""
    for name in ('workers', 'cpus_per_worker', 'gpus_per_worker'):
        if args.ray is None and getattr(args, name) is not None:
            raise ConfigError(f'--{name.replace("_", "-")} is of --ray, which is not given')
    if args.anchors is not None and asked.scaling.method != 'anchors':
        raise ConfigError(
            f'--anchors is given, but scaling.method is {asked.scaling.method!r}: set it to '
            "'anchors'"
        )
    if args.anchors is not None and not single:
        raise ConfigError('--anchors is for a single picture, and there are more inputs')
    if args.output is None and not single:
        raise ConfigError('give --output a folder for the files: there is more than one picture')


def _check_bags(plan: Plan, inputs: Sequence[Input]) -> None:
    """No files of images are written into the folder of a bag."""
    for one in inputs if set(plan.kinds) & set(ENDINGS) else ():
        if isinstance(one, Bag) and plan.prefix_of(one.name).absolute() == one.path.absolute():
            raise ConfigError(
                f'--output {plan.output} would put files of images into the bag {one.path}: '
                'choose another folder'
            )


def _output(args: argparse.Namespace, picture: Picture | None) -> Path:
    """Folder of the files; of a single picture their path without ending."""
    if picture is None:
        return Path(args.output)
    prefix: Path = args.output or picture.path.with_suffix('')
    if not os.access(prefix.absolute().parent, os.W_OK):
        raise ConfigError(
            f'--output: {prefix.absolute().parent} is not a writable folder; choose another prefix'
        )
    return prefix
