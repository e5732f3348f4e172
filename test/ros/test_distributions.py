# SPDX-License-Identifier: Apache-2.0
"""What depth_ros uses of ROS 2 exists on Humble, which cannot be installed with pip.

The tables are of Humble's rclpy 3.3, common_interfaces 4.2 and rcl_interfaces 1.2. Later
distributions are installed, or have all of this.
"""

import ast
import importlib
from pathlib import Path

import pytest
import rclpy
from rclpy.clock import Clock
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.impl.rcutils_logger import RcutilsLogger
from rclpy.lifecycle import LifecycleNode, LifecyclePublisher
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile
from rclpy.subscription import Subscription
from rclpy.time import Time
from rclpy.topic_endpoint_info import TopicEndpointInfo
from sensor_msgs.msg import CameraInfo

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / 'depth_ros').rglob('*.py'))
TREES = {path: ast.parse(path.read_text()) for path in FILES}
#: files in which objects of rclpy are handled
ROS_FILES = {*(ROOT / 'depth_ros' / 'ros').rglob('*.py'), ROOT / 'depth_ros/sim/camera_node.py'}

#: module of rclpy -> what is used of it
MODULES = {
    'rclpy.callback_groups': {'ReentrantCallbackGroup'},
    'rclpy.clock': {'Clock', 'ClockType'},
    'rclpy.executors': {'ExternalShutdownException', 'SingleThreadedExecutor'},
    'rclpy.impl.implementation_singleton': {'rclpy_implementation'},
    'rclpy.lifecycle': {'LifecycleNode', 'LifecycleState', 'TransitionCallbackReturn'},
    'rclpy.node': {'Node'},
    'rclpy.parameter': {'Parameter'},
    'rclpy.qos': {
        'DurabilityPolicy', 'QoSProfile', 'ReliabilityPolicy', 'qos_profile_sensor_data',
    },
    'rclpy.qos_event': {'SubscriptionEventCallbacks'},
    'rclpy.qos_overriding_options': {'QoSOverridingOptions'},
    'rclpy.time': {'Time'},
    'rclpy.utilities': {'get_rmw_implementation_identifier'},
}  # fmt: skip
#: imported from there first, and if that fails from a module of Humble
LATER = {'rclpy.event_handler': {'SubscriptionEventCallbacks'}}

#: functions and methods -> their parameters
CALLS = {
    'LifecycleNode': 'node_name enable_communication_interface context cli_args namespace '
    'use_global_arguments enable_rosout start_parameter_services parameter_overrides '
    'allow_undeclared_parameters automatically_declare_parameters_from_overrides',
    'Clock': 'clock_type',
    'QoSProfile': 'history depth reliability durability lifespan deadline liveliness '
    'liveliness_lease_duration avoid_ros_namespace_conventions',
    'RosParameter': 'name type_ value',
    'SubscriptionEventCallbacks': 'deadline incompatible_qos liveliness message_lost '
    'use_default_callbacks',
    'add_node': 'node',
    'add_on_set_parameters_callback': 'callback',
    'count_publishers': 'topic_name',
    'create_lifecycle_publisher': 'msg_type topic qos_profile callback_group event_callbacks '
    'qos_overriding_options',
    'create_publisher': 'msg_type topic qos_profile callback_group event_callbacks '
    'qos_overriding_options publisher_class',
    'create_subscription': 'msg_type topic callback qos_profile callback_group event_callbacks '
    'qos_overriding_options raw',
    'create_timer': 'timer_period_sec callback callback_group clock',
    'debug': 'message',
    'declare_parameter': 'name value descriptor ignore_override',
    'destroy': '',
    'destroy_lifecycle_publisher': 'publisher',
    'destroy_node': '',
    'destroy_publisher': 'publisher',
    'destroy_subscription': 'subscription',
    'destroy_timer': 'timer',
    'error': 'message',
    'fatal': 'message',
    'get_clock': '',
    'get_default_context': 'shutting_down',
    'get_fully_qualified_name': '',
    'get_logger': '',
    'get_name': '',
    'get_namespace': '',
    'get_parameter': 'name',
    'get_parameters_by_prefix': 'prefix',
    'get_publisher_names_and_types_by_node': 'node_name node_namespace no_demangle',
    'get_publishers_info_by_topic': 'topic_name no_mangle',
    'get_subscription_count': '',
    'get_topic_names_and_types': 'no_demangle',
    'has_parameter': 'name',
    'info': 'message',
    'now': '',
    'ok': 'context',
    'on_activate': 'state',
    'on_deactivate': 'state',
    'publish': 'msg',
    'resolve_topic_name': 'topic only_expand',
    'set_parameters': 'parameter_list',
    'spin': 'node executor',
    'spin_once': 'timeout_sec node executor',
    'take_message': 'pymsg_type raw',
    'to_msg': '',
    'trigger_activate': '',
    'trigger_configure': '',
    'try_shutdown': 'context',
    'undeclare_parameter': 'name',
    'warning': 'message',
    'with_default_policies': 'callback entity_id',
    '_LifecycleNodeMixin__change_state': 'transition_id',
}
#: attributes, and names that the objects of other libraries share with those of rclpy
ATTRIBUTES = {
    'context', 'depth', 'durability', 'handle', 'name', 'nanoseconds', 'qos_profile',
    'reliability', 'topic_type', 'value',
    'RCLError', 'STEADY_TIME', 'SUCCESS', 'FAILURE', 'ERROR', 'RELIABLE', 'BEST_EFFORT',
    'TRANSIENT_LOCAL', 'VOLATILE',
    'callback', 'init', 'log', 'logging', 'node', 'publishers', 'shutdown', 'time',
}  # fmt: skip
#: objects whose attributes are looked for
OF_RCLPY = [
    rclpy, Clock, Context, LifecycleNode, LifecyclePublisher, Parameter, QoSProfile,
    RcutilsLogger, SingleThreadedExecutor, Subscription, Time, TopicEndpointInfo,
    rclpy_implementation, rclpy_implementation.Subscription,
]  # fmt: skip

