# SPDX-License-Identifier: Apache-2.0
"""onnxruntime: networks on CPUs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from depth_ros.core.errors import ConfigError
from depth_ros.pipeline.engines import Runner, Target


class OnnxRuntime:
    """An `Engine`."""

    name = 'onnxruntime'

    def version(self) -> str:
        """Of the library."""
        try:
            import onnxruntime
        except ImportError as error:
            raise ConfigError(
                f"engine is 'onnxruntime', and it cannot be imported ({error}): pip install "
                'onnxruntime, or set engine to auto'
            ) from None
        return str(onnxruntime.__version__)

    def precisions(self, device: str) -> tuple[str, ...]:
        """Those that the device computes in its own arithmetic, the most exact one first."""
        return ('fp32',)

    def open(self, path: Path, target: Target) -> Runner:
        """Run an ONNX file."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = target.threads
        options.log_severity_level = 3  # errors only
        session = onnxruntime.InferenceSession(
            str(path), options, providers=['CPUExecutionProvider']
        )
        (name,) = [one.name for one in session.get_inputs()]

        def run(x: Tensor) -> Any:
            found = session.run(None, {name: x.contiguous().numpy()})
            maps = tuple(torch.from_numpy(values) for values in found)
            return maps[0] if len(maps) == 1 else maps

        return run
