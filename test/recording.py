# SPDX-License-Identifier: Apache-2.0
"""A file of `depth-ros view --save`, read by Rerun's own reader."""

from __future__ import annotations

import subprocess
import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest

rr = pytest.importorskip('rerun', reason='rerun-sdk is not installed: pip install .[view]')
rerun_cli = pytest.importorskip('rerun_cli')
chunk = pytest.importorskip('rerun.chunk')

PROGRAM = Path(rerun_cli.__file__).with_name('rerun')


TIMELINES = ('stamp', 'time', 'frame')


class Rrd:
    """The entities of a file: path -> rows in order of the timelines."""

    def __init__(self, path: Path) -> None:
        with warnings.catch_warnings():  # of a file without an end
            warnings.simplefilter('ignore')
            reader = chunk.RrdReader(str(path))
        (self.recording,) = reader.recordings()
        self.blueprints = reader.blueprints()
        self.entities: dict[str, list[dict]] = {}
        for part in reader.stream():
            batch = part.to_record_batch()
            rows = self.entities.setdefault(part.entity_path, [])
            for k in range(batch.num_rows):
                row = {
                    name: column[k]
                    for name, column in zip(batch.schema.names, batch.columns, strict=True)
                }
                rows.append({n: v for n, v in row.items() if v.is_valid})
        for rows in self.entities.values():  # chunks come in any order
            rows.sort(
                key=lambda row: [row[t].cast('int64').as_py() for t in TIMELINES if t in row]
            )

    def stamps_ns(self, path: str) -> list[int]:
        return [row['stamp'].value for row in self.entities[path]]

    def column(self, path: str, name: str) -> list:
        """Values of a component, one of each row; lists are arrays."""
        return [row[name].values for row in self.entities[path] if name in row]

    def depth(self, path: str) -> list[np.ndarray]:
        """Depth images [m]."""
        images = []
        for row in self.entities[path]:
            (form,) = row['DepthImage:format'].as_py()
            assert form['channel_datatype'] == rr.ChannelDatatype.F32.value
            (meter,) = row['DepthImage:meter'].as_py()
            assert meter == 1.0
            data = row['DepthImage:buffer'].values[0].values.to_numpy()
            images.append(data.view(np.float32).reshape(form['height'], form['width']))
        return images

    def images(self, path: str) -> list[np.ndarray]:
        """(H, W, 3) RGB of each JPEG."""
        blobs = self.column(path, 'EncodedImage:blob')
        files = [blob[0].values.to_numpy() for blob in blobs]
        return [cv2.imdecode(file, cv2.IMREAD_COLOR)[..., ::-1] for file in files]

    def points(self, path: str) -> list[np.ndarray]:
        """(n, 3) [m] of each cloud."""
        return [
            values.flatten().to_numpy().reshape(-1, 3)
            for values in self.column(path, 'Points3D:positions')
        ]

    def figures(self, path: str) -> list[float]:
        return [float(values[0].as_py()) for values in self.column(path, 'Scalars:scalars')]


def verify(path: Path) -> None:
    """Whether Rerun's program finds the file whole."""
    done = subprocess.run(
        [PROGRAM, 'rrd', 'verify', path], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0 and 'without error' in done.stdout + done.stderr, done.stderr
