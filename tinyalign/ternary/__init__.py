"""Ternary and 1-bit weights: quantisers, packings, and the linear layer with its kernels."""
