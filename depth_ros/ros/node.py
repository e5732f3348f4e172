# SPDX-License-Identifier: Apache-2.0
"""depth_node: images of a camera -> depth in metres.

The executor's thread stores the newest image and serves requests. A worker thread infers and
publishes.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

from depth_ros.core.errors import DepthRosError
from depth_ros.parameters import layers
from depth_ros.parameters.settings import Settings
from depth_ros.pipeline.build import build
from depth_ros.ros.inputs.subscription import camera_size
from depth_ros.ros.parameters import Parameters
from depth_ros.ros.process import fastdds
from depth_ros.ros.process.command_line import refuse_others
from depth_ros.ros.process.log import forward_to_ros
from depth_ros.ros.session import Session

SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE


class DepthNode(LifecycleNode):
    """The lifecycle around a `Session`: configure loads the network, activate connects."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(
            'depth_node', automatically_declare_parameters_from_overrides=True, **kwargs
        )
        forward_to_ros(self.get_logger())
        self.session: Session | None = None
        self.parameters = Parameters(self, self._apply)

    def _apply(self, settings: Settings) -> None:
        if self.session is not None:
            self.session.update(settings)

    @property
    def _configured(self) -> Session:
        assert self.session is not None  # the lifecycle activates only what is configured
        return self.session

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the network. FAILURE, with the reason in the log, allows another try."""
        return self._attempt('configure', self._configure)

    def _configure(self) -> None:
        settings, choice = self.parameters.resolve()
        first = settings.cameras[0]
        info = f'{first}/camera_info' if first else 'camera_info'
        pipeline, choices = build(
            settings, lambda: camera_size(self, info), chosen_by=choice.reason
        )
        self.get_logger().info(str(choices))
        self.get_logger().info(f'middleware: {fastdds.describe()}')
        self.session = Session(self, pipeline, choices)
        self.parameters.configured = True

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe and start the worker."""
        result = super().on_activate(state)
        return result if result != SUCCESS else self._attempt('activate', self._configured.start)

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
        except DepthRosError as error:
            self.get_logger().error(f'cannot {what}: {error}')
            return FAILURE
        except Exception as error:
            # whatever a checkpoint, driver or GPU raises, the node must stay configurable
            self.get_logger().error(f'cannot {what}: {type(error).__name__}: {error}')
            return FAILURE
        return SUCCESS

    def close(self) -> None:
        """Stop the worker and free what configure made."""
        self.parameters.configured = False
        session, self.session = self.session, None
        if session is not None:
            session.close()


def main(args: list[str] | None = None) -> None:
    """Run the node until it is shut down; `args` replaces the command line."""
    if args is None:
        refuse_others(
            'depth_node', ((p.name, p.default, p.description) for p in layers.parameters())
        )
    freed = fastdds.prepare()
    rclpy.init(args=args)
    node = DepthNode()
    if freed:
        node.get_logger().info(
            f'freed {freed / 2**20:.0f} MB of shared memory of killed processes'
        )
    # MultiThreadedExecutor starves next to inference and EventsExecutor deadlocks (rclpy 9.1.2)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        if node.parameters.settings.autostart and node.trigger_configure() == SUCCESS:
            node.trigger_activate()
        executor.spin()
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        signal.signal(
            signal.SIGINT, signal.SIG_IGN
        )  # a second Ctrl-C would leave shared memory behind
        node._attempt('shut down', node.close)  # a GPU that failed may fail here again
        executor.shutdown()
        node.destroy_node()
        rclpy.try_shutdown()
