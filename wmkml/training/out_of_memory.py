"""Whether an exception means that memory ran out, by all the names that torch and CUDA's libraries have for it.

Only torch's own allocator raises `torch.OutOfMemoryError`.  cuBLAS, cuDNN and the driver allocate too, and what they
report arrives as a plain `RuntimeError` (or `torch.AcceleratorError`, which is one) that only its text tells apart.
"""

from __future__ import annotations

import re

import torch

_OUT_OF_MEMORY = re.compile(
    r"""
      \bout\ of\ memory\b                  # CUDA error: out of memory; CUDA, HIP, MPS backend out of memory; bitsandbytes
    | CUDA_ERROR_OUT_OF_MEMORY             # of the driver's interface
    | cudaErrorMemoryAllocation            # of the runtime's
    | CU(BLAS|DNN|SOLVER|SPARSE)_STATUS_(INTERNAL_ERROR_DEVICE_)?ALLOC(ATION)?_FAILED
    | \bnot\ enough\ memory\b              # of the CPU's allocator
    | \bcan(not|'t)\ allocate\ memory\b    # of the CPU's allocator, on some systems
    """,
    re.IGNORECASE | re.VERBOSE,
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the same work may succeed with less of it at once.

    True for `torch.OutOfMemoryError`, `MemoryError`, and a `RuntimeError` whose text names a failed allocation.
    """
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and _OUT_OF_MEMORY.search(str(error)) is not None
