# SPDX-License-Identifier: Apache-2.0
"""depth_node: images of a camera -> depth in metres.

The executor's thread stores the newest image and serves requests. A worker thread infers and
publishes.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Any

import rclpy
from rclpy.clock import Clock, ClockType  # type: ignore[attr-defined]
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.utilities import get_rmw_implementation_identifier

from depth_ros import models
from depth_ros.core.errors import in_words
from depth_ros.parameters import layers
from depth_ros.parameters.declare import OF_NODE
from depth_ros.parameters.settings import Settings
from depth_ros.pipeline.abilities import without_effect
from depth_ros.pipeline.build import build
from depth_ros.ros.inputs.subscription import camera_size
from depth_ros.ros.parameters import Parameters
from depth_ros.ros.process import fastdds
from depth_ros.ros.process.command_line import refuse_others
from depth_ros.ros.process.init import end, init, interruptible, shutdown
from depth_ros.ros.process.log import forward_to_ros
from depth_ros.ros.session import Session
from depth_ros.ros.worker import THREAD_NAME

FAILED = 1  #: exit code
WAKE_S = 0.5  #: how often `spin` looks whether the context is shut down
SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE


class DepthNode(LifecycleNode):
    """The lifecycle around a `Session`: configure loads the network, activate connects."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(
            'depth_node', automatically_declare_parameters_from_overrides=True, **kwargs
        )
        forward_to_ros(self.get_logger())
        self.exit_code = 0
        self.session: Session | None = None
        self._without_effect: set[str] = set()  # what is logged of them
        self.parameters = Parameters(self, self._apply)

    def _apply(self, settings: Settings) -> None:
        if self.session is not None:
            self.session.update(settings)
            self._warn_without_effect(settings, self.session)

    def _warn_without_effect(self, settings: Settings, session: Session) -> None:
        """Log once each parameter that this network cannot use.

        No error: one params file may serve robots with different networks.
        """
        preset, device = models.get(session.choices.model), session.pipeline.device
        for text in without_effect(settings, preset, device, has=OF_NODE):
            if text not in self._without_effect:
                self.get_logger().warning(text)
                self._without_effect.add(text)

    @property
    def _configured(self) -> Session:
        assert self.session is not None  # the lifecycle activates only what is configured
        return self.session

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the network. FAILURE, with the reason in the log, allows another try."""
        with interruptible():  # loading a network takes seconds to minutes
            return self._attempt('configure', self._configure)

    def _configure(self) -> None:
        settings, choice = self.parameters.resolve()
        first = settings.cameras[0]
        info = f'{first}/camera_info' if first else 'camera_info'
        pipeline, choices = build(
            settings, lambda: camera_size(self, info), chosen_by=choice.reason, live=True
        )
        self.get_logger().info(str(choices))
        self.get_logger().info(
            f'middleware: {fastdds.describe(get_rmw_implementation_identifier())}'
        )
        self.session = Session(self, pipeline, choices, self._gpu_lost)
        self._warn_without_effect(settings, self.session)
        self.parameters.configured = True

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe and start the worker."""
        result = super().on_activate(state)
        if result != SUCCESS:
            return result
        result = self._attempt('activate', self._configured.start)
        if result != SUCCESS:
            super().on_deactivate(state)  # of the publishers
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Unsubscribe and wait for the worker."""
        result = self._attempt('deactivate', self._configured.stop)
        return result if result != SUCCESS else super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free the network."""
        return self._attempt('clean up', self.close)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop, from any state."""
        return self._attempt('shut down', self.close)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Back to unconfigured, from where configure can be tried again."""
        return self._attempt('recover', self.close)

    def _attempt(self, what: str, action: Callable[[], None]) -> TransitionCallbackReturn:
        """SUCCESS, or FAILURE with the reason logged: rclpy swallows what a transition raises."""
        try:
            action()
        except Exception as error:
            # whatever a checkpoint, driver or GPU raises, the node must stay configurable
            if self.context.ok():  # otherwise Ctrl-C came in between
                self.get_logger().error(f'cannot {what}: {in_words(error)}')
            return FAILURE
        return SUCCESS

    def _LifecycleNodeMixin__change_state(self, transition_id: int) -> TransitionCallbackReturn:
        """A transition that is not possible now is refused, and the node goes on.

        rclpy lets the exception of such a request end the node, up to Jazzy (issue 1209).
        """
        try:
            change = super()._LifecycleNodeMixin__change_state  # type: ignore[misc]
            result: TransitionCallbackReturn = change(transition_id)
            return result
        except rclpy_implementation.RCLError as error:
            self.get_logger().error(
                f'transition {transition_id} is not possible now: {error}. A lifecycle manager '
                'needs autostart:=false'
            )
            return TransitionCallbackReturn.ERROR

    def start(self) -> bool:
        """Configure and activate; on failure the process is to end with `exit_code`."""
        if self.trigger_configure() == SUCCESS and self.trigger_activate() == SUCCESS:
            return True
        if self.context.ok():  # otherwise Ctrl-C came in between
            self.exit_code = FAILED
            self.get_logger().fatal(
                'the node ends, because it could not start: correct the cause above and start it '
                'again. With autostart:=false it waits for a lifecycle manager to configure it'
            )
        return False

    def _gpu_lost(self, reason: str) -> None:
        """End the process: after such an error only a new one can use the GPU."""
        self.exit_code = FAILED
        self.get_logger().fatal(
            f'the GPU accepts no further work ({reason}): the node ends. Start it again; with '
            'respawn:=true the launch file does'
        )
        self.context.try_shutdown()

    def close(self) -> None:
        """Stop the worker and free what configure made."""
        self.parameters.configured = False
        session, self.session = self.session, None
        if session is not None:
            session.close()


def main(args: list[str] | None = None) -> int:
    """Run the node until it is shut down.

    Args:
        args: replace the command line.

    Returns:
        Exit code: 0, or `FAILED` if the node could not start or lost its GPU.
    """
    if args is None:
        refuse_others(
            'depth_node', ((p.name, p.default, p.description) for p in layers.parameters())
        )
    freed = fastdds.prepare()
    try:
        if not init(args):
            return 0
    except rclpy_implementation.RCLError as error:
        if 'log' not in str(error).lower():
            raise
        print(
            'depth_node cannot write its log: set ROS_LOG_DIR to a folder that can be written '
            f'({error})',
            file=sys.stderr,
        )
        return FAILED
    exit_code, node = 0, None
    # MultiThreadedExecutor starves next to inference and EventsExecutor deadlocks (rclpy 9.1.2)
    executor: Any = SingleThreadedExecutor()
    try:
        node = DepthNode()
        if freed:
            node.get_logger().info(
                f'freed {freed / 2**20:.0f} MB of shared memory of killed processes'
            )
        executor.add_node(node)
        # rclpy 9.1.2 wakes `spin` before it shuts the context down, and that can be too early
        node.create_timer(WAKE_S, lambda: None, clock=Clock(clock_type=ClockType.STEADY_TIME))
        if not node.parameters.settings.autostart or node.start():
            executor.spin()
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except Exception:
        if rclpy.ok():
            raise  # otherwise the shutdown came in the middle of a callback
    finally:
        if node is not None:
            node._attempt('shut down', node.close)  # a GPU that failed may fail here again
            exit_code = node.exit_code
            executor.shutdown()
            executor = None  # the task of a callback that failed stays in it, with the node
            node.destroy_node()
            node = None
        shutdown()
    if any(thread.name == THREAD_NAME for thread in threading.enumerate()):
        end(exit_code)  # a network cannot be interrupted, and the interpreter would wait for it
    return exit_code
