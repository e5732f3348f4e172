# SPDX-License-Identifier: Apache-2.0
"""Read numbers from a file into memory that does not depend on the file.

A mapped file that is truncated or overwritten in place kills the process (SIGBUS) when it is next
used. So every tensor is read into memory of its own, and memory is allocated only for bytes that
the file has.
"""

from __future__ import annotations

import os
from typing import BinaryIO

import torch
from torch import Tensor

#: Largest tensor accepted [bytes]; the largest layer of the published networks has 80 MB.
LARGEST = 1 << 30


class Damaged(Exception):
    """A file states what cannot be so; the message is a reason for a `WeightsError`."""


class Storages:
    """Allocates tensors for the content of one file, and fills them.

    Args:
        file: open for reading; it stays open only while it is read.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.size = os.fstat(file.fileno()).st_size
        self._left = self.size

    def allocate(self, count: object, dtype: torch.dtype) -> Tensor:
        """A tensor of `count` numbers without content, (count,).

        Raises:
            Damaged: `count` is no count, or the file is too short for all that was allocated.
        """
        if type(count) is not int or count < 0:
            raise Damaged(f'{count!r:.40} is no number of values')
        nbytes = count * dtype.itemsize
        self._left -= nbytes
        if self._left < 0:
            raise Damaged(f'the file of {self.size} bytes is too short for its tensors')
        return torch.empty(nbytes, dtype=torch.uint8).view(dtype)

    def fill(self, tensor: Tensor, position: int | None = None) -> None:
        """Read the content of a tensor that `allocate` returned.

        Args:
            tensor: to be filled.
            position: of its first byte in the file; None reads on from the current position.

        Raises:
            Damaged: the file ends before.
        """
        if position is not None:
            self.file.seek(position)
        raw = tensor.view(torch.uint8).numpy()
        if self.file.readinto(raw.data) != raw.nbytes:  # type: ignore[attr-defined]
            raise Damaged('the end of the file is missing')
