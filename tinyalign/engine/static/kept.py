"""Caches and graphs that outlive a run: capturing a step takes as long as hundreds of them."""

from __future__ import annotations

import threading
import weakref
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tinyalign.engine.cpu.serving import LLAMA, epsilon_of, family_of
from tinyalign.engine.sampling import Sampling
from tinyalign.engine.static.blocks import Blocks
from tinyalign.engine.static.graphs import Graphs
from tinyalign.engine.static.rows import Rows, rounded
from tinyalign.models import StoryModel
from tinyalign.ternary import ternary_layers
from tinyalign.ternary.packing import digit_table, packing_named

# Networks whose caches and graphs stay on the device: a base and an edited one.
_KEPT = 2


@dataclass(frozen=True)
class Session:
    """Rows, their graphs (None where steps are called as they are), and what these are good for.

    A graph holds addresses: it sees edits in place, and is of no use once another tensor was put into the
    network. `tensors` are held so that their addresses are given to no others, `key` is compared.
    """

    rows: Rows
    graphs: Graphs | None
    how: Sampling
    tensors: tuple[Tensor, ...]
    key: tuple[object, ...]

    def run(self, blocks: Blocks, longest: int, steps: int) -> None:
        """So many steps of every row, `longest` of a story's positions in use after them.

        In the dtype of the weights, whatever autocast is at work: caches and graphs are of that dtype. On a
        CUDA device they may still be under way afterwards.
        """
        with torch.autocast(blocks.device.type, enabled=False):
            self._run(blocks, longest, steps)

    def _run(self, blocks: Blocks, longest: int, steps: int) -> None:
        self.rows.count.zero_()
        attended = min(rounded(longest), self.rows.capacity)
        if self.graphs is not None:
            self.graphs.run(lambda length: self.rows.step(blocks, self.how, length), attended, steps)
            return
        # Without graphs a CPU needs no few lengths, and each position costs it something.
        exact = longest if blocks.device.type == "cpu" else attended
        for _ in range(steps):
            self.rows.step(blocks, self.how, exact)


_sessions: weakref.WeakKeyDictionary[nn.Module, Session] = weakref.WeakKeyDictionary()
_lock = threading.Lock()


def take(
    model: StoryModel, blocks: Blocks, rows: int, capacity: int, how: Sampling, *, graphs: bool
) -> Session:
    """A session for this run alone: the one that `keep` was given last if it fits, otherwise a new one."""
    tensors, key = _identity(model, rows, how)
    if graphs:
        with _lock:
            found = _sessions.pop(model.network, None)
        if found is not None and found.key == key and found.rows.capacity >= rounded(capacity):
            found.rows.refresh(blocks)
            return found
    # A session is kept: what is made in inference mode could not be written to outside of it.
    with torch.inference_mode(False):
        own = Rows(blocks, rows, capacity)
    return Session(own, Graphs(own) if graphs else None, how, tensors, key)


def keep(model: StoryModel, session: Session) -> None:
    """Keep a session with graphs for the next run of this network, for as long as the network lives."""
    if session.graphs is None:
        return
    with _lock:
        _sessions.pop(model.network, None)
        _sessions[model.network] = session
        while len(_sessions) > _KEPT:
            del _sessions[next(iter(_sessions))]


def _identity(model: StoryModel, rows: int, how: Sampling) -> tuple[tuple[Tensor, ...], tuple[object, ...]]:
    """All that a captured step reads or was shaped by: tensors, and what is compared of them and beside."""
    network = model.network
    named = [*network.named_parameters(), *network.named_buffers()]
    tensors = [tensor.detach() for _, tensor in named]
    places = [(name, t.data_ptr(), t.dtype, t.shape, t.stride()) for name, t in named]
    layers = ternary_layers(network)
    tensors += [digit_table(packing_named(x.packing), model.device, torch.float32) for x in layers.values()]
    kinds = [(name, x.packing, x.bits, x.activation_bits, x.kernel) for name, x in layers.items()]
    family = family_of(model) or LLAMA
    norm = family.base_of(network).get_submodule(family.norm)
    matmul = torch.backends.cuda.matmul
    products = matmul.fp32_precision if hasattr(matmul, "fp32_precision") else matmul.allow_tf32
    key = (rows, how, model.config, epsilon_of(norm), tuple(places), tuple(kinds), products)
    return tuple(tensors), key
