"""Circuits: which few components of a network carry a property, and where one could be installed.

circuit = find_circuit(model, prop)                  # clean against corrupted prompts
circuit.components, circuit.effect                   # (L1H1, L3.mlp, ...), share restored on held-out prompts
find_circuit(edited, prop, base=model, effect="edit")
find_circuit(model, prop, pair="action", effect="sensitivity")
run_with_components(base, edited, token_ids, components)
"""

from __future__ import annotations

from tinyalign.circuits.components import Component, all_components, random_sets
from tinyalign.circuits.decisions import encode_side
from tinyalign.circuits.exchange import exchange, run_with_components
from tinyalign.circuits.find import find_circuit
from tinyalign.circuits.localization import ComponentEffect, Localization, PromptIdentity, RandomEffect
from tinyalign.circuits.reading import Reading, read
from tinyalign.circuits.sensitivity import find_sites

__all__ = [
    "Component",
    "ComponentEffect",
    "Localization",
    "PromptIdentity",
    "RandomEffect",
    "Reading",
    "all_components",
    "encode_side",
    "exchange",
    "find_circuit",
    "find_sites",
    "random_sets",
    "read",
    "run_with_components",
]
