# SPDX-License-Identifier: Apache-2.0
"""Memory of message data, used again from message to message."""

from __future__ import annotations

import array
import contextlib
import math

import numpy as np
import torch
from torch import Tensor


class MessageBuffer:
    """Message data that are used again for the next message: a tensor is copied straight in.

    `array.array('B')` is the one type that message setters take without looking at each byte, on
    every distribution, and rclpy has copied the data when `publish` returns.
    """

    def __init__(self) -> None:
        """Start empty."""
        self.data = array.array('B')
        self._locked = self._tried = False  # in memory, for a GPU to write to
        self._stage = torch.empty(0, dtype=torch.uint8)
        self._late: Tensor | None = None  # on its way to there

    def floats(self, *shape: int) -> Tensor:
        """The data as a float32 tensor of this shape on the CPU, to be written to."""
        self._resize(4 * math.prod(shape))
        return torch.from_numpy(np.frombuffer(self.data, np.float32)).view(shape)

    def _resize(self, size: int) -> None:
        """In place where it can be: a dense cloud has another size at every frame."""
        more = size - len(self.data)
        if not more:
            return
        self.free()
        try:
            if more > 0:
                self.data.frombytes(bytes(more))
            else:
                del self.data[more:]
        except BufferError:  # somebody looks at it yet
            self.data = array.array('B', bytes(size))

    def fill(self, tensor: Tensor) -> array.array[int]:
        """Copy a contiguous tensor from wherever it is.

        From a GPU it may still be on its way; when it has arrived `settle` is to be called.
        """
        source = tensor.contiguous().view(torch.uint8).reshape(-1)
        if len(self.data) == len(source):
            target = torch.from_numpy(np.frombuffer(self.data, np.uint8))
            if source.is_cuda and len(source) and not self._tried:
                self._lock(source.device)
            target.copy_(source, non_blocking=True)
        else:
            self.free()
            self.data = array.array('B')  # the message before may be looked at yet
            self._late = self._here(source)
            if not source.is_cuda:
                self.settle()
        return self.data

    def settle(self) -> None:
        """Take in what has arrived beside the data: what is of another size at every frame."""
        if self._late is not None:
            self.data.frombytes(self._late.numpy().data)
        self._late = None

    def _here(self, source: Tensor) -> Tensor:
        """`source` on the CPU, from a GPU on its way to locked memory that is used again."""
        if not source.is_cuda:
            return source
        if len(self._stage) < len(source):
            self._stage = torch.empty(len(source), dtype=torch.uint8, pin_memory=True)
        return self._stage[: len(source)].copy_(source, non_blocking=True)

    def _lock(self, device: torch.device) -> None:
        """Lock the pages: a GPU writes to them at twice the rate and without the CPU.

        Where it cannot be (ulimit -l, some Jetsons) copies take longer, and are right.
        """
        self._tried = True
        address, count = self.data.buffer_info()
        with torch.cuda.device(device):
            self._locked = torch.cuda.cudart().cudaHostRegister(address, count, 0) == 0
            if not self._locked:  # CUDA keeps the failure for the next kernel: let this have it
                with contextlib.suppress(RuntimeError):
                    torch.ones(1, device=device)

    def free(self) -> None:
        """Unlock the pages, before they are given back."""
        if self._locked:
            torch.cuda.cudart().cudaHostUnregister(self.data.buffer_info()[0])
        self._locked = self._tried = False
