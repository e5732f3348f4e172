# SPDX-License-Identifier: Apache-2.0
"""Where the weights of a preset are published, and under which licence."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Source:
    """The published weights of one preset.

    Args:
        preset: name of the preset, for messages.
        licence: licence of the weights, as the publisher states it.
        restricted: the licence forbids some uses, such as commercial ones.
        repo: Hugging Face hub id, or spaces/<id>/tree/main/<folder>; '' if not on the hub.
        file: name of the checkpoint in `repo`, or in the zip at `url`, or of the file at `url`.
        sha256: checksum of `file`; '' if not known.
        url: zip or file on the publisher's server, for weights that are not on the hub.
        md5: checksum of the zip at `url`; '' if not known.
        megabytes: size of the download [MB]; 0 if not known.
        packaged: path of weights that are installed with depth_ros, else None.
        needed: False for presets without a network.
        suffixes: suffixes of files that may be checkpoints of the preset.
        revision: commit, branch or tag of `repo`; '' for its newest.
        beside: further files of `repo` that belong into the folder of `file`.
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
    revision: str = ''
    beside: tuple[str, ...] = ()

    @property
    def published(self) -> str:
        """'<file> of <repo>', or the zip or file, for messages."""
        if self.repo:
            return f'{self.file} of {self.repo}'
        return f'the files of {self.url}' if self.is_zip else f'the file at {self.url}'

    @property
    def is_zip(self) -> bool:
        """Whether `url` is a zip."""
        return self.url.endswith('.zip')
