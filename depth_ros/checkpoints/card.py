# SPDX-License-Identifier: Apache-2.0
"""The licence that a model card on the hub states, README.md of a repository."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

#: Licences, as the hub names them, that allow every use; all others are taken to restrict it.
FREE = (
    'apache-2.0', 'mit', 'bsd', 'bsd-2-clause', 'bsd-3-clause', 'isc', 'cc0-1.0', 'cc-by-4.0',
    'cc-by-3.0', 'unlicense', 'wtfpl',
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Licence:
    """Of weights.

    Args:
        name: as the card states it, or what is not known.
        restricted: it may forbid some uses.
    """

    name: str
    restricted: bool


def read_licence(card: Path | None) -> Licence:
    """The licence in the header of a model card.

    Args:
        card: README.md; None if there is none.

    Returns:
        A licence that is not stated, or not one of `FREE`, is taken to restrict use.
    """
    header = _header(card) if card is not None and card.is_file() else {}
    stated = header.get('license')
    names = [str(name) for name in (stated if isinstance(stated, list) else [stated]) if name]
    if not names:
        return Licence('not stated in a model card', True)
    restricted = any(name.lower() not in FREE for name in names)
    named = header.get('license_name') if names == ['other'] else None
    words = f'{named} (model card: other)' if named else f'{", ".join(names)} (model card)'
    return Licence(words, restricted)


def _header(card: Path) -> dict[str, Any]:
    """The YAML between two lines of dashes at the start of a file; empty if it has none."""
    try:
        text = card.read_text(errors='replace').lstrip('\ufeff')
        if not text.startswith('---'):
            return {}
        header = yaml.safe_load(text.split('\n---', 1)[0].removeprefix('---'))
    except (OSError, yaml.YAMLError, RecursionError):
        return {}
    return header if isinstance(header, dict) else {}
