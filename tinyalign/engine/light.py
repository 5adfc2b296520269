"""Sampling from a saved folder without torch: what `tinyalign sample` needs for a story within a second.

It serves Llama folders as `tinyalign.models.saving` writes them, packed ternary or float, one prompt, no stop
strings. Whatever else is asked for gives None, and the ordinary path serves it or says what is wrong with
it: nothing is judged here. The stories are those of the ordinary path to the byte.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tinyalign.common.arguments import check_characters
from tinyalign.common.errors import CheckpointError, InputError
from tinyalign.engine.light_folder import LightFolder, read_light

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_LANES = 32
_STEPS = 64
_MOST = 4096
_NO_MEMORY = "The decoder got no memory: lower max_new_tokens or threads, or free some."
_REASONS = {2: "end", 3: "length", 4: "context"}


@dataclass(frozen=True)
class LightStory:
    """One story: its number, its prompt, the text after it, and why it ended (as `engine.Story` says)."""

    index: int
    prompt: str
    text: str
    stopped: str


def light_sample(
    name_or_path: str,
    prompt: str,
    *,
    n: int,
    max_new_tokens: int,
    temperature: float,
    top_k: int | None,
    top_p: float | None,
    seed: int,
    threads: int,
) -> Iterator[LightStory] | None:
    """The stories that `tinyalign.engine.sample` would give, in order, or None where it must be asked.

    Raises `CheckpointError` when the model's logits are not finite.
    """
    in_range = 1 <= n <= _MOST and max_new_tokens >= 1 and threads >= 1
    in_range &= math.isfinite(temperature) and temperature >= 0
    in_range &= (top_k is None or top_k >= 1) and (top_p is None or 0 < top_p <= 1)
    # Where a GPU is visible the ordinary path loads the model onto it.
    if not in_range or Path("/proc/driver/nvidia/version").exists():
        return None
    folder = _folder(name_or_path)
    read = None if folder is None else read_light(folder)
    if read is None:
        return None
    if not prompt.isascii():
        check_characters(prompt)
    ids: list[int] = read.tokenizer.encode(prompt).ids
    if not 0 < len(ids) < read.n_ctx:
        return None
    decoder = _decoder(read)
    if decoder is None:
        return None
    from tinyalign.engine.cpu import native

    draw = native.Draw(
        temperature=temperature,
        top_p=top_p if top_p is not None and top_p < 1 else 0.0,
        top_k=top_k if top_k is not None and top_k < read.d_vocab else 0,
        seed=seed & 0xFFFFFFFFFFFFFFFF,
    )
    return _stories(decoder, read, prompt, ids, draw, n, max_new_tokens, threads)


def _folder(name_or_path: str) -> Path | None:
    from tinyalign.models.catalogue import embedded_folder

    plain = name_or_path and "/" not in name_or_path and "\\" not in name_or_path
    embedded = embedded_folder(name_or_path) if plain else None
    if embedded is not None:
        return embedded
    path = Path(name_or_path).expanduser()
    return path if name_or_path and path.is_dir() else None


@dataclass
class _Decoder:
    """The C++ decoder with its weights; freed with the object."""

    lib: Any
    handle: int

    def __del__(self) -> None:
        self.lib.ta_model_free(self.handle)


def _decoder(read: LightFolder) -> _Decoder | None:
    """The decoder filled with a folder's weights; None where it cannot be built or gets no memory."""
    from tinyalign.engine.cpu import native
    from tinyalign.engine.rotary import default_frequencies, rotary_tables

    try:
        lib = native.bound("float32")
    except InputError:
        # No compiler, or it failed: the ordinary path says so and goes on with torch.
        return None
    shape = native.Shape(
        layers=read.n_layers,
        d_model=read.d_model,
        heads=read.n_heads,
        kv_heads=read.n_kv_heads,
        d_head=read.d_head,
        d_mlp=read.d_mlp,
        vocab=read.d_vocab,
        context=read.n_ctx,
        epsilon=read.epsilon,
    )
    handle = lib.ta_model(ctypes.byref(shape))
    if not handle:
        return None
    decoder = _Decoder(lib, handle)
    codes = []

    def vector(kind: int, layer: int, values: np.ndarray) -> None:
        codes.append(lib.ta_set_vector(handle, kind, layer, native.address(values), values.size))

    def floats(layer: int, part: int, values: np.ndarray) -> None:
        codes.append(lib.ta_set_float(handle, layer, part, native.address(values), *values.shape))

    cosines, sines = rotary_tables(default_frequencies(read.theta, read.d_head), read.n_ctx)
    vector(native.EMBEDDING, 0, read.embedding)
    vector(native.LAST_NORM, 0, read.last_norm)
    vector(native.COSINES, 0, cosines)
    vector(native.SINES, 0, sines)
    for number, layer in enumerate(read.layers):
        vector(native.ATTENTION_NORM, number, layer.attention_norm)
        vector(native.MLP_NORM, number, layer.mlp_norm)
        for place, part in enumerate(native.PARTS):
            matrix = layer.matrices[part]
            if matrix.scale is None:
                floats(number, place, matrix.values)
            else:
                at = (native.address(matrix.values), matrix.scale, *matrix.values.shape)
                codes.append(lib.ta_set_ternary(handle, number, place, *at))
    floats(0, native.UNEMBEDDING, read.unembedding)
    return decoder if all(code == 0 for code in codes) else None


def _stories(
    decoder: _Decoder,
    read: LightFolder,
    prompt: str,
    ids: list[int],
    draw: Any,
    n: int,
    limit: int,
    threads: int,
) -> Iterator[LightStory]:
    from tinyalign.engine.cpu import native

    prompts, offsets = np.array(ids, dtype=np.int32), np.array([0, len(ids)], dtype=np.int64)
    limit = min(limit, read.n_ctx)
    tokens = np.zeros((n, limit), dtype=np.int32)
    lengths, status = np.zeros(n, dtype=np.int32), np.zeros(n, dtype=np.int8)
    job = native.Job(
        prompts=native.address(prompts),
        offsets=native.address(offsets),
        first=0,
        count=n,
        each=n,
        limit=limit,
        end=-1 if read.end is None else read.end,
        capacity=min(read.n_ctx, len(ids) + limit),
        lanes=_LANES,
        draw=draw,
        tokens=native.address(tokens),
        lengths=native.address(lengths),
        status=native.address(status),
    )
    session = decoder.lib.ta_session(decoder.handle, ctypes.byref(job), min(threads, -(-n // _LANES)))
    if not session:
        raise CheckpointError(_NO_MEMORY)
    try:
        due, code = 0, 1
        while code == 1:
            code = decoder.lib.ta_run(session, _STEPS)
            if code == -2:
                raise CheckpointError(_NO_MEMORY)
            if code < 0:
                raise CheckpointError("The model gave logits that are not finite: its weights are damaged.")
            while due < n and int(status[due]) in _REASONS:
                text = _text(read.tokenizer, ids, tokens[due, : lengths[due]].tolist())
                yield LightStory(due, prompt, text, _REASONS[int(status[due])])
                due += 1
    finally:
        decoder.lib.ta_session_free(session)


def _text(tokenizer: Tokenizer, ids: list[int], new: list[int]) -> str:
    # Decoded with its prompt and cut, as the ordinary path does.
    return tokenizer.decode([*ids, *new])[len(tokenizer.decode(ids)) :]
