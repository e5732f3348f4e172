# SPDX-License-Identifier: Apache-2.0
"""What adapted weights are good for and what not, in sentences that follow from their card."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from depth_ros.checkpoints.adapted import GOOD, REFUSED, WARNING, Card, Scores

RECORDING = 'recording'  #: name of the scores of the images that were learnt from, or held out
COVERED = 0.7  #: share of views, from which on their place counts as recorded
SAME = 0.01  #: difference of AbsRel that is taken for none


@dataclass(frozen=True, slots=True)
class Verdict:
    """A conclusion.

    Args:
        level: one of `adapted.VERDICTS`.
        title: in a few words.
        good: sentences: what the weights are good for, with the numbers.
        limits: sentences: what they are not good for, and the remedies.
    """

    level: str
    title: str
    good: tuple[str, ...]
    limits: tuple[str, ...]


def judge(card: Card) -> Verdict:
    """Draw the conclusion of a card."""
    own = [s for s in card.scores if _is_own(s)]
    others = [s for s in card.scores if not _is_own(s)]
    faults = [check for check in card.checks if check.verdict != GOOD]
    refused = [check.name for check in faults if check.verdict == REFUSED]
    forgotten = any(_change(s) > SAME for s in others)
    unseen = any(c.share < COVERED for c in card.coverage)
    photometric = card.photometric_after - card.photometric_before  # NaN if not known
    places = ', '.join(one.name for one in card.recordings)
    measured = bool(own) or not math.isnan(photometric)
    if refused:
        words = f'the checks refuse {places} ({", ".join(refused)})'
        return Verdict(REFUSED, f'Do not use these weights: {words}', (), tuple(_limits(card)))
    if any(_change(s) > SAME for s in own) or (not own and photometric >= 0):
        title = f'Do not use these weights: no better than before in {places}'
        return Verdict(REFUSED, title, (), tuple(_limits(card)))
    if own and all(math.isnan(_change(s)) for s in own):
        title = f'Metres in {places}'
    elif own and all(abs(_change(s)) <= SAME for s in own):
        title = f'About as good as before in {places}'
    elif own:
        title = f'Better in {places}'
    else:  # images alone cannot prove metres
        title = f'Likely better in {places}' if measured else f'Not measured in {places}'
    title += ', worse elsewhere' if forgotten else ''
    level = WARNING if faults or unseen or forgotten or not measured else GOOD
    return Verdict(level, title, tuple(_good(card)), tuple(_limits(card)))


def _is_own(scores: Scores) -> bool:
    """Whether they are of a recording that was learnt from."""
    return scores.learnt_from or scores.name == RECORDING


def _change(scores: Scores) -> float:
    """Of AbsRel; positive is worse, NaN if there were no metres before."""
    return scores.after.abs_rel - scores.before.abs_rel


def _good(card: Card) -> Iterator[str]:
    for scores in card.scores:
        before, after = scores.before, scores.after
        if _change(scores) > SAME:
            continue
        if not _is_own(scores):
            how = 'better than before' if _change(scores) < -SAME else 'as good as before'
            if not math.isnan(_change(scores)):
                yield f'In {_place(scores)}: {how} ({_numbers(scores)}).'
            continue
        images = f'{scores.images} images with measured depth, ' if scores.images else ''
        which = 'whose views were learnt from' if scores.learnt_from else 'held out of learning'
        error, share = _percent(after.abs_rel), _percent(after.delta1)
        if not math.isnan(before.abs_rel):
            error += f' in the mean, before by {_percent(before.abs_rel)}'
            share += f' of the pixels are within 25 %, before {_percent(before.delta1)}'
        else:
            error += ' in the mean, before it had no metres'
            share += ' of the pixels are within 25 %'
        yield f'In {_place(scores)}: depth is off by {error}; {share} ({images}{which}).'
    if card.photometric_after < card.photometric_before:
        fall = _percent(1 - card.photometric_after / card.photometric_before)
        yield (
            f'Views held out of learning are predicted from their neighbours with {fall} less '
            f'photometric error ({_photometric(card)}).'
        )
    for coverage in card.coverage:
        if coverage.share >= COVERED:
            yield f'The recording covers its place: {_percent(coverage.share)} of {coverage.name}.'


def _limits(card: Card) -> Iterator[str]:
    for check in card.checks:
        if check.verdict != GOOD:
            said = f'{capital(check.name)}: {check.found.rstrip(".")}.'
            yield f'{said} {capital(check.remedy.rstrip("."))}.' if check.remedy else said
    is_lower = card.photometric_after < card.photometric_before
    if card.verdict == REFUSED and is_lower:
        yield (
            f'The photometric error fell all the same ({_photometric(card)}): it does not show '
            'such faults.'
        )
    for coverage in card.coverage:
        if coverage.share < COVERED:
            yield (
                f'The recording covers only {_percent(coverage.share)} of {coverage.name}. Do not '
                'expect better depth of what it does not show: record more, and adapt again.'
            )
    for scores in card.scores:
        if _change(scores) > SAME:
            remedy = f'Use {card.start.name} there, or adapt again with a smaller --mix'
            if _is_own(scores):
                remedy = f'Keep {card.start.name}'
            yield f'In {_place(scores)}: worse than before ({_numbers(scores)}). {remedy}.'
    if card.photometric_after >= card.photometric_before:
        yield f'The photometric error of views held out did not fall ({_photometric(card)}).'
    if not any(_is_own(s) for s in card.scores):
        yield (
            'The recording has no measured depth, so its metres were not compared with any. '
            'A lower photometric error does not prove them: measure one distance, and compare.'
        )
    yield 'Other cameras and places than those of the recording were not learnt.'
    if card.restricted:
        yield f'The licence restricts use, as that of {card.start.name}: {card.licence}.'


def _place(scores: Scores) -> str:
    return 'the recording' if scores.name == RECORDING else scores.name


def _numbers(scores: Scores) -> str:
    return f'AbsRel {scores.before.abs_rel:.3f} before, {scores.after.abs_rel:.3f} after'


def _photometric(card: Card) -> str:
    return f'{card.photometric_before:.3f} before, {card.photometric_after:.3f} after'


def _percent(share: float) -> str:
    return f'{100 * share:.0f} %'


def capital(text: str) -> str:
    """The text as the beginning of a sentence."""
    return text[:1].upper() + text[1:]
