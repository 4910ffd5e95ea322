"""Kernels in Triton. Nothing here is imported before a GPU is asked for: see `providers`.

Each module holds kernels and their launchers. A launcher has the arguments of the operation's
reference, is registered as a candidate beside it, and raises ValueError, naming the argument, for
a call that it cannot take. A kernel's arguments are annotated `tl.tensor` or `tl.constexpr`: the
compiler looks these names up and takes no others, and only `tests/kernels/test_compiles.py` would
tell (the interpreter looks at none). All arithmetic is float32, whatever the tensors are.
"""
