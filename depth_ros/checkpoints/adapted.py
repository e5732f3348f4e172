# SPDX-License-Identifier: Apache-2.0
"""The card in weights that were adapted to recordings: what they learnt from, and how well.

It is JSON in the metadata of a safetensors file, under `KEY`.
"""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass
from pathlib import Path

from depth_ros.checkpoints import typed_json
from depth_ros.checkpoints.write import read_metadata
from depth_ros.core.errors import WeightsError

KEY = 'depth_ros_adapted'
VERSION = 1  #: of the format; what older versions of depth_ros must know raises it
#: of a check, from best to worst
GOOD, WARNING, REFUSED = VERDICTS = ('good', 'warning', 'refused')


@dataclass(frozen=True, slots=True)
class Start:
    """Weights that were adapted.

    Args:
        name: in words, such as 'nano (packaged)'.
        sha256: of their file; '' if it is not known.
    """

    name: str
    sha256: str = ''


@dataclass(frozen=True, slots=True)
class Recording:
    """A recording that was learnt from.

    Args:
        name: of the bag or folder, without the folders above it.
        images: number of images used.
        duration_s: from the first to the last of them [s]; NaN without times.
        path_m: length of the way of the camera [m].
        poses: where they come from, in words, such as 'TF, odom to camera_optical'.
        camera: size and intrinsics, in words.
    """

    name: str
    images: int
    duration_s: float = math.nan
    path_m: float = math.nan
    poses: str = ''
    camera: str = ''


@dataclass(frozen=True, slots=True)
class Check:
    """What was found of one property of the recordings.

    Args:
        name: of the property, such as 'focal length'.
        found: in words, with the number.
        verdict: one of `VERDICTS`.
        value: the number; NaN if there is none.
        unit: of `value`; '' for none.
        remedy: what the user can do; '' if nothing is needed.
    """

    name: str
    found: str
    verdict: str
    value: float = math.nan
    unit: str = ''
    remedy: str = ''

    def __post_init__(self) -> None:
        """Check the verdict.

        Raises:
            ValueError: it is none of `VERDICTS`.
        """
        if self.verdict not in VERDICTS:
            raise ValueError(f'verdict is {self.verdict[:40]!r}')


@dataclass(frozen=True, slots=True)
class Learnt:
    """How it was learnt.

    Args:
        steps: that were done.
        seconds: [s].
        device: in words.
        mix: share of the adapted weights in the result, 0..1; the rest is that of the start.
        turn_rms_deg: root mean square of the corrections of orientations [deg].
        shift_rms_m: the same of positions [m].
        stopped_early: by the user, or as the held-out views became no better.
    """

    steps: int
    seconds: float = math.nan
    device: str = ''
    mix: float = 1.0
    turn_rms_deg: float = math.nan
    shift_rms_m: float = math.nan
    stopped_early: bool = False


@dataclass(frozen=True, slots=True)
class Score:
    """Error of depth in metres, a mean over images.

    Args:
        abs_rel: mean of |Z - truth| / truth.
        delta1: share of pixels with max(Z / truth, truth / Z) < 1.25.
    """

    abs_rel: float
    delta1: float


@dataclass(frozen=True, slots=True)
class Scores:
    """Of one set of images, before and after.

    Args:
        name: of the set, such as 'recording' or 'synthetic scenes'.
        before: of the weights at the start.
        after: of these weights.
        images: number of images; 0 if it is not known.
        learnt_from: whether these very images were learnt from, without their depth.
    """

    name: str
    before: Score
    after: Score
    images: int = 0
    learnt_from: bool = False


@dataclass(frozen=True, slots=True)
class Coverage:
    """How much of some views others show.

    Args:
        name: of both, such as 'the last 8 images of kitchen, by those before'.
        share: of their pixels, 0..1.
    """

    name: str
    share: float


