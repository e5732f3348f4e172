# SPDX-License-Identifier: Apache-2.0
"""`depth-ros adapt RECORDING... --model M --out FILE`: a network learns a robot's own rooms."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from depth_ros.checkpoints import adapted
from depth_ros.checkpoints.adapted import Card
from depth_ros.checkpoints.write import write_weights
from depth_ros.cli import arguments, recordings
from depth_ros.core.errors import ConfigError
from depth_ros.offline.adapt import outcome, report
from depth_ros.offline.adapt.cards import card_of
from depth_ros.offline.adapt.examine import Examined, examine, examine_without_poses
from depth_ros.offline.adapt.learn import Options
from depth_ros.offline.adapt.network import Network
from depth_ros.offline.adapt.recording import Recording, all_views, open_recordings
from depth_ros.offline.adapt.run import Run, mixed, shown_numbers
from depth_ros.offline.adapt.scene import Images
from depth_ros.offline.adapt.truths import find_truths
from depth_ros.offline.adapt.views import View
from depth_ros.offline.evaluation.bag_truth import TruthOptions
from depth_ros.offline.evaluation.truth import Source, find
from depth_ros.offline.progress import Progress
from depth_ros.pipeline.device import describe

DEFAULTS = Options()
MIX = 0.95


def add_command(commands: Any) -> None:
    """Add this command to the subparsers of `depth-ros`."""
    parser = commands.add_parser('adapt', help='learn the rooms of a recording, without a depth')
    recordings.add_recordings(parser)
    parser.add_argument(
        '--pose-offset', type=float, default=0.0, metavar='SECONDS',
        help='added to the time of an image to find its pose [%(default)g]',
    )  # fmt: skip
    parser.add_argument('--model', default='nano', help='preset that learns [%(default)s]')
    parser.add_argument('--weights', default='', help='it begins with: file, folder or hub id')
    parser.add_argument('--accept-licence', action='store_true', help='of weights to download')
    parser.add_argument('--device', default='auto', help='auto, cpu or cuda:N')
    parser.add_argument(
        '--out', type=Path, required=True, metavar='FILE.safetensors',
        help='the report is FILE.html',
    )  # fmt: skip
    parser.add_argument('--overwrite', action='store_true', help='replace what is there')
    parser.add_argument(
        '--mix', type=_share, default=MIX, metavar='SHARE',
        help='of what is learnt in the result, 0 to 1; less forgets less [%(default)g]',
    )  # fmt: skip
    parser.add_argument(
        '--compare', action='append', default=[], metavar='INPUT',
        help='with measured depth, as of depth-ros eval: compare before and after there too',
    )  # fmt: skip
    parser.add_argument(
        '--steps', type=arguments.count, default=DEFAULTS.steps, help='of learning [%(default)s]'
    )
    parser.add_argument(
        '--batch', type=arguments.count, default=0,
        help='images in a step; default: 8, or 4 and 2 for large networks',
    )  # fmt: skip
    parser.add_argument(
        '--rate', type=arguments.positive, default=DEFAULTS.rate, help='of Adam [%(default)g]'
    )
    parser.add_argument(
        '--input-size', type=arguments.count, default=0, metavar='PX',
        help='of the network while it learns; default: that of the preset',
    )  # fmt: skip
    parser.add_argument(
        '--rehearsal', type=arguments.not_negative, default=DEFAULTS.rehearsal, metavar='WEIGHT',
        help='of keeping the depth of rendered scenes; 0 for none, which forgets [%(default)g]',
    )  # fmt: skip
    parser.add_argument('--seed', type=int, default=0, help='of the choice of images')
    parser.add_argument('--resume', action='store_true', help='go on where Ctrl-C ended it')
    parser.add_argument(
        '--force', action='store_true', help='learn although the checks refuse the recording'
    )
    parser.set_defaults(execute=execute)


def _share(text: str) -> float:
    value = arguments.positive(text)
    if value > 1:
        raise argparse.ArgumentTypeError(f'{text!r} is not above 0 and at most 1')
    return value


def execute(args: argparse.Namespace) -> None:
    """Examine, learn, compare, and write weights and report.

    Raises:
        DepthRosError: the recordings are refused, or something cannot be read or written.
        KeyboardInterrupt: again, after what was learnt has been written.
    """
    _check_out(args)
    sources = _with_truth(args)  # a wrong path is reported before the learning
    network = Network.of(
        args.model, args.weights, args.device, args.input_size, accept_licence=args.accept_licence
    )
    options = recordings.options(args)
    found = open_recordings(args.recordings, options)
    views = all_views(found, args.pose_offset)
    for recording in found:
        print('\n'.join(recording.summary()))
    student = network.student()
    print(f'{network.weights} on {describe(network.options.device)}')
    images = Images.of(views, student, network.options.device)
    batch = args.batch or student.batch
    if options.needs_poses:
        examined = examine(
            found, views, images, student, has_metres=network.scale is None, batch=batch,
            seed=args.seed,
        )  # fmt: skip
    else:
        examined = examine_without_poses(views, images)
    _show(examined, force=args.force)
    network.scale_to(student, examined)
    start = student.state()
    learning = replace(
        DEFAULTS,
        steps=args.steps,
        batch=batch,
        rate=args.rate,
        rehearsal=args.rehearsal,
        seed=args.seed,
    )
    kept = outcome.rehearsal(images.input, student) if args.rehearsal else None
    about = {'recordings': args.recordings, 'offset': args.pose_offset, 'weights': network.weights,
             'views': [view.name for view in views]}  # fmt: skip
    motion = None if options.needs_poses else network.motion()
    run = Run.of(images, examined.partners, student, learning, args.out, about, motion, kept)
    if args.resume and run.restore():
        print(f'goes on after step {run.learner.step} of {learning.steps}')
    progress = Progress(learning.steps, 'steps')
    complete = run.learn(progress.at)
    progress.clear()
    print(f'{run.learner.step} of {learning.steps} steps in {run.seconds:.0f} s')
    _finish(args, network, found, views, examined, run, start, sources, complete=complete)
    if not complete:
        print(f'interrupted: the same command with --resume goes on from {run.path}')
        raise KeyboardInterrupt
    run.finish()


def _check_out(args: argparse.Namespace) -> None:
    if args.out.suffix != '.safetensors':
        raise ConfigError(f'--out is {args.out}; its name must end in .safetensors')
    for path in (args.out, args.out.with_suffix('.html')):
        if path.exists() and not args.overwrite and not args.resume:
            raise ConfigError(f'{path} exists: choose another name, or add --overwrite')
    if not args.out.absolute().parent.is_dir():
        raise ConfigError(f'--out {args.out}: there is no folder {args.out.absolute().parent}')


def _with_truth(args: argparse.Namespace) -> list[Source]:
    """The recordings and `--compare`, as far as they have measured depth.

    Raises:
        ConfigError: one of them does not exist.
    """
    words = [*args.recordings, *args.compare]
    sources, skipped = find(words, args.topic, TruthOptions(fixed_frame=args.fixed_frame))
    for line in skipped if args.compare else ():
        print(f'skipped: {line}', file=sys.stderr)
    return sources


def _show(examined: Examined, *, force: bool) -> None:
    """Print the checks.

    Raises:
        ConfigError: one of them refuses the recordings.
    """
    for check in examined.found:
        print(f'{check.verdict:8} {check.name}: {check.found}')
        if check.remedy:
            print(f'{"":8} {check.remedy}')
    for one in examined.coverage:
        print(f'{"":8} coverage: {100 * one.share:.0f} % of {one.name}')
    if examined.refused and not force:
        reasons = '; '.join(f'{c.name}: {c.found}. {c.remedy}' for c in examined.refused)
        raise ConfigError(f'nothing is learnt, as metres would become wrong. {reasons}')


def _finish(
    args: argparse.Namespace,
    network: Network,
    found: Sequence[Recording],
    views: Sequence[View],
    examined: Examined,
    run: Run,
    start: dict[str, torch.Tensor],
    sources: Sequence[Source],
    *,
    complete: bool,
) -> None:
    """Write the weights, compare, and write the report."""
    state = mixed(start, run.learner.student.state(), args.mix)
    if run.learner.motion is not None:
        state |= run.learner.motion.state()
    card = card_of(network, found, views, examined, run, args.mix, complete=complete)
    write_weights(args.out, state, card.metadata())  # to be loaded below
    before, after = network.student(examined), network.adapted(args.out)
    scores = [] if card.scale is not None else [outcome.synthetic(before, after)]
    scores = [*_measured(args, network, found, sources, card), *scores]
    card = replace(
        card,
        photometric_before=run.curve[0][2],
        photometric_after=run.error(after),
        scores=tuple(scores),
    )
    write_weights(args.out, state, card.metadata())
    for one in scores:
        print(
            f'{one.name}: AbsRel {one.before.abs_rel:.3f} -> {one.after.abs_rel:.3f}, delta1 '
            f'{one.before.delta1:.3f} -> {one.after.delta1:.3f} ({one.images} images)'
        )
    chosen = shown_numbers(run.held_out, run.learner.partners)
    partners = run.held_out or run.learner.partners
    truths = find_truths(sources, found, views, chosen, arguments.camera(args))
    shown = list(
        outcome.pictures(
            views, chosen, partners, before, after, truths, held_out=bool(run.held_out)
        )
    )
    page = args.out.with_suffix('.html')
    command = shlex.join(['depth-ros', *sys.argv[1:]])
    has_plots = report.write(page, card, run.curves(), shown, weights=args.out, command=command)
    if not has_plots:
        print(f'{page} has no plots: pip install plotly', file=sys.stderr)
    print(args.out)
    print(page)


def _measured(
    args: argparse.Namespace,
    network: Network,
    found: Sequence[Recording],
    sources: Sequence[Source],
    card: Card,
) -> list[adapted.Scores]:
    """Scores where depth was measured, of the recordings and of `--compare`."""
    own = {recording.path.resolve() for recording in found}
    learnt = frozenset(source.name for source in sources if source.path.resolve() in own)
    values: dict[str, Any] = {'model': network.preset.name, 'device': args.device}
    values |= {'engine': 'torch'}
    if args.input_size:
        values['input_size'] = args.input_size
    before = {**values, 'weights': args.weights} if card.scale is None else None
    after = {**values, 'weights': str(args.out), **card.parameters}
    given = arguments.camera(args)
    return list(outcome.measured(sources, learnt, before, after, given))
