# SPDX-License-Identifier: Apache-2.0
"""`depth-ros adapt RECORDING... --model M --out FILE`: a network learns a robot's own rooms."""

from __future__ import annotations

import argparse
import math
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

import depth_ros
from depth_ros import models
from depth_ros.checkpoints import adapted
from depth_ros.checkpoints.adapted import Card, Learnt, Start, card_for
from depth_ros.checkpoints.cache import checksum
from depth_ros.checkpoints.find import find_weights
from depth_ros.checkpoints.write import write_weights
from depth_ros.cli import arguments, recordings
from depth_ros.core.errors import ConfigError
from depth_ros.models import ModelOptions, Preset
from depth_ros.offline.adapt import outcome, report
from depth_ros.offline.adapt.examine import Examined, examine, examine_without_poses
from depth_ros.offline.adapt.learn import Options
from depth_ros.offline.adapt.recording import Recording, all_views, open_recordings
from depth_ros.offline.adapt.run import Run, held_out_error, mixed, shown_numbers
from depth_ros.offline.adapt.scene import Images
from depth_ros.offline.adapt.student import Motion, Student
from depth_ros.offline.adapt.students import check_can_learn, motion_of, scale_of, student_of
from depth_ros.offline.adapt.truths import find_truths
from depth_ros.offline.adapt.views import View
from depth_ros.offline.evaluation.bag_truth import TruthOptions
from depth_ros.offline.evaluation.truth import find
from depth_ros.offline.progress import Progress
from depth_ros.pipeline.device import choose_device, describe

DEFAULTS = Options()


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
        '--mix', type=_share, default=1.0, metavar='SHARE',
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
        '--batch', type=arguments.count, default=DEFAULTS.batch,
        help='images in a step; fewer for a large network [%(default)s]',
    )  # fmt: skip
    parser.add_argument(
        '--rate', type=arguments.positive, default=DEFAULTS.rate, help='of Adam [%(default)g]'
    )
    parser.add_argument(
        '--input-size', type=arguments.count, default=0, metavar='PX',
        help='of the network while it learns; default: that of the preset',
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


@dataclass(frozen=True, slots=True)
class Network:
    """What learns.

    Args:
        preset: of it.
        options: with the weights at the start.
        weights: name of these, in words.
    """

    preset: Preset
    options: ModelOptions
    weights: str

    @classmethod
    def of(cls, args: argparse.Namespace) -> Network:
        """What the arguments name.

        Raises:
            ConfigError: it cannot learn.
            WeightsError: the weights are missing.
        """
        check_can_learn(args.model)
        preset = models.get(args.model)
        device = choose_device(args.device, preset, args.weights)
        source = models.source_of(preset, args.weights, '')
        path = find_weights(args.weights, source, args.accept_licence)
        packaged = path is not None and path == source.packaged
        name = f'{preset.name} ({"packaged" if packaged else args.weights or "published"})'
        options = ModelOptions(
            weights=path,
            device=device,
            threads=torch.get_num_threads(),  # all cores, or OMP_NUM_THREADS
            input_size=args.input_size,
        )
        return cls(preset, options, name)

    def student(self) -> Student:
        """With the weights at the start."""
        return student_of(self.preset.name, self.options)

    def motion(self) -> Motion:
        """Its pose network."""
        assert self.options.weights is not None  # every network that learns has weights
        return motion_of(self.preset.name, self.options.weights, self.options.device)

    def adapted(self, path: Path) -> Student:
        """With the weights of a file."""
        return student_of(self.preset.name, replace(self.options, weights=path))


def execute(args: argparse.Namespace) -> None:
    """Examine, learn, compare, and write weights and report.

    Raises:
        DepthRosError: the recordings are refused, or something cannot be read or written.
        KeyboardInterrupt: again, after what was learnt has been written.
    """
    _check_out(args)
    network = Network.of(args)
    options = recordings.options(args)
    found = open_recordings(args.recordings, options)
    views = all_views(found, args.pose_offset)
    for recording in found:
        print('\n'.join(recording.summary()))
    student = network.student()
    print(f'{network.weights} on {describe(network.options.device)}')
    images = Images.of(views, student, network.options.device)
    scale = scale_of(network.preset.name)
    if options.needs_poses:
        examined = examine(found, views, images, student, has_metres=scale is None, seed=args.seed)
    else:
        examined = examine_without_poses(views, images)
    _show(examined, force=args.force)
    if scale is not None and examined.fit is not None:
        student.rescale(examined.fit.factor, at=examined.depth_m / examined.fit.factor)
    start = student.state()
    learning = replace(
        DEFAULTS, steps=args.steps, batch=args.batch, rate=args.rate, seed=args.seed
    )
    about = {'recordings': args.recordings, 'offset': args.pose_offset, 'weights': network.weights,
             'views': [view.name for view in views]}  # fmt: skip
    motion = None if options.needs_poses else network.motion()
    run = Run.of(images, examined.partners, student, learning, args.out, about, motion)
    if args.resume and run.restore():
        print(f'goes on after step {run.learner.step} of {learning.steps}')
    progress = Progress(learning.steps, 'steps')
    complete = run.learn(progress.at)
    progress.clear()
    print(f'{run.learner.step} of {learning.steps} steps in {run.seconds:.0f} s')
    _finish(args, network, found, views, examined, run, start, complete=complete)
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
    *,
    complete: bool,
) -> None:
    """Write the weights, compare, and write the report."""
    state = mixed(start, run.learner.student.state(), args.mix)
    if run.learner.motion is not None:
        state |= run.learner.motion.state()
    card = _card(args, network, found, views, examined, run, complete=complete)
    write_weights(args.out, state, card.metadata())  # to be loaded below
    before, after = network.student(), network.adapted(args.out)
    without_poses = run.learner.motion is not None
    errors = [
        held_out_error(run.learner.images, student, run.held_out, without_poses)
        for student in (before, after)
    ]
    scores = [] if card.scale is not None else [outcome.synthetic(before, after)]
    scores = [*_measured(args, network, found, card), *scores]
    card = replace(
        card,
        photometric_before=errors[0],
        photometric_after=errors[1],
        scores=tuple(scores),
    )
    write_weights(args.out, state, card.metadata())
    for one in scores:
        print(
            f'{one.name}: AbsRel {one.before.abs_rel:.3f} -> {one.after.abs_rel:.3f}, delta1 '
            f'{one.before.delta1:.3f} -> {one.after.delta1:.3f} ({one.images} images)'
        )
    chosen = list(shown_numbers(views, run.held_out, run.learner.partners))
    partners = run.held_out or run.learner.partners
    sources, _ = find(args.recordings, args.topic, TruthOptions(fixed_frame=args.fixed_frame))
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


