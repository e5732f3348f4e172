# SPDX-License-Identifier: Apache-2.0
"""The documentation matches the code: generated parts, links, commands and examples."""

import ast
import dataclasses
import importlib.util
import json
import pkgutil
import re
import shlex
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml
from torch.utils.flop_counter import FlopCounterMode

from depth_ros.models import PRESETS, depth_anything
from depth_ros.parameters import layers
from depth_ros.parameters.layers import _flat, parameters
from depth_ros.parameters.settings import Settings
from depth_ros.sim.sequence import SequenceSettings
from tools import docs

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / 'README.md'
PAGES = sorted((ROOT / 'docs').glob('*.md'))
TEXTS = [README, ROOT / 'CONTRIBUTING.md', *PAGES]
HINT = 'run `make docs`'
NAMES = {p.name for p in parameters()}
TOPICS = {'image', 'image/compressed', 'camera_info', 'image_2', 'camera_info_2', 'odom'}
#: of the synthetic camera, in addition to those of `SequenceSettings`
CAMERA = {'rate', 'encoding', 'frame_id', 'reliability', 'count'}
PROGRAMS = ('ros2', 'depth-ros', 'depth_node', 'synthetic_camera', 'make', 'python')


def named(path):
    return path.name


# Generated parts


@pytest.mark.parametrize('path', docs.generated(), ids=named)
def test_generated_part_is_up_to_date(path):
    assert path.read_text() == docs.generated()[path], HINT


def test_depth_yaml_has_the_defaults():
    tree = yaml.safe_load(docs.yaml_text())['/**']['ros__parameters']
    assert dict(_flat(tree)) == {p.name: p.default for p in parameters()}


def test_every_parameter_is_explained():
    page = docs.parameters_tables()
    for p in parameters():
        assert page.count(f'\n| `{p.name}` |') == 1, p.name
        for text in (p.description, p.when):
            assert text[0] in 'abcdefghijklmnopqrstuvwxyz321' or text[0].isupper(), p.name
            assert text.endswith('.'), p.name


def test_a_parameter_without_a_group_is_refused(monkeypatch):
    monkeypatch.setitem(docs.GROUPS, 'Node', ('', ('patience', 'log_period')))
    with pytest.raises(ValueError, match='autostart has no group'):
        docs.parameters_tables()


def test_only_what_is_between_the_markers_is_replaced():
    text = 'before\n<!-- x:begin -->\nold\n<!-- x:end -->\nafter\n'
    new = docs.replaced(text, 'x', 'new\n')
    assert new == 'before\n<!-- x:begin -->\n\nnew\n\n<!-- x:end -->\nafter\n'
    assert docs.replaced(new, 'x', 'new\n') == new


def test_missing_markers_are_refused():
    with pytest.raises(ValueError, match='presets:begin'):
        docs.replaced('no markers', 'presets', '')


@pytest.fixture
def results(tmp_path):
    """A folder with a result without and one with a GPU."""
    found = docs.newest(ROOT / 'benchmarks/results').values()
    result = next(result for result in found if 'networks' in result)
    (tmp_path / '2030-01-01-cpu.json').write_text(json.dumps({**result, 'date': '2030-01-01'}))
    row = next(r for r in result['networks']['rows'] if r['preset'] == 'nano')
    result['machine'] |= {'gpu': 'Some GPU', 'name': 'some-gpu'}
    result['date'] = '2030-02-03'
    result['networks']['rows'] = [
        {**row, 'precision': 'fp16', 'median_ms': 1.23, 'memory_mb': 45.0},
        {**row, 'precision': 'fp32', 'median_ms': 2.34, 'memory_mb': 67.0},
    ]
    (tmp_path / '2030-02-03-gpu.json').write_text(json.dumps(result))
    return tmp_path


def test_expectations_are_those_of_the_newest_results(results):
    text = docs.expectations(results)
    assert 'not measured yet' not in text
    assert '| Some GPU | `nano` | 96x72 | 1.2 ms | 45 MB | 2030-02-03 |' in text
    assert '| Some GPU | `depth_pro` |  | **not measured** |  |  |' in text
    assert '2030-01-01' in text


