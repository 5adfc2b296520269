"""Swap the linear layers of any module tree for ternary ones, and find them again."""

from __future__ import annotations

from collections.abc import Collection

from torch import nn

from tinyalign.common.errors import InputError
from tinyalign.ternary.linear import ActivationBits, TernaryLinear
from tinyalign.ternary.quantize import Bits, check_bits


def replace_linears(
    module: nn.Module,
    bits: Bits,
    *,
    keep: Collection[str] = ("lm_head",),
    packing: str | None = None,
    activation_bits: ActivationBits = 8,
) -> list[str]:
    """Quantise every `nn.Linear` under `module` in place; returns the dotted names that were replaced.

    A layer stays as it is where one part of its dotted name is in `keep`. A layer reached by two names
    becomes one ternary layer under both. Raises `InputError`, before anything is changed, when there is
    nothing to replace, a layer is a subclass of `nn.Linear` with arithmetic of its own, a weight is
    shared with a module that stays (tied embeddings), or weights are NaN or infinite.
    """
    check_bits(bits)
    found = {
        name: child
        for name, child in module.named_modules(remove_duplicate=False)
        if isinstance(child, nn.Linear)
        and not isinstance(child, TernaryLinear)
        and not set(name.split(".")) & set(keep)
    }
    if "" in found:
        raise InputError("The module is itself a linear layer: use TernaryLinear.from_linear.")
    if not found:
        raise InputError(
            f"Found no float linear layer to replace in {type(module).__name__} (kept: {sorted(keep)}): "
            "it is ternary already, or uses other modules than nn.Linear."
        )
    _check_replaceable(module, found)
    made: dict[int, TernaryLinear] = {}
    for name, child in found.items():
        if id(child) not in made:
            try:
                made[id(child)] = TernaryLinear.from_linear(
                    child, bits, packing=packing, activation_bits=activation_bits
                )
            except InputError as error:
                raise InputError(f"Cannot quantise {name}: {error}") from error
    for name, child in found.items():
        module.set_submodule(name, made[id(child)])
    return list(found)


def ternary_layers(module: nn.Module) -> dict[str, TernaryLinear]:
    """Every `TernaryLinear` under `module` by its dotted name, in the module's order."""
    return {name: child for name, child in module.named_modules() if isinstance(child, TernaryLinear)}


def _check_replaceable(module: nn.Module, found: dict[str, nn.Linear]) -> None:
    for name, child in found.items():
        if type(child) is not nn.Linear:
            raise InputError(
                f"{name} is a {type(child).__name__}, whose arithmetic may differ from nn.Linear's: "
                "convert it to a plain nn.Linear first, or name it in keep."
            )
    weights = {id(child.weight): name for name, child in found.items()}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        owner = name.removesuffix(".weight")
        if id(parameter) in weights and owner not in found:
            raise InputError(
                f"The weight of {weights[id(parameter)]} is shared with {name}, which stays in floats: "
                f"name {weights[id(parameter)].rsplit('.', 1)[-1]} in keep, or untie them."
            )
