# SPDX-License-Identifier: Apache-2.0
"""onnxruntime: networks on CPUs, and on GPUs of NVIDIA by TensorRT or CUDA."""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Container
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from depth_ros.core.errors import ConfigError
from depth_ros.pipeline.engines import NETWORK, Runner, Target

log = logging.getLogger(__name__)
CPU, CUDA, TENSORRT = (f'{name}ExecutionProvider' for name in ('CPU', 'CUDA', 'Tensorrt'))
#: users have had wrong depth from these versions of TensorRT, and right depth from 10.14 on
DOUBTFUL_TENSORRT = range(100300, 100400)


class OnnxRuntime:
    """An `Engine`."""

    name = 'onnxruntime'

    def _library(self) -> Any:
        try:
            import onnxruntime
        except ImportError as error:
            raise ConfigError(
                f"engine is 'onnxruntime', and it cannot be imported ({error}): pip install "
                'onnxruntime, or onnxruntime-gpu for a GPU of NVIDIA, or set engine to auto'
            ) from None
        return onnxruntime

    def version(self) -> str:
        """Of the library, and of TensorRT where it is."""
        tensorrt = _tensorrt_version() if TENSORRT in self._providers() else 0
        also = f' with TensorRT {tensorrt // 10000}.{tensorrt // 100 % 100}' if tensorrt else ''
        return f'{self._library().__version__}{also}'

    def devices(self) -> dict[str, tuple[str, ...]]:
        """cpu, and cuda:N where this build of the library has it."""
        providers = self._providers()
        found: dict[str, tuple[str, ...]] = {'cpu': ('fp32',)}
        if CUDA in providers:
            precisions = ('fp32', 'fp16') if _has_tensorrt(providers) else ('fp32',)
            found |= {f'cuda:{k}': precisions for k in range(torch.cuda.device_count())}
        return found

    def _providers(self) -> list[str]:
        return list(self._library().get_available_providers())

    def open(self, folder: Path, target: Target) -> Runner:
        """Run an ONNX file; TensorRT keeps the kernels that it chose beside it.

        Raises:
            RuntimeError: the provider for the device cannot be loaded.
        """
        library = self._library()
        options = library.SessionOptions()
        options.intra_op_num_threads = target.threads
        options.log_severity_level = 3  # errors only
        kind, _, index = target.device.partition(':')
        provider = provider_for(target, folder, self._providers())
        if kind == 'cuda' and hasattr(library, 'preload_dlls'):
            library.preload_dlls()  # of CUDA and cuDNN, those of torch
        session = library.InferenceSession(str(folder / NETWORK), options, providers=[provider])
        if session.get_providers()[0] != provider[0]:  # the library goes on without it
            raise RuntimeError(f'{provider[0]} cannot be loaded: a library of it is missing')
        (given,) = session.get_inputs()
        outputs = [(one.name, one.shape) for one in session.get_outputs()]
        place = (kind, int(index or 0), np.float32)

        def run(x: Tensor) -> Any:
            x = x.contiguous()
            maps = tuple(torch.empty(shape, device=x.device) for _, shape in outputs)
            binding = session.io_binding()  # no copies, which on a GPU would go through the CPU
            binding.bind_input(given.name, *place, tuple(x.shape), x.data_ptr())
            for (name, shape), values in zip(outputs, maps, strict=True):
                binding.bind_output(name, *place, tuple(shape), values.data_ptr())
            if x.is_cuda:  # the library computes in a stream of its own
                torch.cuda.current_stream(x.device).synchronize()
            session.run_with_iobinding(binding)
            binding.synchronize_outputs()
            return maps[0] if len(maps) == 1 else maps

        return run


def provider_for(
    target: Target, folder: Path, available: Container[str]
) -> tuple[str, dict[str, Any]]:
    """The execution provider for a target, with its options.

    Args:
        target: to run on.
        folder: of the network, where TensorRT keeps its engine and its timings.
        available: providers of this build of the library.
    """
    kind, _, index = target.device.partition(':')
    if kind == 'cpu':
        return CPU, {}
    if not _has_tensorrt(available):
        return CUDA, {'device_id': int(index or 0)}
    version = _tensorrt_version()
    if version in DOUBTFUL_TENSORRT:
        log.warning(
            'TensorRT 10.3 has computed wrong depth for users of Depth Anything 2 and 3; 10.14 '
            'and later have not. Here it is compared with torch before it is used'
        )
    kept = folder / 'tensorrt'
    kept.mkdir(exist_ok=True)
    return TENSORRT, {
        'device_id': int(index or 0),
        'trt_fp16_enable': target.precision == 'fp16',
        'trt_engine_cache_enable': True,
        'trt_engine_cache_path': str(kept),
        'trt_timing_cache_enable': True,
        'trt_timing_cache_path': str(kept),
    }


def _has_tensorrt(available: Container[str]) -> bool:
    return TENSORRT in available and _tensorrt_version() > 0


def _tensorrt_version() -> int:
    """As 10000 * major + 100 * minor + patch; 0 if its library is not installed."""
    try:
        return int(ctypes.CDLL('libnvinfer.so.10').getInferLibVersion())
    except (OSError, AttributeError):
        return 0
