"""Rows of all processes as one batch, so that a loss does not depend on how the batch is split.

Shapes in this module: W processes, B images on each, N = W * B images in all, C classes, V views,
P projection dims, K active vectors (of one process, or of all).
"""

import torch
import torch.distributed as torch_dist
from mmengine.dist import get_rank, get_world_size
from torch import Tensor

from mlic.models.targets import is_present


class _AllGather(torch.autograd.Function):
    """Stack the equally shaped tensors of all processes: (...) → (W, ...).

    Every process forms the same loss of the result. A process's rows get the gradient of each of
    these W losses, which is W times that of its own: no exchange on the way back. After DDP's mean
    over W, parameters have the gradient of one loss over the whole batch.
    """

    @staticmethod
    def forward(ctx, tensor: Tensor) -> Tensor:
        """Gather; the result has this process's values at its rank."""
        parts = [torch.empty_like(tensor) for _ in range(get_world_size())]
        torch_dist.all_gather(parts, tensor.contiguous())
        return torch.stack(parts)

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:
        """The rows of this process, once for each of the W losses."""
        return grad[get_rank()] * get_world_size()


class _AllReduce(torch.autograd.Function):
    """The sum of the tensors of all processes.

    Each process forms a loss of its own of it, and so a process's part gets the gradients of all.
    """

    @staticmethod
    def forward(ctx, tensor: Tensor) -> Tensor:
        """The sum."""
        total = tensor.clone(memory_format=torch.contiguous_format)  # as NCCL wants it
        torch_dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:
        """The sum of all gradients."""
        return _AllReduce.apply(grad.contiguous())


def sum_parts(tensor: Tensor) -> Tensor:
    """The sum of equally shaped tensors of all processes, with gradient.

    Unlike with :func:`gather_rows`, each process uses it in the loss of its own images: the way
    back exchanges the gradients. With one process, the tensor itself.
    """
    return tensor if get_world_size() == 1 else _AllReduce.apply(tensor)


def gather_rows(tensor: Tensor) -> Tensor:
    """The rows of all processes in the order of the sampler, with gradient.

    mmengine's samplers deal images out in turn, so row b of rank r is row b * W + r of the batch
    that one process would have had. All processes must have the same number of rows.

    Args:
        tensor (Tensor): (B, ...).

    Returns:
        Tensor: (N, ...); with one process, the tensor itself.
    """
    if get_world_size() == 1:
        return tensor
    return _AllGather.apply(tensor).transpose(0, 1).flatten(0, 1)


def gather_active(z: Tensor, target: Tensor, image: Tensor, label: Tensor) -> tuple[Tensor, ...]:
    """The active vectors of all processes, with gradient; they have different numbers of them.

    Args:
        z (Tensor): (V, K, P), in at least float32: V views of the K present (image, class) pairs.
        target (Tensor): (B, C); a class with at least 0.5 is present.
        image (Tensor): (K,), the image of each vector.
        label (Tensor): (K,), its class.

    Returns:
        tuple[Tensor]: z (V, K, P), target (N, C) in the order of :func:`gather_rows` (of several
        processes multi-hot), image and label (K,), for the K of all processes. The vectors stand
        by rank, each with its image.

    Raises:
        ValueError: If z has not one vector for each image and label.
    """
    if z.dim() != 3 or not z.shape[1] == len(image) == len(label):
        raise ValueError(
            f'gather_active takes z (views, vectors, dims), got {tuple(z.shape)} for '
            f'{len(image)} images and {len(label)} labels'
        )
    if get_world_size() == 1:
        return z, target, image, label
    positive = _AllGather.apply(is_present(target).to(torch.uint8))  # (W, B, C)
    counts = positive.sum(dim=(1, 2)).tolist()
    padded = torch.cat([z, z.new_zeros(len(z), max(counts) - z.shape[1], z.shape[2])], dim=1)
    parts = _AllGather.apply(padded)  # (W, V, max K, P)
    z = torch.cat([part[:, :count] for part, count in zip(parts, counts)], dim=1)
    rank, row, label = positive.nonzero(as_tuple=True)
    target = positive.transpose(0, 1).flatten(0, 1)
    return z, target, row * get_world_size() + rank, label
