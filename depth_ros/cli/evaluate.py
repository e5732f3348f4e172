# SPDX-License-Identifier: Apache-2.0
"""`depth-ros eval INPUT... --model M`: networks against measured depth."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import Any

from depth_ros.cli import arguments
from depth_ros.core.errors import ConfigError
from depth_ros.offline.evaluation import report, results
from depth_ros.offline.evaluation.bag_truth import FIXED_FRAMES, BagTruth, TruthOptions
from depth_ros.offline.evaluation.baselines import BASELINES
from depth_ros.offline.evaluation.comparison import Comparison, Result
from depth_ros.offline.evaluation.network import Choice, Network, limits
from depth_ros.offline.evaluation.truth import Source, find
from depth_ros.offline.load import has

FILES = ('report.html', 'evaluation.json', 'frames.csv')


def add_command(commands: Any) -> None:
    """Add this command to the subparsers of `depth-ros`."""
    parser = commands.add_parser('eval', help='compare depth with measured depth')
    add_truth(parser)
    parser.add_argument(
        '--model', dest='models', action='append', required=True, metavar='PRESET[=WEIGHTS]',
        help='give it several times to compare several',
    )  # fmt: skip
    arguments.add_parameters(parser)
    arguments.add_camera(parser)
    parser.add_argument(
        '--near', type=arguments.positive, metavar='METRES',
        help='smallest truth that is compared; default: the largest range.min of the networks',
    )  # fmt: skip
    parser.add_argument(
        '--far', type=arguments.positive, metavar='METRES',
        help='largest; default: the smallest range.max of the networks, 80 m without one',
    )  # fmt: skip
    parser.add_argument(
        '--out', type=Path, default=Path('evaluation'), metavar='FOLDER',
        help=f'of {", ".join(FILES)} [%(default)s]',
    )  # fmt: skip
    parser.set_defaults(execute=execute)


def add_truth(parser: argparse.ArgumentParser) -> None:
    """Add the inputs, and the arguments that say where measured depth is."""
    parser.add_argument(
        'inputs', nargs='+', metavar='INPUT',
        help='bag, or folder in a layout of docs/evaluation.md, or a folder above such',
    )  # fmt: skip
    arguments.add_topic(parser)
    parser.add_argument(
        '--truth', default='', metavar='TOPIC',
        help='of depth images or LiDAR points of bags; default: the only one',
    )  # fmt: skip
    parser.add_argument(
        '--max-offset', type=arguments.positive, default=0.02, metavar='SECONDS',
        help='between the stamps of image and depth of bags [%(default)g]',
    )  # fmt: skip
    parser.add_argument(
        '--fixed-frame', default='', metavar='FRAME',
        help=f'of poses for the TAE; default: the first in TF of {", ".join(FIXED_FRAMES)}',
    )  # fmt: skip
    arguments.add_selection(parser)


def sources_of(args: argparse.Namespace) -> tuple[list[Source], list[str]]:
    """The inputs of `add_truth`, and a line for each that cannot be used, which is printed.

    Raises:
        ConfigError: none can be used.
    """
    options = TruthOptions(args.truth, round(args.max_offset * 1e9), args.fixed_frame)
    sources, skipped = find(args.inputs, args.topic, options)
    for line in skipped:
        print(f'skipped: {line}', file=sys.stderr)
    if not sources:
        raise ConfigError('no input has measured depth, for the reasons above')
    return sources, skipped


def there(sources: list[Source]) -> frozenset[str]:
    """What parameters can need that there is; see `offline.load.has`."""
    bags = [source.bag for source in sources if isinstance(source, BagTruth)]
    return has(bags) if len(bags) == len(sources) else frozenset()


def choices_of(args: argparse.Namespace, sources: list[Source]) -> list[Choice]:
    """The networks that `--model` names.

    Raises:
        ConfigError: one is named twice, or its parameters cannot work.
    """
    choices: list[Choice] = []
    for word in args.models:
        model, _, weights = word.partition('=')
        args.model, args.weights = model, weights
        label = model if not weights else f'{model} ({Path(weights).name})'
        if sum(w.partition('=')[0] == model for w in args.models) == 1:
            label = model
        if label in (choice.label for choice in choices):
            raise ConfigError(f'--model names {word} twice')
        choices.append(Choice.of(label, arguments.values(args, sources), there(sources)))
    return choices


def execute(args: argparse.Namespace) -> None:
    """Compare, print the means, and write the files.

    Raises:
        DepthRosError: nothing can be compared, or a network cannot be loaded.
    """
    sources, skipped = sources_of(args)
    choices = choices_of(args, sources)
    near, far = limits(choices, args.near, args.far)
    try:
        args.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f'--out {args.out} cannot be made: {error}') from error
    comparison = Comparison(sources, arguments.selection(args), arguments.camera(args), near, far)
    found: list[Result] = []
    baselines: list[Result] = []
    for choice in choices:
        network = Network(choice)
        print(f'{choice.label}: {network.choices}')
        result, *others = comparison(network, {} if baselines else dict(BASELINES))
        found.append(result)
        baselines = baselines or others
        del network  # before the next one takes its memory
    for line in results.reasons(comparison):
        print(f'skipped: {line}', file=sys.stderr)
    if not any(result.rows for result in found):
        raise ConfigError('nothing could be compared, for the reasons above')
    everything = [*found, *baselines]
    command = shlex.join(['depth-ros', *sys.argv[1:]])
    values = results.summary(comparison, everything, skipped, command)
    print(results.text(values))
    paths = [args.out / name for name in FILES]
    has_plots = report.write(paths[0], values, found)
    results.write_json(paths[1], values)
    results.write_csv(paths[2], values)
    if not has_plots:
        print(f'{paths[0]} has no plots: pip install plotly', file=sys.stderr)
    for path in paths:
        print(path)
