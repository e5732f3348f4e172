# SPDX-License-Identifier: Apache-2.0
"""Evaluate a preset: `python -m tools.train.evaluate --model nano --scenes 500`.

On held-out synthetic scenes, through the pipeline of the node, with correct intrinsics and with
focal lengths wrong by a factor of two; on real rooms and streets, compared with baselines that do
not use the image and with FastDepth; on crops of the rooms of other aspects; the time per image.
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
from depth_ros.offline.evaluation import baselines
from depth_ros.parameters.layers import preset_values, with_values
from depth_ros.parameters.settings import Settings
from depth_ros.pipeline.build import build
from depth_ros.pipeline.depth_pipeline import Pipeline
from depth_ros.sim.world.seeds import HELD_OUT, TEST
from tools.train import real
from tools.train.loss import FAR, Score
from tools.train.samples import held_out_samples

log = logging.getLogger(__name__)

SIZE = (240, 320)
ASPECTS = {'16:9': 16 / 9, '2.4:1': 2.4, '3.3:1': 3.3, '1:1': 1.0, '3:4': 0.75}  # of crops
SPREAD = {'best tenth': 0.1, 'worst tenth': 0.9}  # of the images, by AbsRel
FIGURES = '\n## Figures of tools.train.evaluate\n\n'
Guess = Callable[[Frame], Tensor]


def pipeline(model: str, weights: str = '', device: str = 'cpu', threads: int = 2) -> Pipeline:
    """Pipeline of a preset as in the node, with a range of `FAR`."""
    settings = with_values(Settings(model=model, engine='torch'), preset_values(model))
    settings = with_values(
        settings,
        {'weights': weights, 'device': device, 'threads': threads, 'range.max': FAR},
    )
    built, choices = build(settings)
    log.info('%s', choices)
    return built


def frames(seeds: range, size: tuple[int, int] = SIZE) -> list[tuple[Frame, Tensor]]:
    """Held-out synthetic frames with their depth (H, W) [m]."""
    result = []
    for samples in held_out_samples(seeds, size):
        for rgb, z, k in zip(samples.rgb, samples.z, samples.k, strict=True):
            camera = Camera(size[1], size[0], *k.tolist())
            result.append((Frame(rgb.permute(1, 2, 0).contiguous(), camera), z.float()))
    return result


def with_wrong_focal(frame: Frame, factor: float) -> Frame:
    """The frame with focal lengths multiplied by `factor`."""
    c = frame.camera
    return Frame(frame.rgb, dataclasses.replace(c, fx=c.fx * factor, fy=c.fy * factor))


def mean_score(guess: Guess, frames: list[tuple[Frame, Tensor]]) -> Score:
    """Mean metrics over frames with depth (H, W) [m]."""
    return Score.mean([Score.of(guess(frame), z) for frame, z in frames])


def crop_to(frame: Frame, aspect: float) -> tuple[Frame, tuple[slice, slice]]:
    """The largest crop from the middle with width / height `aspect`; and its rows and columns."""
    height, width = frame.camera.size
    h, w = min(height, int(width / aspect)), min(width, int(height * aspect))
    y, x = (height - h) // 2, (width - w) // 2
    where = slice(y, y + h), slice(x, x + w)
    return Frame(frame.rgb[where].contiguous(), frame.camera.cropped(x, y, w, h)), where


def crop_ratios(guess: Guess, frame: Frame) -> dict[str, float]:
    """For each of `ASPECTS`, geometric mean of depth in a crop / in the whole image."""
    whole, ratios = guess(frame), {}
    for name, aspect in ASPECTS.items():
        cropped, where = crop_to(frame, aspect)
        ratio = (guess(cropped) / whole[where]).log()
        ratios[name] = float(ratio[ratio.isfinite()].mean().exp())
    return ratios


def constant(frame: Frame) -> Tensor:
    """(H, W) [m], the same depth for every image."""
    return torch.from_numpy(baselines.constant(frame.camera.size))


def per_row(frame: Frame) -> Tensor:
    """(H, W) [m], a depth for each row."""
    return torch.from_numpy(baselines.per_row(frame.camera.size))


def fast_depth(threads: int) -> Pipeline | None:
    """Pipeline of FastDepth; None without its file or onnxruntime."""
    file = real.data_folder() / 'weights' / 'fastdepth' / 'fastdepth_nyu_pruned_224.onnx'
    try:
        return pipeline('fastdepth_nyu', str(file), threads=threads)
    except DepthRosError as error:
        log.info('without fastdepth_nyu: %s', error)
        return None


def milliseconds(models: dict[str, Pipeline], frames: list[Frame]) -> dict[str, float]:
    """Median time per image [ms] of each model, interleaved for equal conditions."""
    times: dict[str, list[float]] = {name: [] for name in models}
    for frame in frames:
        for name, model in models.items():
            start = time.perf_counter()
            model(frame)
            times[name].append(1e3 * (time.perf_counter() - start))
    return {name: statistics.median(values) for name, values in times.items()}


def score_each(
    guesses: dict[str, Guess], images: list[tuple[str, Frame, Tensor]]
) -> dict[str, dict[str, dict[str, float]]]:
    """Metrics of each image and their mean, by guess; without guesses that fit no image."""
    result = {}
    for name, guess in guesses.items():
        scores = {image: Score.of(guess(frame), z) for image, frame, z in images}
        rows = {image: score for image, score in scores.items() if score is not None}
        if rows:
            rows['mean'] = Score.mean(list(rows.values()))
            result[name] = {image: dataclasses.asdict(score) for image, score in rows.items()}
    return result


def evaluate(
    model: str,
    scenes: range,
    weights: str = '',
    device: str = 'cpu',
    threads: int = 1,
    images: Path | None = None,
) -> dict[str, Any]:
    """All results by name; see `real.load_images` for `images`."""
    real_images = list(real.load_images(images))
    streets = [] if images else list(real.load_images(names=real.STREETS))
    if not real_images:
        log.info('%s has no real images; set DEPTH_ROS_DATA or --images', real.data_folder())
    depth = pipeline(model, weights, device, threads)
    fast = fast_depth(threads)

    def metres(frame: Frame) -> Tensor:
        moved = dataclasses.replace(frame, rgb=frame.rgb.to(depth.device))
        return depth(moved).z.cpu()

    world = frames(scenes)
    scores = [Score.of(metres(frame), z) for frame, z in world]
    table = {
        f'{model}': Score.mean(scores),
        **{
            f'{model}, {name}': dataclasses.replace(
                Score.quantile(scores, q),
                delta1=Score.quantile(scores, 1 - q).delta1,
                delta1_median=Score.quantile(scores, 1 - q).delta1_median,
            )
            for name, q in SPREAD.items()
        },
        f'{model}, focal length 2x too long': mean_score(
            lambda f: metres(with_wrong_focal(f, 2.0)), world
        ),
        f'{model}, focal length 2x too short': mean_score(
            lambda f: metres(with_wrong_focal(f, 0.5)), world
        ),
        'constant': mean_score(constant, world),
        'depth per row': mean_score(per_row, world),
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
        'constant': constant,
        'depth per row': per_row,
    }
    if fast is not None:
        guesses['fastdepth_nyu'] = lambda frame: fast(frame).z
    result['real'] = score_each(guesses, real_images)
    result['streets'] = score_each(guesses, streets)
    ratios = {image: crop_ratios(metres, frame) for image, frame, _ in real_images}
    result['crops'] = {
        name: {image: found[name] for image, found in ratios.items()} for name in ASPECTS
    }
    timed = [frame for frame, _ in world[:40]]
    models = {model: depth} | ({'fastdepth_nyu': fast} if fast is not None else {})
    if device == 'cpu':
        result['milliseconds'] = {'threads': threads, **milliseconds(models, timed)}
    return result


def format_table(result: dict[str, Any]) -> str:
    """The result as text."""
    head = f'{"":42}{"AbsRel":>8}{"delta1":>8}   after median scaling'

    def line(name: str, s: dict[str, float]) -> str:
        return (
            f'{name:42}{s["abs_rel"]:8.3f}{s["delta1"]:8.3f}'
            f'{s["abs_rel_median"]:11.3f}{s["delta1_median"]:8.3f}'
        )

    lines = [f'{result["scenes"]} held-out scenes', head]
    lines += [line(name, score) for name, score in result['held_out'].items()]
    for title, key in (('real rooms', 'real'), ('real streets', 'streets')):
        if result[key]:
            lines += ['', title, head]
        for name, scores in result[key].items():
            lines += [line(f'{name}: {image}', score) for image, score in scores.items()]
    if result['real']:
        lines += ['', f'{"depth in a crop / depth in the whole room":42}{"least":>8}{"most":>8}']
        for aspect, ratios in result['crops'].items():
            lines += [f'{aspect:42}{min(ratios.values()):8.2f}{max(ratios.values()):8.2f}']
    if 'milliseconds' in result:
        lines += ['', f'milliseconds per image: {result["milliseconds"]}']
    return '\n'.join(lines)


def main() -> int:
    """Print the table and write the JSON; returns the exit status."""
    parser = argparse.ArgumentParser(prog='python -m tools.train.evaluate')
    parser.add_argument('--model', default='nano')
    parser.add_argument('--weights', default='', help='a file instead of the published weights')
    parser.add_argument('--scenes', type=count, default=500)
    parser.add_argument('--first-seed', type=count, default=TEST, help='seed of the first scene')
    parser.add_argument(
        '--images', type=Path, help='real images with depth; layout in docs/evaluation.md'
    )
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--threads', type=count, default=1)
    parser.add_argument('--out', type=Path, default=Path('evaluation.json'))
    parser.add_argument('--card', type=Path, help='model card to which the table is written too')
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format='%(message)s')
    if args.first_seed < HELD_OUT:
        parser.error(f'--first-seed is {args.first_seed}; below {HELD_OUT} are training scenes')
    scenes = range(args.first_seed, args.first_seed + args.scenes)
    new = not args.out.exists()
    try:
        card = args.card.read_text().split(FIGURES)[0] if args.card else ''
        args.out.touch()  # fail before minutes of work
        result = evaluate(args.model, scenes, args.weights, args.device, args.threads, args.images)
    except (DepthRosError, OSError) as error:
        if new:
            args.out.unlink(missing_ok=True)
        log.error('%s', error)
        return 2
    print(format_table(result))
    args.out.write_text(json.dumps(result, indent=2) + '\n')
    if args.card:
        args.card.write_text(f'{card}{FIGURES}```\n{format_table(result)}\n```\n')
    return 0


if __name__ == '__main__':
    raise SystemExit(main())
