# SPDX-License-Identifier: Apache-2.0
"""A network's run recorded as a CUDA graph and replayed: no launch of each kernel from Python."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from depth_ros.models.batched_model import BatchedModel

log = logging.getLogger(__name__)

WARM_UP = 3  #: runs before recording, in which libraries choose their kernels
MAX_GRAPHS = 8  #: shapes that are kept, batches of several cameras among them; each takes memory


def use_cuda_graph(model: Any, device: torch.device) -> None:
    """Have the network of a `BatchedModel` recorded, if it runs on a GPU."""
    if device.type == 'cuda' and isinstance(model, BatchedModel):
        model.cuda_graph = CudaGraphNetwork(model.network)


class CudaGraphNetwork:
    """Calls `network`, recorded once for each shape of input.

    A shape is recorded when it is seen for the second time: one that comes once is not worth it.

    Args:
        network: (B, C, h, w) on a GPU -> a tensor, or a tuple of tensors.
    """

    def __init__(self, network: Callable[[Tensor], Any]) -> None:
        """Nothing recorded."""
        self.network = network
        self.disabled_reason = ''  #: why nothing is recorded any more; '' while all is well
        self._seen: set[torch.Size] = set()
        self._records: dict[torch.Size, tuple[torch.cuda.CUDAGraph, Tensor, Any]] = {}
        self._aside: torch.cuda.Stream | None = None  # records all of them, in one memory
        self._pool: Any = None

    def __call__(self, x: Tensor) -> Any:
        """What `network` answers, in tensors of its own."""
        known = self._records.get(x.shape)
        if known is None:
            if self.disabled_reason or x.shape not in self._seen:
                self._seen.add(x.shape)
                return self.network(x)
            if len(self._records) >= MAX_GRAPHS:
                self._give_up(f'there are {MAX_GRAPHS} for other sizes of input')
                return self.network(x)
            try:
                known = self._records[x.shape] = self._record(x)
            except RuntimeError as error:  # an operation that waits for the GPU cannot be recorded
                self._give_up(str(error).strip().partition('\n')[0])
                return self.network(x)
        graph, given, answer = known
        given.copy_(x)
        graph.replay()
        return _own(answer)

    def _give_up(self, why: str) -> None:
        self.disabled_reason = why
        log.warning(
            'the network cannot be recorded as a CUDA graph for further inputs (%s); for them it '
            'runs kernel by kernel, which takes longer',
            why,
        )

    def _record(self, x: Tensor) -> tuple[torch.cuda.CUDAGraph, Tensor, Any]:
        with torch.cuda.device(x.device):
            given = x.clone()
            if self._aside is None:
                self._aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
                self._pool = torch.cuda.graph_pool_handle()
            aside = self._aside
            aside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(aside):
                for _ in range(WARM_UP):
                    self.network(given)
            torch.cuda.current_stream().wait_stream(aside)
            graph = torch.cuda.CUDAGraph()
            # Intermediate maps of all records share memory: one is replayed at a time, from an
            # input of its own, and its answers are copied at once. Other threads of the process
            # may use the GPU meanwhile.
            with torch.cuda.graph(
                graph, pool=self._pool, stream=aside, capture_error_mode='thread_local'
            ):
                answer = self.network(given)
        log.info('network recorded for input %s', 'x'.join(map(str, x.shape)))
        return graph, given, answer


def _own(answer: Any) -> Any:
    """Copies: the next replay writes to the same memory."""
    if isinstance(answer, tuple):
        return tuple(part.clone() for part in answer)
    return answer.clone()
