# SPDX-License-Identifier: Apache-2.0
"""A network that torch exports as ONNX file, and that an engine runs."""

from __future__ import annotations

import logging
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from threading import Thread
from typing import Any

import torch
from torch import Tensor, nn

from depth_ros.core.errors import ConfigError, InferenceError, first_line
from depth_ros.pipeline.engines import Runner, Target

log = logging.getLogger(__name__)
SEEN = 10  #: images of a size that is not prepared, after which it is
MAX_SIZES = 8  #: that are prepared; each takes memory


class ExportedNetwork:
    """Runs a network in an engine; a `Runner`.

    Images of a batch run one by one, so that a network is exported for one image only. Inputs of
    another size than at first are computed by torch; if `export` is given and they go on, a thread
    has the network exported for them.

    Args:
        target: where and how.
        run: the network for `shape`.
        shape: (1, C, h, w).
        load: returns the network in torch.
        export: returns the network for another shape, None if that is not possible; takes
            seconds to minutes. None to leave such inputs to torch, as what the depth of an image
            is then does not depend on the time.
    """

    def __init__(
        self,
        target: Target,
        run: Runner,
        shape: torch.Size,
        load: Callable[[], nn.Module],
        export: Callable[[torch.Size], Runner | None] | None,
    ) -> None:
        self.target = target
        self._runners: dict[torch.Size, Runner | None] = {shape: run}
        self._load, self._export = load, export
        self._in_torch: nn.Module | None = None
        self._seen: Counter[torch.Size] = Counter()
        self._thread: Thread | None = None

    def __call__(self, x: Tensor) -> Any:
        """Run the network.

        Args:
            x: (B, C, h, w) float32.

        Raises:
            InferenceError: the engine fails.
        """
        if len(x) > 1:
            parts = [self(one[None]) for one in x]
            if not isinstance(parts[0], tuple):
                return torch.cat(parts)
            return tuple(torch.cat(maps) for maps in zip(*parts, strict=True))
        run = self._runners.get(x.shape)
        if run is None:
            return self._elsewhere(x)
        try:
            return run(x)
        except RuntimeError as error:
            raise InferenceError(f'{self.target.engine} fails: {error}') from error

    def _elsewhere(self, x: Tensor) -> Any:
        if self._in_torch is None:
            log.warning(
                'the network input is now %s, which %s was not prepared for: torch computes it, '
                'in fp32',
                in_words(x.shape), self.target.engine,
            )  # fmt: skip
            self._in_torch = self._load()
        self._seen[x.shape] += 1
        idle = self._thread is None or not self._thread.is_alive()
        new = x.shape not in self._runners and len(self._runners) < MAX_SIZES
        if self._export and new and idle and self._seen[x.shape] >= SEEN:
            self._thread = Thread(target=self._prepare, args=(x.shape,), daemon=True)
            self._thread.start()
        return self._in_torch(x)

    def _prepare(self, shape: torch.Size) -> None:
        assert self._export is not None
        self._runners[shape] = run = self._export(shape)
        if run is not None:
            log.info('%s now computes inputs of %s', self.target.engine, in_words(shape))


def write_onnx(network: nn.Module, x: Tensor, path: Path, *, has_run: bool = False) -> None:
    """Export a network; its weights are in a file beside.

    Args:
        network: on the CPU, in fp32.
        x: (B, C, h, w), of the only size that it takes then.
        path: of the ONNX file.
        has_run: it has run for this size before.

    Raises:
        ConfigError: onnxscript is missing.
        InferenceError: the network cannot be exported.
    """
    onnx_program(network, (x,), has_run=has_run).save(path, external_data=True)


def onnx_program(
    network: nn.Module,
    inputs: tuple[Tensor, ...],
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
    opset: int | None = None,
    *,
    has_run: bool = False,
) -> Any:
    """The `torch.onnx.ONNXProgram` of a network.

    Args:
        network: on the CPU, in fp32.
        inputs: of the only sizes that it takes then.
        input_names: None for those of the arguments of its `forward`.
        output_names: None for those of torch.
        opset: version of the ONNX operators; None for that of torch.
        has_run: it has run for these sizes before.

    Raises:
        ConfigError: onnxscript is missing.
        InferenceError: the network cannot be exported.
    """
    try:
        import onnxscript  # noqa: F401  (torch.onnx needs it)
    except ImportError as error:
        raise ConfigError(
            f'networks are exported with onnxscript, and it cannot be imported ({error}): pip '
            'install onnxscript'
        ) from None
    for noisy in ('onnxscript', 'onnx_ir', 'torch.onnx'):  # they log each step
        logging.getLogger(noisy).setLevel(logging.WARNING)
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter('ignore')  # deprecations within torch
            if not has_run:  # tables that are made at the first run cannot be exported
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
        raise InferenceError(f'the network cannot be exported ({first_line(cause)})') from error


def in_words(shape: Iterable[int]) -> str:
    """A shape as 1x3x480x640."""
    return 'x'.join(map(str, shape))
