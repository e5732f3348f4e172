# SPDX-License-Identifier: Apache-2.0
"""What the demo's camera plays: rendered images with exact depth, cached on disk."""

from types import SimpleNamespace

import numpy as np
import pytest

from depth_ros.core.errors import ConfigError
from depth_ros.messages.images import ENCODINGS, to_rgb
from depth_ros.sim import encodings, sequence
from depth_ros.sim.sequence import ImageSequence, SequenceSettings, render_sequence
from depth_ros.sim.world.seeds import HELD_OUT, VALIDATION
from tools.demo.measure import ArrivalLog

SMALL = SequenceSettings(width=48, height=36, frames=9)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.delenv('DEPTH_ROS_CACHE', raising=False)
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    return tmp_path / 'depth_ros' / 'sequences'


def test_the_seed_shown_was_never_trained_on():
    assert HELD_OUT <= SequenceSettings().seed < VALIDATION


def test_the_second_time_nothing_is_rendered(cache, monkeypatch):
    progress = []
    first = render_sequence(SMALL, progress.append)
    assert progress == [0, 8, 9]
    assert first.rgb.shape == (9, 36, 48, 3) and first.depth.shape == (9, 36, 48)
    assert (first.rgb[0] != first.rgb[8]).any() and not np.isnan(first.depth).any()
    monkeypatch.setattr(sequence, '_render', None)
    again = render_sequence(SMALL)
    assert (again.rgb == first.rgb).all() and (again.depth == first.depth).all()


def test_the_same_seed_gives_the_same_sequence_in_other_processes(cache, monkeypatch):
    many = render_sequence(
        SequenceSettings(width=48, height=36, frames=65)
    )  # 9 chunks: two processes
    monkeypatch.setattr(sequence.os, 'cpu_count', lambda: 1)
    monkeypatch.setenv('DEPTH_ROS_CACHE', str(cache / 'other'))
    alone = render_sequence(SequenceSettings(width=48, height=36, frames=65))
    assert (many.rgb == alone.rgb).all() and (many.depth == alone.depth).all()


@pytest.mark.parametrize('damage', [b'cut short', b''])
def test_broken_and_outdated_sequences_are_replaced(cache, monkeypatch, damage):
    render_sequence(SMALL)
    (path,) = cache.iterdir()
    (path / 'depth.npy').write_bytes(damage)
    assert render_sequence(SMALL).depth.shape == (9, 36, 48)
    monkeypatch.setattr(sequence, '_source_hash', lambda: 'another world')
    render_sequence(SMALL)
    (new,) = cache.iterdir()
    assert new.name.endswith('another world')


def test_an_unwritable_cache_is_logged(cache, caplog):
    cache.parent.write_text('a file where the folder should be')
    assert render_sequence(SMALL).rgb.shape == (9, 36, 48, 3)
    assert 'cannot be cached' in caplog.text


def test_the_sequence_plays_forwards_and_backwards():
    three = ImageSequence(np.empty((3, 1, 1, 3), np.uint8), np.empty((3, 1, 1), np.float32))
    assert [three.index(n) for n in range(9)] == [0, 1, 2, 1, 0, 1, 2, 1, 0]
    one = ImageSequence(three.rgb[:1], three.depth[:1])
    assert [one.index(n) for n in range(3)] == [0, 0, 0]


def test_a_lens_bends_the_image_and_leaves_the_depth_of_its_pinhole():
    straight, bent = (
        render_sequence(SMALL),
        render_sequence(SequenceSettings(width=48, height=36, frames=9, distortion=True)),
    )
    assert (straight.depth == bent.depth).all()
    assert (straight.rgb != bent.rgb).mean() > 0.3


@pytest.mark.parametrize('hfov_deg', [30.0, 70.0, 120.0])
def test_field_of_view_is_the_one_asked_for(hfov_deg):
    camera = SequenceSettings(hfov_deg=hfov_deg, distortion=True).camera
    assert camera.hfov_deg == pytest.approx(hfov_deg)


@pytest.mark.parametrize(
    ('wrong', 'words'),
    [
        ({'kind': 'moon'}, "kind is 'moon'; choose one of"),
        ({'width': 0}, 'width is 0; it must be positive'),
        ({'frames': -1}, 'frames is -1'),
        ({'hfov_deg': 170.0}, 'the maximum is 150'),
        ({'frames': 10**8}, 'GB; the maximum is 8'),
        ({'seed': 1.5}, 'seed is 1.5; it must be an integer'),
    ],
)
def test_what_cannot_be_rendered_is_refused(wrong, words):
    with pytest.raises(ConfigError, match=words):
        SequenceSettings(**wrong)


@pytest.mark.parametrize('encoding', ENCODINGS)
def test_the_node_reads_every_encoding_back(encoding):
    v, u = np.mgrid[0:30, 0:46]
    rgb = np.stack((60 + 3 * u, 90 + 4 * v, 120 + u + v), -1).astype(np.uint8)
    encodings.check(encoding, 46, 30)
    rows = encodings.encode(rgb, encoding)
    message = SimpleNamespace(
        encoding=encoding, width=46, height=30, step=rows.shape[1], data=rows.tobytes()
    )
    message.is_bigendian = False
    got = to_rgb(message).astype(int)[2:-2, 2:-2]
    want = rgb.astype(int)[2:-2, 2:-2]
    if encoding.startswith(('mono', '8UC1')):
        want = np.repeat((want @ (0.299, 0.587, 0.114))[..., None], 3, 2)
    exact = encoding.startswith(('rgb', 'bgr', '8UC3', '8UC4'))
    assert np.abs(got - want).max() <= (0 if exact else 9)


@pytest.mark.parametrize('encoding', ['h264', 'nv12'])
def test_an_encoding_that_does_not_fit_is_refused(encoding):
    with pytest.raises(ConfigError, match=encoding):
        encodings.check(encoding, 45, 30)


def test_ledger_counts_loss_and_latency_by_stamp():
    log, sent = ArrivalLog(), [1_000_000_000 + i * 100_000_000 for i in range(11)]
    for stamp in sent[:5] + sent[6:]:
        log.add(stamp, stamp + 4_000_000)
    log.add(7, 8)  # from before the window
    report = log.report(sent)
    assert (report['received'], report['lost']) == (10, 1)
    assert report['latency_p50_ms'] == report['latency_p99_ms'] == 4.0
    assert report['rate_hz'] == 9.0
    assert ArrivalLog().report(sent)['lost'] == 11
