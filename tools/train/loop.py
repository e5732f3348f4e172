# SPDX-License-Identifier: Apache-2.0
"""Training loop: render, draw batches, optimise, average weights, validate, keep the best."""

from __future__ import annotations

import copy
import itertools
import logging
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from depth_ros.checkpoints.load import load_strict
from depth_ros.checkpoints.read import read_checkpoint
from depth_ros.checkpoints.write import write_weights
from depth_ros.core.errors import DepthRosError
from depth_ros.models.nano.network import SIDE, SKY_LOGIT, Nano, input_size
from depth_ros.sim.world.seeds import VALIDATION
from tools.train.augment import Batch, make_batch
from tools.train.loss import Score, loss
from tools.train.samples import Buffer, Renderers, Samples, first_seed, held_out_samples

log = logging.getLogger(__name__)

SIZE = (SIDE * 3 // 4, SIDE)  # default network input, (height, width)
# One is drawn for each step, so that details vary in size. None is below 1: training without
# smaller inputs gave the best results on real images.
SCALES = (1.0, 4 / 3, 5 / 3)
# (height, width), one is drawn for each step. Half of the cameras are 4:3; streets are wide.
ASPECTS = ((3, 4), (3, 4), (3, 4), (9, 16), (1, 1), (4, 3), (10, 24), (10, 35))
VALIDATED = ((3, 4), (4, 3), (10, 35))
MARGIN = 2.0  # images are rendered larger by this factor, for crops with full detail
NAME = 'nano.safetensors'
WARM_UP = 150  # steps of learning rate warm-up; a tenth of a short run
DECAY = 0.9985  # of the moving average of the weights


@dataclass(frozen=True, slots=True)
class Plan:
    """Options of a training run.

    Args:
        out: folder for the weights.
        minutes: wall time including start and end; infinite for no limit.
        steps: maximum number of steps; 0 for no limit.
        device: of training and rendering.
        seed: of weights, batches and scenes, see `samples.first_seed`.
        resume: weights to start from.
        workers: number of rendering processes.
        batch: images per step.
        rate: maximum learning rate.
        reuse: how often an image is used on average.
        capacity: size of the buffer of images.
        size: (height, width) of the network input in use [px]; training uses `SCALES` of it.
        validation: number of held-out images that select the weights.
        half: multiply matrices in bfloat16.
    """

    out: Path
    minutes: float = 20.0
    steps: int = 0
    device: str = 'cpu'
    seed: int = 0
    resume: Path | None = None
    workers: int = 1
    batch: int = 12
    rate: float = 2e-3
    reuse: float = 3.0
    capacity: int = 6000
    size: tuple[int, int] = SIZE
    validation: int = 64
    half: bool = False


@dataclass(slots=True)
class Progress:
    """State and result of a training run.

    Args:
        steps: number of steps.
        images: number of images used, with repetitions.
        rendered: number of images rendered.
        minutes: wall time.
        losses: loss of every step.
        best: best metrics on the held-out images.
    """

    steps: int = 0
    images: int = 0
    rendered: int = 0
    minutes: float = 0.0
    losses: list[float] | None = None
    best: Score | None = None


class DataSource:
    """Buffer of samples and the processes that render them.

    Args:
        plan: options of the run.
    """

    def __init__(self, plan: Plan) -> None:
        h, w = plan.size
        size = (round(h * MARGIN), round(w * MARGIN))
        self.buffer = Buffer(plan.capacity, size, torch.device(plan.device))
        self._plan = plan
        self._renderers = Renderers(plan.workers, first_seed(plan.seed), size, plan.device)
        self.close = self._renderers.close

    def refill(self, images: int) -> None:
        """Add new samples as needed; wait for them only at the start and if far behind."""
        minimum = 2 * self._plan.batch
        wanted = images / self._plan.reuse + 2 * minimum
        while self.buffer.added < wanted:
            # at first, samples are reused more often instead of waiting
            behind = self.buffer.added < max(minimum, 0.6 * wanted - minimum)
            samples = self._renderers.get(wait_s=60.0 if behind else 0.0)
            if samples is None:
                return
            self.buffer.add(samples)


def input_sizes(plan: Plan) -> list[tuple[int, int]]:
    """(height, width) of the batches, of all `ASPECTS` and `SCALES`."""
    side = max(plan.size)
    return [input_size(h, w, round(side * s)) for h, w in ASPECTS for s in SCALES]


class Average:
    """Exponential moving average of the weights of a network, which performs better.

    Args:
        network: initial weights.
    """

    def __init__(self, network: Nano) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self._steps = 0

    @torch.no_grad()
    def update(self, network: Nano) -> None:
        """Update the average; the first steps have a larger weight."""
        self._steps += 1
        decay = min(DECAY, self._steps / (10 + self._steps))
        current = network.state_dict()
        for name, average in self.network.state_dict().items():
            if average.is_floating_point():
                average.lerp_(current[name], 1 - decay)
            else:
                average.copy_(current[name])


def train(plan: Plan) -> Progress:
    """Train; the best weights so far are always in `plan.out`, even if interrupted.

    Raises:
        WeightsError: `plan.resume` is not a checkpoint of this network.
        DepthRosError: the loss is not finite.
        OSError: `plan.out` cannot be created.
    """
    plan.out.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    device = torch.device(plan.device)
    torch.manual_seed(plan.seed)
    network = Nano()
    if plan.resume:
        load_strict(
            network,
            {k: _to_float(v) for k, v in read_checkpoint(plan.resume).items()},
            path=plan.resume,
        )
    network = network.to(device).to(memory_format=torch.channels_last)
    average = Average(network)
    optimizer = torch.optim.AdamW(
        _parameter_groups(network), lr=plan.rate, betas=(0.9, 0.98), fused=device.type == 'cuda'
    )
    generator = torch.Generator().manual_seed(plan.seed)
    progress = Progress(losses=[])
    source, sizes = DataSource(plan), input_sizes(plan)
    try:
        seeds = range(VALIDATION, VALIDATION + plan.validation)
        validation = list(held_out_samples(seeds, plan.size, plan.device))
        interval = min(120.0, 60 * plan.minutes / 6)
        validated = reported = time.monotonic()
        for lr in _learning_rates(plan, start, progress):
            source.refill(progress.images)
            for group in optimizer.param_groups:
                group['lr'] = lr
            size = sizes[int(torch.randint(len(sizes), (), generator=generator))]
            b = make_batch(source.buffer.draw(plan.batch, generator), size, generator)
            value = _step(network, optimizer, b, plan.half)
            average.update(network)
            assert progress.losses is not None
            progress.losses.append(value)
            progress.steps += 1
            progress.images += plan.batch
            progress.rendered = source.buffer.added
            now = time.monotonic()
            if now - reported > 15:
                _report(progress, now - start, lr)
                reported = now
            if now - validated > interval:
                _validate_and_save(average.network, validation, progress, plan)
                validated = time.monotonic()
        _validate_and_save(average.network, validation, progress, plan)
    finally:
        source.close()
    progress.minutes = (time.monotonic() - start) / 60
    return progress


def _to_float(value: Tensor) -> Tensor:
    return value.float() if value.is_floating_point() else value


def _parameter_groups(network: Nano) -> list[dict[str, object]]:
    """Weight decay for matrices only, not for norms and biases."""
    matrices = [p for p in network.parameters() if p.ndim > 1]
    others = [p for p in network.parameters() if p.ndim <= 1]
    return [{'params': matrices, 'weight_decay': 0.03}, {'params': others, 'weight_decay': 0.0}]


def _learning_rates(plan: Plan, start: float, progress: Progress) -> Iterator[float]:
    """Learning rates: cosine decay by wall time, or by steps if they end sooner."""
    began = time.monotonic()
    end = start + 60 * plan.minutes
    warm_up = min(WARM_UP, max(1, plan.steps // 10)) if plan.steps else WARM_UP
    while True:
        done = (time.monotonic() - began) / max(1e-9, end - began)
        if plan.steps:
            done = max(done, progress.steps / plan.steps)
        if done >= 1:
            return
        warm = min(1.0, (progress.steps + 1) / warm_up)
        yield plan.rate * warm * (0.01 + 0.495 * (1 + math.cos(math.pi * done)))


def _step(network: Nano, optimizer: torch.optim.Optimizer, b: Batch, half: bool) -> float:
    network.train()
    x = b.x.contiguous(memory_format=torch.channels_last)
    with torch.autocast(x.device.type, torch.bfloat16, enabled=half):
        log_zc, sky = network(x)
    value = loss(log_zc, sky, b.z, b.log_focal_ratio)
    optimizer.zero_grad(set_to_none=True)
    value.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(network.parameters(), 2.0)
    optimizer.step()
    number = float(value.detach())
    if not math.isfinite(number):
        raise DepthRosError(f'the loss is {number}; use a lower --rate')
    return number


@torch.no_grad()
def validate(network: Nano, validation: list[Samples], sizes: list[tuple[int, int]]) -> Score:
    """Mean metrics of held-out images, cropped to each of the network `sizes`."""
    scores = []
    device = next(network.parameters()).device
    for samples, size in itertools.product(validation, sizes):
        moved = Samples(*(t.to(device) for t in (samples.rgb, samples.z, samples.k)))
        b = make_batch(moved, size, None)
        log_zc, sky = network(b.x.contiguous(memory_format=torch.channels_last))
        z = (log_zc - b.log_focal_ratio[:, None, None]).exp()
        z = torch.where(sky > SKY_LOGIT, torch.inf, z)
        scores += [Score.of(predicted, truth) for predicted, truth in zip(z, b.z, strict=True)]
    return Score.mean(scores)


def _validate_and_save(
    network: Nano, validation: list[Samples], progress: Progress, plan: Plan
) -> None:
    side = max(plan.size)
    score = validate(network, validation, [input_size(*a, side) for a in VALIDATED])
    # selected by delta1, as a few pixels wrongly taken for sky dominate a mean error
    better = progress.best is None or _delta1(score) >= _delta1(progress.best)
    log.info('step %d, held out: %s%s', progress.steps, score, ', saved' if better else '')
    if better:
        progress.best = score
        save(network, plan.out / NAME)


def _delta1(score: Score) -> float:
    return score.delta1 + score.delta1_median


def save(network: Nano, path: Path) -> None:
    """Save weights: matrices in half precision to halve the file, norms and biases in fp32."""
    state = {
        k: v.half() if v.is_floating_point() and v.ndim > 1 else v
        for k, v in network.state_dict().items()
    }
    write_weights(path, state)


def _report(progress: Progress, seconds: float, lr: float) -> None:
    assert progress.losses is not None
    recent = progress.losses[-200:]
    log.info(
        'step %d, %.1f min: loss %.3f, %d images (%.0f/s), %d rendered, rate %.1e',
        progress.steps, seconds / 60, sum(recent) / len(recent), progress.images,
        progress.images / seconds, progress.rendered, lr,
    )  # fmt: skip
