"""The C interface of the decoder, in ctypes: structures, signatures, and pointers to arrays."""

from __future__ import annotations

from ctypes import (
    POINTER,
    Structure,
    c_char_p,
    c_double,
    c_float,
    c_int,
    c_int32,
    c_int64,
    c_uint64,
    c_void_p,
)
from typing import Any, ClassVar

import numpy as np

from tinyalign.engine.cpu.build import Use, library

# The order of `Part` in csrc/interface.h, by Llama's names.
PARTS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
UNEMBEDDING = 7
# The vectors of `ta_set_vector`; a norm's bias comes right after its gain.
EMBEDDING, LAST_NORM, COSINES, SINES, POSITIONS, ATTENTION_NORM, MLP_NORM = 0, 1, 3, 4, 5, 6, 8
BIAS = 1


class Shape(Structure):
    """`Shape` of csrc/transformer.h."""

    _fields_: ClassVar = [
        ("layers", c_int32),
        ("d_model", c_int32),
        ("heads", c_int32),
        ("kv_heads", c_int32),
        ("d_head", c_int32),
        ("d_mlp", c_int32),
        ("vocab", c_int32),
        ("context", c_int32),
        ("neo", c_int32),
        ("epsilon", c_float),
    ]


class Draw(Structure):
    """`Draw` of csrc/sampling.h."""

    _fields_: ClassVar = [
        ("temperature", c_double),
        ("top_p", c_double),
        ("top_k", c_int32),
        ("seed", c_uint64),
    ]


class Job(Structure):
    """`Job` of csrc/session.h."""

    _fields_: ClassVar = [
        ("prompts", c_void_p),
        ("offsets", c_void_p),
        ("first", c_int64),
        ("count", c_int64),
        ("each", c_int64),
        ("limit", c_int32),
        ("end", c_int32),
        ("capacity", c_int32),
        ("lanes", c_int32),
        ("draw", Draw),
        ("tokens", c_void_p),
        ("lengths", c_void_p),
        ("status", c_void_p),
        ("forced", c_void_p),
        ("log_probs", c_void_p),
    ]


class Sequences(Structure):
    """`Sequences` of csrc/score.h."""

    _fields_: ClassVar = [
        ("tokens", c_void_p),
        ("offsets", c_void_p),
        ("starts", c_void_p),
        ("out", c_void_p),
    ]


# Result and arguments of every function: those of all libraries, of sampling, and of scoring.
_Signatures = dict[str, tuple[Any, list[Any]]]
_MODEL: _Signatures = {
    "ta_instructions": (c_char_p, []),
    "ta_model": (c_void_p, [POINTER(Shape)]),
    "ta_model_free": (None, [c_void_p]),
    "ta_set_vector": (c_int, [c_void_p, c_int, c_int, c_void_p, c_int64]),
    "ta_set_window": (None, [c_void_p, c_int, c_int]),
    "ta_set_bias": (c_int, [c_void_p, c_int, c_int, c_void_p, c_int]),
    "ta_set_float": (c_int, [c_void_p, c_int, c_int, c_void_p, c_int, c_int]),
    "ta_set_ternary": (c_int, [c_void_p, c_int, c_int, c_void_p, c_float, c_int, c_int]),
}
_SAMPLING: _Signatures = {
    "ta_session": (c_void_p, [c_void_p, POINTER(Job), c_int]),
    "ta_session_free": (None, [c_void_p]),
    "ta_run": (c_int, [c_void_p, c_int]),
    "ta_stop": (None, [c_void_p, c_int64]),
}
_SCORING: _Signatures = {
    "ta_logits": (c_int, [c_void_p, c_void_p, c_int, c_void_p]),
    "ta_score": (c_int, [c_void_p, POINTER(Sequences), c_int64, c_int64]),
    "ta_integers": (c_int, [c_void_p, c_int, c_int, *[c_void_p] * 4]),
    "ta_elementwise": (None, [c_void_p, c_int, c_void_p, c_void_p]),
    "ta_choose": (c_int, [c_void_p, c_int, POINTER(Draw), c_void_p, c_void_p]),
}


def bound(use: Use) -> Any:
    """A library with the signature of every function declared; raises as `build.library` does."""
    lib = library(use)
    signatures = _MODEL | (_SCORING if use == "scoring" else _SAMPLING)
    for name, (result, arguments) in signatures.items():
        function = getattr(lib, name)
        function.restype, function.argtypes = result, arguments
    return lib


def address(array: np.ndarray) -> int:
    """Where a C-ordered array lies; the caller keeps it alive."""
    if not array.flags["C_CONTIGUOUS"]:
        raise ValueError("the decoder reads C-ordered arrays only")
    return array.ctypes.data
