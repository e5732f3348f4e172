# SPDX-License-Identifier: Apache-2.0
"""`python -m depth_ros.demo`: camera, depth node and recorder, three processes over real DDS."""

from __future__ import annotations

import argparse
import json
import re
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from depth_ros.demo import report as page
from depth_ros.demo.processes import Child, environment, stop

FRAMES = 60
PICTURES = ('rgb.png', 'depth.png', 'truth.png', 'cloud.png', 'demo.png')
RESULTS = ('report.html', 'summary.json', 'snapshot.npz', *PICTURES)
ABOUT_FLAT_GROUND = (
    'flat_ground is geometry, not a network: it assumes a flat floor seen from a known height,\n'
    'so the floor is right and boxes, walls and posts are wrong by design.'
)


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog='python -m depth_ros.demo',
        description='Run depth_ros on a synthetic camera, measure it and draw what it saw.',
    )
    parser.add_argument('--seconds', type=_positive, default=10.0, help='how long to measure [s]')
    parser.add_argument('--model', default='flat_ground', help='preset of the model table')
    parser.add_argument('--size', type=_size, default=(640, 480), help='of the image [px]')
    parser.add_argument('--rate', type=_positive, default=30.0, help='of the camera [Hz]')
    parser.add_argument('--output', type=Path, default=Path('demo'), help='folder for the results')
    parser.add_argument(
        '-p', '--param', action='append', type=_rule, default=[], metavar='NAME:=VALUE',
        help='a parameter for depth_node, e.g. weights:=model.safetensors; may be repeated',
    )  # fmt: skip
    parser.add_argument(
        '--patience', type=_positive, default=120.0,
        help='how long to wait for the first depth image and cloud [s]',
    )  # fmt: skip
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo; returns the exit code, 0 if depth images and clouds arrived."""
    args = arguments(argv)
    logs = args.output.resolve() / 'log'
    logs.mkdir(parents=True, exist_ok=True)
    for old in RESULTS:
        (args.output / old).unlink(missing_ok=True)  # never show an earlier run's results
    shutil.rmtree(logs / 'ros', ignore_errors=True)
    env, children = environment(logs), []
    print(f'depth_ros demo, model {args.model}, ROS_DOMAIN_ID {env["ROS_DOMAIN_ID"]}', flush=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    width, height = args.size
    camera = {'width': width, 'height': height, 'rate': args.rate, 'frames': FRAMES}
    recorder = {'seconds': args.seconds, 'patience': args.patience, 'output': logs.parent}
    node = [f'model:={args.model}', *args.param]
    try:
        for name, module, parameters in (
            ('camera', 'depth_ros.demo.camera', camera),
            ('node', 'depth_ros.ros.node', node),
            ('recorder', 'depth_ros.demo.recorder', recorder),
        ):
            children.append(Child(name, module, parameters, logs, env, speaks=name == 'recorder'))
        trouble = watch(children)
    except KeyboardInterrupt:
        trouble = 'interrupted'
    finally:
        killed = stop(children[::-1])
    if killed:
        print(f'had to be killed: {", ".join(killed)}; logs in {args.output / "log"}')
    if trouble:
        print(trouble, file=sys.stderr)
    return report(args) or int(bool(trouble))


def watch(children: Sequence[Child]) -> str:
    """Follow the recorder until it ends or another child does; returns what went wrong, or ''."""
    recorder, show = children[-1], Progress()
    state: dict[str, Any] = {}
    while True:
        alive = recorder.running  # asked first, so that its last lines are read below
        for line in recorder.lines():
            if line.startswith('{'):
                state = json.loads(line)
                show(state)
        if not alive:
            show.end()
            code = recorder.process.returncode
            if state.get('refused'):
                return f'depth_node could not be configured\n{children[1].tail(8)}'
            if code == 1 and state.get('missing'):
                return f'no {", no ".join(state["missing"])} arrived in time\n{_tails(children)}'
            return f'recorder ended with code {code}\n{recorder.tail()}' if code else ''
        for child in children[:-1]:
            if not child.running:
                show.end()
                return f'{child.name} ended with code {child.process.returncode}\n{child.tail()}'
        time.sleep(0.05)


class Progress:
    """One line about the recorder's state, rewritten on a terminal."""

    def __init__(self) -> None:
        """Nothing shown yet."""
        self.live = sys.stdout.isatty()
        self._last: tuple[str, list[str]] | None = None

    def __call__(self, state: dict[str, Any]) -> None:
        """Show a state the recorder told; without a terminal only when something new happens."""
        if 'stage' not in state:
            return
        news = (state['stage'], state['missing'])
        line = f'{state["stage"]:>10} {state["seconds"]:5.1f} s   camera {state["camera"]}'
        line += f'   depth {state["depth/image"]}   points {state["points"]}'
        if state['stage'] == 'waiting' and state['missing']:
            line += f'   for {", ".join(state["missing"])}'
        if self.live:
            room = shutil.get_terminal_size().columns - 1  # a wrapped line cannot be rewritten
            print(f'\r\033[K{line[:room]}', end='', flush=True)
        elif news != self._last:
            print(line, flush=True)
        self._last = news

    def end(self) -> None:
        """Leave the line."""
        if self.live and self._last:
            print()


