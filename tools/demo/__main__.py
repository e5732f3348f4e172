# SPDX-License-Identifier: Apache-2.0
"""`python -m tools.demo`: camera, depth node and recorder as three processes over DDS."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import re
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from depth_ros.cli.arguments import positive
from depth_ros.core.errors import DepthRosError
from depth_ros.models import nano
from depth_ros.sim.sequence import SequenceSettings, render_sequence
from depth_ros.sim.world.layouts import LAYOUTS
from depth_ros.sim.world.seeds import HELD_OUT
from tools.demo import animation, drawing
from tools.demo import report as page
from tools.demo.processes import Child, environment, stop
from tools.demo.progress import Progress
from tools.machine import machine, moment
from tools.train.loss import Score

RESULTS = ('report.html', 'summary.json', 'snapshot.npz', 'demo.png')
NANO = (
    'nano is a small network (2.6 M parameters, weights in the package), trained only on images '
    'of this kind of synthetic scenes; with a real camera expect larger errors. On {scenes} other '
    'scenes its mean AbsRel is {mean:.2f}. Details: depth_ros/models/nano/card.md.'
)
FIGURES = Path(nano.__file__).parent / 'card.figures.json'


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    default = SequenceSettings()
    parser = argparse.ArgumentParser(
        prog='python -m tools.demo',
        description='Run depth_ros with a synthetic camera, and report its accuracy and latency.',
    )
    parser.add_argument(
        '--seconds', type=positive, default=8.0, help='duration of the measurement [s]'
    )
    parser.add_argument('--model', default='nano', help='preset')
    parser.add_argument(
        '--seed', type=int, default=default.seed, help='seed of scene and trajectory'
    )
    parser.add_argument('--kind', choices=LAYOUTS, default=default.kind, help='kind of scene')
    parser.add_argument(
        '--size', type=_size, default=(default.width, default.height), help='image size [px]'
    )
    parser.add_argument('--rate', type=positive, default=30.0, help='rate of the camera [Hz]')
    parser.add_argument('--output', type=Path, default=Path('demo'), help='folder for the results')
    parser.add_argument(
        '-p', '--param', action='append', type=_rule, default=[], metavar='NAME:=VALUE',
        help='a parameter for depth_node, e.g. weights:=model.safetensors; may be repeated',
    )  # fmt: skip
    parser.add_argument(
        '--patience', type=positive, default=120.0,
        help='maximum time to wait for the first depth image and cloud [s]',
    )  # fmt: skip
    parser.add_argument(
        '--animation', type=Path, metavar='FILE',
        help='write this WebP of image, depth and cloud instead; needs no ROS',
    )  # fmt: skip
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo; returns the exit status, 0 if depth images and clouds arrived."""
    args = parse_arguments(argv)
    try:
        settings = SequenceSettings(args.seed, args.kind, *args.size)
        return write_animation(args, settings) if args.animation else run(args, settings)
    except (DepthRosError, OSError) as error:
        print(error, file=sys.stderr)
        return 2


