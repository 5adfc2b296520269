"""llama.cpp as a peer, through `llama-cpp-python` where it is installed: batches of token ids, greedy."""

from __future__ import annotations

import importlib
import importlib.util
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from tinyalign.bench.gguf_file import write_gguf
from tinyalign.bench.peers import Output, Peer, Run, Setting
from tinyalign.common.errors import CheckpointError
from tinyalign.models import StoryModel

_F32 = 0  # GGML_TYPE_F32: keys and values as exact as the other contestants'


def _missing(model: StoryModel) -> str | None:
    for package in ("llama_cpp", "gguf"):
        if importlib.util.find_spec(package) is None:
            return f"the package {package} is not installed"
    if model.config.architecture != "LlamaForCausalLM" or model.bits < 16:
        return "float weights of Llama models are compared"
    return None


@contextmanager
def _prepared(setting: Setting, stories: int) -> Iterator[Run]:
    lib: Any = importlib.import_module("llama_cpp")
    length = len(setting.ids) + setting.tokens
    quiet = lib.llama_log_callback(lambda *_: None)
    lib.llama_log_set(quiet, None)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.gguf"
        write_gguf(setting.model, file)
        model = lib.llama_model_load_from_file(str(file).encode(), lib.llama_model_default_params())
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


PEERS = (Peer("llamacpp", "llama.cpp F32", (16, 64, 128), _prepared, _missing),)
