# SPDX-License-Identifier: Apache-2.0
"""Where the weights of a preset are published, and what their licence allows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Source:
    """The published weights of one preset.

    Args:
        preset: its name, for messages.
        licence: of the weights, as the publisher states it.
        restricted: whether the licence forbids some uses, such as commercial ones.
        repo: hub id of the published weights, or spaces/<id>/tree/main/<folder>; '' if there is
            none.
        file: name of the checkpoint in `repo`, or in the zip at `url`.
        sha256: of that file, where known.
        url: of a zip on the publisher's own server, for weights that are in no `repo`.
        md5: of that zip, where known.
        megabytes: of the file or zip; 0 if not known.
        packaged: the file, for weights that are installed with depth_ros.
        needed: False for presets that are only geometry.
        suffixes: of files that may hold such weights.
    """

    preset: str
    licence: str
    restricted: bool = False
    repo: str = ''
    file: str = ''
    sha256: str = ''
    url: str = ''
    md5: str = ''
    megabytes: int = 0
    packaged: Path | None = None
    needed: bool = True
    suffixes: tuple[str, ...] = ('.safetensors', '.pth', '.pt', '.bin', '.ckpt')

    @property
    def published(self) -> str:
        """Where the weights are published, for a message: '<file> of <repo>', or the zip."""
        return f'{self.file} of {self.repo}' if self.repo else f'those of {self.url}'
