# SPDX-License-Identifier: Apache-2.0
"""TFLite files of small networks, written without TensorFlow."""

import struct

import pytest

FLOAT, UINT8, INT8 = 0, 3, 9
QUANTISE, DEQUANTISE, MEAN, RESHAPE = 114, 6, 40, 22
_INT32, _REDUCER_OPTIONS = 2, 27


class Tensor:
    """A tensor of a network; `scales` and `zeros` are its quantisation."""

    def __init__(self, name, shape, kind=FLOAT, scales=(), zeros=(), data=b''):
        self.name, self.shape, self.kind = name, shape, kind
        self.scales, self.zeros, self.data = scales, zeros, data


def quantised(name, shape, kind, scale, zero):
    return Tensor(name, shape, kind, [scale], [zero])


def mean_of_channels(path, takes, gives, *, in_floats=True, size=(48, 64)):
    """A network that answers with the mean of the three channels.

    `takes` and `gives` are (type, scale, zero point) or None for floats. With `in_floats` the
    network converts to floats and back; else it computes with the integers.
    """
    height, width = size

    def port(name, channels, about):
        shape = [1, height, width, channels]
        return quantised(name, shape, *about) if about else Tensor(name, shape)

    axis = Tensor('axis', [1], _INT32, data=struct.pack('<i', 3))
    tensors = [port('image', 3, takes), axis, port('depth', 1, gives)]
    steps = [(MEAN, [0, 1], [2])]
    if in_floats and takes:
        tensors.append(Tensor('image_float', [1, height, width, 3]))
        steps = [(DEQUANTISE, [0], [3]), (MEAN, [3, 1], [2])]
    if in_floats and gives:
        tensors.append(Tensor('depth_float', [1, height, width, 1]))
        last = len(tensors) - 1
        steps = [*steps[:-1], (MEAN, steps[-1][1], [last]), (QUANTISE, [last], [2])]
    return write(path, tensors, steps)


def write(path, tensors, steps, inputs=(0,), outputs=(2,)):
    """A file with these tensors and steps, (operator, inputs, outputs) each."""
    flatbuffers = pytest.importorskip(
        'flatbuffers', reason='flatbuffers, which writes, is missing'
    )
    b = flatbuffers.Builder(1024)

    def vector(prepend, items, size):
        b.StartVector(size, len(items), 8 if size == 8 else 4)
        for item in reversed(items):
            prepend(item)
        return b.EndVector()

    def ints(items):
        return vector(b.PrependInt32, items, 4)

    def offsets(items):
        return vector(b.PrependUOffsetTRelative, items, 4)

    def table(fields):
        """`fields`: number -> (name of a Prepend...Slot, value)."""
        b.StartObject(max(fields, default=-1) + 1)
        for number, (kind, value) in fields.items():
            getattr(b, f'Prepend{kind}Slot')(number, value, 0)
        return b.EndObject()

    def offset(value):
        return ('UOffsetTRelative', value)

    buffers = [table({})]
    written = []
    for tensor in tensors:
        fields = {1: ('Int8', tensor.kind)}
        if tensor.data:
            data = b.CreateByteVector(tensor.data)
            fields[2] = ('Uint32', len(buffers))
            buffers.append(table({0: offset(data)}))
        name, shape = b.CreateString(tensor.name), ints(tensor.shape)
        if tensor.scales:
            scales = vector(b.PrependFloat32, tensor.scales, 4)
            zeros = vector(b.PrependInt64, tensor.zeros, 8)
            fields[4] = offset(table({2: offset(scales), 3: offset(zeros)}))
        written.append(table({0: offset(shape), **fields, 3: offset(name)}))
    codes = list(dict.fromkeys(step[0] for step in steps))
    operators = []
    for code, takes, gives in steps:
        fields = {0: ('Uint32', codes.index(code)), 1: offset(ints(takes)), 2: offset(ints(gives))}
        if code == MEAN:
            options = table({0: ('Bool', True)})
            fields |= {3: ('Uint8', _REDUCER_OPTIONS), 4: offset(options)}
        operators.append(table(fields))
    operator_codes = [table({0: ('Int8', code), 3: ('Int32', code)}) for code in codes]
    graph = table(
        {
            0: offset(offsets(written)),
            1: offset(ints(inputs)),
            2: offset(ints(outputs)),
            3: offset(offsets(operators)),
        }
    )
    model = {
        0: ('Uint32', 3),
        1: offset(offsets(operator_codes)),
        2: offset(offsets([graph])),
        4: offset(offsets(buffers)),
    }
    b.Finish(table(model), file_identifier=b'TFL3')
    path.write_bytes(bytes(b.Output()))
    return path