def _card(
    args: argparse.Namespace,
    network: Network,
    found: Sequence[Recording],
    views: Sequence[View],
    examined: Examined,
    run: Run,
    *,
    complete: bool,
) -> Card:
    weights, source = network.options.weights, network.preset.source
    inherited = card_for(network.preset.name, weights)
    digest = checksum(weights, 'sha256') if weights is not None and weights.is_file() else ''
    turns, shifts = torch.split(run.learner.corrections.detach().cpu(), 3, dim=1)
    posed = run.learner.motion is None
    return Card(
        preset=network.preset.name,
        start=Start(network.weights, digest),
        licence=inherited.licence if inherited else source.licence,
        restricted=inherited.restricted if inherited else source.restricted,
        depth_ros=depth_ros.__version__,
        date=datetime.now(timezone.utc).strftime('%Y-%m-%dT%H:%M:%SZ'),
        recordings=tuple(_recording(one, views) for one in found),
        learnt=Learnt(
            run.learner.step,
            run.seconds,
            describe(network.options.device),
            args.mix,
            math.degrees(_rms(turns)) if posed else math.nan,
            _rms(shifts) if posed else math.nan,
            not complete,
        ),
        checks=examined.found,
        coverage=examined.coverage,
        scale=scale_of(network.preset.name) if posed else None,
    )


def _rms(rows: torch.Tensor) -> float:
    return float(rows.square().sum(1).mean().sqrt())


def _recording(recording: Recording, views: Sequence[View]) -> adapted.Recording:
    own = [view for view in views if view.recording == recording.number]
    stamps = [recording.shots[view.number].stamp_ns for view in own]
    motion = recording.motion
    return adapted.Recording(
        recording.name,
        len(own),
        (max(stamps) - min(stamps)) * 1e-9 if any(stamps) else math.nan,
        motion.path_m if motion else math.nan,
        recording.layout,
        str(own[0].camera) if own else '',
    )


def _measured(
    args: argparse.Namespace, network: Network, found: Sequence[Recording], card: Card
) -> list[adapted.Scores]:
    """Scores where depth was measured, of the recordings and of `--compare`."""
    sources, skipped = find(
        [*args.recordings, *args.compare], args.topic, TruthOptions(fixed_frame=args.fixed_frame)
    )
    own = {recording.path.resolve() for recording in found}
    for line in skipped if args.compare else ():
        print(f'skipped: {line}', file=sys.stderr)
    learnt = frozenset(source.name for source in sources if source.path.resolve() in own)
    values: dict[str, Any] = {'model': network.preset.name, 'device': args.device}
    values |= {'engine': 'torch'}
    if args.input_size:
        values['input_size'] = args.input_size
    before = {**values, 'weights': args.weights} if card.scale is None else None
    after = {**values, 'weights': str(args.out), **card.parameters}
    given = arguments.camera(args)
    return list(outcome.measured(sources, learnt, before, after, given))
