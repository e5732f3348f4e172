# SPDX-License-Identifier: Apache-2.0
"""The manifest of a run, and what a run without a cluster does by it."""

import hashlib
import json
import multiprocessing
import os
import subprocess
import sys

import pytest
from recordings import film, picture

from depth_ros.cli import main
from depth_ros.offline.folder import locked, part_of, remove_parts, replace_folder
from depth_ros.offline.manifest import Manifest, Record, sha256_of

RUN = ['run', '--model', 'flat_ground', '--fx', '50']


def records(folder):
    lines = [json.loads(line) for line in (folder / 'manifest.jsonl').read_text().splitlines()]
    assert [line['input'] for line in lines] == sorted(line['input'] for line in lines)
    return {line['input']: line for line in lines}


@pytest.fixture
def pictures(tmp_path):
    for k in range(3):
        picture(tmp_path / 'in' / f'{k}.png', k)
    command = [*RUN, str(tmp_path / 'in'), '--output', str(tmp_path / 'out'), '--write', 'npy']
    assert main(command) == 0
    return tmp_path / 'in', tmp_path / 'out', command


def test_what_is_recorded(pictures):
    source, out, _ = pictures
    record = records(out)['1']
    content, made = (source / '1.png').read_bytes(), (out / '1_depth.npy').read_bytes()
    assert record['sha256'] == hashlib.sha256(content).hexdigest()
    assert record['size'] == len(content) and record['path'] == str(source / '1.png')
    assert record['outputs'] == {'1_depth.npy': [len(made), hashlib.sha256(made).hexdigest()]}
    assert (record['images'], record['failed'], record['error']) == (1, 0, '')
    assert record['attempts'] == 1 and record['worker'].endswith(f' {os.getpid()}')


def test_a_changed_picture_is_done_again_and_a_touched_one_is_not(pictures, capsys):
    source, out, command = pictures
    picture(source / '1.png', 7, (60, 80))
    os.utime(source / '2.png')
    times = {path.name: path.stat().st_mtime_ns for path in out.glob('*.npy')}
    capsys.readouterr()
    assert main(command) == 0
    assert '1 images, 2 were there before' in capsys.readouterr().out
    changed = {p.name for p in out.glob('*.npy') if p.stat().st_mtime_ns != times[p.name]}
    assert changed == {'1_depth.npy'}
    assert records(out)['1']['sha256'] == sha256_of(source / '1.png')
    # and by now nothing is read
    os.chmod(source / '0.png', 0)
    assert main(command) == 0
    assert '0 images, 3 were there before' in capsys.readouterr().out


def test_what_was_made_of_a_good_picture_is_not_taken_for_that_of_a_broken_one(pictures, capsys):
    source, out, command = pictures
    (source / '1.png').write_bytes(b'broken')
    for _ in range(2):
        assert main(command) == 2
        assert '1.png cannot be decoded' in capsys.readouterr().err
        assert not (out / '1_depth.npy').exists()
    assert records(out)['1']['error'] and not records(out)['1']['outputs']


def test_a_video_that_became_shorter(tmp_path):
    clip, out = film(tmp_path / 'clip.mp4', 6), tmp_path / 'out'
    command = [*RUN, str(clip), '--output', str(out), '--write', 'npy']
    assert main(command) == 0
    film(clip, 4)
    assert main([*command[:-1], 'npy,video']) == 0
    assert sorted(p.name for p in out.rglob('*_depth.*'))[-1] == 'clip_depth.mp4'
    assert len([*out.rglob('*.npy')]) == 4, 'two were of the old content'


def test_damage_that_size_and_time_do_not_show(pictures, capsys):
    _, out, command = pictures
    path = out / '0_depth.npy'
    whole, state = path.read_bytes(), path.stat()
    path.write_bytes(b'x' * len(whole))
    os.utime(path, ns=(state.st_mtime_ns, state.st_mtime_ns))
    capsys.readouterr()
    assert main(command) == 0
    assert '0 images, 3 were there before' in capsys.readouterr().out
    assert main([*command, '--verify']) == 0
    assert '1 images, 2 were there before' in capsys.readouterr().out
    assert path.read_bytes() == whole


def test_other_kinds_and_other_frames_of_the_same_input(tmp_path, capsys):
    clip, out = film(tmp_path / 'clip.mp4', 6), tmp_path / 'out'
    command = [*RUN, str(clip), '--output', str(out), '--write']
    assert main([*command, 'video', '--limit', '2']) == 0
    short = (out / 'clip_depth.mp4').read_bytes()
    assert main([*command, 'video']) == 0, 'a video of other frames is not this one'
    assert '6 images; ' in capsys.readouterr().out.splitlines()[-1]
    assert (out / 'clip_depth.mp4').read_bytes() != short
    assert main([*command, 'npy']) == 0
    assert records(out)['clip']['kinds'] == ['npy', 'video']
    assert len(records(out)['clip']['outputs']) == 7
    capsys.readouterr()
    assert main([*command, 'npy,video']) == 0
    assert '0 images, 6 were there before' in capsys.readouterr().out
    (out / 'clip' / '000003_depth.npy').unlink()
    assert main([*command, 'npy']) == 0
    assert '1 images, 5 were there before' in capsys.readouterr().out


