# SPDX-License-Identifier: Apache-2.0
"""Starting, stopping and failing: exit codes, and nothing left half done."""

import os
import random
import signal
import subprocess
import sys
import time

import pytest
from graph import ACTIVE, INACTIVE, UNCONFIGURED, NodeProcess, Source, camera
from lifecycle_msgs.msg import Transition
from sensor_msgs.msg import Image
from test_newest import counters

from tools.demo.processes import end_with_parent

CAM = camera(64, 48)


@pytest.fixture
def start(graph):
    """`start(*arguments, **parameters)`: a separate node, ended afterwards."""
    made = []

    def start(*arguments, **parameters):
        made.append(NodeProcess(graph, *arguments, **parameters))
        return made[-1]

    yield start
    for process in made:
        if process.process.poll() is None:
            process.process.kill()
            process.process.wait()


@pytest.mark.parametrize(
    'wrong',
    [
        {'model': 'fake_rde'},
        {'device': 'tpu'},
        {'model': 'fake_red', 'rate': 'abc'},
        {'model': 'fake_red', 'raet': 1},
    ],
    ids=lambda wrong: '-'.join(wrong),
)
def test_a_bad_start_ends_with_an_exit_code_and_the_next_step(start, wrong):
    running = start(**wrong)
    assert running.process.wait(60) == 1, running.log
    assert 'cannot configure: ' in running.log and 'Traceback' not in running.log
    assert 'correct the cause above and start it again' in running.log


def test_with_a_lifecycle_manager_a_bad_configure_can_be_tried_again(start):
    running = start(model='fake_rde', autostart=False)
    assert not running.configure() and running.state == UNCONFIGURED
    assert running.set(model='fake_red') == []
    assert running.configure() and running.state == INACTIVE
    assert running.stop() == 0


def test_a_transition_that_is_not_possible_is_refused(start, graph):
    running = start(model='fake_red')
    running.said('listening to')
    for transition in (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE):
        assert not running.change(transition)
        assert running.state == ACTIVE
    assert running.stop() == 0, running.log


def test_a_configure_that_fails_half_way_takes_back_what_it_made(start, graph):
    running = start(
        '-p', 'qos_overrides./points.publisher.depth:=not_a_number',
        model='fake_red', autostart=False,
    )  # fmt: skip
    for _ in range(3):
        assert not running.configure()
    topics = ('/depth/image', '/depth/camera_info', '/points')
    graph.wait(lambda: not any(graph.node.count_publishers(t) for t in topics), 'no publishers')
    assert running.state == UNCONFIGURED
    assert running.stop() == 0, running.log


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_node_at_any_moment_without_a_traceback(graph, number):
    moments = random.Random(number)
    command = [sys.executable, '-m', 'depth_ros.ros', '--ros-args', '-p', 'model:=flat_wall']
    for _ in range(2):
        running = subprocess.Popen(
            command,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            preexec_fn=end_with_parent,
        )
        time.sleep(moments.uniform(0.5, 6))
        running.send_signal(number)
        log, _ = running.communicate(timeout=30)
        assert 'Traceback' not in log and 'ERROR' not in log, log
        # before rclpy has its handlers, the signal's default ends the process
        assert running.returncode in (0, -number), log


