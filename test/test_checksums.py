# SPDX-License-Identifier: Apache-2.0
"""Checksums of large files are computed once."""

from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path

import pytest

from depth_ros.checkpoints import cache
from depth_ros.checkpoints.cache import CHECKSUMS, cache_directory, checksum


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that has not changed for long enough, with a cache of its own."""
    monkeypatch.setenv('DEPTH_ROS_CACHE', str(tmp_path / 'cache'))
    monkeypatch.setattr(cache, 'SETTLED_S', -1.0)
    path = tmp_path / 'weights.bin'
    path.write_bytes(b'first')
    return path


def sha256(content: bytes) -> str:
    """What any other program computes."""
    return hashlib.sha256(content).hexdigest()


def test_a_known_file_is_not_read_again(file: Path) -> None:
    """What is remembered is returned."""
    assert checksum(file, 'sha256') == sha256(b'first')
    memory = cache_directory() / CHECKSUMS
    ((key, value),) = json.loads(memory.read_text()).items()
    memory.write_text(json.dumps({key: [*value[:-1], 'remembered']}))
    assert checksum(file, 'sha256') == 'remembered'
    assert checksum(file, 'md5') == hashlib.md5(b'first').hexdigest()


def test_a_file_with_another_content_is_read_again(file: Path) -> None:
    """Also if size and time of change are those of before, as after cp -p."""
    before = file.stat()
    checksum(file, 'sha256')
    time.sleep(0.02)  # the clock of the file system
    file.write_bytes(b'other')
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert checksum(file, 'sha256') == sha256(b'other')


def test_a_file_that_was_just_written_is_not_remembered(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may change again within the resolution of the clock."""
    monkeypatch.setattr(cache, 'SETTLED_S', 60.0)
    checksum(file, 'sha256')
    assert not (cache_directory() / CHECKSUMS).exists()


@pytest.mark.parametrize('content', ['', '[1]', '{"sha256 /": 3}', '{"x": [1, 2]}', '\x00'])
def test_a_damaged_memory_is_replaced(file: Path, content: str) -> None:
    """Nothing of it is believed."""
    memory = cache_directory() / CHECKSUMS
    memory.parent.mkdir()
    memory.write_text(content)
    assert checksum(file, 'sha256') == sha256(b'first')
    assert sha256(b'first') in memory.read_text()


def test_files_that_are_gone_are_forgotten(file: Path) -> None:
    """The memory does not grow for ever."""
    other = file.with_name('other.bin')
    other.write_bytes(b'1')
    checksum(other, 'sha256')
    other.unlink()
    checksum(file, 'sha256')
    assert 'other.bin' not in (cache_directory() / CHECKSUMS).read_text()


def test_a_cache_that_cannot_be_written_is_no_error(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The checksum is computed each time."""
    (tmp_path / 'no_folder').touch()
    monkeypatch.setenv('DEPTH_ROS_CACHE', str(tmp_path / 'no_folder' / 'cache'))
    assert checksum(file, 'sha256') == sha256(b'first')