def test_a_part_that_was_measured_again_is_shown_once(tmp_path):
    machine = {'name': 'm', 'gpu': None}
    old = {'date': '2030-01-01', 'machine': machine, 'stages': 1, 'growth': 2}
    new = {'date': '2030-02-01', 'machine': machine, 'stages': 3}
    for one in (old, new):
        (tmp_path / f'{one["date"]}.json').write_text(json.dumps(one))
    first, second = docs.newest(tmp_path).values()
    assert first == new and second == {k: v for k, v in old.items() if k != 'stages'}
    (tmp_path / '2030-03-01.json').write_text(json.dumps({**old, 'date': '2030-03-01'}))
    assert [one['date'] for one in docs.newest(tmp_path).values()] == ['2030-03-01']
    other = {**old, 'machine': {'name': 'n', 'gpu': None}}
    (tmp_path / '2030-01-02.json').write_text(json.dumps(other))
    assert other in docs.newest(tmp_path).values(), 'another machine has its own figures'


def test_missing_figures_from_a_gpu_are_stated(results):
    (results / '2030-02-03-gpu.json').unlink()
    assert '| GPU or Jetson | any | | **not measured yet** | | |' in docs.expectations(results)
    assert docs.NO_GPU in docs.measured_tables(results)


def test_figures_from_a_gpu_are_shown(results):
    page = docs.measured_tables(results)
    assert docs.NO_GPU not in page
    assert page.index('## Some GPU') < page.index('2030-01-01')


@pytest.mark.parametrize(('ms', 'text'), [(3.71, '3.7 ms'), (999, '1 s'), (121040, '120 s')])
def test_a_duration_has_two_digits(ms, text):
    assert docs._duration(ms) == text


def test_the_work_of_networks_is_counted_by_torch():
    text = (ROOT / 'docs/networks.md').read_text()
    row = r'^\| `(\w+)` \| (\d+)x(\d+) \| ([\d.]+) TFLOP \| (\d+) M \| ([\d.]+) GB \|$'
    rows = re.findall(row, text, re.MULTILINE)
    assert rows
    for name, width, height, tflop, millions, gigabytes in rows:
        with torch.device('meta'):  # counts without computing
            network = depth_anything.build(depth_anything.Variant.of(PRESETS[name])).eval()
            x = torch.zeros(1, 3, int(height), int(width))
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            network(x)
        parameters_ = sum(p.numel() for p in network.parameters())
        assert float(tflop) == pytest.approx(counter.get_total_flops() / 1e12, rel=0.04), name
        assert float(millions) == pytest.approx(parameters_ / 1e6, rel=0.02), name
        assert float(gigabytes) == pytest.approx(2 * parameters_ / 1e9, abs=0.006), name


# The README


def test_readme_is_short():
    assert len(README.read_text().splitlines()) <= 170


def test_readme_repeats_no_generated_table():
    rows = {line for line in README.read_text().splitlines() if line.startswith('| `')}
    for page in ('parameters.md', 'measured.md', 'networks.md'):
        assert not rows & set((ROOT / 'docs' / page).read_text().splitlines())


# Links


def without_code(text):
    return re.sub(r'`[^`\n]*`', '', re.sub(r'```.*?```', '', text, flags=re.DOTALL))


def anchors(path):
    """Anchors of a page, as GitHub and mkdocs both make them of plain titles."""
    text = re.sub(r'```.*?```', '', path.read_text(), flags=re.DOTALL)
    found = set()
    for title in re.findall(r'^#+ (.+)$', text, re.MULTILINE):
        plain = re.sub(r'[^\w\s-]', '', title.lower())
        found.add(re.sub(r'\s+', '-', plain.strip()))
    return found


def test_the_new_names_in_the_changelog_exist():
    renamed = (ROOT / 'CHANGELOG.rst').read_text().partition('Renamed before')[2]
    names = re.findall(r'->\s+``(?:python -m )?((?:depth_ros|tools)[\w.]+)``', renamed)
    parameters_ = re.findall(r'->\s+``((?!depth_ros|tools|docs)[\w.]+)``', renamed)
    assert len(names) + len(parameters_) == renamed.count(' ->') - 1  # docs/networks.md
    for name in names:
        pkgutil.resolve_name(name)
    assert parameters_ and {*parameters_} <= NAMES
    before = renamed.partition('Parameters:')[2].partition('Modules:')[0]
    old = re.findall(r'``([\w.]+)``', re.sub(r'-> ``[\w.]+``', '', before))
    assert len(old) == 5 and not {*old} & NAMES


@pytest.mark.parametrize('path', TEXTS, ids=named)
def test_links_have_targets(path):
    for target in re.findall(r'\]\(([^)\s]+)\)', without_code(path.read_text())):
        if target.startswith(('http://', 'https://')):
            continue
        file, _, anchor = target.partition('#')
        there = (path.parent / file).resolve() if file else path
        assert there.exists(), target
        if anchor:
            assert anchor in anchors(there), target
        if path in PAGES:
            assert there.is_relative_to(ROOT / 'docs'), f'{target} is not on the site'


