# SPDX-License-Identifier: Apache-2.0
"""The steps of training: render, draw, learn, average, look how good it is, keep the best."""

from __future__ import annotations

import copy
import logging
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from depth_ros.checkpoints.load import load_strict
from depth_ros.checkpoints.read import read_checkpoint
from depth_ros.core.errors import DepthRosError
from depth_ros.models.nano.network import SIDE, SKY_LOGIT, STEP, Nano
from depth_ros.sim.world.seeds import VALIDATION
from tools.train.augment import Batch, batch
from tools.train.loss import Score, loss
from tools.train.views import Buffer, Renderers, Views, first_of, held_out

log = logging.getLogger(__name__)

SIZE = (SIDE * 3 // 4, SIDE)  # of the network's usual input, (height, width)
# Of that, one drawn each step: no detail is always of one size. None is below 1, with which the
# weights that hold best on photographs were trained.
SCALES = (1.0, 4 / 3, 5 / 3)
MARGIN = 2.0  # views are rendered larger than that, for windows that still have detail
NAME = 'nano.safetensors'
WARM_UP = 150  # steps; a tenth of a short run
DECAY = 0.9985  # of the average of the weights


@dataclass(frozen=True, slots=True)
class Plan:
    """How to train.

    Args:
        out: folder of the weights.
        minutes: of wall time, start and end included; infinite for as many steps as there are.
        steps: at most so many; 0: as many as there is time for.
        device: that trains and casts rays.
        seed: of the weights and the draws; tells the first scene, see `views.first_of`.
        resume: weights to start from.
        workers: processes that render.
        batch: views a step.
        rate: highest learning rate.
        reuse: how often a view is drawn on average before a new one replaces it.
        capacity: views kept.
        size: (height, width) the network is used at [px]; it is trained at `SCALES` of that.
        validation: held-out views that choose among weights.
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
    """What came of it.

    Args:
        steps: taken.
        images: seen, repetitions included.
        views: rendered.
        minutes: it took.
        losses: of every step.
        best: on the held-out views.
    """

    steps: int = 0
    images: int = 0
    views: int = 0
    minutes: float = 0.0
    losses: list[float] | None = None
    best: Score | None = None


class Source:
    """Views and the processes that make them."""

    def __init__(self, plan: Plan) -> None:
        h, w = plan.size
        wide = (round(h * MARGIN), round(w * MARGIN))
        self.buffer = Buffer(plan.capacity, wide, torch.device(plan.device))
        self._plan = plan
        self._renderers = Renderers(plan.workers, first_of(plan.seed), wide, plan.device)
        self.close = self._renderers.close

    def refill(self, images: int) -> None:
        """Take new views as they are needed; wait for them only at the start and if far behind."""
        least = 2 * self._plan.batch
        wanted = images / self._plan.reuse + 2 * least
        while self.buffer.seen < wanted:
            # the first views are shown more often rather than waited for
            behind = self.buffer.seen < max(least, 0.6 * wanted - least)
            views = self._renderers.get(wait_s=60.0 if behind else 0.0)
            if views is None:
                return
            self.buffer.add(views)


def sizes_of(plan: Plan) -> list[tuple[int, int]]:
    """(height, width) of the batches, multiples of `STEP`."""
    h, w = plan.size
    return [(round(h * s / STEP) * STEP, round(w * s / STEP) * STEP) for s in SCALES]


class Average:
    """A moving average of a network's weights, better than the last ones alone."""

    def __init__(self, network: Nano) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self._steps = 0

    @torch.no_grad()
    def update(self, network: Nano) -> None:
        """Move towards `network`, faster while young."""
        self._steps += 1
        decay = min(DECAY, self._steps / (10 + self._steps))
        theirs = network.state_dict()
        for name, mine in self.network.state_dict().items():
            if mine.is_floating_point():
                mine.lerp_(theirs[name], 1 - decay)
            else:
                mine.copy_(theirs[name])


def train(plan: Plan) -> Progress:
    """Train as planned; the best weights are in `plan.out` whenever this is interrupted.

    Raises:
        WeightsError: `plan.resume` is not a file of this network.
        DepthRosError: the loss is no number any more.
        OSError: `plan.out` cannot be made.
    """
    plan.out.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    device = torch.device(plan.device)
    torch.manual_seed(plan.seed)
    network = Nano()
    if plan.resume:
        load_strict(
            network,
            {k: _full(v) for k, v in read_checkpoint(plan.resume).items()},
            path=plan.resume,
        )
    network = network.to(device).to(memory_format=torch.channels_last)
    average = Average(network)
    optimizer = torch.optim.AdamW(
        _groups(network), lr=plan.rate, betas=(0.9, 0.98), fused=device.type == 'cuda'
    )
    generator = torch.Generator().manual_seed(plan.seed)
    progress = Progress(losses=[])
    source, sizes = Source(plan), sizes_of(plan)
    try:
        seeds = range(VALIDATION, VALIDATION + plan.validation)
        validation = list(held_out(seeds, plan.size, plan.device))
        interval = min(120.0, 60 * plan.minutes / 6)
        looked = reported = time.monotonic()
        for lr in _rates(plan, start, progress):
            source.refill(progress.images)
            for group in optimizer.param_groups:
                group['lr'] = lr
            size = sizes[int(torch.randint(len(sizes), (), generator=generator))]
            b = batch(source.buffer.draw(plan.batch, generator), size, generator)
            value = _step(network, optimizer, b, plan.half)
            average.update(network)
            assert progress.losses is not None
            progress.losses.append(value)
            progress.steps += 1
            progress.images += plan.batch
            progress.views = source.buffer.seen
            now = time.monotonic()
            if now - reported > 15:
                _report(progress, now - start, lr)
                reported = now
            if now - looked > interval:
                _look(average.network, validation, progress, plan)
                looked = time.monotonic()
        _look(average.network, validation, progress, plan)
    finally:
        source.close()
    progress.minutes = (time.monotonic() - start) / 60
    return progress


def _full(value: Tensor) -> Tensor:
    return value.float() if value.is_floating_point() else value


def _groups(network: Nano) -> list[dict[str, object]]:
    """Weight decay for matrices only: of norms and biases it only slows learning."""
    matrices = [p for p in network.parameters() if p.ndim > 1]
    others = [p for p in network.parameters() if p.ndim <= 1]
    return [{'params': matrices, 'weight_decay': 0.03}, {'params': others, 'weight_decay': 0.0}]


def _rates(plan: Plan, start: float, progress: Progress) -> Iterator[float]:
    """Learning rate, a cosine to nothing: by the clock, or by steps if sooner."""
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
    value = loss(log_zc, sky, b.z, b.log_zoom)
    optimizer.zero_grad(set_to_none=True)
    value.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(network.parameters(), 2.0)
    optimizer.step()
    number = float(value.detach())
    if not math.isfinite(number):
        raise DepthRosError(f'the loss is {number}; take a lower --rate')
    return number


@torch.no_grad()
def validate(network: Nano, validation: list[Views], size: tuple[int, int]) -> Score:
    """Of whole pictures at network size."""
    scores = []
    device = next(network.parameters()).device
    for views in validation:
        there = Views(*(t.to(device) for t in (views.rgb, views.z, views.k)))
        b = batch(there, size, None)
        log_zc, sky = network(b.x.contiguous(memory_format=torch.channels_last))
        z = (log_zc - b.log_zoom[:, None, None]).exp()
        z = torch.where(sky > SKY_LOGIT, torch.inf, z)
        scores += [Score.of(mine, truth) for mine, truth in zip(z, b.z, strict=True)]
    return Score.mean(scores)


def _look(network: Nano, validation: list[Views], progress: Progress, plan: Plan) -> None:
    score = validate(network, validation, plan.size)
    # by shares of pixels: a mean error can be that of a few taken for sky
    better = progress.best is None or _shares(score) >= _shares(progress.best)
    log.info('step %d, held out: %s%s', progress.steps, score, ', kept' if better else '')
    if better:
        progress.best = score
        save(network, plan.out / NAME)


def _shares(score: Score) -> float:
    return score.delta1 + score.delta1_median


def save(network: Nano, path: Path) -> None:
    """Matrices in half precision, norms and biases in full: 10 MB would hold twice as much."""
    state = {
        k: (v.half() if v.is_floating_point() and v.ndim > 1 else v).contiguous().cpu()
        for k, v in network.state_dict().items()
    }
    whole = path.with_suffix('.part')
    save_file(state, whole)
    whole.chmod(0o644)  # safetensors makes it for its owner alone
    whole.replace(path)  # never half a file


def _report(progress: Progress, seconds: float, lr: float) -> None:
    assert progress.losses is not None
    recent = progress.losses[-200:]
    log.info(
        'step %d, %.1f min: loss %.3f, %d images (%.0f/s), %d views, rate %.1e',
        progress.steps, seconds / 60, sum(recent) / len(recent), progress.images,
        progress.images / seconds, progress.views, lr,
    )  # fmt: skip
