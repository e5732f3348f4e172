# SPDX-License-Identifier: Apache-2.0
"""`depth-ros run` on many inputs: folders, patterns and videos; begun, killed and gone on."""

import json
import os
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest
from recordings import bag, film, picture

from depth_ros.cli import main
from depth_ros.core.errors import ConfigError
from depth_ros.offline.colors import legend
from depth_ros.offline.inputs import Picture, Video, find
from depth_ros.parameters.settings import Settings

RUN = ['run', '--model', 'flat_ground', '--fx', '50']


def written(folder):
    """All files, without the manifest that each run writes."""
    files = (p.relative_to(folder).as_posix() for p in folder.rglob('*') if p.is_file())
    return sorted(name for name in files if name != 'manifest.jsonl')


def test_a_folder_with_rubbish_in_it(tmp_path, capsys):
    there, out = tmp_path / 'in', tmp_path / 'out'
    picture(there / 'a.png')
    picture(there / 'deep' / 'er' / 'b.jpg')
    for rubbish in ('notes.txt', 'Thumbs.db', '.DS_Store'):
        (there / rubbish).write_text('rubbish')
    (there / 'a_depth.png').write_bytes((there / 'a.png').read_bytes())  # of an earlier run
    (there / 'broken.jpg').write_bytes(b'\xff\xd8\xff no more')
    (there / 'phone.HEIC').write_bytes(b'\0\0\0\x24ftypheic')
    assert main([*RUN, str(there), '--output', str(out), '--write', 'npy,ply']) == 2
    said = capsys.readouterr()
    assert 'broken.jpg' in said.err and '2 of the inputs have no depth' in said.err
    assert 'phone.HEIC cannot be decoded by OpenCV; convert it to JPEG' in said.err
    assert '2 images, 2 failed; median depth' in said.out
    assert written(out) == [
        'a.ply',
        'a_depth.npy',
        'deep/er/b.ply',
        'deep/er/b_depth.npy',
        'run.json',
    ]


def test_it_goes_on_where_it_was_and_not_with_other_settings(tmp_path, capsys):
    there, out = tmp_path / 'in', tmp_path / 'out'
    for k in range(4):
        picture(there / f'{k}.png', k)
    command = [*RUN, str(there), '--output', str(out), '--write', 'npy']
    assert main([*command, '--limit', '2']) == 0
    assert written(out) == ['0_depth.npy', '1_depth.npy', 'run.json']
    before = (out / '1_depth.npy').stat().st_mtime_ns
    assert main(command) == 0
    assert '2 images, 2 were there before' in capsys.readouterr().out
    assert (out / '1_depth.npy').stat().st_mtime_ns == before
    other = [*command, '-p', 'range.max:=5']
    assert main(other) == 2
    assert 'made with another range.max (default, now 5)' in capsys.readouterr().err
    assert main([*other, '--overwrite', '--every', '3', '--limit', '2']) == 0
    farthest = [np.load(out / f'{k}_depth.npy')[24:].max() for k in (0, 1, 3)]
    assert farthest == [np.inf, pytest.approx(120, rel=1e-5), np.inf]
    assert main(other) == 0, 'and those of before are not taken for new ones'
    assert '2 images, 2 were there before' in capsys.readouterr().out
    assert np.load(out / '1_depth.npy')[24:].max() == np.inf
    assert json.loads((out / 'run.json').read_text())['range.max'] == 5


def test_patterns_and_names(tmp_path):
    picture(tmp_path / 'x' / 'a.png')
    picture(tmp_path / 'y' / 'a.png')
    (found,) = find([f'{tmp_path}/x/*.png'])
    assert isinstance(found, Picture) and found.name == 'a'
    assert [i.name for i in find([str(tmp_path)])] == ['x/a', 'y/a']
    with pytest.raises(ConfigError, match='outputs of the same name, a: give the folder above'):
        find([f'{tmp_path}/*/a.png'])
    with pytest.raises(ConfigError, match=r'\*\.jpg matches no picture, video or bag'):
        find([f'{tmp_path}/*.jpg'])
    (tmp_path / 'empty').mkdir()
    with pytest.raises(ConfigError, match='empty has no picture, video or bag in it'):
        find([str(tmp_path / 'empty')])


def test_a_video_becomes_a_video_with_a_legend(tmp_path, capsys):
    clip, out = film(tmp_path / 'clip.mp4'), tmp_path / 'out'
    command = [*RUN, str(clip), '--output', str(out)]
    assert main(command) == 0
    assert written(out) == ['clip_depth.mp4', 'run.json']
    video = cv2.VideoCapture(str(out / 'clip_depth.mp4'))
    assert video.get(cv2.CAP_PROP_FPS) == 10 and video.get(cv2.CAP_PROP_FRAME_COUNT) == 20
    frames = [video.read()[1] for _ in range(20)]
    assert frames[0].shape == (48, 2 * 64 + legend(48, Settings()).shape[1], 3)
    assert abs(int(frames[15][24, 10, 0]) - 150) < 12, 'the image is on the left'
    assert (abs(frames[15][45, 100].astype(int) - 150) > 12).any(), 'its depth beside it'
    assert main(command) == 0
    assert '0 images, 20 were there before' in capsys.readouterr().out


