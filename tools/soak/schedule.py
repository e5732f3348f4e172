# SPDX-License-Identifier: Apache-2.0
"""The run: processes, and a random schedule of what happens to them."""

from __future__ import annotations

import dataclasses
import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from depth_ros.ros.process.shared_memory import YOUNG_S, remove_dead
from tools.demo.processes import Child, environment, stop
from tools.soak import checks, resources
from tools.soak.camera import BYTES_PER_PIXEL, Look
from tools.soak.node import ALLOCATOR, MODEL
from tools.soak.witness import Witness

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
SIZES = ((64, 48), (160, 120), (320, 240), (640, 480), (640, 360))
FOCALS = (0.6, 0.77, 0.93, 1.1)
#: live parameters and values that leave the depth as `checks` expects it
PARAMETERS = {
    'rate': (0.0, 0.0, 3.0, 15.0),
    'points.rate': (0.0, 2.0, 8.0),
    'points.stride': (1, 2, 4),
    'points.organized': (True, False),
    'points.color': (True, False),
    'depth_encoding': ('32FC1', '16UC1'),
    'scaling.scale': checks.SCALES,
    'range.min': (0.0, 0.2),
    'colorized.colormap': ('turbo', 'bone'),
    'log_period': (0.0, 1.0),
    'patience': (1.0, 3.0),
}
FLOODS = ({'rate': 300.0}, {'rate': 100.0, 'infos': 10})
START_S, END_S = 60.0, 15.0  #: patience with a process that starts, or was asked to end
SETTLE_S = 30.0  #: patience with outputs after all is as usual
LATE_S = 1.0  #: messages of the life before may still be on their way; imports take longer
SAMPLE_S = 1.0
PAUSES_S = (0.5, 4.0)  #: between two events
MEMORY_MB = 1500  #: most that is filled


@dataclass(frozen=True, slots=True)
class Options:
    """Values of the command line."""

    minutes: float
    seed: int
    cameras: tuple[str, ...]
    events: tuple[str, ...]
    rate: float


