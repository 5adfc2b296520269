"""Annotator against the hand labels of `labels/`: precision, coverage and recall with exact intervals.

`python tests/stories/measure_annotator.py` writes `data/measurements/annotator.json`.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tinyalign.common.files import write_json
from tinyalign.common.resources import data_folder, shared_folder
from tinyalign.statistics.binomial import clopper_pearson
from tinyalign.stories.annotating import annotate
from tinyalign.stories.annotation import SPEECH_ACTS

COMMAND = "python tests/stories/measure_annotator.py"
LABELS = Path(__file__).parent / "labels"
TUNED = ("stories_development", "stories_opened", "flagged_development", "flagged_opened")
FINAL = ("stories_final",)


@dataclass
class Tally:
    """Counts over some labelled quotes. Coverage counts among the quotes that a reader gives a speaker."""

    stories: int = 0
    quotes: int = 0
    found: int = 0
    has_speaker: int = 0
    speaker_given: int = 0
    speaker_given_where_one: int = 0
    speaker_right: int = 0
    has_addressee: int = 0
    addressee_given: int = 0
    addressee_right: int = 0
    act_right: Counter[str] = field(default_factory=Counter)
    act_given: Counter[str] = field(default_factory=Counter)
    act_labelled: Counter[str] = field(default_factory=Counter)


def load_texts(folder: Path, name: str = "valid.jsonl") -> list[str]:
    """Texts of a file of stories by line."""
    with (folder / name).open(encoding="utf-8") as opened:
        return [json.loads(line)["text"] for line in opened]


def tally(names: tuple[str, ...], folder: Path) -> Tally:
    """Annotate the labelled stories of these sets and count; a quote not found counts as abstained."""
    texts: dict[str, list[str]] = {}
    total = Tally()
    for name in names:
        for record in json.loads((LABELS / f"{name}.json").read_text(encoding="utf-8")):
            file = record.get("file", "valid.jsonl")
            if file not in texts:
                texts[file] = load_texts(folder, file)
            text = texts[file][record["line"] - 1]
            digest = hashlib.sha256(text.encode()).hexdigest()
            assert digest.startswith(record["sha256"]), "not the labelled story"
            story = annotate(text)
            quotes = {(quote.start, quote.end): quote for quote in story.quotes}
            total.stories += 1
            for label in record["quotes"]:
                quote = quotes.get((label["start"], label["end"]))
                total.quotes += 1
                total.found += quote is not None
                total.has_speaker += label["speaker_role"] is not None
                total.has_addressee += label["addressee_role"] is not None
                total.act_labelled.update(label["speech_acts"])
                if quote is None:
                    continue
                if quote.speaker_role is not None:
                    total.speaker_given += 1
                    total.speaker_given_where_one += label["speaker_role"] is not None
                    total.speaker_right += quote.speaker_role == label["speaker_role"]
                if quote.addressee_role is not None:
                    total.addressee_given += 1
                    total.addressee_right += quote.addressee_role == label["addressee_role"]
                total.act_given.update(quote.speech_acts)
                total.act_right.update(set(quote.speech_acts) & set(label["speech_acts"]))
    return total


def rate(successes: int, trials: int) -> dict[str, object]:
    """A rate with its exact 95% interval."""
    if not trials:
        return {"successes": 0, "trials": 0}
    interval = clopper_pearson(successes, trials)
    return {
        "successes": successes,
        "trials": trials,
        "rate": round(successes / trials, 4),
        "interval": [round(interval.low, 4), round(interval.high, 4)],
    }


def summary(total: Tally) -> dict[str, object]:
    """Rates of one tally as JSON values."""
    return {
        "stories": total.stories,
        "quotes": total.quotes,
        "quotes_found": total.found,
        "speaker_role_precision": rate(total.speaker_right, total.speaker_given),
        "speaker_role_coverage": rate(total.speaker_given_where_one, total.has_speaker),
        "speaker_role_recall": rate(total.speaker_right, total.has_speaker),
        "addressee_role_precision": rate(total.addressee_right, total.addressee_given),
        "addressee_role_recall": rate(total.addressee_right, total.has_addressee),
        "speech_acts": {
            act: {
                "precision": rate(total.act_right[act], total.act_given[act]),
                "recall": rate(total.act_right[act], total.act_labelled[act]),
            }
            for act in SPEECH_ACTS
        },
    }


def milliseconds_per_story(texts: list[str]) -> float:
    """Median over five passes of the processor time a story takes, in milliseconds."""
    passes = []
    for _ in range(5):
        start = time.process_time()
        for text in texts:
            annotate(text)
        passes.append((time.process_time() - start) / len(texts) * 1e3)
    return sorted(passes)[2]


def main() -> None:
    """Measure on all sets and write the table."""
    folder = shared_folder("tinystories")
    if folder is None:
        raise SystemExit(
            "The folder with real stories (../shared/tinystories or TINYALIGN_SHARED) is absent."
        )
    texts = load_texts(folder)
    table: dict[str, object] = {
        "command": COMMAND,
        "intervals": "Clopper-Pearson, 95%",
        "milliseconds_per_story": round(milliseconds_per_story(texts), 2),
        "characters_per_story": round(sum(map(len, texts)) / len(texts)),
        "final_stories_never_tuned_on": summary(tally(FINAL, folder)),
        "tuned_on": {name: summary(tally((name,), folder)) for name in TUNED},
        "all": summary(tally((*TUNED, *FINAL), folder)),
    }
    write_json(data_folder() / "measurements" / "annotator.json", table)


if __name__ == "__main__":
    main()
