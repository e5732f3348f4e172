# SPDX-License-Identifier: Apache-2.0
"""What the benchmark writes has the shape its tables need; what it finds is not judged here."""

import json
import os
from importlib.util import find_spec

import numpy as np
import PIL
import pytest
import torch
import yaml
from packaging.version import Version

from depth_ros.core.camera import Camera
from depth_ros.core.types import Frame
from depth_ros.models import PRESETS, ModelOptions
from depth_ros.pipeline.trial_frame import trial_frame
from depth_ros.sim.world import random_pose, random_scene, render
from depth_ros.sim.world.seeds import TEST
from tools import machine
from tools.bench import (
    adapt,
    command,
    costmap,
    costmap_picture,
    filters,
    flicker,
    flying_pixels,
    memory,
    one_network,
    options,
    other_runtimes,
    plot,
    scale,
    stages,
    tables,
)
from tools.bench import engines as engines_part
from tools.bench import networks as networks_part
from tools.bench.__main__ import main
from tools.bench.growth import inputs
from tools.bench.options import Options
from tools.bench.random_weights import count_parameters, load, networks
from tools.bench.timing import Copier, time_interleaved

CPU = torch.device('cpu')


def test_what_takes_turns_is_called_equally_often():
    calls = []
    times = time_interleaved(
        {'a': lambda: calls.append('a'), 'b': lambda: calls.append('b')},
        budget_s=0.0,
        min_rounds=4,
    )
    assert calls == ['a', 'b'] * (len(calls) // 2)
    assert {name: t['repeats'] for name, t in times.items()} == {'a': 4, 'b': 4}
    assert all(0 < t['median_ms'] <= t['p95_ms'] for t in times.values())


def test_a_copier_copies_all_bytes():
    copy = Copier(1000)
    for _ in range(3):
        copy()
    copied = [block.unique().tolist() for block in copy.blocks]
    assert copied == [[3], [4], [5], [3], [4], [5], [6], [7]]


def test_a_stage_is_compared_with_a_memcpy_of_its_output(monkeypatch):
    monkeypatch.setattr(stages, 'BUDGET_S', 0.01)
    frame = trial_frame(CPU, 64, 48)
    with torch.inference_mode():
        steps = [*stages.before(frame, CPU), *stages.inference(frame, CPU), *stages.after(frame)]
        rows = [stages.row(step, 64, 48, CPU) for step in steps]
    names = [row['stage'] for row in rows]
    words = ('decode', 'undistort', 'resize', 'network', 'scaling', 'cloud', 'depth image')
    for word in (*words, 'colours'):
        assert any(word in name for name in names), word
    assert len(set(names)) == len(names)
    for row in rows:
        assert row['median_ms'] > 0 and (row['memcpy_ms'] is None) == (row['bytes'] == 0)
    organised, valid = (r['bytes'] for r in rows if r['stage'].startswith('cloud, stride 1'))
    assert organised == 16 * 64 * 48 and 0.7 < valid / organised < 0.9


def test_presets_with_the_same_layers_are_measured_once():
    groups = networks()
    assert sorted(name for same in groups.values() for name in same) == sorted(
        name
        for name, preset in PRESETS.items()
        if preset.family not in ('onnx', 'transformers', 'flat')
    )
    assert 'depth_anything_v2_small' in groups['depth_anything_v1_small']
    assert list(networks(('depth_anything_v2_small',))) == ['depth_anything_v1_small']
    assert len(groups['monodepth2_mono_1024x320']) == 3
    assert count_parameters('depth_anything_v2_small') == 24_710_849


def test_random_weights_give_numbers():
    model = load('monodepth2_mono_640x192', ModelOptions(weights=None))
    frame = trial_frame(CPU, 64, 48)
    assert torch.isfinite(model.predict(frame).values).all()
    (x,) = one_network.default_input(model, CPU, (64, 48))
    assert x.shape == (1, 3, 192, 640)
    # 16 G operations as counted by hand for ResNet-18 and its decoder, of this order
    assert 10 < one_network.gflop(lambda: model.network(x)) < 20


@pytest.mark.skipif(find_spec('transformers') is None, reason='needs transformers')
@pytest.mark.slow
def test_a_network_takes_turns_with_that_of_transformers():
    found = one_network.measure(
        'glpdepth_nyu', ['ours', 'transformers'], 'cpu', 'fp32', 1, 0.01, (64, 32)
    )
    assert found['same_weights'], 'ours no longer reads what transformers writes'
    assert found['input'] == [[1, 3, 32, 64]] and found['memory_mb'] > 0
    assert found['difference']['transformers'] < 1e-4
    # which operations torch counts differs from version to version
    assert found['gflop']['ours'] == pytest.approx(found['gflop']['transformers'], rel=0.02)
    assert found['parameters']['ours'] == found['parameters']['transformers']
    rows = [networks_part.make_row(who, found, {'memory_mb': 9.0}) for who in found['times']]
    assert rows[1]['ours_over_theirs_time'] > 0
    common = {'preset': 'glpdepth_nyu', 'same_as': [], 'precision': 'fp32'}
    part = {'method': 'm', 'conditions': {'load': 0.1}, 'left_out': ['x: why']}
    part['rows'] = [{**common, 'input': found['input'], **row} for row in rows]
    (table,) = tables.networks(part)
    assert [row[3] for row in table.rows] == ['ours', 'transformers']
    assert 'Left out: x: why.' in table.markdown()


@pytest.mark.skipif(find_spec('transformers') is None, reason='needs transformers')
@pytest.mark.parametrize('name', [n for n in networks() if other_runtimes.is_supported(n)])
def test_compared_networks_have_the_same_size(name):
    with torch.device('meta'):
        theirs = other_runtimes.build(name)
    count = sum(p.numel() for p in theirs.parameters())
    # theirs keep a mask token and the residual unit of the coarsest map, which nothing uses
    assert count_parameters(name) == pytest.approx(count, rel=0.01)


def test_networks_measured_in_several_runs_are_grouped():
    row = {'preset': 'nano', 'precision': 'fp32', 'median_ms': 1.0}
    other = {**row, 'preset': 'glpdepth_nyu'}
    old = {'rows': [row, {**row, 'precision': 'bf16'}], 'left_out': []}
    new = {'rows': [{**row, 'median_ms': 2.0}, other], 'left_out': ['nano: large', 'x: why']}
    part = networks_part.merge(old, new)
    assert [r['preset'] for r in part['rows']] == ['glpdepth_nyu', 'nano', 'nano']
    assert sorted(r['median_ms'] for r in part['rows']) == [1.0, 1.0, 2.0]
    assert part['left_out'] == ['x: why']


@pytest.mark.slow
def test_a_child_that_fails_reports_the_reason():
    wanted = Options(presets=('nano',))
    row = networks_part.child('nano', ['ours'], 'fp33', wanted, 0.0)
    assert "'fp33'" in row['failed']


def test_a_child_measures_memory_alone():
    found = networks_part.child('nano', ['ours'], 'fp32', Options(), 0.0)
    assert found['memory_mb'] > 0 and found['input'] == [[1, 5, 72, 96]]


def test_work_grows_with_the_input():
    rows = inputs((64, 96), CPU, 1)
    assert [row['input'] for row in rows] == ['64x48', '96x72']
    assert rows[0]['gflop'] < rows[1]['gflop']


def test_a_steady_leak_has_its_slope():
    values = [200.0] * 10 + [100 + 0.1 * k for k in range(40)]
    slope, uncertainty = memory.slope_mb_per_h(values)
    assert slope == pytest.approx(360, rel=1e-3) and uncertainty < 1
    assert memory.slope_mb_per_h([1.0, 2.0]) == (0.0, 0.0)


def test_a_series_is_drawn(tmp_path):
    plot.write(tmp_path / 'm.png', 'MB', {'resident': [1.0, 2.0, 3.0], 'device': [5.0]}, 1.0)
    assert (tmp_path / 'm.png').stat().st_size > 1000


@pytest.mark.slow
def test_metres_from_anchors_are_measured(monkeypatch, tmp_path):
    """On a picture of a slope; a LiDAR's rings need KITTI."""
    for name, value in {'COUNTS': (60,), 'SEEDS': 2, 'SECONDS': 2.6, 'JUMP_AT_S': 2.3}.items():
        monkeypatch.setattr(scale, name, value)
    monkeypatch.setattr(scale, 'REPEATS', 2)
    frame = trial_frame(CPU)
    z = torch.linspace(1, 5, 480)[:, None].expand(480, 640).clone()
    pictures = [('nyu_raw_00000', frame, z)]
    monkeypatch.setattr(scale.real, 'load_images', lambda *_, **__: iter(pictures))
    monkeypatch.setattr(scale.real, 'data_folder', lambda: tmp_path)
    part = {**scale.run(Options()), 'conditions': {'load': 0.1}}
    assert part['left_out'] == ['LiDAR rings: no kitti_object_000000']
    none, by_scale, by_field = part['random']
    assert 0 < by_field['absrel'] < none['absrel'] and none['max_order'] == 'none'
    assert sum(by_scale['orders'].values()) == 2
    assert {row['scene'] for row in part['steady']} == {'nano, nyu_raw_00000', 'a wall'}
    assert all(0 < row['std_percent'] < 10 and row['jump_s'] < 1 for row in part['steady'])
    assert all(row['fit_ms'] > 0 and row['apply_ms'] > 0 for row in part['times'])
    text = ''.join(table.text() for table in tables.scale(part))
    assert 'Left out: LiDAR rings' in text and 'Steadiness' in text


def test_one_ring_in_eight_of_a_lidar(data):
    folder = data / 'images' / 'kitti_object_000000'
    depth, ring = scale.velodyne(folder)
    seen = depth == depth
    assert ring[seen].max() < 64 and 15000 < seen.sum() < 25000
    # a ring is a line in the picture: its rows spread far less than those of all points
    rows = [row for row in range(20, 50) if (seen & (ring == row)).sum() > 100]
    assert max(abs((seen & (ring == r)).nonzero()[0].std()) for r in rows) < 25


def test_a_part_measured_again_replaces_only_itself(tmp_path, monkeypatch):
    monkeypatch.setattr(stages, 'run', lambda wanted: {'method': 'now', 'rows': [1, 2.5]})
    wanted = Options(parts=('stages',), output=tmp_path)
    path, first = command.measure(wanted)
    assert first['machine']['cores'] and first['stages']['conditions']['load'] >= 0
    path.write_text(json.dumps(first | {'growth': 'from before', 'stages': 'old'}))
    _, second = command.measure(wanted)
    assert second['growth'] == 'from before' and second['stages']['rows'] == [1, 2.5]
    assert json.loads(path.read_text()) == second
    assert '"rows": [1, 2.5]' in path.read_text()  # a series is a line


def test_precisions_are_those_the_device_computes_in():
    assert machine.precisions(CPU)[0] == 'fp32'


@pytest.mark.parametrize(
    ('words', 'said'),
    [
        (['--parts', 'transprot'], "--parts has 'transprot'; choose from transport, stages"),
        (['--presets', 'nono'], "--presets has 'nono'"),
        (['--precisions', 'fp33'], '--precisions'),
        (['--cameras', '0'], "--cameras is '0'"),
        (['--device', 'cuda:99'], 'sees'),
    ],
)
def test_wrong_arguments_are_named(words, said, capsys):
    assert main(words) == 2
    assert said in capsys.readouterr().err


def test_every_filter_and_all_of_them_are_timed(monkeypatch):
    monkeypatch.setattr(stages, 'BUDGET_S', 0.01)
    with torch.inference_mode():
        rows = [stages.row(s, 64, 48, CPU) for s in filters.steps(trial_frame(CPU, 64, 48))]
    names = [row['stage'] for row in rows]
    words = ('range', 'confidence', 'median', 'edges', 'temporal', 'voxel', 'ground', 'rvl')
    for word in (*words, 'points_clearing', 'range, confidence, temporal, median 3x3, edges'):
        assert any(word in name for name in names), word
    assert len(set(names)) == len(names) and all(row['median_ms'] > 0 for row in rows)


def test_a_point_is_in_the_air_if_it_is_far_from_every_surface():
    camera = Camera(64, 48, 60.0, 60.0, 31.5, 23.5)
    true = np.full(camera.size, 2.0, np.float32)
    true[:, :32] = 1.0
    z = true.copy()
    z[:, 32] = 1.5  # between the two surfaces
    z[:, 31] = 1.02
    distance = flying_pixels.from_surface(z, true, camera)
    assert (distance[:, 32] > 0.4).all() and (distance[:, 40:] == 0).all()
    # along the ray; the pixels beside it are farther
    assert distance[24, 31] == pytest.approx(0.02, rel=0.02)
    removed = np.isnan(z)
    removed[:24, 32] = removed[:24, 40] = True
    found = flying_pixels.scores(removed, distance, np.ones_like(removed))
    assert found['removed_percent'] == 50 and found['bad_percent'] == 1.6
    assert found['good_kept_percent'] == pytest.approx(100 - 50 / 62, abs=0.1)
    assert found['others_kept_percent'] == pytest.approx(100 - 50 / 63, abs=0.1)


def test_holes_continue_the_farther_side():
    z = np.array([[1, np.nan, np.nan, 3], [np.nan, 2, 2, np.nan]], np.float32)
    assert flying_pixels.filled(z).tolist() == [[1, 3, 3, 3], [2, 2, 2, 2]]


def test_steady_depth_of_a_moving_camera_has_no_temporal_error():
    wall = np.full(flicker.COLOR.size, 3.0)
    ahead = np.eye(4)
    ahead[2, 3] = 0.5
    poses = [np.eye(4), ahead]
    assert flicker.tae([wall, wall - 0.5], poses) == pytest.approx(0, abs=1e-9)
    assert flicker.tae([wall, 1.1 * (wall - 0.5)], poses) == pytest.approx(0.087, abs=1e-3)
    wall[:100] = np.nan
    assert flicker.abs_rel([np.full(wall.shape, 3.3)], [wall]) == pytest.approx(0.1)


def test_depth_of_the_other_camera_is_that_of_the_same_ray():
    (height, width), depth = flicker.DEPTH.size, flicker.DEPTH
    z = np.indices((height, width))[1] - depth.cx
    there = flicker.registered(z / depth.fx)[height // 2]
    u = np.arange(width) - flicker.COLOR.cx
    seen = np.isfinite(there)
    assert there[seen] == pytest.approx(u[seen] / flicker.COLOR.fx, abs=1 / depth.fx)
    assert seen[width // 2] and not seen[0]


def test_adapt_compares_images_that_were_not_learnt_from(monkeypatch):
    monkeypatch.setattr(adapt.outcome, 'SCENES', 1)
    monkeypatch.setattr(adapt.outcome, 'REHEARSED', 4)
    cam = Camera(128, 96, 105.0, 105.0, 63.5, 47.5)
    scene = random_scene(TEST + 11)
    moments = []
    for k in range(8):
        T = random_pose(scene, TEST + 11).double()
        T[:3, 3] += T[:3, 0] * 0.08 * k
        shot = render(scene, cam, T, sensor=False)
        moments.append(flicker.Moment(Frame(shot.rgb, cam), T.numpy(), shot.z.numpy()))
    split = adapt.Split('one in four', lambda k: k % 4 == 0, has_noise=True, has_person=True)
    rows = list(adapt.measure(split, moments, adapt.Learning(steps=2, batch=2)))
    assert [row['mix'] for row in rows] == list(adapt.MIXES)
    assert {row['images'] for row in rows} == {2}
    assert len({str(row['before']) for row in rows}) == 1, 'the start is one'
    assert len({str(row['after']) for row in rows}) == 3, 'each mix differs'
    part = {'method': 'm', 'conditions': {'load': 0.1}, 'rows': rows, 'left_out': []}
    (table,) = tables.adapt(part)
    assert [row[0] for row in table.rows] == ['one in four', '', '']
    assert table.rows[0][2] == f'{rows[0]["before"][0]:.3f}'


@pytest.fixture
def layer():
    text = costmap.CONFIG.read_text()
    return yaml.safe_load(text)['local_costmap']['local_costmap']['ros__parameters']


def test_points_mark_and_rays_clear(layer):
    person, behind = np.array([[2.01, 0.01, 1.05]]), np.array([[6.0, 0.0, 0.75]])
    none = np.zeros((0, 3))
    voxels = costmap.VoxelLayer(layer)

    def marked():
        x, y = voxels.centres()
        return [(round(x[i, 0], 2), round(y[k], 2)) for i, k in np.argwhere(voxels.lethal)]

    voxels.update(person, none)
    assert marked() == [(2.03, 0.03)]
    voxels.update(none, np.array([[6.0, 1.0, 0.75]]))  # a ray beside it
    assert marked() == [(2.03, 0.03)]
    voxels.update(person, behind)  # clearing is first
    assert marked() == [(2.03, 0.03)]
    voxels.update(none, behind)
    assert marked() == []


@pytest.mark.parametrize(
    'point',
    [
        (2.0, 0.0, 0.1),  # the floor
        (2.0, 0.0, 1.7),  # above the limit
        (4.1, 0.0, 1.0),  # beyond obstacle_max_range
        (0.1, 0.0, 1.2),  # nearer than obstacle_min_range
    ],
)
def test_what_is_no_obstacle_marks_nothing(layer, point):
    voxels = costmap.VoxelLayer(layer)
    voxels.update(np.array([point]), np.zeros((0, 3)))
    assert not voxels.lethal.any()


def test_rays_beyond_the_height_limits_clear_only_with_a_source_of_their_own(layer):
    person, tall = np.array([[2.01, 0.01, 1.45]]), np.array([[4.0, 0.0, 1.65]])
    left = []
    for every_height in (True, False):
        voxels = costmap.VoxelLayer(layer, every_height)
        voxels.update(person, np.zeros((0, 3)))
        voxels.update(np.zeros((0, 3)), tall)
        left.append(int(voxels.lethal.sum()))
    assert left == [0, 1]


def test_the_rendered_lane_has_its_distances():
    _, z = costmap.view(0.0)
    camera = costmap.CAMERA
    v, u = round(camera.cy), round(camera.cx)
    assert z[v, u] == costmap.PERSON[0] and np.isinf(costmap.view(None)[1][v - 5, u])
    points = costmap.in_world(np.array([[0.0, costmap.HEIGHT, 4.0]]))
    assert points.tolist() == [[4.0, 0.0, 0.0]]
    right = (np.arange(camera.width) - camera.cx) / camera.fx
    wall = z[v, right > 0.5]
    assert wall == pytest.approx(costmap.HALF_WIDTH / right[right > 0.5])


@pytest.mark.slow
def test_a_person_who_left_is_cleared_by_points_clearing_and_stays_without(monkeypatch):
    for name, frames in (('STANDS', 2), ('AFTER', 3)):
        monkeypatch.setattr(costmap, name, frames)
    walks = {t: costmap.walk(*case) for t, case in costmap_picture.CASES.items()}
    alone, both = walks.values()
    assert alone.counts[-1] > 0 and both.counts[-1] == 0
    assert alone.standing.any() and both.standing.any() and max(both.counts[:2]) > 0
    if Version(PIL.__version__) < Version('10.1'):
        pytest.skip('Pillow has a font of any size since 10.1')
    picture = np.array(costmap_picture.draw(walks).convert('RGB'))
    wrong = (picture == (224, 49, 47)).all(-1)
    half = picture.shape[0] // 2
    assert wrong[:half].sum() > 100 and wrong[half:-60].sum() < wrong[:half].sum() / 10


def test_cells_at_the_wall_and_the_person_are_marked_rightly():
    assert costmap_picture.is_right(3.1, 0.2, True) and not costmap_picture.is_right(
        3.1, 0.2, False
    )
    assert costmap_picture.is_right(2.0, 1.1, False)
    assert costmap_picture.is_right(3.0, -1.3, False)
    assert not costmap_picture.is_right(3.0, 1.2, False)  # in the door


def test_the_filters_part_has_a_table_for_each_question():
    times = {'stage': 'filter: edges', 'size': '640x480', 'median_ms': 1.5, 'p95_ms': 1.7,
             'memcpy_ms': None, 'bytes': 0}  # fmt: skip
    part = {
        'method': 'm', 'conditions': {'load': 0.1}, 'left_out': ['temporal: why'], 'rows': [times],
        'edges': [{'blur': 'b', 'step': 0.006, 'bad_percent': 6.0, 'removed_percent': 93.3,
                   'others_kept_percent': 94.0, 'good_kept_percent': 98.5}],
        'temporal': [],
        'clearing': [{'clearing': 'c', 'filters': True, 'marked': 20, 'frames_until_free': n,
                      'left': left} for n, left in ((1, 0), (None, 7))],
    }  # fmt: skip
    found = {table.title: table for table in tables.filters(part)}
    assert list(found) == ['Filters', 'Flying pixels', 'Clearing']
    assert 'Left out: temporal: why.' in found['Filters'].note
    assert found['Flying pixels'].rows == [('b', '0.006', '6 %', '93.3 %', '94 %', '98.5 %')]
    assert [row[3] for row in found['Clearing'].rows] == ['1 frame', 'never']


def test_every_part_is_a_module_with_a_table():
    assert tuple(tables._TABLES) == (*options.PARTS, 'gpu')  # of tools.gpu


def test_a_table_is_as_wide_as_its_cells():
    table = tables.Table('T', ('a', 'b'), [('long', '1')], 'note')
    assert table.text().splitlines()[2:4] == ['a     b', 'long  1']
    assert '| long | 1 |' in table.markdown()


@pytest.mark.slow
@pytest.mark.skipif(find_spec('onnxscript') is None, reason='needs onnxscript')
@pytest.mark.parametrize('together', [500e6, 0], ids=['in turns', 'one after the other'])
def test_engines_are_compared_with_torch(tmp_path, monkeypatch, together):
    monkeypatch.setenv('DEPTH_ROS_ENGINE', 'torch')
    monkeypatch.setattr(engines_part, 'BUDGET_S', 0.05)
    monkeypatch.setattr(engines_part, 'TOGETHER', together)
    options = Options(presets=('nano',))
    part = engines_part.run(options) | {'conditions': {'load': 0.1}}
    assert os.environ['DEPTH_ROS_ENGINE'] == 'torch', 'for the nodes of later parts'
    rows = part['rows']
    assert [row['by'] for row in rows[:1]] == ['torch fp32'] and len(rows) >= 2
    assert all(row['difference_percent'] < 2 and row['of_torch_fp32'] > 0 for row in rows)
    assert sum(row.get('auto', False) for row in rows) == 1
    assert all(row['memory_mb'] > 0 for row in rows if 'engine' in row)
    (table,) = tables.engines(part)
    assert table.rows[0][:3] == ('nano', '1', 'torch fp32') and table.rows[1][:2] == ('', '')


def test_engines_measured_with_other_threads_are_kept():
    row = {'preset': 'nano', 'threads': 1, 'median_ms': 1.0}
    old = {'rows': [row, {**row, 'threads': 2}], 'left_out': []}
    new = {'rows': [{**row, 'median_ms': 2.0}], 'left_out': []}
    part = engines_part.merge(old, new)
    assert [(r['threads'], r['median_ms']) for r in part['rows']] == [(1, 2.0), (2, 1.0)]
