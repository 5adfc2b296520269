"""The static backend: PyTorch with key/value caches of a fixed size, one function of fixed tensors a step.

On a CUDA device a step is captured as a graph and replayed, which takes its hundred kernel launches off
the host (see `graphs`); on the CPU the same function is called. It runs the network's own modules, so
ternary layers and their kernels, edits in place and every dtype are the network's.
"""
