"""A guess at the memory that a training takes on its device."""

from collections.abc import Mapping

import torch
from mmengine.hooks import EMAHook
from mmengine.model import BaseModel
from torch import Tensor

from ..config.sections import hooks_of, is_hook

BYTES = 4  # of a float32
# values that an optimizer keeps of each trained one; AdamW's two where it is not named
STATES = dict(SGD=1, RMSprop=1, Adagrad=1, Lion=1)


def held_bytes(cfg: Mapping, model: BaseModel) -> int:
    """Bytes of weights, buffers, gradients, optimizer state and averaged weights."""
    weights = sum(p.numel() for p in model.parameters())
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    buffers = sum(b.numel() * b.element_size() for b in model.buffers())
    optimizer = (cfg.get('optim_wrapper') or {}).get('optimizer')
    optimizer = optimizer if isinstance(optimizer, Mapping) else {}  # refused when it is built
    states = STATES.get(optimizer.get('type'), 2)
    if optimizer.get('type') == 'SGD' and not optimizer.get('momentum'):
        states = 0
    copies = 1 + any(is_hook(hook, EMAHook) for hook in hooks_of(cfg))
    return BYTES * (copies * weights + (1 + states) * trained) + copies * buffers


def saved_bytes(cfg: Mapping, model: BaseModel, data: Mapping) -> int:
    """Bytes that a batch leaves for the backward pass, measured by one forward pass.

    The backward pass is tried too, but not through the backbone, which takes the longest. Each
    storage counts once; parameters do not. With mixed precision, half of it: most of what is
    saved are the inputs of convolutions, matrix products and norms, which then have 2 bytes.

    Args:
        cfg (Mapping): Of the run.
        model (BaseModel): Is put into training mode; its buffers change.
        data (Mapping): A batch as the loader collates it.

    Raises:
        RuntimeError: If what a loss needs was changed after it, as autograd would say.
    """
    held = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    saved: dict[int, int] = {}

    def pack(tensor: Tensor) -> tuple[Tensor, int]:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in held:
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor, tensor._version

    def unpack(packed: tuple[Tensor, int]) -> Tensor:  # autograd does not compare with hooks
        tensor, version = packed
        if tensor._version != version:
            raise RuntimeError(
                f'the backward pass needs a tensor {tuple(tensor.shape)} that was changed in place '
                'after a loss had read it, such as a memory: let the loss read x.clone()'
            )
        return tensor

    model.train()
    data = model.data_preprocessor(data, True)
    with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
        # what holds the graph holds the storages, so that no two have one place
        loss, _ = model.parse_losses(model(**data, mode='loss'))
    trained = [
        parameter
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and 'backbone' not in name.split('.')
    ]
    if trained:
        torch.autograd.grad(loss, trained, allow_unused=True)
    del loss
    kind = (cfg.get('optim_wrapper') or {}).get('type', '')
    return sum(saved.values()) // (2 if kind in ('AmpOptimWrapper', 'AutocastOptimWrapper') else 1)