@dataclass(frozen=True, slots=True)
class Card:
    """One adaptation.

    Args:
        preset: that loads the weights.
        start: weights that were adapted.
        licence: that of `start`, which holds for the result too.
        restricted: the licence forbids some uses.
        depth_ros: version that made the weights.
        date: of it, UTC, ISO 8601, such as '2026-11-27T21:40:12Z'.
        recordings: that were learnt from.
        learnt: how.
        checks: of the recordings.
        photometric_before: error of the views held out, 0..1; NaN if there are none.
        photometric_after: the same of these weights.
        scores: by set of images.
        coverage: of places by the recordings.
        scale: for `scaling.scale`; None if the preset has metres.
        shift: for `scaling.shift` [1/m], with `scale`.
    """

    preset: str
    start: Start
    licence: str
    restricted: bool
    depth_ros: str
    date: str
    recordings: tuple[Recording, ...]
    learnt: Learnt
    checks: tuple[Check, ...] = ()
    photometric_before: float = math.nan
    photometric_after: float = math.nan
    scores: tuple[Scores, ...] = ()
    coverage: tuple[Coverage, ...] = ()
    scale: float | None = None
    shift: float = 0.0

    @property
    def images(self) -> int:
        """Number of images that were learnt from."""
        return sum(one.images for one in self.recordings)

    @property
    def verdict(self) -> str:
        """The worst of all checks, one of `VERDICTS`."""
        return max((check.verdict for check in self.checks), key=VERDICTS.index, default=GOOD)

    @property
    def parameters(self) -> dict[str, str]:
        """Parameters that give metres, beside model and weights; empty if the preset has them."""
        if self.scale is None:
            return {}
        values = {'scaling.method': 'constant', 'scaling.scale': f'{self.scale:.6g}'}
        return values | ({'scaling.shift': f'{self.shift:.6g}'} if self.shift else {})

    def __str__(self) -> str:
        """For a log: when, to what, and from which weights."""
        names = [one.name for one in self.recordings]
        places = f'{", ".join(names[:-1])} and {names[-1]}' if names[1:] else ''.join(names)
        images = f'{self.images} image{"" if self.images == 1 else "s"}'
        return f'adapted on {self.date[:10]} to {places} ({images}), from {self.start.name}'

    def to_json(self) -> str:
        """JSON, in which numbers that are not known are null."""
        values = {'version': VERSION, **dataclasses.asdict(self)}
        return json.dumps(typed_json.known(values), ensure_ascii=False)

    def metadata(self) -> dict[str, str]:
        """For `write.write_weights`."""
        return {KEY: self.to_json()}

    @classmethod
    def from_json(cls, text: str, path: Path | str = 'the card') -> Card:
        """The card that `to_json` wrote; what a newer depth_ros added is left out.

        Args:
            text: JSON.
            path: of the file, for messages.

        Raises:
            WeightsError: it is damaged, or of a format that this version does not know.
        """
        try:
            values = json.loads(text)
            version = values['version']
            if not isinstance(version, int) or version > VERSION:
                raise WeightsError(
                    f'{path}: its card has format {str(version)[:20]}, and this depth_ros knows '
                    f'formats up to {VERSION}: update depth_ros'
                )
            card: Card = typed_json.built(cls, values, 'card')
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            reason = f'{type(error).__name__}: {error}'.partition('\n')[0][:200]
            raise WeightsError(
                f'{path}: the card of its adaptation is damaged ({reason}); adapt again, or copy '
                'the file again'
            ) from error
        return card


def read_card(path: Path | str | None) -> Card | None:
    """The card of a file of weights; of its content only the header is read.

    Returns:
        None for a file of another kind, or none, or weights that were not adapted.

    Raises:
        WeightsError: the card is damaged, or of a newer format.
    """
    if path is None:
        return None
    text = read_metadata(Path(path)).get(KEY)
    return None if text is None else Card.from_json(text, path)


def card_for(preset: str, path: Path | str | None) -> Card | None:
    """As `read_card`, of weights that a preset loads.

    Raises:
        WeightsError: also for weights that were adapted from another preset, even if its tensors
            have the same names.
    """
    card = read_card(path)
    if card is not None and card.preset != preset:
        raise WeightsError(
            f'{path} was adapted from {card.preset}, but model is {preset}: set model to '
            f'{card.preset}, or weights to a file of {preset}'
        )
    return card
