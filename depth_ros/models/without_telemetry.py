# SPDX-License-Identifier: Apache-2.0
"""Import OpenVINO without its statistics."""

from __future__ import annotations

import sys
from typing import Any


def import_openvino() -> Any:
    """The module openvino, which then reports neither its import nor what it converts.

    It reports to its maker's statistics wherever the package openvino_telemetry is installed.

    Raises:
        ImportError: it cannot be imported.
    """
    reporter = 'openvino_telemetry'
    before = sys.modules.get(reporter)
    sys.modules[reporter] = None  # type: ignore[assignment]  # then it can do without
    try:
        import openvino
    finally:
        del sys.modules[reporter]
        if before is not None:
            sys.modules[reporter] = before
    return openvino