class Soak:
    """One run; `figures` is complete after `run`.

    Args:
        options: of the command line.
        folder: for logs and records; empty.
    """

    def __init__(self, options: Options, folder: Path) -> None:
        self.options, self.folder = options, folder
        self.random = random.Random(options.seed)
        self.env = environment(folder) | {ALLOCATOR: str(folder / 'allocator')}
        os.environ.update(self.env)  # for the witness, which lives in this process
        self.witness = Witness(options.cameras)
        self.looks = {name: Look(rate=options.rate) for name in options.cameras}
        self.children: dict[str, Child] = {}
        self.problems: list[str] = []
        self.lives: list[dict[str, Any]] = []
        self.ends: list[dict[str, Any]] = []  # of all processes
        self.samples: list[dict[str, float]] = []
        self.happened: dict[str, int] = {}
        self.unanswered = 0
        self.segments: set[Path] = set()
        self._started = 0
        self._started_s = self._sampled_s = time.monotonic()

    def run(self) -> dict[str, Any]:
        """Run the schedule; returns the figures, with `problems`."""
        events: dict[str, Callable[[], None]] = {
            name: getattr(self, f'do_{name}') for name in self.options.events
        }
        try:
            for name in self.options.cameras:
                self.look(name)
                self.start_camera(name)
            self.start_subscriber()
            self.start_node()
            self.settle()
            bag: list[str] = []
            while time.monotonic() - self._started_s < 60 * self.options.minutes:
                self.wait(self.random.uniform(*PAUSES_S))
                if events:
                    bag = bag or self.random.sample([*events], len(events))
                    name = bag.pop()
                    self.happened[name] = self.happened.get(name, 0) + 1
                    events[name]()
            self.settle()
            self.end_node(signal.SIGINT, quiet=True)
            for name in [*self.children]:
                self.end(name, signal.SIGINT)
        finally:
            stop([*self.children.values()])
            self.witness.close()
        return self.report()

    def wait(self, seconds: float, until: Callable[[], object] = lambda: False) -> bool:
        """Wait, sampling the node; True if `until` became true."""
        end = time.monotonic() + seconds
        while not (done := bool(until())) and time.monotonic() < end:
            if time.monotonic() - self._sampled_s >= SAMPLE_S:
                self._sampled_s += SAMPLE_S
                self.sample()
            time.sleep(0.05)
        return done

    def sample(self) -> None:
        """Read the resources of the node, and the segments of all."""
        pids = {name: child.process.pid for name, child in self.children.items()}
        for pid in (os.getpid(), *pids.values()):
            self.segments |= resources.own_segments(pid)
        values = {}
        if 'node' in pids:
            values = resources.sample(pids['node'], self.folder / 'allocator')
        now = {'minutes': (time.monotonic() - self._started_s) / 60, 'life': self.witness.life}
        self.samples.append(now | values)
        for name, child in self.children.items():
            if not child.running:
                self.problems.append(f'{name} ended with {child.process.returncode} unasked')

    # processes

    def start(self, name: str, module: str, namespace: str = '', **parameters: Any) -> Child:
        """Start a process; its log is NUMBER-NAME.log."""
        self._started += 1
        rules = [f'{k}:={v}' for k, v in parameters.items()]
        log = f'{self._started:04d}-{name}'
        child = Child(log, module, rules, self.folder, self.env, namespace=namespace)
        self.children[name] = child
        return child

    def end(self, name: str, signum: int) -> None:
        """End a process by a signal, and check how it ended."""
        child = self.children.pop(name)
        code, asked_s = child.process.poll(), time.monotonic()
        if code is None:
            child.process.send_signal(signum)
            try:
                code = child.process.wait(END_S)
            except subprocess.TimeoutExpired:
                self.problems.append(f'{child.name} did not end in {END_S:g} s')
                child.process.kill()
                code = child.process.wait()
        text = child.log.read_text(errors='replace')
        row = {'process': child.name, 'signal': signal.Signals(signum).name, 'exit_code': code}
        row['seconds'] = round(time.monotonic() - asked_s, 2)
        self.ends.append(row)
        if name != 'node':
            return  # the others are only equipment
        # a process that has no handlers yet ends by the signal itself
        allowed = {0} if text and signum != signal.SIGKILL else {0, -signum}
        if code not in allowed:
            self.problems.append(f'{child.name} ended with {code} after {row["signal"]}')
        if 'Traceback' in text:
            self.problems.append(f'{child.name} wrote a traceback: ...{text[-500:]}')

    def start_camera(self, name: str) -> None:
        """Start the driver of a camera."""
        self.start(name, 'tools.soak.camera', name, folder=self.folder)

    def start_subscriber(self) -> None:
        """Start another subscriber to all outputs."""
        names = f'[{",".join(self.options.cameras)}]'
        reliability = self.random.choice(('RELIABLE', 'BEST_EFFORT'))
        module = 'tools.soak.subscriber'
        self.start('subscriber', module, cameras=names, reliability=reliability)

    def start_node(self) -> None:
        """Start the node and wait until it is active."""
        (self.folder / 'allocator').unlink(missing_ok=True)
        names = f'[{",".join(self.options.cameras)}]'
        parameters: dict[str, Any] = {'model': MODEL, 'cameras': names, 'device': 'cpu'}
        parameters |= {'scaling.method': 'constant'}
        parameters['image_transport'] = self.random.choice(('raw', 'raw', 'compressed'))
        parameters['use_sim_time'] = sim_time = self.random.choice((True, False))
        life = {'life': len(self.lives) + 1, 'use_sim_time': sim_time, 'quiet': {}}
        self.lives.append(life | {'start_s': time.monotonic(), 'end_s': float('inf')})
        child = self.start('node', 'tools.soak.node', **parameters)
        self.wait(LATE_S)
        self.witness.life = len(self.lives)
        if not self.wait(START_S, lambda: 'listening to' in child.log.read_text(errors='replace')):
            self.problems.append(
                f'{child.name} is not active after {START_S:g} s: {child.tail(3)}'
            )

    def end_node(self, signum: int, quiet: bool) -> None:
        """End the node; `quiet`: first let it finish all images, so that counters are final."""
        rates = {name: look.rate for name, look in self.looks.items()}
        if quiet:
            self.lives[-1]['quiet'] = self.quiet_counters()
        self.end('node', signum)
        self.lives[-1] |= {'end_s': time.monotonic(), **self.ends[-1]}
        for name, rate in rates.items() if quiet else ():
            self.look(name, rate=rate)

    def look(self, name: str, **changes: Any) -> None:
        """Change what a camera publishes."""
        self.looks[name] = dataclasses.replace(self.looks[name], **changes)
        self.looks[name].write(self.folder / f'{name}.json')

    def quiet_counters(self) -> dict[str, dict[str, int]]:
        """Stop the images, and return the counters when three diagnostics in turn agree."""
        for name in self.looks:
            self.look(name, rate=0.0)
        since_s, final = time.monotonic(), dict[str, dict[str, int]]()

        def is_final() -> bool:
            for name in self.looks:
                counters = self.witness.accounts(name, since_s)[-3:]
                if len(counters) == 3 and counters[0] == counters[2]:
                    final[name] = counters[0]
            return len(final) == len(self.looks)

        if not self.wait(SETTLE_S, is_final):
            self.problems.append(f'no final diagnostics in life {self.witness.life}: {final}')
        return final

    def settle(self) -> None:
        """Put all in order; every camera must have depth again."""
        for name in self.options.cameras:
            self.look(name, rate=self.options.rate, infos=1)
        for name in ('rate', 'points.rate'):
            if name in PARAMETERS:
                self.set(name, 0.0)
        since_s = time.monotonic()
        for name in self.options.cameras:
            if not self.wait(SETTLE_S, partial(self.witness.has_depth, name, since_s)):
                log = self.children['node'].tail(3)
                pids = {n: c.process.pid for n, c in self.children.items()}
                file = self.folder / f'shared_memory_{len(self.problems)}.txt'
                file.write_text(resources.shared_memory({**pids, 'witness': os.getpid()}))
                self.problems.append(
                    f'life {self.witness.life}: no depth of {name} for {SETTLE_S:g} s: {log}'
                )

    def set(self, name: str, value: Any) -> None:
        """Set a live parameter of the node."""
        refused = self.witness.set(name, value)
        self.unanswered += refused is None
        if refused:
            self.problems.append(f'{name}:={value} was refused: {refused}')

    # events

    def do_node(self) -> None:
        """Kill the node, sometimes in mid-image, and start it again."""
        signum = SIGNALS[len(self.lives) % 3]
        self.end_node(signum, quiet=len(self.lives) % 2 == 1)
        self.start_node()
        self.settle()

    def do_camera(self) -> None:
        """Kill a camera and start it again, perhaps with another QoS."""
        name = self.random.choice(self.options.cameras)
        self.end(name, SIGNALS[self.happened['camera'] % 3])
        self.wait(self.random.uniform(0, 2))
        self.look(name, reliable=self.random.random() < 0.7)
        self.start_camera(name)

    def do_subscriber(self) -> None:
        """Kill the subscriber and start another."""
        self.end('subscriber', SIGNALS[self.happened['subscriber'] % 3])
        self.wait(self.random.uniform(0, 2))
        self.start_subscriber()

    def do_size(self) -> None:
        """Another size of the images, several times."""
        name = self.random.choice(self.options.cameras)
        for _ in range(3):
            width, height = self.random.choice(SIZES)
            self.look(name, width=width, height=height)
            self.wait(self.random.uniform(0, 0.5))

    def do_encoding(self) -> None:
        """Another encoding of the images, several times."""
        name = self.random.choice(self.options.cameras)
        for _ in range(3):
            self.look(name, encoding=self.random.choice([*BYTES_PER_PIXEL]))
            self.wait(self.random.uniform(0, 0.5))

    def do_intrinsics(self) -> None:
        """Another focal length, with or without distortion."""
        name, distorted = self.random.choice(self.options.cameras), self.random.random() < 0.3
        self.look(name, focal=self.random.choice(FOCALS), distorted=distorted)

    def do_parameter(self) -> None:
        """Change live parameters."""
        for name in self.random.sample([*PARAMETERS], 3):
            self.set(name, self.random.choice(PARAMETERS[name]))

    def do_time(self) -> None:
        """Stamps of one camera, or /clock, jump forward or back."""
        offset_s = self.random.choice((-1e5, -100.0, -2.0, -0.1, 0.0, 0.1, 2.0, 100.0, 1e5))
        if self.random.random() < 0.3:
            self.witness.clock_offset_s = offset_s
        else:
            self.look(self.random.choice(self.options.cameras), offset_s=offset_s)

    def do_memory(self) -> None:
        """Fill memory and free it."""
        available = os.sysconf('SC_AVPHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**20
        megabytes = min(self.random.uniform(0.2, 1) * MEMORY_MB, available / 2)
        filled = np.ones(int(megabytes) << 17)  # 8 bytes each
        self.wait(self.random.uniform(0.5, 2))
        del filled

    def do_flood(self) -> None:
        """Far more images, or camera_infos, than the node can process."""
        name = self.random.choice(self.options.cameras)
        self.look(name, **self.random.choice(FLOODS))
        self.wait(self.random.uniform(1, 3))
        self.look(name, rate=self.options.rate, infos=1)

    def do_unwatched(self) -> None:
        """Nobody subscribes for a while."""
        self.end('subscriber', signal.SIGINT)
        self.witness.watch(False)
        self.wait(self.random.uniform(1, 3))
        self.witness.watch(True)
        self.start_subscriber()

    def do_settle(self) -> None:
        """All as usual: everything must work."""
        self.settle()

    # the end

    def report(self) -> dict[str, Any]:
        """Check the records; the figures."""
        sent: dict[str, dict[int, dict[str, Any]]] = {}
        for name in self.options.cameras:
            lines = (json.loads(s) for s in (self.folder / f'{name}.sent').open())
            sent[name] = {line['stamp']: line for line in lines}
        figures, problems = checks.outputs(sent, self.witness.seen)
        rows, more = checks.accounts(self.lives, self.witness.counters, sent, self.witness.seen)
        before_clean_up = resources.leftovers(self.segments)
        time.sleep(YOUNG_S)
        remove_dead()  # as the next start of a node does
        after = resources.leftovers(self.segments)
        if after['files']:
            more.append(f'{after} of shared memory remain after a clean-up')
        names = [name for name in dict.fromkeys(n for s in self.samples for n in s)]
        return {
            'options': dataclasses.asdict(self.options),
            'problems': checks.shortened(self.problems + problems + more),
            'events': self.happened,
            'images_sent': {name: len(lines) for name, lines in sent.items()},
            **figures,
            'accounts': rows,
            'ends': self.ends,
            'unanswered_requests': self.unanswered,
            'errors_in_diagnostics': sorted(self.witness.troubles),
            'segments': {'ever': len(self.segments), 'left': before_clean_up, 'cleaned': after},
            'samples': {name: [s.get(name) for s in self.samples] for name in names},
        }


EVENTS = tuple(name.removeprefix('do_') for name in vars(Soak) if name.startswith('do_'))
