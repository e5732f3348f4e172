# SPDX-License-Identifier: Apache-2.0
"""The checks of the soak find what they look for."""

from dataclasses import replace

import pytest

from tools.soak import checks
from tools.soak.checks import Seen
from tools.soak.node import depth_m

SECOND = 10**9


def line(k: int, **changes) -> dict:
    """The k-th image: one each 0.1 s."""
    same = {'encoding': 'rgb8', 'focal': 0.8}
    return {'stamp': k * SECOND, 'at': 0.1 * k, 'level': 35 * k, **same, **changes}


def output(of: dict, depth: float | None = None, **changes) -> Seen:
    z = depth_m(of['level'], of['focal']) if depth is None else depth
    seen = Seen(1, 'front', 'depth/image', of['stamp'], of['at'] + 0.02, z, z)
    return replace(seen, **changes)


LINES = [line(k) for k in range(1, 6)]
SENT = {'front': {o['stamp']: o for o in LINES}}


def problems(*seen: Seen, sent=SENT) -> list[str]:
    return checks.outputs(sent, seen)[1]


def test_outputs_of_their_own_images_are_right():
    seen = [output(o) for o in LINES]
    seen.append(output(LINES[0], 0.8, output='depth/camera_info'))
    figures, wrong = checks.outputs(SENT, seen)
    assert not wrong
    assert figures['arrived'] == {'depth/image': 5, 'depth/camera_info': 1}
    assert figures['latency_ms']['p50'] == pytest.approx(20, abs=0.1)


@pytest.mark.parametrize(
    ('seen', 'text'),
    [
        ([output(LINES[1]), output(LINES[1])], 'arrived 2 times'),
        ([output(LINES[1], stamp=1)], 'never sent'),
        ([output(LINES[1], depth_m(LINES[0]['level'], 0.8))], 'level 70'),
        ([output(LINES[1], low=0.1)], 'level 70'),  # half of it of another image
        ([output(LINES[1], float('nan'))], 'no finite value'),
        ([output(LINES[1], 0.9, output='depth/camera_info')], 'focal 0.8'),
    ],
)
def test_a_wrong_output_is_a_problem(seen, text):
    (problem,) = problems(*seen)
    assert text in problem


def test_the_camera_info_of_the_image_before_is_counted_and_a_later_one_is_a_problem():
    lines = [line(1), line(2, focal=1.1), line(3, focal=0.6)]
    sent = {'front': {o['stamp']: o for o in lines}}
    figures, wrong = checks.outputs(sent, [output(lines[1], depth_m(70, 0.8))])
    assert not wrong and figures['with_an_older_camera_info'] == {'depth/image': 1}
    assert problems(output(lines[1], depth_m(70, 0.6)), sent=sent)


def counted(received: int, published: int, **others: int) -> dict[str, int]:
    names = ('dropped', 'limited', 'unwatched', 'unscaled', 'failed')
    zeros = dict.fromkeys(names, 0)
    return {'received': received, **zeros, 'published': published, **others}


def accounts(*counters: dict[str, int], quiet: dict[str, int] | None = None) -> list[str]:
    life = {'life': 1, 'start_s': 0.0, 'end_s': 1.0, 'quiet': {'front': quiet} if quiet else {}}
    in_turn = [(1, 'front', 0.5, c) for c in counters]
    rows, wrong = checks.accounts([life], in_turn, SENT, [output(o) for o in LINES[:3]])
    assert rows[0]['sent'] == 5 and rows[0]['arrived'] == 3
    return wrong


def test_counters_that_add_up_are_right():
    assert not accounts(counted(3, 1), counted(5, 3, dropped=2), quiet=counted(5, 3, dropped=2))
    assert not accounts(counted(5, 3))  # one waits, one is with the network


@pytest.mark.parametrize(
    ('counters', 'quiet', 'text'),
    [
        ([counted(5, 2)], None, '3 images without a reason'),
        ([counted(4, 5)], None, '-1 images without a reason'),
        ([counted(4, 4), counted(5, 3, dropped=2)], None, 'went back'),
        ([counted(6, 6)], None, 'received 6 of 5'),
        ([counted(4, 3)], counted(4, 3), 'when quiet 1 without a reason'),
        ([counted(4, 2, failed=2)], counted(4, 2, failed=2), '3 arrived of 2'),
    ],
)
def test_counters_that_do_not_are_a_problem(counters, quiet, text):
    (problem,) = accounts(*counters, quiet=quiet)
    assert text in problem


def test_many_problems_of_one_kind_are_shortened():
    many = [f'left: image {k}' for k in range(100)]
    assert checks.shortened([*many, 'right: image 1']) == [
        *many[: checks.SHOWN], '... and 95 more like this', 'right: image 1',
    ]  # fmt: skip
