"""Which properties are present in the base: only those can be preserved, or asked to be."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import numpy as np

from tinyalign.common.errors import DataError
from tinyalign.common.resources import data_folder
from tinyalign.models.story_model import StoryModel
from tinyalign.properties.contrast import ADMISSION_LOWER_BOUND, ADMISSION_NATS, CLIP_NATS, preferences
from tinyalign.properties.definition import LogitPair, Property
from tinyalign.statistics.betting import betting_interval
from tinyalign.statistics.interval import Interval

PROMPTS = 150


def present_contrast(model: StoryModel, prop: Property, pair: LogitPair, n: int = PROMPTS) -> Interval:
    """The mean contrast of a pair in nats on `n` test prompts of seed 0 (clipped to +-10), 95% betting."""
    space = prop.prompts.space("test", pair.decision)
    prompts = space.sample(min(n, len(space)), 0)
    values, _ = preferences(model, pair, prompts, ("clean", "corrupted"))
    contrast = np.clip(values["clean"] - values["corrupted"], -CLIP_NATS, CLIP_NATS)
    return betting_interval(contrast, -CLIP_NATS, CLIP_NATS)


def is_present(interval: Interval) -> bool:
    """The admission rule: at least .5 nats, and the interval's low end above .25."""
    return interval.estimate >= ADMISSION_NATS and interval.low > ADMISSION_LOWER_BOUND


def present_properties(
    model: StoryModel,
    props: Sequence[Property],
    progress: Callable[[str], None] | None = None,
) -> tuple[tuple[Property, LogitPair], ...]:
    """Those of `props` whose primary pair is present, with that pair.

    Taken from the measurements that ship with an embedded model where its identity and the property's grammar
    are those measured; otherwise measured now, which takes seconds a property. Raises `DataError` for a
    damaged table.
    """
    known = _shipped(model.sha256)
    found = []
    for prop in props:
        pair = prop.pairs[prop.primary]
        key = (prop.id, pair.name, prop.prompts.sha256)
        if key not in known and progress is not None:
            progress(f"measuring whether {prop.id} is present in {model.name}")
        if known[key] if key in known else is_present(present_contrast(model, prop, pair)):
            found.append((prop, pair))
    return tuple(found)


def _shipped(sha256: str) -> dict[tuple[str, str, str], bool]:
    for path in sorted((data_folder() / "measurements").glob("eval_*.json")):
        try:
            table = json.loads(path.read_text(encoding="utf-8"))
            if table["sha256"] == sha256:
                return {
                    (row["property_id"], row["pair"], row["grammar_sha256"]): bool(row["admitted"])
                    for row in table["admission"]
                }
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise DataError(f"{path}: this table of measurements is damaged ({error}).") from error
    return {}
