# SPDX-License-Identifier: Apache-2.0
"""For a machine on which nothing can be installed."""

from __future__ import annotations

import safetensors
from safetensors.torch import load_file
from torch.torch_version import TorchVersion

from depth_ros.checkpoints import file


def accept_old_safetensors() -> None:
    """Read the packaged weights with safetensors before 0.8 too, which maps files.

    depth_ros refuses that, as a file that is overwritten while it is mapped ends the process.
    Nothing overwrites the packaged ones.
    """
    if TorchVersion(safetensors.__version__) < '0.8':
        file._check_version = lambda *_: None
        file._read_safetensors = lambda path: load_file(path)
