"""Counts what an accelerator would be asked in a training step, on the CPU.

Tensors are told apart by their storage: parameters, buffers and whatever is computed from them
stand for the device's, the rest for the host's. ``tensor.to(device)`` of a host's tensor stands for
a copy to the device, although both are the CPU here, and ``cpu``, ``numpy``, ``tolist`` and
``item`` of a device's tensor for the host waiting for it. Views are not counted.
"""

import traceback
from collections import Counter
from functools import cache
from pathlib import Path

import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

aten = torch.ops.aten
ASKING = {
    aten._local_scalar_dense,
    aten.nonzero,
    aten.bincount,
    aten.equal,
    aten.is_nonzero,
    aten.masked_select,
    aten._unique2,
}
INDEXING = {aten.index, aten.index_put_, aten.index_put, aten._index_put_impl_}
TO_THE_HOST = {torch.Tensor.cpu, torch.Tensor.numpy, torch.Tensor.tolist, torch.Tensor.__array__}
ROOT = Path(__file__).resolve().parents[1]


class StepCounter:
    """A context in which waits and launches are counted.

    Args:
        model (nn.Module): Whose parameters and buffers are on the device.

    Attributes:
        waits (Counter): By what was asked, and the line that asked.
        launches (Counter): By name of the operation.
    """

    def __init__(self, model):
        self.waits, self.launches = Counter(), Counter()
        self._storages = {}
        for tensor in (*model.parameters(), *model.buffers()):
            self.mark(tensor)
        self._modes = _Functions(self), _Operations(self)

    def __enter__(self):
        for mode in self._modes:
            mode.__enter__()
        return self

    def __exit__(self, *error):
        for mode in reversed(self._modes):
            mode.__exit__(*error)

    def mark(self, tensor):
        """From here on the tensor is the device's."""
        storage = tensor.untyped_storage()
        self._storages[storage._cdata] = StorageWeakRef(storage)

    def unmark(self, tensor):
        """From here on the tensor is the host's."""
        self._storages.pop(tensor.untyped_storage()._cdata, None)

    def is_marked(self, tensor):
        ref = self._storages.get(tensor.untyped_storage()._cdata)
        return ref is not None and not ref.expired()

    def wait(self, what):
        """Count a wait, with the innermost line that is not torch's or this file's."""
        frames = [f for f in traceback.extract_stack() if '/torch/' not in f.filename]
        frame = [f for f in frames if f.filename != __file__][-1]
        path = frame.filename.removeprefix(f'{ROOT}/').rpartition('site-packages/')[2]
        self.waits[f'{what} {path}:{frame.lineno}'] += 1


class _Functions(TorchFunctionMode):
    """Copies between host and device, which nothing else shows where both are the CPU."""

    def __init__(self, counter):
        super().__init__()
        self.counter = counter

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs, counter = kwargs or {}, self.counter
        if func in TO_THE_HOST and counter.is_marked(args[0]):
            counter.wait(func.__name__)
            copy = args[0].clone()  # the host's own
            counter.unmark(copy)
            return func(copy, *args[1:], **kwargs)
        if func is torch.Tensor.to and not counter.is_marked(args[0]):
            place = [*args[1:], *kwargs.values()]
            devices = [x for x in place if isinstance(x, (torch.device, str))]
            others = [x for x in place if isinstance(x, torch.Tensor) and counter.is_marked(x)]
            if devices or others:
                if not kwargs.get('non_blocking'):
                    counter.wait('copy')
                copy = func(args[0], *args[1:], **kwargs).clone()
                counter.launches['copy'] += 1
                counter.mark(copy)
                return copy
        return func(*args, **kwargs)


@cache
def _is_view(func):
    return any(x.alias_info is not None and not x.alias_info.is_write for x in func._schema.returns)


class _Operations(TorchDispatchMode):
    """Operations, those of the backward pass too."""

    def __init__(self, counter):
        super().__init__()
        self.counter = counter

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs, counter = kwargs or {}, self.counter
        inputs = [x for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
        marked = any(map(counter.is_marked, inputs))
        outputs = func(*args, **kwargs)
        packet = func.overloadpacket
        if marked:
            masks = any(x.dtype in (torch.bool, torch.uint8) for x in tree_leaves(args[1:2])
                        if isinstance(x, torch.Tensor))  # fmt: skip
            if packet in ASKING or packet in INDEXING and masks:
                counter.wait(packet.__name__)
            if not _is_view(func):
                counter.launches[packet.__name__] += 1
            for tensor in tree_leaves(outputs):
                if isinstance(tensor, torch.Tensor):
                    counter.mark(tensor)
            if outputs is None or func._schema.is_mutable:
                for tensor in inputs:  # the first of them is written
                    if tensor.dim():
                        counter.mark(tensor)
                        break
        return outputs
