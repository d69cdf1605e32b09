"""Half precision is raised where it would round too much."""

import torch
from torch import Tensor


def raised(dtype: torch.dtype) -> torch.dtype:
    """At least float32: float64 stays, and half precision and integers become float32."""
    return torch.promote_types(dtype, torch.float32)


def at_least_float32(tensor: Tensor) -> Tensor:
    """The tensor itself, or a copy, see :func:`raised`."""
    return tensor.to(raised(tensor.dtype))
