# SPDX-License-Identifier: Apache-2.0
"""Networks that torch runs, in a precision that agrees with fp32."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable

import torch

from depth_ros import models
from depth_ros.core.types import Frame
from depth_ros.models import DepthModel, ModelOptions
from depth_ros.pipeline.device import DTYPES
from depth_ros.pipeline.engines import Loaded, Target
from depth_ros.pipeline.engines.compare import SAFER, TOLERANCE, compare
from depth_ros.pipeline.engines.cuda_graphs import use_cuda_graph

log = logging.getLogger(__name__)


def load_in(
    target: Target, name: str, options: ModelOptions, frame: Frame, *, cuda_graphs: bool
) -> Loaded:
    """Load the network in the lowest precision that agrees with fp32 on a frame.

    Half precision overflows silently in some networks and on some devices. The first of that of
    `target`, bf16 and fp32 whose median difference from fp32 is at most `TOLERANCE` is used.

    Raises:
        WeightsError: the checkpoint does not fit.
    """
    model, precision, words = _first_that_agrees(target.precision, name, options, frame)
    if cuda_graphs:
        use_cuda_graph(model, options.device)
    target = dataclasses.replace(target, precision=precision)
    # files of the user's are not run by torch
    engine = getattr(model, 'runtime', f'torch {torch.__version__}')
    return Loaded(model, target, engine, f'{precision}{words}')


def load_unchecked(
    name: str, options: ModelOptions, precision: str, *, cuda_graphs: bool
) -> DepthModel:
    """Load the network in a precision that is compared elsewhere.

    Raises:
        WeightsError: the checkpoint does not fit.
    """
    model = models.load(name, dataclasses.replace(options, dtype=DTYPES[precision]))
    if cuda_graphs:
        use_cuda_graph(model, options.device)
    return model


def _first_that_agrees(
    precision: str, name: str, options: ModelOptions, frame: Frame
) -> tuple[DepthModel, str, str]:
    """The model, its precision, and in words how far it is from fp32."""

    def load(precision: str) -> DepthModel:
        return models.load(name, dataclasses.replace(options, dtype=DTYPES[precision]))

    if precision == 'fp32':
        return load('fp32'), precision, ''
    size = f'on a trial image of {frame.camera.width}x{frame.camera.height}'
    with torch.inference_mode():
        expected = _if_there_is_room(lambda: load('fp32').predict(frame).values)
        if expected is None:
            why = f'no room on {options.device} for fp32 to compare it with'
            log.warning('%s in %s is unchecked: %s', name, precision, why)
            return load(precision), precision, f' (unchecked: {why})'
        while precision != 'fp32':
            model = load(precision)
            difference = compare(model.predict(frame).values, expected)
            if difference <= TOLERANCE:
                return model, precision, f' (median {100 * difference:.2f} % from fp32, {size})'
            log.warning(
                '%s is %.3g %% from fp32 with %s, %s; %s is taken instead',
                name, 100 * difference, precision, size, SAFER[precision],
            )  # fmt: skip
            precision = SAFER[precision]
    return load('fp32'), 'fp32', f' (half precision is broken for {name} on {options.device})'


def _if_there_is_room(action: Callable[[], torch.Tensor]) -> torch.Tensor | None:
    """What it returns; None if the GPU has not the memory, which is given back."""
    try:
        return action()
    except torch.cuda.OutOfMemoryError as error:
        error.__traceback__ = None  # it holds what was loaded
    torch.cuda.empty_cache()
    return None
