# SPDX-License-Identifier: Apache-2.0
"""`depth-ros view [INPUT...]`: look at recorded images or at a running node, without RViz."""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from depth_ros.cli import arguments
from depth_ros.core.errors import ConfigError, ImageError
from depth_ros.offline.inputs import find
from depth_ros.offline.load import check, has
from depth_ros.offline.plan import Plan
from depth_ros.offline.view import View
from depth_ros.offline.viewer import MEMORY, URL, Place, Viewer, has_screen, rerun
from depth_ros.parameters.settings import Colorized

#: options for recorded images only, and for a running node only
RECORDED = {
    'params_file': '--params-file', 'model': '--model', 'weights': '--weights',
    'device': '--device', 'parameters': '-p',
    'fx': '--fx', 'fy': '--fy', 'cx': '--cx', 'cy': '--cy', 'hfov': '--hfov', 'topic': '--topic',
    'topics': '-r', 'every': '--every', 'start': '--start', 'end': '--end', 'limit': '--limit',
}  # fmt: skip
LIVE = {'namespace': '--namespace', 'remaps': '--remap'}


def add_command(commands: Any) -> None:
    """Add this command to the subparsers of `depth-ros`."""
    parser = commands.add_parser(
        'view',
        help='look at pictures, videos, bags or a running node in 3D',
        description='Show image, depth, cloud and scale in the viewer of Rerun: of recorded '
        'images, or, without an input, of the running depth_node.',
    )
    arguments.add_inputs(parser, nargs='*')
    arguments.add_model(parser)
    arguments.add_camera(parser)
    live = parser.add_argument_group('a running node')
    live.add_argument('--namespace', default='', help='only nodes in this one, such as /front')
    live.add_argument(
        '--remap', dest='remaps', action='append', default=[], metavar='FROM:=TO',
        help='a topic that the node has under another name',
    )  # fmt: skip
    where = parser.add_argument_group('where; default: a window')
    one = where.add_mutually_exclusive_group()
    one.add_argument('--web', action='store_true', help='in a browser, until Ctrl-C')
    one.add_argument('--save', type=Path, metavar='FILE.rrd', help='to a file, for later')
    one.add_argument(
        '--connect', nargs='?', const=URL, metavar='URL',
        help='in a viewer that runs already [%(const)s]',
    )  # fmt: skip
    where.add_argument(
        '--memory', default=MEMORY, metavar='SIZE',
        help='of window or browser; beyond it the oldest is forgotten [%(default)s]',
    )  # fmt: skip
    parser.set_defaults(execute=execute, unset=dict(vars(parser.parse_args([]))))


def execute(args: argparse.Namespace) -> None:
    """Show what is asked for.

    Raises:
        DepthRosError: an input, camera, preset or weights cannot be used, or nothing can be shown
            there.
    """
    live = not args.inputs
    for name, option in (RECORDED if live else LIVE).items():
        if getattr(args, name) != args.unset[name]:
            raise ConfigError(
                f'{option} is for {"recorded images" if live else "a running node"}, and there is '
                f'{"no input" if live else "an input"}: omit one of them'
            )
    rerun()  # its error comes before anything that takes time
    place = _place(args)
    if args.inputs:
        _recorded(args, place)
    else:
        _live(args, place)


def _place(args: argparse.Namespace) -> Place:
    if args.save is not None:
        return Place('save', str(args.save))
    if args.connect is not None:
        return Place('connect', args.connect)
    return Place('web' if args.web else 'window', memory=args.memory)


def _recorded(args: argparse.Namespace, place: Place) -> None:
    inputs = find(args.inputs, args.topic)
    values, there = arguments.values(args, inputs), has(inputs)
    check(values, there)
    plan = Plan(
        values, arguments.camera(args), (), arguments.selection(args), Path(),
        topics=arguments.topics(args), there=there,
    )  # fmt: skip
    pipeline, choices = plan.load()
    print(choices)
    chosen = any(name.startswith('colorized.') for name in values)
    viewer = _opened(place, pipeline.snapshot.settings.colorized if chosen else None)
    view = View(plan.job(pipeline), viewer, choices)
    with _until_told(viewer):
        view(inputs)
        if place.kind == 'web':
            print('all images are there; Ctrl-C ends the server', flush=True)
            _wait()
    print(view.summary)
    if view.summary.failed:
        raise ImageError(f'{view.summary.failed} of the inputs have no depth, see above')


def _opened(place: Place, colors: Colorized | None = None) -> Viewer:
    """The viewer; where to look is printed."""
    viewer = Viewer(place, colors, follow=place.kind != 'save')
    if viewer.where:
        print(f'open {viewer.where}', flush=True)
        if has_screen():
            import webbrowser

            webbrowser.open(viewer.where)
    return viewer


@contextlib.contextmanager
def _until_told(viewer: Viewer) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM end what is within; the viewer gets the rest, and a file its end."""
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    except KeyboardInterrupt:
        print(file=sys.stderr)
    finally:
        signal.signal(signal.SIGTERM, before)
        viewer.close()


def _interrupt(number: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt


def _wait() -> NoReturn:
    while True:
        time.sleep(3600)


def _live(args: argparse.Namespace, place: Place) -> None:
    try:
        # only here: the other commands, and recorded images, work without ROS
        from depth_ros.ros.live import watch
    except ImportError as error:
        raise ConfigError(
            f'without an input, depth-ros view shows a running node, which needs ROS ({error}): '
            'source a ROS 2 setup, or name a picture, video or bag'
        ) from error
    viewer = _opened(place)
    with _until_told(viewer):
        watch(viewer, args.namespace, args.remaps)