def run(args: argparse.Namespace, settings: SequenceSettings) -> int:
    """Run the three processes and write the results; returns the exit status."""
    logs = args.output.resolve() / 'log'
    logs.mkdir(parents=True, exist_ok=True)
    for old in RESULTS:
        (args.output / old).unlink(missing_ok=True)  # remove results of an earlier run
    shutil.rmtree(logs / 'ros', ignore_errors=True)
    env, children = environment(logs), []
    print(f'depth_ros demo, model {args.model}, scene {settings}', flush=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # `distortion` stays at the default of the camera
    camera = {n: v for n, v in dataclasses.asdict(settings).items() if n != 'distortion'}
    recorder = {'seconds': args.seconds, 'patience': args.patience, 'output': logs.parent}
    node = [f'model:={args.model}', 'points.stride:=1', *args.param]
    try:
        render(settings)
        for name, module, parameters in (
            ('camera', 'depth_ros.sim.camera_node', camera | {'rate': args.rate}),
            ('node', 'depth_ros.ros', node),
            ('recorder', 'tools.demo.recorder', recorder),
        ):
            children.append(
                Child(
                    name,
                    module,
                    parameters,
                    logs,
                    env,
                    pipe_stdout=name == 'recorder',
                    # /image may be another camera's in a domain that the user set
                    namespace=f'depth_ros_demo_{os.getpid()}',
                )
            )
        problem = watch(children)
    except KeyboardInterrupt:
        problem = 'interrupted'
    finally:
        killed = stop(children[::-1])
    if killed:
        print(f'processes had to be killed: {", ".join(killed)}; logs in {args.output / "log"}')
    if problem:
        print(problem, file=sys.stderr)
    return report(args, settings) or int(bool(problem))


def write_animation(args: argparse.Namespace, settings: SequenceSettings) -> int:
    """Write the animation; returns the exit status."""
    animation.check(args.animation)
    render(settings)
    progress = Progress()
    animation.write(args.animation, settings, args.model, progress.line)
    progress.end()
    print(f'{args.animation}: {args.animation.stat().st_size / 1e6:.2f} MB')
    return 0


def render(settings: SequenceSettings) -> None:
    """Render the image sequence of the camera, unless it is cached."""
    progress = Progress()
    render_sequence(
        settings,
        lambda done: progress.line(f'rendering images: {done} of {settings.frames}'),
    )
    progress.end()


def watch(children: Sequence[Child]) -> str:
    """Wait until the recorder or another child ends; returns the problem, or ''."""
    recorder, progress = children[-1], Progress()
    state: dict[str, Any] = {}
    while True:
        running = recorder.running  # read first, so that its last lines are read below
        for line in recorder.lines():
            if line.startswith('{'):
                state = json.loads(line)
                progress(state)
        if not running:
            progress.end()
            code = recorder.process.returncode
            if state.get('refused'):
                return f'depth_node could not be configured\n{children[1].tail(8)}'
            if code == 1 and state.get('missing'):
                return f'no {", no ".join(state["missing"])} arrived in time\n{_tails(children)}'
            return f'recorder ended with code {code}\n{recorder.tail()}' if code else ''
        for child in children[:-1]:
            if not child.running:
                progress.end()
                return f'{child.name} ended with code {child.process.returncode}\n{child.tail()}'
        time.sleep(0.05)


def report(args: argparse.Namespace, settings: SequenceSettings) -> int:
    """Evaluate, draw and print; returns 0 if depth images and clouds arrived."""
    path = args.output / 'summary.json'
    if not path.is_file():
        return 1
    scene = {'kind': settings.kind, 'seed': settings.seed}
    summary = {'model': args.model, 'scene': scene, **json.loads(path.read_text())}
    scores: list[Score | None] = []
    snapshot = None
    if (args.output / 'snapshot.npz').is_file():
        with np.load(args.output / 'snapshot.npz') as stored:
            snapshot = dict(stored)
        scores = [
            Score.of(torch.from_numpy(depth), torch.from_numpy(truth))
            for depth, truth in zip(snapshot['depth'], snapshot['truth'], strict=True)
        ]
    error = dataclasses.asdict(Score.mean(scores)) if any(scores) else {}
    summary |= {'compared_frames': len(scores), 'error': error, 'where': conditions(args)}
    path.write_text(json.dumps(summary, indent=2) + '\n')
    print_tables(summary)
    note = about(args.model, settings)
    print(f'\n{note}')
    if snapshot:
        images = drawing.draw_frame(snapshot, settings.camera)
        drawing.write(args.output / 'demo.png', images.sheet())
        written = page.write(args.output / 'report.html', summary, snapshot, images, note)
        print(
            f'\nopen {written} in a browser' if written else '\nno report.html: pip install plotly'
        )
        print(f'also in {args.output}: {", ".join(RESULTS[1:])}')
    outputs = summary['outputs']
    return 0 if all(outputs[name]['received'] for name in ('depth/image', 'points')) else 1


def conditions(args: argparse.Namespace) -> str:
    """Hardware of the measurement, and the choices that the node logged."""
    log = (args.output / 'log' / 'node.log').read_text(errors='replace').splitlines()
    start = f']: model {args.model} '
    choices = next((line.partition(start)[2] for line in log if start in line), '')
    hardware = machine(torch.device('cpu'))
    return (
        f'Measured {moment()["date"][:10]} on {hardware["cpu"]}, {hardware["cores"]} cores shared '
        f'by camera, node and recorder; {args.model} {choices.partition("; weights")[0]}.'
    )


def about(model: str, settings: SequenceSettings) -> str:
    """A note about model and scene for the report."""
    scene = f'Scene: {settings.kind}, seed {settings.seed}'
    if model != 'nano':
        return f'{scene}.'
    held_out = settings.seed >= HELD_OUT
    novelty = 'not used for training' if held_out else 'possibly used for training'
    figures = json.loads(FIGURES.read_text())
    mean = figures['held_out']['nano']['abs_rel']
    default = SequenceSettings()
    easy = (settings.kind, settings.seed) == (default.kind, default.seed)
    selected = '; it was selected by appearance and is easier than most' if easy else ''
    return f'{NANO.format(scenes=figures["scenes"], mean=mean)} {scene}, {novelty}{selected}.'


def print_tables(summary: dict[str, Any]) -> None:
    """Print latency and accuracy."""
    camera = summary['camera']
    print(
        f'\ncamera {camera["size"]}: {camera["frames"]} images at {_number(camera["rate_hz"])} Hz'
    )
    print(f'skipped by the node in favour of a newer one: {camera["skipped_by_node"]}\n')
    print(f'{"output":<20}{"received":>9}{"lost":>6}{"Hz":>8}{"p50 ms":>9}{"p99 ms":>9}')
    for name, row in summary['outputs'].items():
        numbers = (_number(row[n]) for n in ('rate_hz', 'latency_p50_ms', 'latency_p99_ms'))
        rate, p50, p99 = numbers
        print(f'{name:<20}{row["received"]:>9}{row["lost"]:>6}{rate:>8}{p50:>9}{p99:>9}')
    print('latency: image stamp to this subscriber; lost: camera images without this output\n')
    print(f'{"against exact depth":<32}{"AbsRel":>9}{"delta1":>9}')
    for name, end in page.SCORES:
        values = (_number(summary['error'].get(n + end), 3) for n in ('abs_rel', 'delta1'))
        print('{:<32}{:>9}{:>9}'.format(name, *values))
    print(f'mean of {summary["compared_frames"]} frames; delta1: fraction with error below 25 %')
    if not summary['compared_frames']:
        print('none compared: depth arrives too late for the stored images; use a lower --rate')


def _number(value: float | None, digits: int = 1) -> str:
    return '-' if value is None else f'{value:.{digits}f}'


def _tails(children: Sequence[Child]) -> str:
    return '\n'.join(f'--- {child.name}\n{child.tail(8)}' for child in children)


def _rule(text: str) -> str:
    if ':=' not in text:
        raise argparse.ArgumentTypeError(f'{text!r} is not a parameter; write NAME:=VALUE')
    return text


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r'([1-9]\d{1,4})x([1-9]\d{1,4})', text)
    if not match:
        raise argparse.ArgumentTypeError(f'{text!r} is not a size; write for example 640x480')
    return int(match[1]), int(match[2])


if __name__ == '__main__':
    raise SystemExit(main())