def test_every_page_is_in_the_navigation():
    def files(entry):
        if isinstance(entry, str):
            return [entry]
        values = entry.values() if isinstance(entry, dict) else entry
        return [file for value in values for file in files(value)]

    config = yaml.safe_load((ROOT / 'mkdocs.yml').read_text())
    assert sorted(files(config['nav'])) == [page.name for page in PAGES]


def test_the_site_builds_strictly(tmp_path):
    pytest.importorskip('mkdocs', reason='mkdocs comes with the extra docs')
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    build(load_config(str(ROOT / 'mkdocs.yml'), strict=True, site_dir=str(tmp_path / 'site')))
    assert (tmp_path / 'site' / 'troubleshooting.html').is_file()


@pytest.mark.parametrize('path', TEXTS, ids=named)
def test_files_and_presets_that_are_named_exist(path):
    for span in re.findall(r'`([^`\n]+)`', path.read_text()):
        if re.fullmatch(r'(config|launch|tools|benchmarks|test|\.ci)/[\w./-]*', span):
            assert (ROOT / span).exists(), span
        if re.fullmatch(r'depth_ros/[\w./-]*', span):
            assert (ROOT / span).exists(), span
        if re.fullmatch(r'(depth_anything_v|dust3r_|monodepth2_|glpdepth_|fastdepth_)\w+', span):
            assert span in PRESETS, span
        if re.fullmatch(rf'({"|".join(docs.PREFIXES)})\.(?!py$)\w+', span):
            assert span in NAMES, span


# Commands


def launch_arguments(file):
    """Names of a launch file's arguments, without importing launch, which may not be there."""
    tree = ast.parse((ROOT / 'launch' / file).read_text())
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, 'id', '') == 'DeclareLaunchArgument':
            found |= {a.value for a in node.args if isinstance(a, ast.Constant)}
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict):
            found |= {key.value for key in node.value.keys if isinstance(key, ast.Constant)}
    return found


def commands(path):
    """Each command of code blocks and code spans, as a list of words."""
    text = path.read_text()
    lines = []
    for block in re.findall(r'^```bash\n(.*?)^```', text, re.DOTALL | re.MULTILINE):
        lines += block.replace('\\\n', ' ').splitlines()
    lines += re.findall(r'`([^`\n]+)`', re.sub(r'```.*?```', '', text, flags=re.DOTALL))
    for line in lines:
        for part in re.split(r'&&|&$', line):
            try:
                words = shlex.split(part, comments=True)
            except ValueError:  # half a command, in prose
                continue
            if words and Path(words[0]).name in PROGRAMS:
                yield [Path(words[0]).name, *words[1:]]


def after(words, option):
    return [b for a, b in pairwise(words) if a == option]


def check_parameter(rule):
    name, _, value = rule.partition(':=')
    layers.checked(name, yaml.safe_load(value))
    if name == 'model':
        assert value in (*PRESETS, 'auto')


def check_program(program, words):
    if program == 'synthetic_camera':
        for rule in after(words, '-p'):
            assert (
                rule.partition(':=')[0]
                in {f.name for f in dataclasses.fields(SequenceSettings)} | CAMERA
            )
        return
    for rule in after(words, '-p'):
        if rule != 'NAME:=VALUE':
            check_parameter(rule)
    for rule in after(words, '-r'):
        topic = re.sub('^(front|left)/', '', rule.partition(':=')[0])
        assert topic in TOPICS, rule
    if program == 'depth-ros' and len(words) > 1 and words[1] != '--help':
        assert words[1] in (
            'models', 'info', 'run', 'export', 'eval', 'calibrate', 'adapt', 'view',
        )  # fmt: skip
        check_flags(words[2:], ROOT / 'depth_ros/cli')


def check_flags(words, folder):
    sources = ''.join(path.read_text() for path in folder.glob('*.py'))
    for word in words:
        if word.startswith('--'):
            assert f"'{word}'" in sources, word


def check_launch(file, words):
    known = launch_arguments(file)
    for word in words:
        name, assigned, value = word.partition(':=')
        if assigned:
            assert name in known, word
            if name in NAMES and value:
                check_parameter(word)
        else:
            assert word in ('--show-args', '-s'), word


