"""Where stories come from is read right and always said; memorisation against a brute-force count."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyalign.common.errors import InputError
from tinyalign.training import sources
from tinyalign.training.memorisation import RUN, measure_memorisation
from tinyalign.training.recipe import Data, Generated
from tinyalign.training.sources import fold_newlines, gather, read_stories
from tinyalign.training.vocabulary import encode_stories, train_tokenizer


@given(st.text("ab \n\r\t", max_size=30))
def test_folding_leaves_single_newlines_and_is_idempotent(text: str) -> None:
    folded = fold_newlines(text)
    assert "\n\n" not in folded and "\r" not in folded and folded == folded.strip()
    assert fold_newlines(folded) == folded
    assert [c for c in folded if c in "ab"] == [c for c in text if c in "ab"]


def test_files_of_both_kinds(tmp_path: Path) -> None:
    lines = tmp_path / "a.jsonl"
    lines.write_text('{"text": "One.\\n\\nTwo."}\n\n{"text": "Three."}\n')
    assert read_stories(lines) == ["One.\nTwo.", "Three."]
    plain = tmp_path / "a.txt"
    plain.write_text("One.\nTwo.\n\nThree.\n")
    assert read_stories(plain) == ["One.\nTwo.", "Three."]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.jsonl", "{", "line 1 is not JSON"),
        ("a.jsonl", '{"text": "x"}\n{"story": "x"}', "line 2 has no `text`"),
        ("a.jsonl", '{"text": 5}', "has no `text`"),
        ("a.txt", " \n\n ", "holds no story"),
    ],
)
def test_bad_files_are_named(tmp_path: Path, name: str, content: str, said: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=said):
        read_stories(tmp_path / name)
    with pytest.raises(InputError, match="Cannot read"):
        read_stories(tmp_path / "absent.txt")


def test_without_data_the_grammar_serves_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "shared_folder", lambda kind: None)
    monkeypatch.setattr(sources, "_from_hub", lambda n: "no network")
    corpus = gather(Data(stories=30))
    assert len(corpus.texts) == 30
    assert "story grammar" in corpus.parts[0][0] and "no network" in corpus.parts[0][0]
    with pytest.raises(InputError, match="kin"):
        gather(Data(sources=("kin",)))
    monkeypatch.setattr(sources, "_from_hub", lambda n: ["a story"] * n)
    assert "from the hub" in gather(Data(stories=5)).parts[0][0]


def test_shared_stories_and_generated_ones(shared_stories: Path) -> None:
    corpus = gather(Data(stories=50, generated=(Generated(10, ("P1",)),)))
    assert len(corpus.texts) == 60 and [count for _, count in corpus.parts] == [50, 10]
    assert "shared folder" in corpus.parts[0][0] and "P1" in corpus.parts[1][0]


def test_tokenizer_is_lossless_and_stories_begin_with_end_of_text() -> None:
    texts = [f"Mom said {word}. The cat was happy." for word in ("no", "yes", "stop")] * 5
    tokenizer = train_tokenizer(texts, 270, 64)
    odd = "Naïve “quotes” and\nlines"
    (story,) = encode_stories(tokenizer, [odd])
    assert story[0] == tokenizer.eos_token_id == 0
    assert tokenizer.decode(story[1:].tolist()) == odd
    assert tokenizer("cat")["input_ids"][0] == 0


@given(
    st.lists(st.text("ab", min_size=0, max_size=120), min_size=2, max_size=4),
    st.lists(st.text("ab", min_size=60, max_size=150), min_size=1, max_size=4),
)
@settings(max_examples=30, deadline=None)
def test_memorisation_is_the_share_of_known_runs(texts: list[str], training: list[str]) -> None:
    texts = [*texts, training[0][5:58], training[-1][:RUN] + "c"]
    found = measure_memorisation(texts, texts, training)
    known = {t[i : i + RUN] for t in training for i in range(len(t) - RUN + 1)}
    runs = [t[i : i + RUN] for t in texts for i in range(len(t) - RUN + 1)]
    assert found.samples.estimate == pytest.approx(sum(run in known for run in runs) / len(runs))
    assert found.samples == found.held_out


def test_short_texts_are_refused() -> None:
    with pytest.raises(InputError, match="interval needs two"):
        measure_memorisation(["short"], ["short"], ["x" * 60])
    with pytest.raises(InputError, match="nothing to compare"):
        measure_memorisation(["x" * 60] * 2, ["x" * 60] * 2, ["short"])