def test_frames_of_a_half_done_input_that_was_changed_are_not_kept(tmp_path, capsys):
    clip, out = film(tmp_path / 'clip.mp4', 6), tmp_path / 'out'
    command = [*RUN, str(clip), '--output', str(out), '--write', 'npy']
    assert main(command) == 0
    # as a run leaves it that is killed before it ends
    state = clip.stat()
    half = Record('clip', str(clip), state.st_size, state.st_mtime_ns, error='begun')
    (out / 'manifest.jsonl').unlink()
    Manifest(out).add(half)
    assert main(command) == 0
    assert '0 images, 6 were there before' in capsys.readouterr().out
    Manifest(out).add(half)
    film(clip, 6, size=(80, 60))
    assert main(command) == 0
    assert '6 images; ' in capsys.readouterr().out.splitlines()[-1]


def test_a_line_that_was_not_finished_is_ignored(tmp_path):
    manifest = Manifest(tmp_path)
    for name in 'bab':
        manifest.add(Record(name, f'/{name}', 1, 2, error='once' if name == 'a' else ''))
    with manifest.path.open('a') as file:
        file.write('{"input": "c", "pa')
    assert sorted(Manifest(tmp_path).records) == ['a', 'b']
    assert len(manifest.path.read_text().splitlines()) == 2


def test_the_hash_of_a_folder_is_that_of_sha256sum(tmp_path):
    for name in ('b.txt', 'a.txt'):
        (tmp_path / name).write_text(name)
    lines = subprocess.check_output('sha256sum a.txt b.txt', shell=True, cwd=tmp_path)
    assert sha256_of(tmp_path) == hashlib.sha256(lines).hexdigest()


def test_what_was_killed_leaves_nothing(tmp_path):
    kept = tmp_path / 'x' / 'my.part'
    picture(tmp_path / 'x' / 'a.png')
    kept.write_text('not ours')
    part_of(tmp_path / 'x' / 'a_depth.npy').write_text('half')
    part_of(tmp_path / 'a_depth.mp4', '.mp4').write_text('half')
    (part_of(tmp_path / 'b_depth') / 'b_depth').mkdir(parents=True)
    remove_parts(tmp_path)
    left = {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob('*')}
    assert left == {'x', 'x/my.part', 'x/a.png'}


def _replace_often(path, times):
    for _ in range(times):
        part = part_of(path)
        part.mkdir()
        for k in range(5):
            (part / str(k)).write_text(str(k))
        replace_folder(part, path)


def test_two_processes_write_the_same_folder(tmp_path):
    """One of them was taken for dead."""
    path = tmp_path / 'bag_depth'
    context = multiprocessing.get_context('spawn')
    both = [context.Process(target=_replace_often, args=(path, 100)) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join()
        assert process.exitcode == 0
    assert sorted(p.name for p in path.iterdir()) == list('01234')
    assert [*tmp_path.iterdir()] == [path]


def test_two_runs_do_not_share_a_folder(pictures, capsys):
    _, out, command = pictures
    with locked(out):
        assert main(command) == 2
    assert f'another run writes to --output {out}' in capsys.readouterr().err
    assert main(command) == 0


def test_options_of_fleets_without_one(pictures, capsys):
    *_, command = pictures
    assert main([*command, '--workers', '2']) == 2
    assert '--workers is of --ray, which is not given' in capsys.readouterr().err
    assert main([*command, '--ray', command[-3]]) == 2
    assert 'is a file, not an address: put --ray at the end' in capsys.readouterr().err


def test_without_the_package_ray(pictures, monkeypatch, capsys):
    *_, command = pictures
    monkeypatch.setitem(sys.modules, 'ray', None)
    assert main([*command, '--ray']) == 2
    said = capsys.readouterr().err
    assert "--ray needs the package ray, which is not installed: pip install 'ray>=2.60'" in said


def test_a_cluster_that_is_not_there(pictures, monkeypatch, capsys):
    pytest.importorskip('ray', reason='ray is not installed')
    *_, command = pictures
    assert main([*command, '--ray', '127.0.0.1:1']) == 2
    assert '--ray: no Ray cluster at 127.0.0.1:1' in capsys.readouterr().err
    assert main([*command, '--ray', 'ray://127.0.0.1:10001']) == 2
    assert 'start the command on a node of the cluster' in capsys.readouterr().err
