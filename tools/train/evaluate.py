# SPDX-License-Identifier: Apache-2.0
"""How good a preset is: `python -m tools.train.evaluate --model nano --scenes 500`.

Held-out scenes of the world, through the adapter and the scaling of the node, with the right
intrinsics and with focal lengths twice too long; real indoor pictures beside guesses that look at
nothing and beside FastDepth; and milliseconds a picture.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from depth_ros.cli.arguments import count
from depth_ros.core.camera import Camera
from depth_ros.core.errors import DepthRosError
from depth_ros.core.types import Frame
from depth_ros.parameters.layers import preset_values, with_values
from depth_ros.parameters.settings import Settings
from depth_ros.pipeline.build import build
from depth_ros.pipeline.depth_pipeline import Pipeline
from depth_ros.sim.world.seeds import HELD_OUT, TEST
from tools.train import real
from tools.train.loss import FAR, Score
from tools.train.views import held_out

log = logging.getLogger(__name__)

SIZE = (240, 320)
FIGURES = '\n## Figures of tools.train.evaluate\n\n'
Guess = Callable[[Frame], Tensor]


def pipeline(model: str, weights: str = '', device: str = 'cpu', threads: int = 2) -> Pipeline:
    """The preset as the node runs it, up to `FAR`."""
    settings = with_values(Settings(model=model), preset_values(model))
    settings = with_values(
        settings,
        {'weights': weights, 'device': device, 'threads': threads, 'range.max': FAR},
    )
    built, choices = build(settings)
    log.info('%s', choices)
    return built


def frames(seeds: range, size: tuple[int, int] = SIZE) -> list[tuple[Frame, Tensor]]:
    """Held-out pictures with their depth (H, W) [m]."""
    found = []
    for views in held_out(seeds, size):
        for rgb, z, k in zip(views.rgb, views.z, views.k, strict=True):
            camera = Camera(size[1], size[0], *k.tolist())
            found.append((Frame(rgb.permute(1, 2, 0).contiguous(), camera), z.float()))
    return found


def mistaken(frame: Frame, factor: float) -> Frame:
    """The same picture with focal lengths that are wrong by `factor`."""
    c = frame.camera
    return Frame(frame.rgb, dataclasses.replace(c, fx=c.fx * factor, fy=c.fy * factor))


def scored(guess: Guess, pictures: list[tuple[Frame, Tensor]]) -> Score:
    """Mean over pictures."""
    return Score.mean([Score.of(guess(frame), z) for frame, z in pictures])


def fast_depth(threads: int) -> Pipeline | None:
    """FastDepth, if its file and ONNX Runtime are there."""
    file = real.folder() / 'weights' / 'fastdepth' / 'fastdepth_nyu_pruned_224.onnx'
    try:
        return pipeline('fastdepth_nyu', str(file), threads=threads)
    except DepthRosError as error:
        log.info('fastdepth_nyu is left out: %s', error)
        return None


def milliseconds(models: dict[str, Pipeline], pictures: list[Frame]) -> dict[str, float]:
    """Median time a picture of each, taken in turns so that all see the same machine."""
    times: dict[str, list[float]] = {name: [] for name in models}
    for frame in pictures:
        for name, model in models.items():
            start = time.perf_counter()
            model(frame)
            times[name].append(1e3 * (time.perf_counter() - start))
    return {name: statistics.median(values) for name, values in times.items()}


def evaluate(
    model: str,
    scenes: range,
    weights: str = '',
    device: str = 'cpu',
    threads: int = 1,
    images: Path | None = None,
) -> dict[str, Any]:
    """All of it, by name; see `real.pictures` for `images`."""
    photographs = list(real.pictures(images))
    if not photographs:
        log.info('no real pictures: %s has none; DEPTH_ROS_DATA or --images', real.folder())
    depth = pipeline(model, weights, device, threads)
    fast = fast_depth(threads)

    def metres(frame: Frame) -> Tensor:
        there = dataclasses.replace(frame, rgb=frame.rgb.to(depth.device))
        return depth(there).z.cpu()

    prior = real.RowPrior()
    world = frames(scenes)
    table = {
        f'{model}': scored(metres, world),
        f'{model}, focal length 2x too long': scored(lambda f: metres(mistaken(f, 2.0)), world),
        f'{model}, focal length 2x too short': scored(lambda f: metres(mistaken(f, 0.5)), world),
        'constant': scored(prior.constant, world),
        'depth per row': scored(prior.per_row, world),
    }
    result: dict[str, Any] = {
        'model': model,
        'scenes': len(world),
        'first_seed': scenes[0],
        'size': list(SIZE),
        'torch': torch.__version__,
        'held_out': {name: dataclasses.asdict(score) for name, score in table.items()},
    }
    guesses: dict[str, Guess] = {
        model: metres,
        'constant': prior.constant,
        'depth per row': prior.per_row,
    }
    if fast is not None:
        guesses['fastdepth_nyu'] = lambda frame: fast(frame).z
    rows: dict[str, dict[str, Score]] = {name: {} for name in guesses}
    for picture, frame, z in photographs:
        for name, guess in guesses.items():
            score = Score.of(guess(frame), z)
            if score is not None:
                rows[name][picture] = score
    result['real'] = {
        name: {
            **{picture: dataclasses.asdict(score) for picture, score in scores.items()},
            'mean': dataclasses.asdict(Score.mean(list(scores.values()))),
        }
        for name, scores in rows.items()
        if scores
    }
    some = [frame for frame, _ in world[:40]]
    models = {model: depth} | ({'fastdepth_nyu': fast} if fast is not None else {})
    if device == 'cpu':
        result['milliseconds'] = {'threads': threads, **milliseconds(models, some)}
    return result


def table_of(result: dict[str, Any]) -> str:
    """The result for reading."""
    head = f'{"":42}{"AbsRel":>8}{"delta1":>8}   after median scaling'

    def line(name: str, s: dict[str, float]) -> str:
        return (
            f'{name:42}{s["abs_rel"]:8.3f}{s["delta1"]:8.3f}'
            f'{s["abs_rel_median"]:11.3f}{s["delta1_median"]:8.3f}'
        )

    lines = [f'{result["scenes"]} held-out scenes', head]
    lines += [line(name, score) for name, score in result['held_out'].items()]
    if result['real']:
        lines += ['', 'real pictures', head]
    for name, scores in result['real'].items():
        lines += [line(f'{name}: {picture}', score) for picture, score in scores.items()]
    if 'milliseconds' in result:
        lines += ['', f'milliseconds a picture: {result["milliseconds"]}']
    return '\n'.join(lines)


def main() -> int:
    """Print the table and write the JSON; returns the exit code."""
    parser = argparse.ArgumentParser(prog='python -m tools.train.evaluate')
    parser.add_argument('--model', default='nano')
    parser.add_argument('--weights', default='', help="a file instead of the preset's own")
    parser.add_argument('--scenes', type=count, default=500)
    parser.add_argument('--first-seed', type=count, default=TEST, help='of the scenes')
    parser.add_argument(
        '--images', type=Path, help='real images with depth; layout in docs/evaluation.md'
    )
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--threads', type=count, default=1)
    parser.add_argument('--out', type=Path, default=Path('evaluation.json'))
    parser.add_argument('--card', type=Path, help='card.md that takes the table, too')
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format='%(message)s')
    if args.first_seed < HELD_OUT:
        parser.error(f'--first-seed is {args.first_seed}; below {HELD_OUT} are those trained on')
    scenes = range(args.first_seed, args.first_seed + args.scenes)
    new = not args.out.exists()
    try:
        card = args.card.read_text().split(FIGURES)[0] if args.card else ''
        args.out.touch()  # before minutes of work
        result = evaluate(args.model, scenes, args.weights, args.device, args.threads, args.images)
    except (DepthRosError, OSError) as error:
        if new:
            args.out.unlink(missing_ok=True)
        log.error('%s', error)
        return 2
    print(table_of(result))
    args.out.write_text(json.dumps(result, indent=2) + '\n')
    if args.card:
        args.card.write_text(f'{card}{FIGURES}```\n{table_of(result)}\n```\n')
    return 0


if __name__ == '__main__':
    raise SystemExit(main())
