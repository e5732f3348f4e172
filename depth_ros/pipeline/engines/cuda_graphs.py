# SPDX-License-Identifier: Apache-2.0
"""Run a network as a CUDA graph, which saves the launch of each kernel from Python."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from depth_ros.models.batched_model import BatchedModel

log = logging.getLogger(__name__)

WARM_UP = 3  #: runs before capture, in which libraries choose their kernels
MAX_GRAPHS = 8  #: captured input shapes, also of batches of several cameras; each takes memory


def use_cuda_graph(model: Any, device: torch.device) -> None:
    """Run the network of a `BatchedModel` as a CUDA graph if it is on a GPU.

    Args:
        model: any `DepthModel`; others than `BatchedModel` are left as they are.
        device: device of the model.
    """
    if device.type == 'cuda' and isinstance(model, BatchedModel):
        model.engine = CudaGraphNetwork(model.network)


class CudaGraphNetwork:
    """Calls a network through CUDA graphs, one for each input shape.

    A graph is captured at the second call with its shape, as a single call is not worth it.

    Args:
        network: (B, C, h, w) on a GPU -> a tensor, or a tuple of tensors.

    Attributes:
        network: as given.
        disabled_reason: why no more graphs are captured; '' while they are.
    """

    def __init__(self, network: Callable[[Tensor], Any]) -> None:
        self.network = network
        self.disabled_reason = ''
        self._shapes: set[torch.Size] = set()
        self._graphs: dict[torch.Size, tuple[torch.cuda.CUDAGraph, Tensor, Any]] = {}
        self._stream: torch.cuda.Stream | None = None  # captures all graphs, in one memory pool
        self._pool: Any = None

    def __call__(self, x: Tensor) -> Any:
        """Run the network.

        Args:
            x: (B, C, h, w) on the GPU of the network.

        Returns:
            Output of `network` for `x`: a tensor or a tuple of tensors, which later calls do not
            overwrite. If a shape cannot be captured, this is logged and the network is called
            directly.

        Raises:
            RuntimeError: the network fails, for example by lack of GPU memory.
        """
        known = self._graphs.get(x.shape)
        if known is None:
            if self.disabled_reason or x.shape not in self._shapes:
                self._shapes.add(x.shape)
                return self.network(x)
            if len(self._graphs) >= MAX_GRAPHS:
                self._disable(f'there are {MAX_GRAPHS} for other input shapes')
                return self.network(x)
            try:
                known = self._graphs[x.shape] = self._capture(x)
            except RuntimeError as error:  # operations that wait for the GPU cannot be captured
                self._disable(str(error).strip().partition('\n')[0])
                return self.network(x)
        graph, static_input, static_output = known
        static_input.copy_(x)
        graph.replay()
        return _clone(static_output)

    def _disable(self, reason: str) -> None:
        self.disabled_reason = reason
        log.warning(
            'no CUDA graph can be captured for further input shapes (%s); for these the network '
            'runs kernel by kernel, which takes longer',
            reason,
        )

    def _capture(self, x: Tensor) -> tuple[torch.cuda.CUDAGraph, Tensor, Any]:
        with torch.cuda.device(x.device):
            static_input = x.clone()
            if self._stream is None:
                self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
                self._pool = torch.cuda.graph_pool_handle()
            stream = self._stream
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                for _ in range(WARM_UP):
                    self.network(static_input)
            torch.cuda.current_stream().wait_stream(stream)
            graph = torch.cuda.CUDAGraph()
            # All graphs share one memory pool for intermediate maps. This is safe, as one graph is
            # replayed at a time, each has its own input, and its output is copied at once.
            # Other threads of the process may use the GPU meanwhile, hence thread_local.
            with torch.cuda.graph(
                graph, pool=self._pool, stream=stream, capture_error_mode='thread_local'
            ):
                static_output = self.network(static_input)
        log.info('CUDA graph captured for input %s', 'x'.join(map(str, x.shape)))
        return graph, static_input, static_output


def _clone(output: Any) -> Any:
    """Copy the output, as the next replay writes to the same memory."""
    if isinstance(output, tuple):
        return tuple(part.clone() for part in output)
    return output.clone()