def report(args: argparse.Namespace) -> int:
    """Print the table, complete summary.json; returns 0 if depth images and clouds arrived."""
    path = args.output / 'summary.json'
    if not path.is_file():
        return 1
    summary = {'model': args.model, **json.loads(path.read_text())}
    path.write_text(json.dumps(summary, indent=2) + '\n')
    camera, outputs = summary['camera'], summary['outputs']
    print(
        f'\ncamera {camera["size"]}: {camera["frames"]} images at {_number(camera["rate_hz"])} Hz'
    )
    print(f'left out by the node, which takes the newest: {camera["skipped_by_node"]}\n')
    print(f'{"output":<20}{"received":>9}{"lost":>6}{"Hz":>8}{"p50 ms":>9}{"p99 ms":>9}')
    for name, row in outputs.items():
        numbers = (_number(row[n]) for n in ('rate_hz', 'latency_p50_ms', 'latency_p99_ms'))
        rate, p50, p99 = numbers
        print(f'{name:<20}{row["received"]:>9}{row["lost"]:>6}{rate:>8}{p50:>9}{p99:>9}')
    print('latency: image stamp to this subscriber; lost: camera images without this output\n')
    print(f'{"against exact depth":<20}{"AbsRel":>9}{"delta1":>9}{"RMSE m":>9}{"valid %":>9}')
    for name, key in (('whole image', 'error'), ('floor only', 'error_on_floor')):
        e = summary[key]
        valid = _number(100 * e['valid'], 1) if 'valid' in e else '-'
        abs_rel, delta1, rmse = (_number(e.get(n), 4) for n in ('abs_rel', 'delta1', 'rmse_m'))
        print(f'{name:<20}{abs_rel:>9}{delta1:>9}{rmse:>9}{valid:>9}')
    print(f'mean of {summary["compared_frames"]} frames; valid: pixels that have both depths')
    if not summary['compared_frames']:
        print('none: answers come too late to find their image again; give a lower --rate')
    if args.model == 'flat_ground':
        print(ABOUT_FLAT_GROUND)
    written = page.write(args.output, ABOUT_FLAT_GROUND if args.model == 'flat_ground' else '')
    if written:
        print(f'\nopen {written} in a browser')
    else:
        print('\nno report.html: pip install plotly')
    print(f'written to {args.output}: {", ".join(["summary.json", *summary["files"]])}')
    arrived = all(outputs[name]['received'] for name in ('depth/image', 'points'))
    return 0 if arrived else 1


def _number(value: float | None, digits: int = 1) -> str:
    return '-' if value is None else f'{value:.{digits}f}'


def _tails(children: Sequence[Child]) -> str:
    return '\n'.join(f'--- {child.name}\n{child.tail(8)}' for child in children)


def _rule(text: str) -> str:
    if ':=' not in text:
        raise argparse.ArgumentTypeError(f'{text!r} sets nothing; write NAME:=VALUE')
    return text


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r'([1-9]\d{1,4})x([1-9]\d{1,4})', text)
    if not match:
        raise argparse.ArgumentTypeError(f'{text!r} is no size; write e.g. 640x480')
    return int(match[1]), int(match[2])


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float('inf'):
        raise argparse.ArgumentTypeError(f'{text} is not positive')
    return value


if __name__ == '__main__':
    raise SystemExit(main())
