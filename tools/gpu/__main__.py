# SPDX-License-Identifier: Apache-2.0
"""`python -m tools.gpu --minutes 8`: all that needs a GPU, the most important first."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from depth_ros.models import PRESETS
from tools import machine
from tools.bench.random_weights import networks
from tools.gpu import plan
from tools.gpu.results import Results
from tools.gpu.workers import Workers

OUT = Path('benchmarks/results')
ABOUT_S = 120.0  #: limit of the first look at the machine, with the import of torch
LOG = 6000  #: characters of a log that are kept
END_S = 2.0  #: for the end of the last process
ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
Row = dict[str, Any]


class Cut(Exception):
    """A signal ends the run."""


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line; an error ends the program."""
    parser = argparse.ArgumentParser(
        prog='python -m tools.gpu',
        description='CUDA tests, networks, the device path of the node, training; '
        'the most important first, each result written at once.',
    )
    add = parser.add_argument
    add('--minutes', type=float, default=8.0, help='for all of it [%(default)g]')
    add('--out', type=Path, help=f'folder of the results [{OUT}, on a GPU]')
    add('--device', default='cuda:0', help='cuda:N, or cpu to prove the plan [%(default)s]')
    add('--steps', default=','.join(plan.KINDS), help='some of [%(default)s]')
    add('--networks', default='', help='only these presets, or all [all; with --tiny a few]')
    add('--tiny', action='store_true', help='images of a few pixels, to prove the plan')
    args = parser.parse_args(arguments)
    args.device = 'cuda:0' if args.device == 'cuda' else args.device
    if args.out is None:
        if args.device == 'cpu' or args.tiny:
            parser.error('--device cpu and --tiny prove the plan, their times are no results of '
                         'a GPU: set --out to a folder for them')  # fmt: skip
        args.out = OUT
    args.steps = args.steps.replace(',', ' ').split()
    words = args.networks.replace(',', ' ').split()
    for option, given, known in (
        ('--steps', args.steps, plan.KINDS), ('--networks', words, (*PRESETS, 'all'))
    ):  # fmt: skip
        if unknown := [word for word in given if word not in known]:
            parser.error(f'{option} has {", ".join(unknown)}; choose from {", ".join(known)}')
    args.networks = words or (list(plan.TINY_NETWORKS) if args.tiny else ['all'])
    return args


def choose_networks(words: list[str]) -> dict[str, list[str]]:
    """Presets -> all with the same layers, of which only one is measured: an important one first.

    Args:
        words: some presets, or 'all'.
    """
    wanted = set(PRESETS) if 'all' in words else set(words)
    found = {}
    for same in networks().values():
        names = sorted(
            wanted & set(same), key=lambda n: (n not in dict(plan.IMPORTANT), same.index(n))
        )
        if names:
            found[names[0]] = same
    return found


def main(arguments: list[str] | None = None) -> int:
    """Run it.

    Returns:
        Exit status: 0, 1 if a step or test failed, 2 if there is no such GPU, or 128 and the
        number of the signal that ended it.
    """
    args = parse(arguments)
    end = time.monotonic() + 60 * args.minutes
    for number in ENDS:
        signal.signal(number, _cut)
    args.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix='depth_ros-gpu-') as folder:
        workers = Workers(Path(folder))
        try:
            return _run(args, workers, end)
        except Cut as cut:
            print(f'ended by {signal.Signals(cut.args[0]).name}', flush=True)
            return 128 + int(cut.args[0])
        finally:
            workers.close()


def _cut(number: int, _: object) -> None:
    for each in ENDS:
        signal.signal(each, signal.SIG_IGN)  # the end is short
    raise Cut(number)


def _run(args: argparse.Namespace, workers: Workers, end: float) -> int:
    chosen = choose_networks(args.networks)  # takes seconds: meanwhile the first worker imports
    about: Row = {}
    job = {'do': 'about', 'device': args.device, 'until': time.monotonic() + ABOUT_S}
    reason = workers.run(job, ABOUT_S, lambda row: about.update(row['row']))
    if reason or not about:
        print(f'gpu: {args.device} cannot be used: {reason}', file=sys.stderr)
        return 2
    results = Results(args.out, about)
    if 'tests' in args.steps:
        results.forget_tests()
    has = plan.Has(ros=machine.has_ros(), pytest=find_spec('pytest') is not None)
    rest = plan.steps(args.steps, chosen, args.device, has, args.tiny)
    try:
        while rest:
            left_s = end - END_S - time.monotonic()
            seconds, why = plan.allot(rest, left_s)
            step = rest.pop(0)
            if why:
                _say(f'{step.name}: skipped, {why}')
                results.add(step.name, 'steps', {'state': 'skipped', 'why': why})
                continue
            _say(f'{step.name}: {seconds:.0f} of {left_s:.0f} s')
            _do(step, seconds, plan.limit_s(seconds, left_s), args, workers, results)
    finally:
        _say(f'\n{results.text()}\n{results.summary()}')
        _say(f'written to {results.path} and {results.text_path}')
    gpu = results.content['gpu']
    failed = any(row['state'] == 'failed' for row in gpu['steps'])
    return int(failed or any(row['outcome'] == 'failed' for row in gpu.get('tests', ())))


def _do(
    step: plan.Step,
    seconds: float,
    limit_s: float,
    args: argparse.Namespace,
    workers: Workers,
    results: Results,
) -> None:
    """Do a step; what it finds is in the file even if it or we are killed meanwhile."""

    def on_row(row: Row) -> None:
        results.add(step.name, row['part'], row['row'])
        if row['row'].get('outcome') not in ('passed', 'skipped'):  # of tests only what failed
            _say(f'  {row["part"]}: {_short(row["row"])}')

    began = time.monotonic()
    state: Row = {'state': 'running', 'allotted_s': round(seconds, 1)}
    results.add(step.name, 'steps', state)
    job = {**step.job, 'until': began + seconds, 'out': str(args.out.resolve())}
    try:
        why = workers.run(job, limit_s, on_row)
        state['state'] = 'failed' if why else 'done'
    except Cut as cut:
        why = f'ended by {signal.Signals(cut.args[0]).name}'
        state['state'] = 'cut'
        raise
    finally:
        state |= {'seconds': round(time.monotonic() - began, 1), 'why': why}
        if why or 'Traceback' in workers.log:  # a machine with a GPU is not always at hand
            state['log'] = workers.log[-LOG:]
        results.add(step.name, 'steps', state)
        if why:
            _say(f'  {state["state"]}: {why}')


def _short(row: Row) -> str:
    shown = {name: value for name, value in row.items() if name not in ('same_as', 'top')}
    return ', '.join(f'{name} {value}' for name, value in shown.items())[:300]


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == '__main__':
    sys.exit(main())
