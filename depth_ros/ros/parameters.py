# SPDX-License-Identifier: Apache-2.0
"""`Settings` as ROS parameters: layered over the preset, checked, live or refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.node import Node
from rclpy.parameter import Parameter as RosParameter

from depth_ros.core.errors import ConfigError, DepthRosError
from depth_ros.parameters import layers
from depth_ros.parameters.layers import Parameter
from depth_ros.parameters.settings import Settings
from depth_ros.pipeline.choose_model import ModelChoice, resolve

#: declared and honoured by rclpy
FOREIGN = ('use_sim_time', 'start_type_description_service', 'qos_overrides.')


class Parameters:
    """The node's parameters as one `Settings`.

    A value is the user's (YAML, command line, `ros2 param set`), else the preset's
    (config/models/<model>.yaml), else the default.

    Args:
        node: made with `automatically_declare_parameters_from_overrides`, so that a misspelt name
            is refused instead of ignored. A name that may be another node's is ignored with a
            warning: one params file may serve all nodes of a robot.
        apply: called with the new Settings when live parameters change; may raise ConfigError to
            refuse them.

    Attributes:
        settings: the values in force.
        problems: name -> what is wrong with a value that was given at the start; `resolve` reports
            them.
    """

    def __init__(self, node: Node, apply: Callable[[Settings], None]) -> None:
        self.node = node
        self.apply = apply
        self.configured = False
        self.problems: dict[str, str] = {}
        self.known = {p.name: p for p in layers.parameters()}
        given = {
            name: parameter.value
            for name, parameter in node.get_parameters_by_prefix('').items()
            if not name.startswith(FOREIGN)
        }
        self.explicit = {}
        for name in given:
            node.undeclare_parameter(name)
        elsewhere = layers.of_other_nodes(sorted(given))
        if elsewhere:
            names = [f'{n} (is {near} meant?)' if near else n for n, near in elsewhere.items()]
            node.get_logger().warning(
                f'ignored, because depth_node has no such parameters: {", ".join(names)}. If '
                "they are another node's, put them under its name in the params file; "
                'docs/parameters.md lists those of depth_node'
            )
        for name, value in given.items():
            if name in elsewhere:
                continue
            try:
                self.explicit[name] = layers.checked(name, list_or_self(value))
            except ConfigError as error:
                self.problems[name] = str(error)
                if name not in self.known:
                    self.problems[name] += (
                        " (a parameter of another node belongs under that node's name in the file)"
                    )
        values = layers.layered(self.explicit, self.explicit.get('model', Settings().model))
        for parameter in self.known.values():
            node.declare_parameter(
                parameter.name,
                values[parameter.name],
                _descriptor(parameter),
                ignore_override=True,
            )
        self.settings: Settings
        try:
            self.settings = layers.with_values(Settings(), values)
        except ConfigError:  # each value is possible, but not all together: `resolve` reports it
            self.settings = layers.with_values(Settings(), {'autostart': values['autostart']})
        node.add_on_set_parameters_callback(self._on_set)

    def resolve(self) -> tuple[Settings, ModelChoice]:
        """The settings to configure with, and the network they are for.

        Raises:
            ConfigError: a given parameter does not exist, or its value is not possible.
        """
        if self.problems:
            raise ConfigError('; '.join(self.problems.values()))
        values, settings, choice = resolve(self.explicit)
        shown = {name: self.node.get_parameter(name).value for name in values}
        changed = [n for n in values if list_or_self(shown[n]) != list_or_self(values[n])]
        explicit = dict(self.explicit)
        self.node.set_parameters([RosParameter(n, value=values[n]) for n in changed])
        self.explicit = explicit  # without the values of the preset
        self.settings = settings
        return settings, choice

    def _on_set(self, changes: list[RosParameter[Any]]) -> SetParametersResult:
        """Accept all of the changes, from the next frame on, or none, with the reason."""
        values = {}
        try:
            for change in changes:
                if change.name.startswith(FOREIGN):
                    continue
                value = list_or_self(change.value)
                values[change.name] = layers.checked(change.name, value)
                if self.configured and not self.known[change.name].live:
                    raise ConfigError(
                        f'{change.name} is fixed while the node is configured: '
                        'deactivate, cleanup, set it, configure, activate (ros2 lifecycle set)'
                    )
            settings = layers.with_values(self.settings, values)
            if self.configured:
                self.apply(settings)
        except DepthRosError as error:
            return SetParametersResult(successful=False, reason=str(error))
        self.settings = settings
        self.explicit.update(values)
        for name in values:
            self.problems.pop(name, None)
        return SetParametersResult(successful=True)


def list_or_self(value: Any) -> Any:
    """A list for arrays and tuples of rclpy; other values as they are."""
    return list(value) if hasattr(value, 'typecode') or isinstance(value, tuple) else value


def _descriptor(parameter: Parameter) -> ParameterDescriptor:
    constraints = [] if parameter.live else ['fixed while the node is configured']
    if parameter.choices:
        constraints.append(f'one of: {", ".join(parameter.choices)}')
    descriptor = ParameterDescriptor(
        name=parameter.name,
        description=parameter.description,
        additional_constraints='; '.join(constraints),
        # checked here, where an int is accepted for a float; rclpy would refuse it
        dynamic_typing=True,
    )
    if isinstance(parameter.default, float):
        bounds = FloatingPointRange(from_value=parameter.low, to_value=parameter.high)
        descriptor.floating_point_range = [bounds]
    elif isinstance(parameter.default, int) and not isinstance(parameter.default, bool):
        assert parameter.low is not None and parameter.high is not None  # a test looks at each
        bounds = IntegerRange(from_value=int(parameter.low), to_value=int(parameter.high), step=1)
        descriptor.integer_range = [bounds]
    return descriptor
