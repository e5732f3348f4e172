# SPDX-License-Identifier: Apache-2.0
"""Memory of message data, reused from message to message."""

from __future__ import annotations

import array
import contextlib
import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from depth_ros.core import compress


class MessageBuffer:
    """The data of one message at a time: filled from a tensor, then given to the message.

    `array.array('B')` is the one type that messages of every distribution hold without looking at
    each byte. rclpy has serialised it when `publish` returns, so the next message may reuse it.
    """

    def __init__(self) -> None:
        self.data = array.array('B')
        self._locked = self._lock_tried = False  # pages, for a GPU to write to
        self._staging = torch.empty(0, dtype=torch.uint8)
        self._pending_copy: Tensor | None = None  # part of `_staging`, being written by a GPU

    def floats(self, *shape: int) -> Tensor:
        """The data as a float32 tensor of this shape on the CPU, to be written to."""
        self._pending_copy = None
        self._resize(4 * math.prod(shape))
        return torch.from_numpy(self._as(np.float32)).view(shape)

    def copy_from(self, tensor: Tensor) -> None:
        """Copy a tensor of any shape and dtype from wherever it is.

        From a GPU the copy may still be in progress. When it is done, call `give_to`.
        """
        self._pending_copy = None  # of a frame that failed
        source = tensor.contiguous().view(torch.uint8).reshape(-1)
        if not source.is_cuda or len(self.data) == len(source):
            self._resize(len(source))
            if source.is_cuda and len(source) and not self._lock_tried:
                self._lock(source.device)
            target = torch.from_numpy(self._as(np.uint8))
            target.copy_(source, non_blocking=True)
            return
        # of another size than the data, as a dense cloud is at every frame
        if len(self._staging) < len(source):
            self._staging = torch.empty(len(source), dtype=torch.uint8, pin_memory=True)
        self._pending_copy = self._staging[: len(source)].copy_(source, non_blocking=True)

    def give_to(self, message: Any) -> None:
        """Make the data those of an Image or PointCloud2; the copy from a GPU must be done.

        The message holds this very memory. Its constructor would copy the data, and so would
        its setter up to Kilted.
        """
        if self._pending_copy is not None:
            self._resize(len(self._pending_copy))
            np.copyto(self._as(np.uint8), self._pending_copy.numpy())
            self._pending_copy = None
        message._data = self.data

    def free(self) -> None:
        """Unlock the pages, before they are returned to the system."""
        if self._locked:
            _cudart().cudaHostUnregister(self.data.buffer_info()[0])
        self._locked = self._lock_tried = False

    def _as(self, dtype: type[np.generic]) -> NDArray[Any]:
        """The data as numbers; they cannot be resized as long as the array is in use.

        Up to NumPy 1.21 `frombuffer` keeps only the memoryview, which keeps the data.
        """
        return np.frombuffer(memoryview(self.data), dtype)

    def _resize(self, size: int) -> None:
        """In place where possible: a dense cloud has another size at every frame."""
        more = size - len(self.data)
        if not more:
            return
        self.free()
        try:
            if more > 0:
                self.data.frombytes(bytes(more))
            else:
                del self.data[more:]
        except BufferError:  # a tensor or array still refers to it
            self.data = array.array('B', bytes(size))

    def _lock(self, device: torch.device) -> None:
        """Lock the pages: a GPU writes to them at twice the rate and without the CPU.

        Where that is not allowed (ulimit -l, some Jetsons) copies take longer, and are correct.
        """
        self._lock_tried = True
        address, count = self.data.buffer_info()
        with torch.cuda.device(device):
            self._locked = _cudart().cudaHostRegister(address, count, 0) == 0
            if not self._locked:  # CUDA reports the failure to the next kernel: let it be this one
                with contextlib.suppress(RuntimeError):
                    torch.ones(1, device=device)


class CompressedDepthBuffer(MessageBuffer):
    """The data of compressedDepth messages: compressed when the values are there."""

    def __init__(self) -> None:
        super().__init__()
        self._shape = 0, 0
        self._how: tuple[str, float, float, int] = 'png', 0.0, 0.0, 1

    def fill(
        self, values: Tensor, form: str, a: float = 0.0, b: float = 0.0, level: int = 1
    ) -> None:
        """Copy values (H, W) uint16 from wherever they are; see `compress.compressed`."""
        self._shape = values.shape[0], values.shape[1]
        self._how = form, a, b, level
        self.copy_from(values)

    def give_to(self, message: Any) -> None:
        """Make the compressed values the data of a CompressedImage; the copy must be done."""
        super().give_to(message)
        values = self._as(np.uint16).reshape(self._shape)
        message._data = array.array('B', compress.compressed(values, *self._how))


def _cudart() -> Any:
    return torch.cuda.cudart()  # type: ignore[no-untyped-call]
