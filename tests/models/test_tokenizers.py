"""llama2.c and SentencePiece tokenizers split as SentencePiece itself does."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sentencepiece import SentencePieceProcessor

from tinyalign.common.errors import TokenizerError
from tinyalign.models.tokenizers import (
    Pieces,
    find_beside,
    from_pieces,
    load_tokenizer,
    read_bin,
    to_pieces,
    write_bin,
)


def _small_pieces() -> Pieces:
    """A vocabulary of all bytes and a few words, scored as SentencePiece scores BPE: minus the rank."""
    words = ["\u2581", "a", "n", "d", "t", "o", "m", "an", "and", "\u2581and", "to", "mo", "mom", "\u2581mom"]
    texts = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *words]
    return Pieces(tuple(texts), tuple([0.0] * 259 + [-float(i) for i in range(len(words))]))


def test_real_stories_split_as_sentencepiece_does(shared_models: Path, shared_stories: Path) -> None:
    reference = SentencePieceProcessor(model_file=str(shared_models / "tok512.model"))
    ours = [load_tokenizer(shared_models / name) for name in ("tok512.bin", "tok512.model")]
    lines = (shared_stories / "valid.jsonl").read_text(encoding="utf-8").splitlines()[:150]
    for text in (json.loads(line)["text"] for line in lines):
        expected = [1, *reference.encode(text)]
        for tokenizer in ours:
            assert tokenizer(text)["input_ids"] == expected
            assert tokenizer.decode(expected, skip_special_tokens=True) == text


@settings(max_examples=60, deadline=None)
@given(st.text(st.characters(blacklist_categories=("Cs",)), max_size=40))
def test_any_text_survives_encoding(text: str) -> None:
    tokenizer = from_pieces(_small_pieces())
    ids = tokenizer(text)["input_ids"]
    assert ids[0] == 1
    for special in ("<unk>", "<s>", "</s>"):
        if special in text:
            return  # spelled-out special tokens are the special tokens
    assert tokenizer.decode(ids, skip_special_tokens=True) == text


def test_merges_follow_the_scores() -> None:
    tokenizer = from_pieces(_small_pieces())
    assert tokenizer.tokenize("and mom") == ["\u2581and", "\u2581mom"]
    assert tokenizer.tokenize("x") == ["\u2581", "<0x78>"]


def test_written_tokenizers_read_back(tmp_path: Path) -> None:
    tokenizer = from_pieces(_small_pieces())
    write_bin(to_pieces(tokenizer), tmp_path / "tokenizer.bin")
    again = load_tokenizer(tmp_path / "tokenizer.bin")
    assert again.backend_tokenizer.to_str() == tokenizer.backend_tokenizer.to_str()


def test_other_kinds_cannot_be_written_for_llama2c() -> None:
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    words = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel({"a": 0}, unk_token="a")))
    with pytest.raises(TokenizerError, match="not a SentencePiece BPE"):
        to_pieces(words)


def test_bad_tokenizers_are_refused_in_one_sentence(tmp_path: Path) -> None:
    write_bin(_small_pieces(), tmp_path / "good.bin")
    good = (tmp_path / "good.bin").read_bytes()
    cases = {
        "a.bin": (good[:-3], "truncated"),
        "b.bin": (b"\1", "1 bytes long"),
        "c.bin": (struct.pack("<i", 5), "0 pieces"),
        "d.bin": (struct.pack("<ifi", 5, 0.0, 1 << 30), "truncated or not"),
        "e.bin": (struct.pack("<ifi", 5, 0.0, 2) + b"\xff\xfe", "not UTF-8"),
        "f.model": (b"nothing", "not a SentencePiece model"),
        "g.json": (b"{", "not a tokenizer.json"),
        "h.txt": (b"", "not a tokenizer that tinyalign reads"),
    }
    for name, (raw, sentence) in cases.items():
        (tmp_path / name).write_bytes(raw)
        with pytest.raises(TokenizerError, match=sentence):
            load_tokenizer(tmp_path / name)
    with pytest.raises(TokenizerError, match="No tokenizer at"):
        load_tokenizer(tmp_path / "absent.json")
    (tmp_path / "empty").mkdir()
    with pytest.raises(TokenizerError, match=r"no tokenizer\.json"):
        load_tokenizer(tmp_path / "empty")


def test_the_tokenizer_beside_a_checkpoint(tmp_path: Path) -> None:
    checkpoint = tmp_path / "model.bin"
    checkpoint.write_bytes(b"")
    with pytest.raises(TokenizerError, match="No tokenizer beside"):
        find_beside(checkpoint)
    (tmp_path / "tok512.bin").write_bytes(b"")
    (tmp_path / "tok512.model").write_bytes(b"")
    assert find_beside(checkpoint).name == "tok512.bin"
    (tmp_path / "tok4096.bin").write_bytes(b"")
    with pytest.raises(TokenizerError, match="Several tokenizers"):
        find_beside(checkpoint)
    (tmp_path / "tokenizer.bin").write_bytes(b"")
    assert find_beside(checkpoint).name == "tokenizer.bin"


def test_pieces_survive_the_file_format(tmp_path: Path) -> None:
    write_bin(_small_pieces(), tmp_path / "tokenizer.bin")
    assert read_bin(tmp_path / "tokenizer.bin").texts == _small_pieces().texts
