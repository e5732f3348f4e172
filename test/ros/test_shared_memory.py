# SPDX-License-Identifier: Apache-2.0
"""Segments of killed nodes are removed, those of living ones are not."""

import os
import signal
import subprocess
import sys
import time
from xml.etree import ElementTree

import pytest
from graph import NodeProcess

from depth_ros.ros.process import fastdds, shared_memory
from depth_ros.ros.process.shared_memory import YOUNG_S, remove_dead
from tools.bench.segments import existing, mapped_segments

MB = 2**20

#: `shutdown` of a program that still refers to its node; prints how many segments it has then
ENDING = """
import os
import rclpy
from sensor_msgs.msg import Image
from depth_ros.ros.process.init import init, shutdown
from tools.soak.resources import own_segments

init()
node = rclpy.create_node('ending')
publisher = node.create_publisher(Image, 'image', 1)
subscription = node.create_subscription(Image, 'image', lambda message: None, 1)
timer = node.create_timer(0.01, lambda: None)
for _ in range(3):
    rclpy.spin_once(node, timeout_sec=0.1)
assert own_segments(os.getpid())
shutdown(node)
print(len(own_segments(os.getpid())))
"""


@pytest.mark.parametrize('name', ['LOCALHOST', 'SUBNET', 'SYSTEM_DEFAULT', 'OFF'])
@pytest.mark.parametrize('version', ['3.3.11', '7.1.6', '9.1.2'])
def test_one_profiles_file_serves_every_distribution_and_discovery_range(
    monkeypatch, name, version
):
    monkeypatch.setenv('ROS_AUTOMATIC_DISCOVERY_RANGE', name)
    monkeypatch.setattr(fastdds, 'version', lambda package: version)
    names, files = zip(*fastdds.tuning().items(), strict=True)
    (file,) = set(files)
    assert ('FASTRTPS_DEFAULT_PROFILES_FILE' in names) == (version < '8')
    assert 'FASTDDS_DEFAULT_PROFILES_FILE' in names
    tags = {element.tag.split('}')[1] for element in ElementTree.parse(file).iter()}
    # with a whitelist of 127.0.0.1, static peers on other machines are not reached
    assert 'segment_size' in tags and 'interfaceWhiteList' not in tags


def large(paths):
    return {path for path in existing(paths) if path.stat().st_size > 8 * MB}


def test_a_killed_node_s_segment_is_removed_and_a_living_one_s_is_not(graph):
    killed = NodeProcess(graph, name='killed', model='fake_red')
    living = NodeProcess(graph, name='living', model='fake_red')
    try:
        for process in (killed, living):
            process.said('listening to')
        before = large(mapped_segments(killed.process.pid) | mapped_segments(living.process.pid))
        killed.process.send_signal(signal.SIGKILL)
        killed.process.wait(10)
        assert existing(before) == before and len(before) >= 2
        time.sleep(YOUNG_S)
        remove_dead()  # if another node that starts now was not faster
        # each process has one that is its own, and reads those of the others
        assert len(existing(before)) == len(before) - 1
        assert living.get('model') == ['fake_red']
    finally:
        killed.stop()
        assert living.stop() == 0, living.log


def test_a_program_that_refers_to_its_node_leaves_at_shutdown(graph):
    ended = subprocess.run(
        [sys.executable, '-c', ENDING], capture_output=True, text=True, timeout=60
    )
    assert ended.stdout == '0\n' and ended.returncode == 0, ended.stderr


@pytest.fixture
def folder(tmp_path):
    for name in ('fastdds_1', 'fastdds_1_el', 'fastdds_port7_el', 'fastrtps_2', 'fastrtps_2_el'):
        (tmp_path / name).write_bytes(b'x' * 10)
        os.utime(tmp_path / name, (1, 1))
    return tmp_path


def test_both_names_of_the_middleware_are_known_and_ports_are_left_alone(folder):
    assert remove_dead(folder) == 20
    assert [path.name for path in folder.iterdir()] == ['fastdds_port7_el']


def test_a_new_segment_without_a_lock_is_kept(folder):
    os.utime(folder / 'fastdds_1_el')
    assert remove_dead(folder) == 10 and (folder / 'fastdds_1').exists()


def test_another_user_s_are_left_alone(folder, monkeypatch):
    monkeypatch.setattr(shared_memory.os, 'getuid', lambda: 12345)
    assert remove_dead(folder) == 0
