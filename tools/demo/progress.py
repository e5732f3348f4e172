# SPDX-License-Identifier: Apache-2.0
"""Show progress on a terminal or in a log."""

from __future__ import annotations

import shutil
import sys
from typing import Any


class Progress:
    """Shows progress in one line, which is rewritten on a terminal."""

    def __init__(self) -> None:
        self.live = sys.stdout.isatty()
        self._last: Any = None

    def __call__(self, state: dict[str, Any]) -> None:
        """Show a state of the recorder."""
        if 'stage' not in state:
            return
        line = f'{state["stage"]:>10} {state["seconds"]:5.1f} s   camera {state["camera"]}'
        line += f'   depth {state["depth/image"]}   points {state["points"]}'
        if state['stage'] == 'waiting' and state['missing']:
            line += f'   for {", ".join(state["missing"])}'
        self.line(line, (state['stage'], state['missing']))

    def line(self, line: str, key: Any = '') -> None:
        """Show a line; without a terminal only if its `key` differs from the last one."""
        if self.live:
            columns = shutil.get_terminal_size().columns - 1  # a wrapped line cannot be rewritten
            print(f'\r\033[K{line[:columns]}', end='', flush=True)
        elif key != self._last:
            print(line, flush=True)
        self._last = key

    def end(self) -> None:
        """End the line."""
        if self.live and self._last is not None:
            print()
