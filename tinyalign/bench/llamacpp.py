"""llama.cpp as a peer, through `llama-cpp-python` where it is installed: batches of token ids, greedy."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tinyalign.bench.gguf_file import Stored, remark, unsuited, write_gguf
from tinyalign.bench.peers import Output, Peer, Run, Setting
from tinyalign.common.errors import CheckpointError
from tinyalign.models import StoryModel

_F32 = 0  # GGML_TYPE_F32: keys and values as exact as the other contestants'


def _missing(model: StoryModel, *, stored: Stored) -> str | None:
    for package in ("llama_cpp", "gguf"):
        if importlib.util.find_spec(package) is None:
            return f"the package {package} is not installed"
    return unsuited(model, stored)


@functools.cache
def _quiet() -> Any:
    """A log callback that says nothing, kept for good: llama.cpp holds its address."""
    return importlib.import_module("llama_cpp").llama_log_callback(lambda *_: None)


# Decodes one token of 32 sequences with llama.cpp's own choice of buffers.
_TRIAL = """
import sys
import llama_cpp as lib
model = lib.llama_model_load_from_file(sys.argv[1].encode(), lib.llama_model_default_params())
options = lib.llama_context_default_params()
options.n_ctx, options.n_seq_max, options.n_threads = 32 * 256, 32, 1
context = lib.llama_init_from_model(model, options)
batch = lib.llama_batch_init(32, 0, 1)
batch.n_tokens = 32
for row in range(32):
    batch.token[row], batch.pos[row], batch.n_seq_id[row], batch.logits[row] = 1, 0, 1, 1
    batch.seq_id[row][0] = row
sys.exit(lib.llama_decode(context, batch))
"""
_survived: dict[tuple[str, str], bool] = {}


def _survives(model: StoryModel, stored: Stored, file: Path) -> bool:
    """Whether llama.cpp decodes the file with weights in buffers for special instructions.

    Tried in a process of its own: some builds end in an illegal instruction (AMX tiles) with them.
    """
    key = (model.sha256, stored)
    if key not in _survived:
        command = [sys.executable, "-c", _TRIAL, str(file)]
        _survived[key] = subprocess.run(command, capture_output=True, check=False).returncode == 0
    return _survived[key]


def _remark(model: StoryModel, *, stored: Stored) -> str | None:
    plain = None
    if not _survived.get((model.sha256, stored), True):
        plain = "without its buffers for special instructions, with which it crashed here"
    return "; ".join(filter(None, (remark(model, stored), plain))) or None


@contextmanager
def _prepared(setting: Setting, stories: int, *, stored: Stored) -> Iterator[Run]:
    lib: Any = importlib.import_module("llama_cpp")
    length = len(setting.ids) + setting.tokens
    lib.llama_log_set(_quiet(), None)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.gguf"
        write_gguf(setting.model, file, stored)
        parameters = lib.llama_model_default_params()
        parameters.use_extra_bufts = _survives(setting.model, stored, file)
        model = lib.llama_model_load_from_file(str(file).encode(), parameters)
        if not model:
            raise CheckpointError("llama.cpp refused the GGUF file that was written for it.")
        options = lib.llama_context_default_params()
        # Each sequence has a part of its own, in steps of 256 places.
        options.n_ctx = stories * (-(-length // 256) * 256)
        options.n_batch = options.n_ubatch = max(stories, 32)
        options.n_seq_max = stories
        options.n_threads = options.n_threads_batch = setting.threads
        options.type_k = options.type_v = _F32
        options.no_perf = True
        context = lib.llama_init_from_model(model, options)
        batch = lib.llama_batch_init(stories, 0, 1)
        try:
            if not context:
                raise CheckpointError(f"llama.cpp made no context of {stories} sequences.")
            yield _runner(lib, context, batch, setting, stories)
        finally:
            lib.llama_batch_free(batch)
            if context:
                lib.llama_free(context)
            lib.llama_model_free(model)


def _runner(lib: Any, context: Any, batch: Any, setting: Setting, stories: int) -> Run:
    vocab = setting.model.config.d_vocab
    prompt = setting.ids

    def run(output: Output) -> None:
        lib.llama_memory_clear(lib.llama_get_memory(context), True)
        ids = np.zeros(stories, dtype=np.int64)
        for place in range(len(prompt) + setting.tokens - 1):
            if place < len(prompt):
                ids[:] = prompt[place]
            batch.n_tokens = stories
            for row in range(stories):
                batch.token[row] = int(ids[row])
                batch.pos[row] = place
                batch.n_seq_id[row] = 1
                batch.seq_id[row][0] = row
                batch.logits[row] = place >= len(prompt) - 1
            if lib.llama_decode(context, batch):
                raise CheckpointError("llama.cpp could not decode a batch.")
            if place >= len(prompt) - 1:
                logits = np.ctypeslib.as_array(lib.llama_get_logits(context), shape=(stories, vocab))
                ids = logits.argmax(axis=1)
                output.tokens[:, place - len(prompt) + 1] = ids

    return run


_BATCHES = (16, 32, 64, 128, 256)
# Weights of 8 bits and activations of 8 bits in blocks move choices by less than this many nats.
_QUANTISED = 1.0

PEERS = (
    Peer(
        "llamacpp",
        "llama.cpp F32",
        _BATCHES,
        partial(_prepared, stored="F32"),
        partial(_missing, stored="F32"),
        threads=True,
        remark=partial(_remark, stored="F32"),
    ),
    Peer(
        "llamacpp-q8",
        "llama.cpp Q8_0",
        _BATCHES,
        partial(_prepared, stored="Q8_0"),
        partial(_missing, stored="Q8_0"),
        threads=True,
        remark=partial(_remark, stored="Q8_0"),
        near=_QUANTISED,
        integers=True,
    ),
    Peer(
        "llamacpp-tq2",
        "llama.cpp TQ2_0",
        _BATCHES,
        partial(_prepared, stored="TQ2_0"),
        partial(_missing, stored="TQ2_0"),
        threads=True,
        remark=partial(_remark, stored="TQ2_0"),
        near=_QUANTISED,
        integers=True,
    ),
)
