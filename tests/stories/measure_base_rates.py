"""How often each role speaks and each speech act occurs in the training stories, with exact intervals.

`python tests/stories/measure_base_rates.py` writes `data/measurements/annotator_base_rates.json`. Rates are
of stories (at least one such quote), so the trials are independent draws; quotes of one story are not.
"""

from __future__ import annotations

from collections import Counter

from measure_annotator import load_texts, rate

from tinyalign.common.files import write_json
from tinyalign.common.resources import data_folder, shared_folder
from tinyalign.stories.annotating import annotate
from tinyalign.stories.annotation import ROLES, SPEECH_ACTS

COMMAND = "python tests/stories/measure_base_rates.py"


def main() -> None:
    """Annotate `train.jsonl` and write the table."""
    folder = shared_folder("tinystories")
    if folder is None:
        raise SystemExit(
            "The folder with real stories (../shared/tinystories or TINYALIGN_SHARED) is absent."
        )
    texts = load_texts(folder, "train.jsonl")
    holds: Counter[str] = Counter()
    quotes: Counter[str] = Counter()
    for text in texts:
        story = annotate(text)
        seen = {f"mentions {character.role}" for character in story.characters}
        for quote in story.quotes:
            speaker = quote.speaker_role or "unknown"
            labels = {"any quote", f"{speaker} speaks", f"to {quote.addressee_role or 'unknown'}"}
            labels |= set(quote.speech_acts)
            labels |= {f"{act} by {speaker}" for act in quote.speech_acts}
            quotes.update(labels)
            seen |= labels
        holds.update(seen)
    keys = [*(f"mentions {role}" for role in ROLES), "any quote"]
    keys += [f"{role} speaks" for role in (*ROLES, "unknown")] + [
        f"to {role}" for role in (*ROLES, "unknown")
    ]
    keys += [*SPEECH_ACTS, *(f"{act} by {role}" for act in SPEECH_ACTS for role in (*ROLES, "unknown"))]
    table = {
        "command": COMMAND,
        "intervals": "Clopper-Pearson, 95%, of the share of stories",
        "stories": len(texts),
        "quotes": quotes["any quote"],
        "share_of_stories": {key: rate(holds[key], len(texts)) for key in keys},
        "quotes_by_label": {key: quotes[key] for key in keys if not key.startswith("mentions")},
    }
    write_json(data_folder() / "measurements" / "annotator_base_rates.json", table)


if __name__ == "__main__":
    main()
