"""Ternary and 1-bit weights: quantisers, packings, and the linear layer with its kernels."""

from tinyalign.ternary.bitnet import pack_bitnet, unpack_bitnet
from tinyalign.ternary.dispatch import Choice, Kernel, describe, kernels, register, using_kernel
from tinyalign.ternary.linear import TernaryLinear
from tinyalign.ternary.packing import PACKINGS, Packing, pack, unpack
from tinyalign.ternary.quantize import (
    Bits,
    Quantized,
    QuantizedTokens,
    absmax_int8,
    absmean,
    from_levels,
    quantize_weight,
    share_of_zeros,
    sign,
    ste_activation,
    ste_weight,
)
from tinyalign.ternary.replace import replace_linears, ternary_layers

__all__ = [
    "PACKINGS",
    "Bits",
    "Choice",
    "Kernel",
    "Packing",
    "Quantized",
    "QuantizedTokens",
    "TernaryLinear",
    "absmax_int8",
    "absmean",
    "describe",
    "from_levels",
    "kernels",
    "pack",
    "pack_bitnet",
    "quantize_weight",
    "register",
    "replace_linears",
    "share_of_zeros",
    "sign",
    "ste_activation",
    "ste_weight",
    "ternary_layers",
    "unpack",
    "unpack_bitnet",
    "using_kernel",
]
