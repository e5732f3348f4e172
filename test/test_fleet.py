# SPDX-License-Identifier: Apache-2.0
"""`depth-ros run --ray` on a real Ray cluster of two nodes; workers, nodes and drivers die."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from recordings import bag, film, picture
from test_offline_bags import wall_bag

from depth_ros.cli import main
from depth_ros.offline import fleet

pytest.importorskip('rosbags', reason='rosbags is not installed')
pytest.importorskip('ray', reason='ray is not installed')
HERE = Path(__file__).parent
RUN = ['run', '--model', 'nano', '--hfov', '70']
NODE = {'num_cpus': 1, 'object_store_memory': 80_000_000, 'include_dashboard': False}


class Dying(fleet.Worker):
    """A worker that some inputs kill."""

    def work(self, task, since_ns, attempts):
        for one in task.unit.inputs:
            if one.name == 'kills':
                os._exit(1)
            if one.name == 'raises':
                raise RuntimeError('a fault of a library')
        return super().work(task, since_ns, attempts)


@pytest.fixture(scope='module')
def cluster():
    variables = {
        'RAY_USAGE_STATS_ENABLED': '0',
        'RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER': '0',  # loopback addresses
        'PYTHONPATH': f'{os.environ["PYTHONPATH"]}{os.pathsep}{HERE}',
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        from ray.cluster_utils import Cluster

        quickly = {'health_check_period_ms': 500, 'health_check_failure_threshold': 2}
        made = Cluster(initialize_head=True, head_node_args={**NODE, '_system_config': quickly})
        made.second = made.add_node(**NODE)
        yield made
        made.shutdown()


@pytest.fixture(scope='module')
def bags(tmp_path_factory):
    """Four bags, which are cut in two, and what a local run makes of them."""
    folder = tmp_path_factory.mktemp('bags')
    for k in range(4):
        bag(folder / 'in' / f'b{k}', k, 80)
    assert main([*RUN, str(folder / 'in'), '--output', str(folder / 'out'), '--write', 'npy']) == 0
    return folder / 'in', hashes(folder / 'out')


def hashes(folder):
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob('*')
        if path.is_file() and path.name != 'manifest.jsonl'
    }


def manifest(folder):
    lines = [json.loads(line) for line in (folder / 'manifest.jsonl').read_text().splitlines()]
    assert len({line['input'] for line in lines}) == len(lines)
    return {line['input']: line for line in lines}


def on_ray(cluster, source, out, *words):
    return main([*RUN, str(source), '--output', str(out), *words, '--ray', cluster.address])


def check_nothing_is_lost_or_twice(out, expected):
    assert hashes(out) == expected
    outputs = [item for record in manifest(out).values() for item in record['outputs'].items()]
    found = {name: sha256 for name, (_, sha256) in outputs}
    assert {**found, 'run.json': expected['run.json']} == expected
    assert len(outputs) == len(expected) - 1
    assert all(r['images'] == 80 and not r['error'] for r in manifest(out).values())


def descendants(pid):
    """Processes that a process has started, directly or not."""
    parents = {}
    for path in Path('/proc').glob('[0-9]*/stat'):
        try:
            parents[int(path.parent.name)] = int(path.read_text().rpartition(')')[2].split()[1])
        except (OSError, ValueError):
            continue
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {pid}


def workers(*nodes):
    """Processes of these nodes that do a unit now."""
    found = []
    for node in nodes:
        for pid in descendants(node.all_processes['raylet'][0].process.pid):
            try:
                title = Path(f'/proc/{pid}/cmdline').read_bytes()
            except OSError:
                continue
            if title.startswith(b'ray::') and b'work' in title:
                found.append(pid)
    return found


def when_in_the_middle(out, action, images=20):
    """Call it in a thread as soon as some images are there."""

    def wait():
        end_s = time.monotonic() + 60
        while time.monotonic() < end_s and len([*out.rglob('*_depth.npy')]) < images:
            time.sleep(0.01)
        action()

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def test_the_files_are_those_of_a_local_run(cluster, tmp_path, capfd):
    """Every kind of input and output; then again, with damage, changes and hashes."""
    there, local, out = tmp_path / 'in', tmp_path / 'local', tmp_path / 'out'
    bag(there / 'long', 1, 70)
    bag(there / 'short', 2, 3)
    film(there / 'clip.mp4', 5)
    for k in range(5):
        picture(there / f'{k}.png', k)
    (there / 'cut.mcap').write_bytes((there / 'long' / 'long.mcap').read_bytes()[:9999])
    (there / 'broken.jpg').write_bytes(b'\xff\xd8\xff no more')
    words = ['--write', 'npy,png,color,ply']
    assert main([*RUN, str(there), '--output', str(local), *words]) == 2
    capfd.readouterr()
    assert on_ray(cluster, there, out, *words) == 2
    said = capfd.readouterr()
    assert hashes(out) == hashes(local)
    assert 'cut.mcap is no bag that can be read' in said.err and 'broken.jpg' in said.err
    assert '83 images, 2 failed; median depth' in said.out and '2 workers, each with' in said.out
    for name in ('Ray', 'raylet', 'Traceback', 'WARNING'):
        assert name not in said.err and name not in said.out
    records = manifest(out)
    assert records['cut']['error'] and records['broken']['error'] and not records['long']['error']
    assert ' ' in records['long']['worker'] and records['long']['sha256']


@pytest.mark.slow
def test_sensors_of_bags_are_used_as_in_a_local_run(cluster, tmp_path, capfd):
    there, local, out = tmp_path / 'in', tmp_path / 'local', tmp_path / 'out'
    for k in (1, 2):
        wall_bag(there / f'wall{k}', (2.0 * k, 4.0, 8.0))
    (there / 'cut.mcap').write_bytes(b'nothing')
    words = ['--write', 'npy', '-p', 'anchors.sources:=[points]']
    assert main([*RUN, str(there), '--output', str(local), *words]) == 2
    assert on_ray(cluster, there, out, *words) == 2
    assert 'wall1: scale ' in (said := capfd.readouterr()).out and 'cut.mcap' in said.err
    assert hashes(out) == hashes(local) and len(hashes(out)) == 7


@pytest.mark.slow
def test_whole_videos_and_bags_and_what_is_done_again(cluster, tmp_path, capfd):
    there, local, out = tmp_path / 'in', tmp_path / 'local', tmp_path / 'out'
    bag(there / 'long', 1, 70)
    bag(there / 'short', 2, 3)
    for k in range(5):
        picture(there / f'{k}.png', k)
    words = ['--write', 'npy,ply']
    assert on_ray(cluster, there, out, *words) == 0
    # what depends on the whole: temporal filters, a video, a bag
    wholes = ['--write', 'npy,video,bag', '-p', 'filters.temporal:=0.5']
    some = there / 'long'
    assert main([*RUN, str(some), '--output', str(local / 'x'), *wholes]) == 0
    assert on_ray(cluster, some, out / 'x', *wholes) == 0
    assert hashes(out / 'x') == hashes(local / 'x')
    # damaged outputs and a changed input
    (out / '0_depth.npy').write_bytes(b'x' * (out / '0_depth.npy').stat().st_size)
    (there / 'short' / 'short.mcap').unlink()
    shutil.rmtree(there / 'short')
    bag(there / 'short', 9, 2)
    before = (out / '1_depth.npy').stat().st_mtime_ns
    capfd.readouterr()
    assert on_ray(cluster, there, out, *words, '--verify') == 0
    said = capfd.readouterr()
    assert '3 images, 74 were there before; ' in said.out
    assert (out / '1_depth.npy').stat().st_mtime_ns == before
    assert not (out / 'short' / '000002_depth.npy').exists(), 'of the old content'
    fresh = tmp_path / 'fresh'
    assert main([*RUN, str(there), '--output', str(fresh), *words]) == 0
    left = {name: h for name, h in hashes(out).items() if not name.startswith('x')}
    assert left == hashes(fresh)


@pytest.mark.slow
def test_a_worker_is_killed_and_a_node_is_lost(cluster, bags, tmp_path, capfd):
    source, expected = bags
    out = tmp_path / 'out'
    killed, ended = [], threading.Event()

    def kill():
        while not killed and not ended.is_set():  # between two units there is none
            killed.extend(workers(*cluster.list_all_nodes())[:1])
        for pid in killed:
            os.kill(pid, signal.SIGKILL)

    def lose():
        while not workers(cluster.second) and not ended.is_set():
            time.sleep(0.01)
        cluster.remove_node(cluster.second, allow_graceful=False)
        cluster.second = None

    threads = [when_in_the_middle(out, kill, 20), when_in_the_middle(out, lose, 100)]
    assert on_ray(cluster, source, out, '--write', 'npy') == 0
    ended.set()
    for thread in threads:
        thread.join()
    assert killed and cluster.second is None
    check_nothing_is_lost_or_twice(out, expected)
    assert max(r['attempts'] for r in manifest(out).values()) >= 2
    assert 'its worker has died; begun again' in capfd.readouterr().err
    cluster.second = cluster.add_node(**NODE)


@pytest.mark.slow
def test_an_input_that_kills_every_worker_is_given_up(cluster, tmp_path, monkeypatch, capfd):
    source, out = tmp_path / 'in', tmp_path / 'out'
    for k, name in enumerate(('good', 'kills', 'raises')):
        bag(source / name, k, 3)
    monkeypatch.setattr(fleet, 'Worker', Dying)
    monkeypatch.setattr(fleet, 'ATTEMPTS', 2)
    assert on_ray(cluster, source, out, '--write', 'npy', '--workers', '1') == 2
    said = capfd.readouterr()
    assert 'kills: given up after 2 attempts: ' in said.err
    assert 'raises: given up after 2 attempts: RuntimeError: a fault of a library' in said.err
    assert '3 images, 6 failed' in said.out
    records = manifest(out)
    assert [records[name]['attempts'] for name in ('good', 'kills', 'raises')] == [1, 2, 2]
    assert len([*out.rglob('*_depth.npy')]) == 3


@pytest.mark.slow
def test_the_driver_is_killed_and_started_again(cluster, bags, tmp_path, capfd):
    source, expected = bags
    out = tmp_path / 'out'
    command = [sys.executable, '-m', 'depth_ros.cli', *RUN, str(source), '--output', str(out)]
    words = ['--write', 'npy', '--ray', cluster.address]
    process = subprocess.Popen(
        [*command, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    when_in_the_middle(out, process.kill).join()
    assert process.wait() == -signal.SIGKILL
    assert 20 <= len(hashes(out)) < len(expected)
    assert on_ray(cluster, source, out, '--write', 'npy') == 0
    assert ' were there before; ' in capfd.readouterr().out
    check_nothing_is_lost_or_twice(out, expected)
    before = {path: path.stat().st_mtime_ns for path in out.rglob('*.npy')}
    assert main([*RUN, str(source), '--output', str(out), '--write', 'npy']) == 0
    assert '0 images, 320 were there before' in capfd.readouterr().out, 'also without Ray'
    assert {path: path.stat().st_mtime_ns for path in out.rglob('*.npy')} == before


def test_what_cannot_be(cluster, bags, tmp_path, capfd):
    source, _ = bags
    one = picture(tmp_path / 'a.png')
    for words, said in (
        (['--gpus-per-worker', '0.5'], '0.5: no node of the Ray cluster has a GPU'),
        (['--device', 'cuda'], '--device cuda: no node of the Ray cluster has a GPU'),
        (['--cpus-per-worker', '99'], 'no node has room for a worker with 99 CPUs and 0 GPUs'),
    ):  # fmt: skip
        assert on_ray(cluster, source, tmp_path / 'o', *words) == 2
        assert said in capfd.readouterr().err
    assert main([*RUN, str(one), '--ray', cluster.address]) == 2
    assert '--ray is for several inputs' in capfd.readouterr().err
