# SPDX-License-Identifier: Apache-2.0
"""Load a network for the engine, device and precision that are the fastest here."""

from __future__ import annotations

import dataclasses
import logging
import platform
import shutil
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

import depth_ros
from depth_ros import models
from depth_ros.checkpoints.cache import cache_directory, checksum
from depth_ros.core.errors import ConfigError, first_line
from depth_ros.core.types import Frame
from depth_ros.models import ModelOptions
from depth_ros.models.batched_model import BatchedModel
from depth_ros.pipeline.engines import TORCH, Loaded, Runner, Target
from depth_ros.pipeline.engines.cache import (
    MEASURED,
    check_space,
    folder_for,
    is_whole,
    read_measured,
    write_measured,
)
from depth_ros.pipeline.engines.compare import TOLERANCE
from depth_ros.pipeline.engines.exported import ExportedNetwork, in_words
from depth_ros.pipeline.engines.in_torch import load_unchecked
from depth_ros.pipeline.engines.measure import LIMIT_S, Outcome, measure
from depth_ros.pipeline.engines.targets import cpu_name, engine_named
from depth_ros.pipeline.engines.trial import Request, folder_of, without_weights

log = logging.getLogger(__name__)


def load_fastest(
    name: str,
    options: ModelOptions,
    targets: Sequence[Target],
    frame: Frame,
    *,
    cuda_graphs: bool,
    live: bool,
) -> Loaded:
    """Load a network for the fastest of several targets whose depth agrees with torch in fp32.

    They are measured once; the cache has the result for later starts.

    Args:
        name: of the preset.
        options: of the network, in fp32.
        targets: that are possible, at least one. Where none can be used torch runs the network,
            if it is one of them.
        frame: of the size of the camera.
        cuda_graphs: for torch on a GPU.
        live: while it runs, also prepare it for other sizes that images come in.

    Raises:
        ConfigError: none of them can run this network.
        WeightsError: the checkpoint does not fit.
    """
    in_torch = next((one for one in targets if one.engine == TORCH), None)
    # a network that is needed for more than depth has its weights
    model: Any = models.load(name, options) if options.estimate_camera else None
    model = model or without_weights(name, options)
    with torch.inference_mode():
        takes_one = isinstance(model, BatchedModel)
        shape = (1, *model.network_input(frame).shape) if takes_one else None
    try:
        folder = folder_for(cache_directory(), _description(name, options))
        if shape is not None and any(one.engine != TORCH for one in targets):
            parameters = sum(p.numel() for p in model.network.parameters())
            check_space(folder_of(folder, shape), parameters)
    except ConfigError as error:
        if in_torch is None:
            raise
        log.warning('engines cannot be measured, torch runs the network: %s', error)
        return _in_torch(name, options, in_torch, 'not measured', cuda_graphs)
    size = frame.camera.width, frame.camera.height
    request = Request(name, options, size, shape, folder, list(targets), cuda_graphs)
    outcome = _remembered(request)
    if outcome is None:
        log.info(
            'measuring for up to %.0f s what runs %s fastest: %s; the result is kept in %s',
            LIMIT_S, name, ', '.join(map(str, targets)), folder / MEASURED,
        )  # fmt: skip
        outcome = measure(request, LIMIT_S)
        if outcome.best >= 0 or in_torch is not None:
            write_measured(folder, _key(request), _to_json(outcome))
    else:
        for one in outcome.all:
            if one.failed:
                log.info('not used, as measured before: %s', one)
    if outcome.best < 0:
        reasons = '; '.join(map(str, outcome.all))
        if in_torch is None:
            raise ConfigError(f"no engine can run {name}: {reasons}. Set engine to 'torch'")
        log.warning('no engine was measured, torch runs the network: %s', reasons)
        return _in_torch(name, options, in_torch, 'not measured', cuda_graphs)
    return _load(model, request, outcome, live)


def _load(model: Any, request: Request, outcome: Outcome, live: bool) -> Loaded:
    """Load what an outcome has as the best."""
    best = outcome.all[outcome.best]
    target, words = best.target, _why(outcome)
    if target.engine == TORCH:
        loaded = _in_torch(request.name, request.options, target, words, request.cuda_graphs)
    else:
        assert request.shape is not None
        shape = torch.Size(request.shape)
        model.engine = ExportedNetwork(
            target,
            _opened(request, target),
            shape,
            lambda: _network(request),
            (lambda other: _another_size(request, target, other)) if live else None,
        )
        version = f'{target.engine} {engine_named(target.engine).version()}'
        loaded = Loaded(model, target, f'{version} ({words})', target.precision)
    if best.difference:
        seen = f'median {100 * best.difference:.2g} % from torch in fp32, on a trial image of '
        seen += f'{request.size[0]}x{request.size[1]}'
        loaded = dataclasses.replace(loaded, precision=f'{target.precision} ({seen})')
    return loaded


