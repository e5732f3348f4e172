# SPDX-License-Identifier: Apache-2.0
"""`depth-ros calibrate INPUT... --model M`: measure `scaling.scale` where depth is known."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

from depth_ros.cli import arguments, evaluate
from depth_ros.core.errors import ConfigError, DepthRosError, ScaleError
from depth_ros.core.types import Kind
from depth_ros.offline import inputs
from depth_ros.offline.bag import Bag
from depth_ros.offline.cameras import Cameras, GivenCamera
from depth_ros.offline.evaluation.calibration import Sample, calibrate, counted, lines
from depth_ros.offline.evaluation.comparison import loaded, parts
from depth_ros.offline.evaluation.measured import Measured
from depth_ros.offline.evaluation.network import Choice, Network, limits
from depth_ros.offline.evaluation.truth import Source
from depth_ros.offline.load import has
from depth_ros.pipeline.filters import Filters

#: of the square around the pixel of a measured distance
WINDOW_PX = 11
SHOWN = 20  #: frames that are printed, those that differ most
MEASURES = ('scaling.scale', 'scaling.shift')


def add_command(commands: Any) -> None:
    """Add this command to the subparsers of `depth-ros`."""
    parser = commands.add_parser(
        'calibrate', help='measure scaling.scale where depth is known, and print it as parameters'
    )
    evaluate.add_truth(parser)
    parser.add_argument(
        '--distance', type=arguments.positive, metavar='METRES',
        help='instead of measured depth: depth along the optical axis at a pixel of each picture',
    )  # fmt: skip
    parser.add_argument(
        '--at', type=_pixel, metavar='U,V', help='that pixel; default: the middle of the picture'
    )
    arguments.add_model(parser)
    arguments.add_camera(parser)
    parser.add_argument(
        '--near', type=arguments.positive, metavar='METRES', help='smallest truth that is used'
    )
    parser.add_argument(
        '--far', type=arguments.positive, metavar='METRES', help='largest; as of eval'
    )
    parser.set_defaults(execute=execute)


def _pixel(text: str) -> tuple[int, int]:
    try:
        u, v = (int(word) for word in text.split(','))
    except ValueError:
        raise argparse.ArgumentTypeError(f'{text!r} is not U,V: column and row [px]') from None
    return u, v


def execute(args: argparse.Namespace) -> None:
    """Measure, and print the lines of a params file on standard output, all else on the other.

    Raises:
        DepthRosError: nothing can be measured.
    """
    if args.at is not None and args.distance is None:
        raise ConfigError('--at is given without --distance')
    sources: list[Any]
    if args.distance is None:
        sources, _ = evaluate.sources_of(args)
        there = evaluate.there(sources)
    else:
        sources = list(inputs.find(args.inputs, args.topic))
        there = has(sources)
    values = arguments.values(args, sources, known=args.distance is not None)
    for name in MEASURES:
        if name in values:
            raise ConfigError(f'{name} is what is measured: leave it out')
    choice = Choice.of(args.model, values, there)
    near, far = limits([choice], args.near, args.far)
    network = Network(choice)
    print(network.choices, file=sys.stderr)
    kind = network.pipeline.model.kind
    cameras = Cameras(arguments.camera(args), network.pipeline, quiet=True)
    if args.distance is None:
        samples = list(_measured(args, sources, network, cameras, near, far))
        fewest = None
    else:
        if kind is Kind.AFFINE_INVERSE:
            raise ConfigError(
                f'{args.model} is affine-inverse: one distance does not give scale and shift. '
                'Give images with measured depth'
            )
        samples = list(_at_pixel(args, sources, network, cameras))
        fewest = 1
    more = {} if fewest is None else {'fewest': fewest}
    found = calibrate(samples, affine=kind is Kind.AFFINE_INVERSE, **more)
    worst = np.argsort(-np.abs(np.log(found.ratios)), kind='stable')[:SHOWN]
    for k in sorted(worst):
        text = f'{found.names[k]}: truth / depth {found.ratios[k]:.3f} with the result'
        print(text, file=sys.stderr)
    text = f'{counted(len(found.names))}, {found.pixels} pixels'
    if len(found.names) > 1:
        text += f'; the frames differ by {100 * found.spread:.1f} % (robust standard deviation)'
    print(text, file=sys.stderr)
    for line in found.warnings():
        print(f'warning: {line}', file=sys.stderr)
    print(lines(network.choices.model, found, kind))


def _measured(
    args: argparse.Namespace,
    sources: list[Source],
    network: Network,
    cameras: Cameras,
    near: float,
    far: float,
) -> Iterator[Sample]:
    """Pixels of all images with measured depth."""
    given = arguments.camera(args)
    rectification = network.pipeline.snapshot.settings.rectification
    for source, images in parts(sources, arguments.selection(args), rectification):
        lacking = 0
        try:
            for image in images:
                if image.lacks_s:
                    lacking += 1
                    continue
                try:
                    sample = _sample(image, network, cameras, given, near, far)
                except DepthRosError as error:
                    print(f'skipped: {source.path}: {error}', file=sys.stderr)
                    continue
                yield sample
        except DepthRosError as error:  # the rest of this input
            print(f'skipped: {source.path}: {error}', file=sys.stderr)
        if lacking:
            print(f'skipped: {source.path}: {lacking} images have no depth at their time',
                  file=sys.stderr)  # fmt: skip


def _sample(
    image: Measured,
    network: Network,
    cameras: Cameras,
    given: GivenCamera,
    near: float,
    far: float,
) -> Sample:
    frame, _, truth = loaded(image, network, cameras, given)
    predicted = network(frame, Filters())
    return Sample.of(image.recorded.name, predicted.raw, truth, near, far)


def _at_pixel(
    args: argparse.Namespace, sources: list[Any], network: Network, cameras: Cameras
) -> Iterator[Sample]:
    """The prediction around one pixel of each image.

    Raises:
        DepthRosError: an image cannot be read, or has no depth there.
    """
    half = WINDOW_PX // 2
    left, rectification = args.limit, network.pipeline.snapshot.settings.rectification
    for source in sources:
        selection = arguments.selection(args)
        for recorded in (
            source.images(selection, rectification)
            if isinstance(source, Bag)
            else source.images(selection)
        ):
            if left == 0:
                return
            left = None if left is None else left - 1
            image = Measured(recorded, lambda camera: np.zeros(camera.size, np.float32))
            frame, camera, _ = loaded(image, network, cameras, cameras.given, upright=True)
            u, v = args.at or (camera.width // 2, camera.height // 2)
            if not (0 <= u < camera.width and 0 <= v < camera.height):
                raise ConfigError(
                    f'--at is {u},{v}, outside of {recorded.name}, which is {camera.width}x'
                    f'{camera.height}'
                )
            raw = network(frame, Filters()).raw
            around = raw[max(0, v - half) : v + half + 1, max(0, u - half) : u + half + 1]
            around = around[np.isfinite(around) & (around > 0)]
            if not len(around):
                raise ScaleError(f'{recorded.name}: the network has no depth at {u},{v}')
            middle = np.array([float(np.median(around))])
            print(f'{recorded.name}: {middle[0]:.4g} at {u},{v}', file=sys.stderr)
            yield Sample(recorded.name, middle, np.array([args.distance]))
