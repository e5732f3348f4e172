# SPDX-License-Identifier: Apache-2.0
"""The scale by anchors, published with the depth that it made."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

from depth_ros.core.types import DepthMap, ScaleState
from depth_ros.parameters.settings import Settings
from depth_ros.ros.outputs.demand import Demand
from depth_ros.ros.outputs.publishers import Outgoing, Outputs


class AnchoredOutputs(Outputs):
    """`Outputs`, and the state of the scale on `depth/scale`."""

    topics: ClassVar[dict[str, type]] = {**Outputs.topics, 'depth/scale': DiagnosticArray}

    def _messages(
        self, depth: DepthMap, header: Any, demand: Demand, settings: Settings
    ) -> Iterator[Outgoing]:
        yield from super()._messages(depth, header, demand, settings)
        if depth.scale is not None and 'depth/scale' in demand.topics:
            yield Outgoing('depth/scale', scale_message(depth.scale, header))


def scale_message(scale: ScaleState, header: Any) -> DiagnosticArray:
    """A DiagnosticArray, which plot tools read: its values are text that is a number."""
    values = [KeyValue(key=name, value=value) for name, value in scale.named().items()]
    status = DiagnosticStatus(
        level=DiagnosticStatus.WARN if scale.reason else DiagnosticStatus.OK,
        name='scale',
        message=scale.reason,
        hardware_id='depth_ros',
        values=values,
    )
    return DiagnosticArray(header=header, status=[status])