def test_the_frames_of_a_video_that_are_asked_for(tmp_path):
    clip, out = film(tmp_path / 'clip.mp4'), tmp_path / 'out'
    some = ['--every', '3', '--start', '0.5', '--end', '1.5', '--write', 'npy,video']
    assert main([*RUN, str(clip), '--output', str(out), *some]) == 0
    assert written(out) == [
        'clip/000006_depth.npy', 'clip/000009_depth.npy', 'clip/000012_depth.npy',
        'clip/000015_depth.npy', 'clip_depth.mp4', 'run.json',
    ]  # fmt: skip
    (video,) = find([str(clip)])
    assert isinstance(video, Video) and (video.rate, video.count) == (10, 20)
    assert main([*RUN, str(clip), '--output', str(out), *some, '--limit', '2', '--overwrite']) == 0
    written_film = cv2.VideoCapture(str(out / 'clip_depth.mp4'))
    assert written_film.get(cv2.CAP_PROP_FRAME_COUNT) == 2


def test_a_filter_that_remembers_begins_a_video_again(tmp_path, capsys):
    clip, out = film(tmp_path / 'clip.mp4', 6), tmp_path / 'out'
    command = [*RUN, str(clip), '--output', str(out), '--write', 'npy']
    command += ['-p', 'filters.temporal:=0.6']
    assert main(command) == 0
    (out / 'clip' / '000004_depth.npy').unlink()
    assert main(command) == 0
    assert '6 images; ' in capsys.readouterr().out.splitlines()[-1]


@pytest.mark.parametrize(
    'words',
    [
        ['--write', 'video'],
        *(pytest.param(['--write', kind], marks=pytest.mark.slow) for kind in ('npy', 'ply')),
    ],
)
def test_killed_at_any_moment_nothing_is_half_written(tmp_path, words):
    clip, out = film(tmp_path / 'clip.mp4', 200, size=(320, 240)), tmp_path / 'out'
    command = [
        sys.executable,
        '-m',
        'depth_ros.cli',
        *RUN,
        str(clip),
        '--output',
        str(out),
        *words,
    ]
    for wait_s in (0.05, 0.4):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.monotonic() + 60
        while not (out / 'run.json').exists() and time.monotonic() < end:
            time.sleep(0.01)
        time.sleep(wait_s)
        process.send_signal(signal.SIGKILL)
        process.wait()
        for path in out.rglob('*_depth.npy'):
            assert np.load(path).shape == (240, 320)
    assert not list(out.glob('*_depth.mp4')) or words[1] != 'video'
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0 and done.stdout.splitlines()[-1].endswith('ms per image')
    assert len(written(out)) == (2 if words[1] == 'video' else 201)


def test_a_bag_that_is_damaged_in_its_middle_does_not_end_a_run(tmp_path, capsys):
    pytest.importorskip('rosbags', reason='rosbags is not installed')
    there, out = tmp_path / 'in', tmp_path / 'out'
    bag(there / 'bad', 1, 300, compressed='storage')
    bag(there / 'good', 2, 3)
    (there / 'cut.mcap').write_bytes((there / 'good' / 'good.mcap').read_bytes()[:5000])
    path = there / 'bad' / 'bad.mcap'
    content = bytearray(path.read_bytes())
    for k in range(len(content) // 2, len(content) // 2 + 200_000):
        content[k] ^= 0xFF
    path.write_bytes(content)
    assert main([*RUN, str(there), '--output', str(out), '--write', 'npy,bag']) == 2
    said = capsys.readouterr().err
    assert 'bad is damaged, and ends here: ' in said
    assert 'cut.mcap is no bag that can be read' in said
    names = written(out)
    assert 'good_depth/good_depth.mcap' in names and 'good/000002_depth.npy' in names
    assert 50 < len([name for name in names if name.startswith('bad/')]) < 300
    assert not [name for name in names if name.startswith('bad_depth') or '.part' in name]


def test_what_is_asked_for_wrongly(tmp_path, capsys):
    path, clip = picture(tmp_path / 'a.png'), film(tmp_path / 'clip.mp4', 3)
    for words, said in (
        ([str(path), str(clip)], 'give --output a folder for the files'),
        ([str(tmp_path), '--output', str(tmp_path / 'o'), '--anchors', 'x.png'], 'single picture'),
        ([str(path), '--output', str(tmp_path / 'no' / 'x')], 'is not a writable folder'),
    ):
        assert main([*RUN, *words]) == 2
        assert said in capsys.readouterr().err
    (tmp_path / 'empty.mp4').write_bytes(b'')
    assert main([*RUN, str(tmp_path / 'empty.mp4'), '--output', str(tmp_path / 'o')]) == 2
    assert 'cannot be opened by OpenCV; convert it to MP4' in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*RUN, str(path), '--write', 'gif'])
    assert "'gif' is none of npy, png, color, ply, video" in capsys.readouterr().err
    assert not os.path.exists(tmp_path / 'o')