#: message -> fields and types, as `get_fields_and_field_types` has them
FIELDS = {
    'diagnostic_msgs/DiagnosticArray': 'header std_msgs/Header, '
    'status sequence<diagnostic_msgs/DiagnosticStatus>',
    'diagnostic_msgs/DiagnosticStatus': 'level octet, name string, message string, '
    'hardware_id string, values sequence<diagnostic_msgs/KeyValue>',
    'diagnostic_msgs/KeyValue': 'key string, value string',
    'geometry_msgs/PoseWithCovarianceStamped': 'header std_msgs/Header, '
    'pose geometry_msgs/PoseWithCovariance',
    'nav_msgs/Odometry': 'header std_msgs/Header, child_frame_id string, '
    'pose geometry_msgs/PoseWithCovariance, twist geometry_msgs/TwistWithCovariance',
    'rcl_interfaces/FloatingPointRange': 'from_value double, to_value double, step double',
    'rcl_interfaces/IntegerRange': 'from_value int64, to_value int64, step uint64',
    'rcl_interfaces/ParameterDescriptor': 'name string, type uint8, description string, '
    'additional_constraints string, read_only boolean, dynamic_typing boolean, '
    'floating_point_range sequence<rcl_interfaces/FloatingPointRange; 1>, '
    'integer_range sequence<rcl_interfaces/IntegerRange; 1>',
    'rcl_interfaces/SetParametersResult': 'successful boolean, reason string',
    'sensor_msgs/CameraInfo': 'header std_msgs/Header, height uint32, width uint32, '
    'distortion_model string, d sequence<double>, k double[9], r double[9], p double[12], '
    'binning_x uint32, binning_y uint32, roi sensor_msgs/RegionOfInterest',
    'sensor_msgs/CompressedImage': 'header std_msgs/Header, format string, data sequence<uint8>',
    'sensor_msgs/Image': 'header std_msgs/Header, height uint32, width uint32, encoding string, '
    'is_bigendian uint8, step uint32, data sequence<uint8>',
    'sensor_msgs/LaserScan': 'header std_msgs/Header, angle_min float, angle_max float, '
    'angle_increment float, time_increment float, scan_time float, range_min float, '
    'range_max float, ranges sequence<float>, intensities sequence<float>',
    'sensor_msgs/PointCloud2': 'header std_msgs/Header, height uint32, width uint32, '
    'fields sequence<sensor_msgs/PointField>, is_bigendian boolean, point_step uint32, '
    'row_step uint32, data sequence<uint8>, is_dense boolean',
    'sensor_msgs/PointField': 'name string, offset uint32, datatype uint8, count uint32',
    'sensor_msgs/Range': 'header std_msgs/Header, radiation_type uint8, field_of_view float, '
    'min_range float, max_range float, range float',
}
#: fields that Humble does not have; nothing uses them
LATER_FIELDS = {'sensor_msgs/Range': {'variance': 'float'}}
#: those that the ones above contain
PARTS = {
    'builtin_interfaces/Time': 'sec int32, nanosec uint32',
    'geometry_msgs/Pose': 'position geometry_msgs/Point, orientation geometry_msgs/Quaternion',
    'geometry_msgs/PoseWithCovariance': 'pose geometry_msgs/Pose, covariance double[36]',
    'geometry_msgs/Point': 'x double, y double, z double',
    'geometry_msgs/Quaternion': 'x double, y double, z double, w double',
    'sensor_msgs/RegionOfInterest': 'x_offset uint32, y_offset uint32, height uint32, '
    'width uint32, do_rectify boolean',
    'std_msgs/Header': 'stamp builtin_interfaces/Time, frame_id string',
}


