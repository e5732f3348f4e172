# SPDX-License-Identifier: Apache-2.0
"""A network that is exported once for each size of its input, kept in the cache, and run."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import torch
from torch import Tensor, nn

from depth_ros.core.errors import ConfigError, InferenceError
from depth_ros.pipeline.engines import Engine, Runner, Target

log = logging.getLogger(__name__)
DESCRIPTION = 'description.json'  #: what a folder of the cache was made of


class ExportedNetwork:
    """Runs a network in an engine; a `Runner`.

    Args:
        engine: that runs it.
        target: where and how.
        load: returns the network in torch, on the CPU in fp32; called only to export it.
        folder: of the cache, for this network only.
    """

    def __init__(
        self, engine: Engine, target: Target, load: Callable[[], nn.Module], folder: Path
    ) -> None:
        self.engine, self.target, self.folder = engine, target, folder
        self._load = load
        self._runners: dict[torch.Size, Runner] = {}

    def __call__(self, x: Tensor) -> Any:
        """Run the network.

        Args:
            x: (B, C, h, w) float32.

        Raises:
            InferenceError: it cannot be exported for this size, or fails.
        """
        if x.shape not in self._runners:
            self._runners[x.shape] = self._runner(x)
        try:
            return self._runners[x.shape](x)
        except RuntimeError as error:
            raise InferenceError(f'{self.engine.name} fails: {error}') from error

    def _runner(self, x: Tensor) -> Runner:
        size = 'x'.join(map(str, x.shape))
        path = self.folder / size / 'network.onnx'
        if path.exists():
            try:
                return self.engine.open(path, self.target)
            except Exception as error:  # each library has its own
                log.warning('%s is damaged (%s) and made again', path.parent, _first_line(error))
        started_s = time.monotonic()
        self._export(x, path)
        log.info(
            'network exported for an input of %s in %.1f s: %s',
            size, time.monotonic() - started_s, path.parent,
        )  # fmt: skip
        return self.engine.open(path, self.target)

    def _export(self, x: Tensor, path: Path) -> None:
        # under another name first, so that an export that is killed is never taken for a whole one
        part = Path(mkdtemp(prefix=f'{path.parent.name}.', suffix='.part', dir=self.folder))
        try:
            write_onnx(self._load(), x, part / path.name)
            shutil.rmtree(path.parent, ignore_errors=True)
            os.replace(part, path.parent)
        finally:
            shutil.rmtree(part, ignore_errors=True)


def write_onnx(network: nn.Module, x: Tensor, path: Path) -> None:
    """Export a network; its weights are in a file beside.

    Args:
        network: on the CPU, in fp32.
        x: (B, C, h, w), of the only size that it takes then.
        path: of the ONNX file.

    Raises:
        ConfigError: onnxscript is missing.
        InferenceError: the network cannot be exported.
    """
    onnx_program(network, (x,)).save(path, external_data=True)


def onnx_program(
    network: nn.Module,
    inputs: tuple[Tensor, ...],
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
    opset: int | None = None,
) -> Any:
    """The `torch.onnx.ONNXProgram` of a network.

    Args:
        network: on the CPU, in fp32.
        inputs: of the only sizes that it takes then.
        input_names: None for those of the arguments of its `forward`.
        output_names: None for those of torch.
        opset: version of the ONNX operators; None for that of torch.

    Raises:
        ConfigError: onnxscript is missing.
        InferenceError: the network cannot be exported.
    """
    try:
        import onnxscript  # noqa: F401  (torch.onnx needs it)
    except ImportError as error:
        raise ConfigError(
            f'networks are exported with onnxscript, and it cannot be imported ({error}): pip '
            "install onnxscript, or set engine to 'torch'"
        ) from None
    for noisy in ('onnxscript', 'onnx_ir', 'torch.onnx'):  # they log each step
        logging.getLogger(noisy).setLevel(logging.WARNING)
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter('ignore')  # deprecations within torch
            # tables that are made at the first run cannot be exported
            network(*(x.clone() for x in inputs))
            return torch.onnx.export(
                network,
                tuple(x.clone() for x in inputs),
                dynamo=True,
                verbose=False,
                input_names=input_names,
                output_names=output_names,
                opset_version=opset,
            )
    except Exception as error:  # of torch.onnx, which has many
        cause = error
        while isinstance(
            cause.__cause__, Exception
        ):  # its own messages say only which step it was
            cause = cause.__cause__
        raise InferenceError(f'the network cannot be exported ({_first_line(cause)})') from error


def folder_for(root: Path, description: Mapping[str, Any]) -> Path:
    """The folder of the cache for a network.

    Args:
        root: of the cache.
        description: all that its files depend on; it is written into the folder for people.

    Raises:
        ConfigError: the folder cannot be written.
    """
    text = json.dumps(description, indent=1, sort_keys=True)
    folder = root / 'engines' / hashlib.sha256(text.encode()).hexdigest()[:16]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / DESCRIPTION).write_text(f'{text}\n')
    except OSError as error:
        raise ConfigError(
            f'{folder} cannot be written ({error.strerror}), and exported networks are kept '
            'there: set DEPTH_ROS_CACHE to a folder that can be'
        ) from error
    for part in folder.glob('*.part'):  # of exports that were killed
        if time.time() - part.stat().st_mtime > 3600:
            shutil.rmtree(part, ignore_errors=True)
    return folder


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
