# SPDX-License-Identifier: Apache-2.0
"""The graph of the tests themselves."""

import sys

from sensor_msgs.msg import Image


def test_what_is_destroyed_while_messages_arrive_does_not_end_the_graph(graph):
    publisher, interval = graph.publisher(Image, 'churn'), sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(100):
            received = [graph.collect(Image, 'churn') for _ in range(2)]
            other = graph.publisher(Image, 'churn/other')
            publisher.publish(Image())
            for one in received:
                one.close()
            graph.node.destroy_publisher(other)
    finally:
        sys.setswitchinterval(interval)
        graph.node.destroy_publisher(publisher)
    assert graph.node.spins
