# SPDX-License-Identifier: Apache-2.0
"""A network's run recorded as a CUDA graph and replayed: no launch of each kernel from Python."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

log = logging.getLogger(__name__)

WARM_UP = 3  #: runs before recording, in which libraries choose their kernels
MOST = 8  #: shapes that are kept, batches of several cameras among them; each takes memory


class Recorded:
    """Calls `network`, recorded once for each shape of input.

    A shape is recorded when it is seen for the second time: one that comes once is not worth it.

    Args:
        network: (B, C, h, w) on a GPU -> a tensor, or a tuple of tensors.
    """

    def __init__(self, network: Callable[[Tensor], Any]) -> None:
        """Nothing recorded."""
        self.network = network
        self.trouble = ''  #: why nothing is recorded any more; '' while all is well
        self._seen: set[torch.Size] = set()
        self._records: dict[torch.Size, tuple[torch.cuda.CUDAGraph, Tensor, Any]] = {}

    def __call__(self, x: Tensor) -> Any:
        """What `network` answers, in tensors of its own."""
        record = self._records.get(x.shape)
        if record is None:
            if self.trouble or x.shape not in self._seen or len(self._records) >= MOST:
                self._seen.add(x.shape)
                return self.network(x)
            try:
                record = self._records[x.shape] = self._record(x)
            except RuntimeError as error:  # an operation that waits for the GPU cannot be recorded
                self.trouble = str(error).strip().partition('\n')[0]
                log.warning(
                    'the network cannot be recorded as a CUDA graph (%s); it runs kernel by '
                    'kernel, which takes longer',
                    self.trouble,
                )
                return self.network(x)
        graph, given, answer = record
        given.copy_(x)
        graph.replay()
        return _own(answer)

    def _record(self, x: Tensor) -> tuple[torch.cuda.CUDAGraph, Tensor, Any]:
        with torch.cuda.device(x.device):
            given = x.clone()
            aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            aside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(aside):
                for _ in range(WARM_UP):
                    self.network(given)
            torch.cuda.current_stream().wait_stream(aside)
            graph = torch.cuda.CUDAGraph()
            # other threads of the process may use the GPU meanwhile
            with torch.cuda.graph(graph, stream=aside, capture_error_mode='thread_local'):
                answer = self.network(given)
        log.info('network recorded for input %s', 'x'.join(map(str, x.shape)))
        return graph, given, answer


def _own(answer: Any) -> Any:
    """Copies: the next replay writes to the same memory."""
    if isinstance(answer, tuple):
        return tuple(part.clone() for part in answer)
    return answer.clone()
