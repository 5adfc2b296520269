"""The CUDA backend: one persistent kernel decodes many stories, from prompt to end, sampling inside.

`csrc/` is compiled through NVRTC on first use into the cache folder of kernels (see `compiling`). It serves
float32 Llama models, also with ternary or 1-bit layers, on a CUDA device; `serving.refusal` says why a model
isn't served. Packed weights stay in shared memory as far as they fit, keys and values may be int8.
"""