def nodes(kind):
    """(file, node) of all syntax nodes of a kind."""
    return [(p, n) for p, tree in TREES.items() for n in ast.walk(tree) if type(n) is kind]


def imported(package):
    """(file, module, name) of what is imported from a package."""
    return [
        (file, node.module, alias.name)
        for file, node in nodes(ast.ImportFrom)
        if (node.module or '').split('.')[0] == package
        for alias in node.names
    ]


def test_every_name_of_rclpy_is_one_of_humble():
    used = imported('rclpy')
    assert {m for _, m, _ in used} == {*MODULES, *LATER}  # the tables have nothing else
    for file, module, name in used:
        assert name in MODULES.get(module, ()) or name in LATER.get(module, ()), file


def test_what_humble_has_elsewhere_is_imported_with_an_alternative():
    guarded = {
        (tried.module, instead.module)
        for _, node in nodes(ast.Try)
        for tried in node.body
        for handler in node.handlers
        for instead in handler.body
        if isinstance(tried, ast.ImportFrom) and isinstance(instead, ast.ImportFrom)
        and getattr(handler.type, 'id', '') == 'ImportError'
        and {a.name for a in tried.names} == {a.name for a in instead.names}
    }  # fmt: skip
    for module, names in LATER.items():
        (instead,) = (there for tried, there in guarded if tried == module)
        assert names <= MODULES[instead]
        # at the top of one file only, so that no other import of it is without the alternative
        assert len([file for file, m, _ in imported('rclpy') if m == module]) == 1


def test_every_attribute_of_rclpys_objects_is_one_of_humble():
    theirs = {name for thing in OF_RCLPY for name in dir(thing) if not name.startswith('__')}
    used = {
        node.attr: file
        for file, node in nodes(ast.Attribute)
        if node.attr in theirs and file in ROS_FILES
    }
    assert len(used) > 50
    unknown = {name: file for name, file in used.items() if name not in {*CALLS, *ATTRIBUTES}}
    assert not unknown


def test_every_keyword_is_one_of_humble():
    seen = set()
    for file, call in nodes(ast.Call):
        name = getattr(call.func, 'attr', getattr(call.func, 'id', ''))
        if name not in CALLS or file not in ROS_FILES:
            continue
        seen.add(name)
        known = CALLS[name].split()
        given = {keyword.arg for keyword in call.keywords} - {None}
        assert given <= {*known}, f'{name} in {file}'
    assert len(seen) > 40


def test_every_message_is_in_the_table():
    packages = {key.split('/')[0] for key in (*FIELDS, *PARTS)}
    used = {f'{p}/{name}' for p in packages for _, module, name in imported(p) if '.msg' in module}
    assert used == set(FIELDS)
    others = {'lifecycle_msgs', 'rosgraph_msgs', 'stereo_msgs', 'tf2_msgs', 'vision_msgs'}
    assert not [name for p in others for name in imported(p)]


@pytest.mark.parametrize('message', [*FIELDS, *PARTS])
def test_messages_have_the_fields_that_they_have_on_humble(message):
    """So whatever sets or reads a field in another test does so on Humble."""
    package, name = message.split('/')
    there = getattr(importlib.import_module(f'{package}.msg'), name).get_fields_and_field_types()
    fields = {**FIELDS, **PARTS}[message].split(', ')
    here = dict(field.replace(';', ',').split(' ', 1) for field in fields)
    assert {**there} == here | LATER_FIELDS.get(message, {})


def test_messages_check_the_types_of_their_fields_as_on_humble():
    """In this process, and in the nodes that it starts."""
    with pytest.raises(AssertionError, match='must be a set or sequence'):
        CameraInfo(k=[1, 2, 3, 4, 5, 6, 7, 8, 9])
    assert CameraInfo(k=[1.0] * 9).k[0] == 1


def test_the_syntax_is_that_of_python_3_10():
    for path in [*FILES, *(ROOT / 'launch').glob('*.py'), ROOT / 'setup.py']:
        ast.parse(path.read_text(), path.name, feature_version=(3, 10))
