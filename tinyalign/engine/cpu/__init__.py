"""The CPU backend: a fused C++ decoder for Llama and GPT-Neo, 32 stories side by side along the SIMD lanes.

`csrc/` is compiled on first use by the system's C++ compiler into a cache folder (see `build`). It serves
float32 models, also with ternary or 1-bit layers; `serving.refusal` says why a model isn't served.
"""
