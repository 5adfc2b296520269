"""llama2.c files of every version, against the reference text and an independent numpy forward pass."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import tinyalign
from tests.models.reference_llama import logits as numpy_logits
from tests.models.reference_llama import parse_v0
from tests.models.tiny import network, token_ids
from tinyalign.common.errors import CheckpointError, TokenizerError
from tinyalign.models import llama2c

_PROMPT = "Once upon a time, a boy named Tim wanted to eat candy. He asked his mom"
_REFERENCE = (
    ', "Can I have a candle?" His mom said, "Yes, but be careful."\n'
    "Tim and his mom went to the park to play. They saw a big, red candy. The candy was very happy."
)


def test_greedy_text_equals_the_reference_programs(shared_models: Path) -> None:
    model = tinyalign.load(shared_models / "stories260K.bin")
    ids = torch.tensor([model.encode(_PROMPT)])
    network: Any = model.network
    generated = network.generate(ids, max_new_tokens=70, do_sample=False)
    text = model.decode(generated[0].tolist())
    assert text[len(_PROMPT) :].startswith(_REFERENCE)


def test_logits_agree_with_numpy(shared_models: Path) -> None:
    path = shared_models / "stories260K.bin"
    model = tinyalign.load(path)
    ids = model.encode("Lily and her dad went to the lake. The water was cold, so she said no.")
    expected = numpy_logits(parse_v0(path.read_bytes()), ids)
    with torch.no_grad():
        found = model.network(torch.tensor([ids])).logits[0].numpy()
    assert np.abs(found - expected).max() <= 1e-4
    # The reference can tell: without the rotary permutation it is far off.
    assert np.abs(numpy_logits(parse_v0(path.read_bytes()), ids[::-1]) - expected).max() > 1


@pytest.mark.parametrize("kind", ["llama", "llama-gqa"])
def test_written_files_read_back_bit_for_bit(kind: str, tmp_path: Path) -> None:
    original = network(kind)
    llama2c.write(original, tmp_path / "model.bin")
    read = llama2c.read(tmp_path / "model.bin")
    for name, parameter in original.named_parameters():
        assert torch.equal(parameter, read.get_parameter(name)), name
    llama2c.write(read, tmp_path / "again.bin")
    assert (tmp_path / "model.bin").read_bytes() == (tmp_path / "again.bin").read_bytes()


@pytest.mark.parametrize("kind", ["llama", "llama-gqa"])
@pytest.mark.parametrize("version", [1, 2])
def test_versions_1_and_2(kind: str, version: int, tmp_path: Path) -> None:
    original = network(kind)
    llama2c.write(original, tmp_path / "v0.bin")
    weights = parse_v0((tmp_path / "v0.bin").read_bytes())
    path = tmp_path / f"v{version}.bin"
    path.write_bytes(_export(weights, version, shared=kind == "llama"))
    ids = token_ids(20, batch=1)
    with torch.no_grad():
        expected = original.eval()(ids).logits
        found = llama2c.read(path).eval()(ids).logits
    tolerance = 1e-5 if version == 1 else 0.3  # version 2 rounds to 8 bits
    assert float((found - expected).abs().max()) <= tolerance
    assert float((found - expected).abs().max()) > 0 or version == 1


def _export(weights: dict, version: int, *, shared: bool) -> bytes:
    """Versions 1 and 2 written from llama2.c's description of them, apart from the package's reader."""
    h = weights["header"]
    out = struct.pack("<Ii7iB", 0x616B3432, version, *h, int(shared))
    if version == 2:
        out += struct.pack("<i", 16)
    out = out.ljust(256, b"\0")
    for name in ("attention_norm", "ffn_norm", "norm"):
        out += weights[name].astype("<f4").tobytes()
    names = ["tok_embeddings", "wq", "wk", "wv", "wo", "w1", "w2", "w3"] + ([] if shared else ["output"])
    for name in names:
        layers = weights[name] if weights[name].ndim == 3 else [weights[name]]
        for matrix in layers:
            if version == 1:
                out += matrix.astype("<f4").tobytes()
                continue
            groups = matrix.reshape(-1, 16)
            scale = np.abs(groups).max(axis=1) / 127.0
            out += np.round(groups / scale[:, None]).astype(np.int8).tobytes() + scale.astype("<f4").tobytes()
    return out


def _good(tmp_path: Path) -> bytes:
    llama2c.write(network("llama"), tmp_path / "good.bin")
    return (tmp_path / "good.bin").read_bytes()


def test_bad_files_are_refused_in_one_sentence(tmp_path: Path) -> None:
    good = _good(tmp_path)
    nan = bytearray(good)
    nan[28:32] = struct.pack("<f", float("nan"))
    cases = {
        "truncated": good[:-100],
        "longer than": good + b"\0" * 8,
        "too short": good[:12],
        "impossible sizes": struct.pack("<7i", 64, 172, 5, 7, 4, 512, 512) + good[28:],
        "not a llama2.c checkpoint": struct.pack("<7i", 1 << 30, 172, 5, 8, 4, 512, 512) + good[28:],
        "NaN": bytes(nan),
        "version 9": struct.pack("<Ii", 0x616B3432, 9) + good,
    }
    for sentence, raw in cases.items():
        path = tmp_path / "bad.bin"
        path.write_bytes(raw)
        with pytest.raises(CheckpointError, match=sentence) as raised:
            tinyalign.load(path, tokenizer=False)
        assert "\n" not in str(raised.value)


def test_a_model_that_the_format_cannot_hold_is_refused(tmp_path: Path) -> None:
    llama = network("llama")
    llama.config.rms_norm_eps = 1e-6
    with pytest.raises(CheckpointError, match="epsilon"):
        llama2c.write(llama, tmp_path / "model.bin")


def test_tokenizer_missing_wrong_or_left_out(tmp_path: Path, shared_models: Path) -> None:
    (tmp_path / "alone").mkdir()
    path = tmp_path / "alone" / "model.bin"
    path.write_bytes(_good(tmp_path))
    with pytest.raises(TokenizerError, match="No tokenizer beside"):
        tinyalign.load(path)
    with pytest.raises(TokenizerError, match="512 tokens but the model 96"):
        tinyalign.load(path, tokenizer=shared_models / "tok512.bin")
    model = tinyalign.load(path, tokenizer=False)
    assert model.tokenizer is None
    with pytest.raises(TokenizerError, match="token ids only"):
        model.encode("Once")
    assert model.bridge(token_ids(8)).shape == (2, 8, 96)
