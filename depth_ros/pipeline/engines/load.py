# SPDX-License-Identifier: Apache-2.0
"""Load a network into an engine, in the lowest precision that agrees with torch in fp32."""

from __future__ import annotations

import dataclasses
import json
import logging
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

import depth_ros
from depth_ros import models
from depth_ros.checkpoints.download import cache_directory
from depth_ros.checkpoints.hub import checksum
from depth_ros.core.errors import ConfigError
from depth_ros.core.types import Frame
from depth_ros.models import DepthModel, ModelOptions
from depth_ros.models.batched_model import BatchedModel
from depth_ros.parameters.settings import Settings
from depth_ros.pipeline.engines import Engine, Target
from depth_ros.pipeline.engines.compare import SAFER, TOLERANCE, compare
from depth_ros.pipeline.engines.exported import ExportedNetwork, folder_for
from depth_ros.pipeline.engines.onnxruntime import OnnxRuntime
from depth_ros.pipeline.engines.openvino import OpenVino

log = logging.getLogger(__name__)
CHECKS = 'checks.json'  #: differences from torch that were measured


class _InTorch:
    """The network in torch, while it is needed: it takes as much memory as in the engine."""

    def __init__(self, name: str, options: ModelOptions, model: BatchedModel) -> None:
        self.name, self.options = name, options
        self._network: nn.Module | None = model.network

    def __call__(self) -> nn.Module:
        if self._network is None:
            model: Any = models.load(self.name, self.options)
            return model.network  # type: ignore[no-any-return]
        return self._network

    def release(self, model: BatchedModel) -> None:
        """Free its memory; for further sizes of images it is loaded again."""
        self._network = None
        model.network = model.network.to('meta')


def load_exported(
    settings: Settings, options: ModelOptions, frame: Frame
) -> tuple[DepthModel, str, str]:
    """Load a network that `settings.engine` runs.

    Args:
        settings: `model`, `engine`, `precision` and `threads`.
        options: of the model; on the CPU.
        frame: of the size of the camera, on which the precisions are compared.

    Returns:
        The model; engine and version; and its precision with the difference seen, in words.

    Raises:
        ConfigError: the engine is not installed, or cannot run this network or precision.
        WeightsError: the checkpoint does not fit.
    """
    name, engine = settings.model, _engine(settings.engine)
    version = f'{engine.name} {engine.version()}'
    options = dataclasses.replace(options, exportable=True)
    model = models.load(name, options)
    if not isinstance(model, BatchedModel):
        raise ConfigError(
            f'engine is {engine.name!r}, but {name} is no network that torch exports: set engine '
            "to 'torch'"
        )
    folder = folder_for(cache_directory(), _description(name, options))
    in_torch = _InTorch(name, options, model)
    wanted = _wanted(settings.precision, engine)
    with torch.inference_mode():
        precision, difference = _first_that_agrees(
            model, wanted, engine, version, settings.threads, in_torch, folder, frame
        )
    if not options.estimate_camera:  # which uses layers of the network directly
        in_torch.release(model)
    size = f'{frame.camera.width}x{frame.camera.height}'
    seen = f'median {100 * difference:.2g} % from torch in fp32, on a trial image of {size}'
    return model, version, f'{precision} ({seen})'


def _first_that_agrees(
    model: BatchedModel,
    precision: str,
    engine: Engine,
    version: str,
    threads: int,
    in_torch: _InTorch,
    folder: Path,
    frame: Frame,
) -> tuple[str, float]:
    """The first of `precision` and safer ones; the model runs in it."""
    checks = _read(folder / CHECKS)
    expected = None
    while True:
        model.engine = ExportedNetwork(engine, Target('cpu', precision, threads), in_torch, folder)
        size = f'{frame.camera.width}x{frame.camera.height}'
        key = f'{version}, {precision}, {platform.processor()}, {size}'
        if key not in checks:
            found = model.predict(frame).values
            if expected is None:
                model.engine, running = None, model.engine
                expected = model.predict(frame).values
                model.engine = running
            checks[key] = compare(found, expected)
            _write(folder / CHECKS, checks)
        if checks[key] <= TOLERANCE:
            return precision, checks[key]
        log.warning(
            'the network in %s by %s is %.3g %% from torch in fp32; %s is next',
            precision, engine.name, 100 * checks[key], SAFER.get(precision, 'nothing'),
        )  # fmt: skip
        if precision not in SAFER:
            raise ConfigError(
                f'{engine.name} computes this network wrongly: {100 * checks[key]:.3g} % from '
                "torch in fp32; set engine to 'torch'"
            )
        precision = SAFER[precision]


def _engine(name: str) -> Engine:
    engines: dict[str, Engine] = {one.name: one for one in (OpenVino(), OnnxRuntime())}
    return engines[name]


def _wanted(precision: str, engine: Engine) -> str:
    has = engine.precisions('cpu')
    if precision == 'auto':
        return has[-1]
    if precision not in has:
        raise ConfigError(
            f'precision is {precision!r}, but engine {engine.name!r} has {" and ".join(has)} on '
            'this CPU: set precision to auto'
        )
    return precision


def _description(name: str, options: ModelOptions) -> dict[str, Any]:
    """All that an exported network depends on, except the size of its input."""
    weights = options.weights
    return {
        'model': name,
        'weights_sha256': checksum(weights, 'sha256') if weights else '',
        'max_depth': options.max_depth,
        'torch': torch.__version__,
        'depth_ros': depth_ros.__version__,
        'machine': platform.machine(),
    }


def _read(path: Path) -> dict[str, float]:
    try:
        found = json.loads(path.read_text())
        return {str(key): float(value) for key, value in found.items()}
    except (OSError, ValueError, AttributeError):
        return {}


def _write(path: Path, checks: Mapping[str, float]) -> None:
    try:
        path.write_text(json.dumps(checks, indent=1))
    except OSError as error:
        log.warning('%s cannot be written (%s): the next start compares again', path, error)
