# SPDX-License-Identifier: Apache-2.0
"""depth_node with a network whose depth tells which image and which camera_info it was made of.

Everything else is the installed node. A thread writes the counters of malloc to the file that
`ALLOCATOR` names.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
import time
from typing import Any, NoReturn

from depth_ros.ros import __main__ as depth_node
from depth_ros.ros.process.malloc import keep_freed_memory

ALLOCATOR = 'SOAK_ALLOCATOR'  #: environment variable
MODEL = 'soak_level'  #: name of the preset
PERIOD_S = 0.5
_FIELDS = (
    'arena', 'ordblks', 'smblks', 'hblks', 'hblkhd', 'usmblks', 'fsmblks', 'uordblks', 'fordblks',
    'keepcost',
)  # fmt: skip


def depth_m(level: Any, focal: float) -> Any:
    """Depth [m] that the network gives a pixel.

    Args:
        level: red, 0..255.
        focal: focal length by the width of the image.
    """
    return (0.5 + level / 10) * focal


class Level:
    """A network without weights; see `depth_m`."""

    def __init__(self, kind: Any) -> None:
        self.kind = kind

    def predict(self, frame: Any) -> Any:
        """Depth (H, W) float32 [m] of a frame."""
        from depth_ros.core.types import Prediction

        camera = frame.camera
        return Prediction(depth_m(frame.rgb[..., 0].float(), camera.fx / camera.width), self.kind)


def load(preset: Any, options: Any) -> Level:
    """As each family of networks has it."""
    return Level(preset.kind)


def register() -> None:
    """Put the network into the table of presets."""
    from depth_ros.checkpoints.source import Source
    from depth_ros.core.types import Kind
    from depth_ros.models import PRESETS, Preset

    sys.modules['depth_ros.models.soak'] = sys.modules[__name__]
    source = Source(MODEL, 'none', needed=False)
    PRESETS[MODEL] = Preset(MODEL, 'soak', 'level', Kind.METRIC, source, casts=False)


class _Counters(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in _FIELDS]


def _write_counters(path: str) -> None:
    """Write memory in use and memory kept free by malloc [bytes], as two numbers, for ever."""
    mallinfo = ctypes.CDLL(None).mallinfo2
    mallinfo.restype = _Counters
    file = os.open(path, os.O_WRONLY | os.O_CREAT)
    while True:
        counters = mallinfo()
        text = f'{counters.uordblks + counters.hblkhd:20d} {counters.fordblks:20d}'
        os.pwrite(file, text.encode(), 0)
        time.sleep(PERIOD_S)


def main() -> NoReturn:
    """Run the node, and end the process with its exit code."""
    keep_freed_memory()  # before the imports of `register`
    register()
    if path := os.environ.get(ALLOCATOR):
        threading.Thread(target=_write_counters, args=(path,), daemon=True).start()
    depth_node.main()


if __name__ == '__main__':
    main()