def check_python(words):
    module = words[1] if words[0] == '-m' else ''
    if not module.startswith(('tools', 'depth_ros')):
        return
    spec = importlib.util.find_spec(module)
    assert spec, module
    check_flags(words[2:], Path(spec.origin).parent)


def check_make(words):
    targets = re.findall(r'^([\w-]+):', (ROOT / 'Makefile').read_text(), re.MULTILINE)
    assert words[0] in targets, words
    given = [word.partition('=')[2] for word in words if word.startswith('ARGS=')]
    tool = {'demo': 'tools/demo', 'bench': 'tools/bench', 'soak': 'tools/soak'}.get(words[0])
    if tool:
        check_flags(shlex.split(' '.join(given)), ROOT / tool)


@pytest.mark.parametrize('path', TEXTS, ids=named)
def test_commands_can_be_typed(path):
    for program, *words in commands(path):
        if program == 'ros2' and words[:2] == ['run', 'depth_ros']:
            check_program(words[2], words[2:])
        elif program == 'ros2' and words[:2] == ['launch', 'depth_ros']:
            check_launch(words[2], words[3:])
        elif program == 'ros2' and words[:3] == ['param', 'set', '/depth_node']:
            check_parameter(':='.join(words[3:]))
        elif program == 'python' and words:
            check_python(words)
        elif program == 'make' and words:
            check_make(words)
        elif program in ('depth_node', 'synthetic_camera', 'depth-ros'):
            check_program(program, [program, *words])


def test_wrong_commands_are_noticed(tmp_path):
    page = tmp_path / 'page.md'
    for wrong in (
        'ros2 run depth_ros depth_node --ros-args -p points.strid:=4',
        'ros2 run depth_ros depth_node --ros-args -r picture:=/image',
        'ros2 launch depth_ros depth.launch.py picture:=/image',
        'ros2 launch depth_ros depth.launch.py image:=/a model:=nan',
        'ros2 param set /depth_node scaling.scale -1.0',
        'depth-ros show photo.jpg',
        'make tea',
        'python -m tools.bench --tea',
    ):
        page.write_text(f'```bash\n{wrong}\n```\n')
        with pytest.raises((AssertionError, layers.ConfigError)):
            test_commands_can_be_typed(page)


@pytest.mark.parametrize('path', TEXTS, ids=named)
def test_assignments_in_prose_have_known_names(path):
    files = (ROOT / 'launch').glob('*.launch.py')
    known = NAMES.union(*(launch_arguments(file.name) for file in files))
    for name in re.findall(r'`([\w.]+):=[^`\s]*`', path.read_text()):
        assert name in known, name


@pytest.mark.parametrize('path', TEXTS, ids=named)
def test_params_files_are_valid(path):
    blocks = re.findall(r'^```yaml\n(.*?)^```', path.read_text(), re.DOTALL | re.MULTILINE)
    for block in blocks:
        tree = yaml.safe_load(block)
        layers.with_values(Settings(), dict(_flat(tree['/**']['ros__parameters'])))


# Python


@pytest.mark.parametrize('path', [README, ROOT / 'docs/command-line.md'], ids=named)
def test_the_python_example_runs(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    noise = np.random.default_rng(0).integers(0, 255, (12, 16, 3), np.uint8)
    bgr = cv2.resize(noise, (640, 480), interpolation=cv2.INTER_CUBIC)
    cv2.imwrite('photo.jpg', bgr)
    video = cv2.VideoWriter('video.avi', cv2.VideoWriter_fourcc(*'MJPG'), 10, (640, 480))
    for _ in range(2):
        video.write(bgr)
    video.release()
    (code,) = re.findall(r'^```python\n(.*?)^```', path.read_text(), re.DOTALL | re.MULTILINE)
    names = {}
    exec(compile(code, str(path), 'exec'), names)
    if path == README:
        assert names['rgb'].shape == names['points'].shape == (480, 640, 3)
        assert names['depth'].z.shape == (480, 640)
        assert names['depth'].z.dtype == names['points'].dtype
        assert str(names['points'].dtype) == 'torch.float32'
    else:
        depth = np.load('depth.npy')
        assert depth.shape == (2, 480, 640)
        assert depth.dtype == np.float32


def test_the_readme_example_has_ten_lines_of_work():
    (code,) = re.findall(r'^```python\n(.*?)^```', README.read_text(), re.DOTALL | re.MULTILINE)
    lines = [line for line in code.splitlines() if line.strip() and 'import' not in line]
    assert len(lines) <= 10