INTERRUPTED = """
import os, sys, time
from depth_ros.ros.process import init

def stop():
    os.kill(os.getpid(), int(sys.argv[1]))
    time.sleep(0.2)

assert init.init()
try:
    with init.interruptible():
        try:
            stop()
        finally:
            stop()  # again, while the first is being cleaned up after
            print('cleaned up')
except KeyboardInterrupt:
    print('interrupted')
    stop()
print('context ok:', init.rclpy.ok())
"""


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_signal_interrupts_long_work_once_and_no_cleaning_up(graph, number):
    command = [sys.executable, '-c', INTERRUPTED, str(int(number))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    wanted = ['cleaned up', 'interrupted', 'context ok: False']
    assert done.stdout.splitlines() == wanted, done.stderr


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_node_ends_at_once_and_leaves_the_graph(start, graph, number):
    def listed():
        return 'leaving' in graph.node.get_node_names()

    for _ in range(5):  # rclpy alone misses one signal in twenty
        running = start(name='leaving', autostart=False)
        graph.wait(listed, 'the node')
        running.process.send_signal(number)
        assert running.process.wait(10) == 0, running.log
        graph.wait(lambda: not listed(), 'no node', 5)  # DDS gives up a lost one after 20 s


IN_A_CALLBACK = """
import os, signal, time
from depth_ros.ros import node, session

def tick(self):
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.3)
    self.node.get_publishers_info_by_topic('/image')  # fails: the context is shut down

session.Session._tick = tick
arguments = ['-p', 'model:=flat_wall', '-p', 'device:=cpu', '-r', '__node:=in_a_callback']
print('exit code', node.main(['--ros-args', *arguments]), flush=True)
input()
"""


def test_a_node_that_is_stopped_in_a_callback_leaves_the_graph(graph):
    """The executor keeps the task of a callback that failed, and with it the node."""
    running = subprocess.Popen(
        [sys.executable, '-c', IN_A_CALLBACK],
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        preexec_fn=end_with_parent,
    )
    try:
        assert 'exit code 0\n' in running.stdout
        # DDS gives up a lost one after 20 s
        graph.wait(lambda: 'in_a_callback' not in graph.node.get_node_names(), 'no node', 5)
    finally:
        running.communicate('\n', timeout=30)
    assert running.returncode == 0


SLOW_TO_END = """
import atexit, threading, time
from depth_ros.ros.__main__ import main

atexit.register(time.sleep, 600)
threading.Thread(target=time.sleep, args=(600,)).start()
main()
"""


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_node_waits_for_nothing_of_the_interpreter_and_its_log_is_complete(
    graph, tmp_path, number
):
    """The interpreter takes seconds to free what torch has made."""
    words = ['-p', 'model:=flat_wall', '-p', 'device:=cpu', '-r', '__node:=ending']
    running = subprocess.Popen(
        [sys.executable, '-c', SLOW_TO_END, '--ros-args', *words],
        env={
            **os.environ,
            'ROS_LOG_DIR': str(tmp_path),
            'RCUTILS_LOGGING_USE_STDOUT': '1',
            'RCUTILS_LOGGING_BUFFERED_STREAM': '1',
        },
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=end_with_parent,
    )

    def active():
        names = graph.node.get_service_names_and_types_by_node('ending', '/')
        return names and graph.node.count_subscribers('/image')

    try:
        graph.wait(lambda: 'ending' in graph.node.get_node_names() and active(), 'the node')
        time.sleep(0.5)
        running.send_signal(number)
        log, _ = running.communicate(timeout=60)
    finally:
        running.kill()
    assert running.returncode == 0
    (file,) = tmp_path.iterdir()
    assert 'listening to /image' in log and 'listening to /image' in file.read_text()


def test_stopping_does_not_wait_for_a_slow_network(start, graph, collect):
    running = start(model='fake_late_slow20')
    source = Source(graph)
    try:
        collect(Image, 'depth/image')
        running.said('listening to')
        source.send_until(lambda: 'field of view' in running.log, 'an image is taken', CAM)
        running.process.send_signal(signal.SIGINT)
        assert running.stop(patience_s=12) == 0, running.log
    finally:
        source.close()


def test_a_network_that_hangs_is_an_error_in_diagnostics(node, source, collect, graph):
    node(model='fake_late_slow20')
    collect(Image, 'depth/image')
    source.ready()
    for _ in range(3):
        source.send(CAM)

    def stalled():
        source.send(CAM)
        status, _ = counters(graph, collect)
        return status.level == status.ERROR and status.message

    message = graph.wait(stalled, 'an error in diagnostics', 30)
    assert 'no output for' in message and 'the network has not finished an image' in message


def test_deactivating_drops_the_frame_in_progress_and_activating_waits_for_it(
    node, source, collect
):
    running = node(model='fake_slow2')
    depths = collect(Image, 'depth/image')
    source.answer(depths, CAM)
    source.send(CAM)
    time.sleep(0.3)
    assert running.change(Transition.TRANSITION_DEACTIVATE)
    assert running.change(Transition.TRANSITION_ACTIVATE)
    source.answer(depths, CAM)
    stamps = [(m.header.stamp.sec, m.header.stamp.nanosec) for m in depths]
    assert stamps == sorted(set(stamps)), 'an image was published twice'


def test_a_lost_gpu_ends_the_node_so_that_it_can_be_started_again(
    start, graph, collect, monkeypatch
):
    monkeypatch.setenv('GPU_LOST', '1')
    running = start(model='fake_late_crash')
    source = Source(graph)
    try:
        collect(Image, 'depth/image')
        source.send_until(lambda: running.process.poll() is not None, 'the node to end', CAM)
        assert running.process.returncode == 1, running.log
        assert 'the GPU accepts no further work (RuntimeError: ' in running.log
    finally:
        source.close()


def test_missing_subscribers_are_logged_once_and_rates_on_request(node, source, collect, graph):
    running = node(log_period=0.5)
    before = len(running.lines)
    line = 'no output has subscribers: nothing is computed. Subscribe to one, for example: '
    source.send_until(lambda: line in ''.join(running.lines[before:]), line, CAM)
    for _ in range(20):
        source.send(CAM)
        time.sleep(0.05)
    log = ''.join(running.lines[before:])
    assert log.count(line) == 1 and 'ros2 topic hz /points' in log
    source.answer(collect(Image, 'depth/image'), CAM)
    rates = 'images: 1 published'
    graph.wait(lambda: rates in ''.join(running.lines[before:]), rates)
    assert running.set(log_period=0.0) == []


@pytest.mark.parametrize('folder', ['/proc/no', '{file}/x'])
def test_a_log_folder_that_cannot_be_made_is_named_with_the_remedy(tmp_path, folder):
    (tmp_path / 'file').touch()
    environment = {**os.environ, 'ROS_LOG_DIR': folder.format(file=tmp_path / 'file')}
    command = [sys.executable, '-m', 'depth_ros.ros', '--ros-args', '-p', 'model:=flat_wall']
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and 'Traceback' not in done.stderr
    assert 'set ROS_LOG_DIR to a folder that can be written' in done.stderr
