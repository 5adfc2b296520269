"""Tokenizers of every format as one kind of object: a Hugging Face fast tokenizer."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tinyalign.common.errors import TokenizerError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

_SPACE = "\u2581"  # SentencePiece writes a space so


@dataclass(frozen=True)
class Pieces:
    """A SentencePiece BPE vocabulary: piece i has text `texts[i]` (spaces as U+2581), score `scores[i]`."""

    texts: tuple[str, ...]
    scores: tuple[float, ...]


def load_tokenizer(path: str | Path) -> PreTrainedTokenizerFast:
    """The tokenizer in `path`: a Hugging Face folder, a `tokenizer.json`, llama2.c's `.bin`, or a `.model`.

    Raises `TokenizerError` when it is missing, damaged or of an unknown kind.
    """
    path = Path(path)
    if path.is_dir():
        return _from_folder(path)
    if not path.is_file():
        raise TokenizerError(
            f"No tokenizer at {path}: expected a tokenizer.json, tok*.bin, .model or folder."
        )
    if path.suffix == ".json":
        return _from_json(path)
    if path.suffix == ".bin":
        return from_pieces(read_bin(path))
    if path.suffix == ".model":
        return from_pieces(read_model(path))
    raise TokenizerError(
        f"{path.name} is not a tokenizer that tinyalign reads: expected .json, .bin (llama2.c), .model "
        "(SentencePiece) or a Hugging Face folder."
    )


def find_beside(checkpoint: Path) -> Path:
    """The tokenizer file beside a llama2.c checkpoint: `tokenizer.bin`, `tok*.bin` or `*.model`.

    Raises `TokenizerError` when there is none, or more than one and none is called `tokenizer`.
    """
    folder = checkpoint.parent
    for name in ("tokenizer.bin", "tokenizer.model", "tokenizer.json"):
        if (folder / name).is_file() and folder / name != checkpoint:
            return folder / name
    found = sorted([*folder.glob("tok*.bin"), *folder.glob("*.model")])
    # `tok512.bin` and `tok512.model` are one vocabulary in two formats.
    stems = {path.stem for path in found}
    if len(stems) == 1:
        return found[0]
    if not found:
        raise TokenizerError(
            f"No tokenizer beside {checkpoint.name} (looked for tokenizer.bin, tok*.bin, *.model): give one "
            "as tokenizer=FILE, or tokenizer=False to load the model for token ids only."
        )
    raise TokenizerError(
        f"Several tokenizers lie beside {checkpoint.name} ({', '.join(p.name for p in found)}): say which "
        "with tokenizer=FILE."
    )


def read_bin(path: Path) -> Pieces:
    """llama2.c's `tokenizer.bin`: int32 longest piece, then a piece: float32 score, int32 length, bytes."""
    raw = path.read_bytes()
    if len(raw) < 4:
        raise TokenizerError(f"{path.name} is {len(raw)} bytes long: expected a llama2.c tokenizer.")
    longest = struct.unpack_from("<i", raw)[0]
    offset, texts, scores = 4, [], []
    while offset < len(raw):
        if offset + 8 > len(raw):
            raise TokenizerError(f"{path.name} ends within piece {len(texts)}: the file is truncated.")
        score, length = struct.unpack_from("<fi", raw, offset)
        offset += 8
        if not 0 <= length <= max(longest, 16) or offset + length > len(raw):
            raise TokenizerError(
                f"{path.name} gives piece {len(texts)} a length of {length} bytes, longest said {longest}: "
                "the file is truncated or not a llama2.c tokenizer."
            )
        try:
            text = raw[offset : offset + length].decode()
        except UnicodeDecodeError as error:
            raise TokenizerError(f"{path.name}: piece {len(texts)} is not UTF-8.") from error
        offset += length
        texts.append(_plain(text))
        scores.append(score)
    if len(texts) < 3:
        raise TokenizerError(f"{path.name} has {len(texts)} pieces: expected a llama2.c tokenizer.")
    return Pieces(tuple(texts), tuple(scores))


def read_model(path: Path) -> Pieces:
    """A SentencePiece `.model` of BPE type."""
    from sentencepiece import SentencePieceProcessor

    try:
        model = SentencePieceProcessor(model_file=str(path))
    except (RuntimeError, OSError) as error:
        raise TokenizerError(f"{path.name} is not a SentencePiece model: {error}.") from error
    ids = range(model.GetPieceSize())
    return Pieces(
        tuple(model.IdToPiece(i) for i in ids),
        tuple(float(model.GetScore(i)) for i in ids),
    )


