# SPDX-License-Identifier: Apache-2.0
"""The rooms of the package: who may import whom, and what an installed package holds."""

import ast
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
NOT_COPIED = ('.venv*', '.git', 'build', '*.egg-info', '__pycache__', 'data', 'demo', 'docs')

#: room -> rooms whose modules it may import, in addition to its own; see CONTRIBUTING.md
ROOMS = {
    '': set(),
    'core': set(),
    'parameters': {'core'},
    'checkpoints': {'core'},
    'models': {'core', 'parameters', 'checkpoints'},
    'pipeline': {'core', 'parameters', 'checkpoints', 'models'},
    'messages': {'core', 'parameters', 'pipeline'},
    'ros': {'core', 'parameters', 'models', 'pipeline', 'messages'},
    # sim: `depth-ros adapt` compares on rendered scenes, by modules that need no ROS
    'offline': {'core', 'parameters', 'checkpoints', 'models', 'pipeline', 'messages', 'sim'},
    # ros: `depth-ros view` shows a running node, and imports rclpy only then
    'cli': {'core', 'parameters', 'checkpoints', 'models', 'pipeline', 'offline', 'ros'},
    'sim': {'core', 'checkpoints', 'messages', 'ros'},
}


def modules(folder: str) -> dict[str, Path]:
    """Dotted name -> file."""
    found = {}
    for path in (ROOT / folder).rglob('*.py'):
        parts = path.relative_to(ROOT).with_suffix('').parts
        found['.'.join(parts[:-1] if parts[-1] == '__init__' else parts)] = path
    return found


MODULES = modules('depth_ros')
OURS = {*MODULES, *modules('tools'), 'tools'}


def imports(path: Path) -> set[str]:
    """Modules that a file imports, also inside functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names = {f'{node.module}.{alias.name}' for alias in node.names}
            found |= {name if name in OURS else node.module for name in names}
    return found


ARROWS = {
    name: {i for i in imports(path) if i in MODULES} - {name} for name, path in MODULES.items()
}


def room(module: str) -> str:
    return (*module.split('.'), '')[1]


def test_nothing_large_was_committed_by_mistake():
    """Whoever clones has it for ever, even once it is deleted."""
    if not (ROOT / '.git').exists():
        pytest.skip('this is no clone of the repository')
    tracked = subprocess.run(
        ['git', 'ls-files', '-z'], cwd=ROOT, check=True, capture_output=True, text=True
    )
    files = [ROOT / name for name in tracked.stdout.split('\0') if name]
    large = {
        str(path.relative_to(ROOT))
        for path in files
        if path.is_file() and path.stat().st_size > 1_000_000
    }
    assert large == {'depth_ros/models/nano/nano.safetensors', 'docs/demo.webp'}


def test_every_room_is_in_the_plan():
    assert {room(name) for name in MODULES} == set(ROOMS)


def test_no_import_runs_back_up():
    wrong = [
        f'{name} imports {other}'
        for name, others in ARROWS.items()
        for other in others
        if room(other) not in ROOMS[room(name)] | {room(name), ''}
    ]
    assert not wrong


def test_the_command_line_needs_ros_for_a_running_node_only():
    of_ros = {
        (name, other) for name, others in ARROWS.items() for other in others
        if room(name) == 'cli' and room(other) == 'ros'
    }  # fmt: skip
    assert of_ros == {('depth_ros.cli.view', 'depth_ros.ros.live')}
    code = 'import sys, depth_ros.cli; assert not {"rclpy", "rerun"} & {*sys.modules}'
    subprocess.run([sys.executable, '-c', code], check=True, cwd=ROOT)


def test_no_import_circle():
    left = dict(ARROWS)
    while done := [name for name, needs in left.items() if not needs & set(left)]:
        for name in done:
            del left[name]
    assert not left, f'these import each other: {sorted(left)}'


def test_every_import_of_ours_exists():
    lost = [
        f'{path.relative_to(ROOT)} imports {name}'
        for folder in ('depth_ros', 'tools', 'test', 'launch')
        for path in (ROOT / folder).rglob('*.py')
        for name in imports(path)
        if name.startswith(('depth_ros', 'tools')) and name not in OURS
    ]
    assert not lost


def test_nothing_installed_imports_the_tools():
    wrong = [n for n, path in MODULES.items() if any(i.startswith('tools') for i in imports(path))]
    assert not wrong


def test_tools_are_not_installed(tmp_path):
    # a copy: what earlier builds left in build/ would be packed as well
    source = shutil.copytree(ROOT, tmp_path / 'source', ignore=shutil.ignore_patterns(*NOT_COPIED))
    command = [sys.executable, '-m', 'pip', 'wheel', '--quiet', '--no-deps', '-w', str(tmp_path)]
    subprocess.run([*command, '--no-build-isolation', str(source)], check=True)
    (wheel,) = tmp_path.glob('*.whl')
    names = zipfile.ZipFile(wheel).namelist()
    code = {Path(name).parts[0] for name in names if name.endswith('.py')}
    # launch files are data, below <name>.data/
    assert code - {Path(n).parts[0] for n in names if '.data/' in n} == {'depth_ros'}
    installed = {name for name in names if name.startswith('depth_ros/') and name.endswith('.py')}
    assert installed == {str(path.relative_to(ROOT)) for path in MODULES.values()}
    assert any(name.endswith('share/depth_ros/config/depth.yaml') for name in names)


def test_an_import_changes_nothing_in_the_host_program():
    """malloc, the environment and signal handlers are a main function's to change."""
    code = """
import ctypes, os, signal
touched = []
class Watched(ctypes.CDLL):
    def __getattr__(self, name):
        if name == 'mallopt':
            touched.append(name)
        return super().__getattr__(name)
ctypes.CDLL = Watched
def state():
    # OpenCV's wheel puts its own folder into LD_LIBRARY_PATH
    variables = {k: v for k, v in os.environ.items() if k != 'LD_LIBRARY_PATH'}
    return variables, [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]
before = state()
import depth_ros.pipeline.build, depth_ros.cli
try:
    import depth_ros.ros.node, depth_ros.sim.camera_node
except ImportError as error:
    assert 'rclpy' in str(error), error
assert state() == before and not touched, touched
"""
    subprocess.run([sys.executable, '-c', code], check=True, cwd=ROOT)


def test_the_way_of_a_frame_names_files_that_exist():
    text = (ROOT / 'CONTRIBUTING.md').read_text()
    way = text.partition('## The way of a frame')[2].partition('## Rooms')[0]
    named = re.findall(r'`([\w/]+\.py)`', way)
    files = {str(path.relative_to(ROOT / 'depth_ros')) for path in MODULES.values()}
    lost = [name for name in named if not any(f'/{f}'.endswith(f'/{name}') for f in files)]
    assert len(named) > 10 and not lost
    assert len([line for line in way.splitlines() if line.strip()]) <= 15
