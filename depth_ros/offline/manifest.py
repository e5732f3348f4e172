# SPDX-License-Identifier: Apache-2.0
"""What has been made of which input, with hashes: one line of JSON for each input."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from depth_ros.core.errors import ImageError
from depth_ros.offline.files import write_whole

NAME = 'manifest.jsonl'
BLOCK = 1 << 20  #: bytes that are read at once


@dataclass(frozen=True, slots=True)
class State:
    """What is known of a file or folder without reading it.

    Args:
        size: bytes, of all files in a folder.
        mtime_ns: newest time of modification [ns].
    """

    size: int
    mtime_ns: int

    @classmethod
    def of(cls, path: Path) -> State:
        """Of a path.

        Raises:
            OSError: it is not there.
        """
        states = [file.stat() for file in files_of(path)]
        return cls(sum(s.st_size for s in states), max((s.st_mtime_ns for s in states), default=0))


@dataclass(frozen=True, slots=True)
class Record:
    """What has been made of one input.

    Args:
        input: its name, which its outputs begin with.
        path: of the input.
        size: bytes.
        mtime_ns: newest time of modification [ns].
        sha256: of the content, see `sha256_of`; '' while it is being processed.
        kinds: what was asked for.
        selection: which of its images.
        images: that have depth.
        failed: that have none.
        outputs: path in the folder of outputs -> size [bytes] and sha256.
        seconds: from reading the input to the hashes of its outputs.
        attempts: how often it was begun, because workers died.
        worker: host and process.
        error: why there is no depth, or not of all images.
    """

    input: str
    path: str
    size: int
    mtime_ns: int
    sha256: str = ''
    kinds: list[str] = field(default_factory=list)
    selection: dict[str, Any] = field(default_factory=dict)
    images: int = 0
    failed: int = 0
    outputs: dict[str, list[Any]] = field(default_factory=dict)
    seconds: float = 0.0
    attempts: int = 1
    worker: str = ''
    error: str = ''

    @property
    def state(self) -> State:
        """Of the input, as it was read."""
        return State(self.size, self.mtime_ns)


class Manifest:
    """The records of a folder.

    A line is added as soon as an input is done; of several lines for an input the last counts.
    A line that a killed program left unfinished is ignored. The file is replaced by one without
    such lines when a run begins and ends.

    Args:
        folder: of the outputs.

    Attributes:
        records: by the name of the input.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / NAME
        self.records = read(self.path)
        if self.records:
            self.compact()

    def add(self, record: Record) -> None:
        """Add or replace the record of an input.

        Raises:
            ImageError: it cannot be written.
        """
        self.records[record.input] = record
        try:
            handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                line = _line(record)
                if os.write(handle, line) < len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            finally:
                os.close(handle)
        except OSError as error:
            raise ImageError(
                f'{self.path} cannot be written ({error.strerror}); make room, and run it again'
            ) from error

    def compact(self) -> None:
        """One line for each input, by name."""
        lines = [_line(self.records[name]) for name in sorted(self.records)]
        write_whole(self.path, b''.join(lines))

    def is_done(
        self, name: str, path: Path, kinds: Iterable[str], selection: dict[str, Any], since_ns: int
    ) -> bool:
        """Whether an input is as it was, and all that is wanted of it is there.

        Contents are not read: sizes and times decide.

        Args:
            name: of the input.
            path: of the input.
            kinds: what is wanted.
            selection: of its images.
            since_ns: older outputs do not count [ns].
        """
        record = self.records.get(name)
        if record is None or record.error or record.selection != selection:
            return False
        if not set(kinds) <= set(record.kinds):
            return False
        try:
            if State.of(path) != record.state:
                return False
            states = [((self.folder / p).stat(), size) for p, (size, _) in record.outputs.items()]
        except OSError:
            return False
        return all(s.st_size == size and s.st_mtime_ns >= since_ns for s, size in states)


def read(path: Path) -> dict[str, Record]:
    """The records of a manifest by the name of the input; those of a missing file are none."""
    known = {f.name for f in fields(Record)}
    records = {}
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return {}
    for line in text.split(b'\n'):
        try:
            values = json.loads(line)
            record = Record(**{k: v for k, v in values.items() if k in known})
        except (ValueError, TypeError, AttributeError):
            continue  # not whole
        records[record.input] = record
    return records


def _line(record: Record) -> bytes:
    return f'{json.dumps(asdict(record))}\n'.encode()


def files_of(path: Path) -> list[Path]:
    """The file itself, or those in a folder and below it, in the order of their names."""
    if not path.is_dir():
        return [path]
    return sorted(file for file in path.rglob('*') if file.is_file())


def sha256_of(path: Path) -> str:
    """Hash of a file; of a folder that of the lines `sha256sum` writes for the files in it.

    Raises:
        ImageError: it cannot be read.
    """
    if path.is_dir():
        lines = [f'{sha256_of(p)}  {p.relative_to(path).as_posix()}\n' for p in files_of(path)]
        return hashlib.sha256(''.join(lines).encode()).hexdigest()
    found, block = hashlib.sha256(), bytearray(BLOCK)
    view = memoryview(block)
    try:
        with path.open('rb', buffering=0) as file:
            while size := file.readinto(block):
                found.update(view[:size])
    except OSError as error:
        raise ImageError(f'{path} cannot be read: {error.strerror}') from error
    return found.hexdigest()