def _in_torch(
    name: str, options: ModelOptions, target: Target, words: str, cuda_graphs: bool
) -> Loaded:
    model = load_unchecked(name, options, target.precision, cuda_graphs=cuda_graphs)
    return Loaded(model, target, f'torch {torch.__version__} ({words})', target.precision)


def _why(outcome: Outcome) -> str:
    usable = [one for one in outcome.all if not one.failed]
    best = outcome.all[outcome.best]
    if len(outcome.all) == 1:
        return f'{best.ms:.0f} ms on a trial image'
    exact = [one for one in usable if (one.target.engine, one.target.precision) == (TORCH, 'fp32')]
    beside = f', torch in fp32 {exact[0].ms:.0f} ms' if exact and exact[0] is not best else ''
    return f'the fastest of {len(usable)} here: {best.ms:.0f} ms on a trial image{beside}'


def _opened(request: Request, target: Target) -> Runner:
    """The network of the cache; made again where that is damaged."""
    assert request.shape is not None
    folder = folder_of(request.folder, request.shape)
    reason = ''
    for _ in range(2):
        if is_whole(folder):
            try:
                return engine_named(target.engine).open(folder, target)
            except Exception as error:  # each library has its own
                reason = first_line(error)
        elif folder.exists():
            reason = 'files are missing or were cut'
        if folder.exists():
            log.warning('%s is damaged (%s) and made again', folder, reason)
            shutil.rmtree(folder, ignore_errors=True)
        outcome = measure(dataclasses.replace(request, targets=[target]), LIMIT_S)
        reason = outcome.all[0].failed or reason
        if outcome.best < 0:
            break
    raise ConfigError(f"{target} cannot run {request.name} ({reason}): set engine to 'torch'")


def _another_size(request: Request, target: Target, shape: torch.Size) -> Runner | None:
    """The network for another size of its input."""
    size = shape[-1], shape[-2]  # an image of the size of the input is not resized
    other = dataclasses.replace(request, size=size, shape=tuple(shape), targets=[target])
    try:
        return _opened(other, target)
    except Exception as error:  # of libraries; torch goes on
        log.warning('torch goes on with inputs of %s: %s', in_words(shape), first_line(error))
        return None


def _network(request: Request) -> nn.Module:
    model: Any = models.load(request.name, request.options)
    return model.network  # type: ignore[no-any-return]


def _remembered(request: Request) -> Outcome | None:
    """What was measured before, for the same targets on the same machine."""
    outcome = Outcome.of(request)
    found = read_measured(request.folder, _key(request))
    try:
        for one in outcome.all:
            values = found[str(one.target)]
            one.ms, one.difference = float(values['ms']), float(values['difference'])
            one.failed = str(values['failed'])
        names = [str(one.target) for one in outcome.all]
        outcome.best = names.index(found['best']) if found['best'] else -1
        if outcome.best >= 0 and outcome.all[outcome.best].difference > TOLERANCE:
            return None
    except (KeyError, TypeError, ValueError):
        return None
    return outcome


def _to_json(outcome: Outcome) -> dict[str, Any]:
    values: dict[str, Any] = {
        str(one.target): {'ms': one.ms, 'difference': one.difference, 'failed': one.failed}
        for one in outcome.all
    }
    best = str(outcome.all[outcome.best].target) if outcome.best >= 0 else ''
    return values | {'best': best}


def _key(request: Request) -> str:
    """All that measured times depend on, besides the network."""
    names = dict.fromkeys(one.engine for one in request.targets)
    versions = [f'{n} {engine_named(n).version()}' for n in names if n != TORCH]
    device = request.options.device
    gpu = [torch.cuda.get_device_name(device)] if device.type == 'cuda' else []
    parts = [
        *map(str, request.targets),
        f'{request.targets[0].threads} threads',
        *versions,
        cpu_name(),
        *gpu,
        in_words(request.shape or request.size),
    ]
    return '; '.join(parts)


def _description(name: str, options: ModelOptions) -> dict[str, Any]:
    """All that an exported network depends on, except the size of its input."""
    weights = options.weights
    return {
        'model': name,
        'weights_sha256': checksum(weights, 'sha256') if weights else '',
        'max_depth': options.max_depth,
        'normals': options.normals,
        'torch': torch.__version__,
        'depth_ros': depth_ros.__version__,
        'machine': platform.machine(),
    }
