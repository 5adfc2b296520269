"""llama2.c as a peer: the reader's own copy of run.c, compiled here and called in this process."""

from __future__ import annotations

import contextlib
import ctypes
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, cast

from tinyalign.bench.compiling import compiled
from tinyalign.bench.peers import Output, Peer, Run, Setting
from tinyalign.common.errors import CheckpointError, TokenizerError
from tinyalign.models import StoryModel

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM

VARIABLE = "TINYALIGN_LLAMA2C"

# Without interposition functions of a shared library are inlined as in a program.
_LIBRARY = ("-Dmain=llama2c_main", "-fno-semantic-interposition")
_PLAIN = ("-O3",)
_FAST = ("-O3", "-ffast-math", "-march=native")


def _missing(model: StoryModel) -> str | None:
    from tinyalign.models.tokenizers import to_pieces

    named = os.environ.get(VARIABLE)
    if not named:
        return f"{VARIABLE} does not name a run.c of llama2.c"
    if not Path(named).is_file() or Path(named).suffix != ".c":
        return f"{VARIABLE} names {Path(named).name}, which is not a C file that is there"
    if model.config.architecture != "LlamaForCausalLM" or model.bits < 16:
        return "it runs float Llama models"
    if model.tokenizer is None:
        return "the model has no tokenizer"
    try:
        to_pieces(model.tokenizer)
    except TokenizerError as error:
        return str(error)
    return None


@contextmanager
def _prepared(setting: Setting, stories: int, *, flags: tuple[str, ...]) -> Iterator[Run]:
    """Stories one after the other: llama2.c has no batches. Loading the file, mapped, is part of a run.

    On several threads it is compiled with OpenMP, as its README says.
    """
    from tinyalign.models import llama2c
    from tinyalign.models.tokenizers import to_pieces, write_bin

    more = ("-fopenmp",) if setting.threads > 1 else ()
    lib = ctypes.CDLL(str(compiled(Path(os.environ[VARIABLE]), (*flags, *more, *_LIBRARY), compiler="cc")))
    if more:
        lib.omp_set_num_threads(setting.threads)
    assert setting.model.tokenizer is not None
    with tempfile.TemporaryDirectory() as folder:
        checkpoint, tokenizer = Path(folder) / "model.bin", Path(folder) / "tokenizer.bin"
        llama2c.write(cast("LlamaForCausalLM", setting.model.network), checkpoint)
        write_bin(to_pieces(setting.model.tokenizer), tokenizer)
        # Its steps count the prompt's tokens without the first.
        steps = len(setting.ids) - 1 + setting.tokens
        words = ["run", checkpoint, "-z", tokenizer, "-t", "0", "-n", steps, "-i", setting.prompt]
        arguments = (ctypes.c_char_p * len(words))(*(str(word).encode() for word in words))

        def run(output: Output) -> None:
            with _captured(Path(folder)) as written:
                for _ in range(stories):
                    if lib.llama2c_main(len(words), arguments):
                        raise CheckpointError("llama2.c refused the checkpoint that was written for it.")
                    written.end_of_text()
            output.texts = written.texts()

        yield run


class _Written:
    """What C code printed, text by text."""

    def __init__(self, file: Path) -> None:
        self.file, self.libc = file, ctypes.CDLL(None)
        self.ends: list[int] = [0]

    def end_of_text(self) -> None:
        """Whatever was printed since the last call is one text."""
        self.libc.fflush(None)
        self.ends.append(os.lseek(1, 0, os.SEEK_CUR))

    def texts(self) -> list[str]:
        """The texts, each without the newline that ends it."""
        content = self.file.read_bytes()
        return [
            content[begin:end].decode(errors="replace").removesuffix("\n")
            for begin, end in pairwise(self.ends)
        ]


@contextmanager
def _captured(folder: Path) -> Iterator[_Written]:
    """Standard output of C code goes to a file meanwhile, its standard error nowhere."""
    written = _Written(folder / "written")
    with contextlib.ExitStack() as stack:
        for stream, target in ((1, written.file), (2, Path(os.devnull))):
            kept = os.dup(stream)
            stack.callback(os.close, kept)
            stack.callback(os.dup2, kept, stream)
            with target.open("wb") as opened:
                os.dup2(opened.fileno(), stream)
        yield written


PEERS = (
    Peer(
        "llama2c",
        "llama2.c -O3",
        (8,),
        partial(_prepared, flags=_PLAIN),
        _missing,
        as_text=True,
        threads=True,
    ),
    Peer(
        "llama2c-fast",
        "llama2.c -O3 -ffast-math -march=native",
        (16,),
        partial(_prepared, flags=_FAST),
        _missing,
        as_text=True,
        threads=True,
    ),
)