def from_pieces(pieces: Pieces) -> PreTrainedTokenizerFast:
    """The fast tokenizer that splits as SentencePiece does with these pieces (byte fallback, BOS in front).

    Ids 0, 1, 2 are unknown, BOS and EOS, as in all llama2.c files. Merges are ranked by the score of the
    piece they make, highest first, as SentencePiece's BPE picks them.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, processors
    from transformers import PreTrainedTokenizerFast

    texts = ["<unk>", "<s>", "</s>", *pieces.texts[3:]]
    vocabulary = {text: index for index, text in enumerate(texts)}
    if len(vocabulary) != len(texts):
        raise TokenizerError("The tokenizer has the same piece twice: the file is damaged.")
    tokenizer = Tokenizer(
        models.BPE(
            vocab=vocabulary,
            merges=_merges(texts, pieces.scores, vocabulary),
            unk_token="<unk>",
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend(_SPACE), normalizers.Replace(" ", _SPACE)]
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace(_SPACE, " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    special = [AddedToken(text, special=True, normalized=False) for text in ("<unk>", "<s>", "</s>")]
    tokenizer.add_special_tokens(special)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", vocabulary["<s>"])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        clean_up_tokenization_spaces=False,
    )


def to_pieces(tokenizer: PreTrainedTokenizerFast) -> Pieces:
    """The pieces of a tokenizer made by `from_pieces`, with scores that keep the order of its merges.

    Raises `TokenizerError` for tokenizers of another kind: llama2.c files hold SentencePiece BPE only.
    """
    import json

    rules = json.loads(tokenizer.backend_tokenizer.to_str())
    model = rules["model"]
    if model.get("type") != "BPE" or not model.get("byte_fallback"):
        raise TokenizerError(
            "This tokenizer is not a SentencePiece BPE with byte fallback, the only kind that llama2.c files "
            "hold: convert to a Hugging Face folder instead."
        )
    texts = [text for text, _ in sorted(model["vocab"].items(), key=lambda item: item[1])]
    scores = [0.0] * len(texts)
    for rank, (left, right) in enumerate(model["merges"]):
        index = model["vocab"][left + right]
        if scores[index] == 0.0:
            scores[index] = -float(rank + 1)
    return Pieces(tuple(texts), tuple(scores))


def write_bin(pieces: Pieces, path: Path) -> None:
    """Write llama2.c's `tokenizer.bin` (BOS and EOS as its export script spells them)."""
    texts = [text.replace(_SPACE, " ").encode() for text in pieces.texts]
    texts[1], texts[2] = b"\n<s>\n", b"\n</s>\n"
    parts = [struct.pack("<i", max(map(len, texts)))]
    for text, score in zip(texts, pieces.scores, strict=True):
        parts.append(struct.pack("<fi", score, len(text)) + text)
    path.write_bytes(b"".join(parts))


def _merges(texts: list[str], scores: tuple[float, ...], vocabulary: dict[str, int]) -> list[tuple[str, str]]:
    ranked: list[tuple[float, int, int, tuple[str, str]]] = []
    for index, text in enumerate(texts):
        # Byte pieces ("<0x0A>") are made by fallback, never by merging.
        if index < 3 or (text.startswith("<0x") and text.endswith(">")):
            continue
        for cut in range(1, len(text)):
            left, right = text[:cut], text[cut:]
            if left in vocabulary and right in vocabulary:
                ranked.append((-scores[index], vocabulary[left], vocabulary[right], (left, right)))
    return [pair for *_, pair in sorted(ranked)]


def _plain(text: str) -> str:
    # The export script wraps BOS and EOS in newlines; every other piece has its spaces spelled out.
    return text.strip() if text.strip() in ("<s>", "</s>") else text.replace(" ", _SPACE)


def _from_folder(folder: Path) -> PreTrainedTokenizerFast:
    if not (folder / "tokenizer.json").is_file():
        old = [p for p in (folder / "tokenizer.model", folder / "tokenizer.bin") if p.is_file()]
        if old:
            return load_tokenizer(old[0])
        if not ((folder / "vocab.json").is_file() and (folder / "merges.txt").is_file()):
            raise TokenizerError(
                f"{folder} has no tokenizer.json (nor tokenizer.model, tokenizer.bin, vocab.json with "
                "merges.txt): give one as tokenizer=FILE, or tokenizer=False for token ids only."
            )
    return _auto(folder)


def _from_json(path: Path) -> PreTrainedTokenizerFast:
    if (path.parent / "tokenizer_config.json").is_file() and path.name == "tokenizer.json":
        return _auto(path.parent)
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    try:
        rules = Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises bare Exception for a damaged file
        raise TokenizerError(f"{path.name} is not a tokenizer.json that can be read: {error}.") from error
    return PreTrainedTokenizerFast(tokenizer_object=rules)


def _auto(folder: Path) -> PreTrainedTokenizerFast:
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    try:
        tokenizer = AutoTokenizer.from_pretrained(
            str(folder), local_files_only=True, use_fast=True, trust_remote_code=False
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise TokenizerError(f"The tokenizer in {folder} cannot be read: {reason}") from error
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise TokenizerError(f"{folder} holds a slow tokenizer: tinyalign needs one with a tokenizer.json.")
    return tokenizer
