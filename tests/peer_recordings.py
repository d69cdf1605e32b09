"""What the tests of several methods do with a recording of released code.

The files lie in ``peers/`` of the folder that MLIC_RECORDINGS names. All comparisons are in float64
but for the keys that end in ``.f32``.
"""

import torch
from mmpretrain.models.backbones import ResNet
from mmpretrain.structures import DataSample
from torch.testing import assert_close

from tests.helpers import recorded


def sequential_resnet():
    """A ResNet-18's entries as ML-GCN's code names them, and a ResNet that has them."""
    torch.manual_seed(0)
    network = ResNet(18)
    stages = {'conv1': '0', 'bn1': '1', **{f'layer{n}': str(n + 3) for n in range(1, 5)}}
    named = {}
    for name, value in network.state_dict().items():
        first, _, rest = name.partition('.')
        if not name.endswith('num_batches_tracked'):
            named[f'features.{stages[first]}.{rest}'] = value
    return named, network


class PeerRecording:
    """A recording, and how close to it is close enough.

    Args:
        name (str): Of the file, without '.npz'.
        rtol (float): Of values. Defaults to 1e-9.
        gradient_rtol (float): Of gradients. Defaults to 1e-7.
    """

    def __init__(self, name, rtol=1e-9, gradient_rtol=1e-7):
        arrays = recorded(f'peers/{name}.npz')
        self.file = {key: torch.from_numpy(value) for key, value in arrays.items()}
        self.exact = dict(rtol=rtol, atol=1e-12)
        self.close = dict(rtol=gradient_rtol, atol=1e-12)

    def __getitem__(self, key):
        return self.file[key]

    def double(self, key):
        """An array in float64."""
        return self.file[key].double()

    def weights(self, prefix='sd.'):
        """The released state dict, in float64."""
        return {
            key.removeprefix(prefix): value.double() if value.is_floating_point() else value
            for key, value in self.file.items()
            if key.startswith(prefix)
        }

    def head_of(self, method):
        """The head of the recorded weights, as the converter of the method builds it."""
        weights = method.convert(self.weights())
        if 'word_vectors' in self.file:
            weights['head.vectors.vectors'] = self.double('word_vectors')
        head = method.model_of(weights).head.double()
        head.load_state_dict({name.removeprefix('head.'): x for name, x in weights.items()})
        return head

    def released(self, entries, names, prefix=''):
        """Entries by the names, and in the shapes, of the released code."""
        return {
            (theirs := names.theirs(prefix + name)): value.reshape(self.file[f'sd.{theirs}'].shape)
            for name, value in entries
            if not name.endswith('num_batches_tracked')
        }

    def samples(self, key='target'):
        """Data samples of the rows of a target (B, C)."""
        return [DataSample().set_gt_score(row) for row in self.double(key)]

    def check(self, value, key):
        """A value in float64 is the recorded one, in float32 nearly."""
        tolerance = self.exact if value.dtype == torch.float64 else dict(rtol=1e-5, atol=1e-5)
        assert_close(value.detach(), self.file[key].to(value.dtype), **tolerance)

    def check_gradients(self, found, prefix='grad.', zero=()):
        """Gradients by their released names are all that are recorded, and the recorded ones.

        Those of ``zero`` are zero but for rounding, in both.
        """
        expected = {
            key.removeprefix(prefix): value
            for key, value in self.file.items()
            if key.startswith(prefix)
        }
        assert set(found) == set(expected)
        for key, gradient in found.items():
            tolerance = dict(rtol=0, atol=1e-9) if key in zero else self.close
            assert_close(gradient, expected[key], msg=lambda m, k=key: f'{k}: {m}', **tolerance)

    def check_steps(self, optimizer, loss_of, parameters, max_norm=None, prefix='steps.', skip=()):
        """Three steps of an optimizer: losses, norms of the gradients, norm and sum of what came.

        Args:
            optimizer: Of the parameters.
            loss_of (Callable): The total loss, of a fresh forward pass.
            parameters (Mapping): By their released names, buffers too.
            max_norm (float, optional): Gradients are clipped to it.
            skip (tuple[str]): Names whose value is not compared, such as key biases.
        """
        norms = self.file.get(f'{prefix}grad_norm_before_clip', [None] * 3)
        for expected, expected_norm in zip(self.file[f'{prefix}loss'], norms):
            optimizer.zero_grad()
            loss = loss_of()
            loss.backward()
            assert_close(loss.detach(), expected, **self.exact)
            if max_norm is not None:
                trained = [p for group in optimizer.param_groups for p in group['params']]
                norm = torch.nn.utils.clip_grad_norm_(trained, max_norm)
                assert_close(norm, expected_norm, **self.exact)
            optimizer.step()
        for name, parameter in parameters.items():
            if name not in skip:
                value = parameter.detach().double()
                summary = torch.stack([value.norm(), value.sum()])
                assert_close(
                    summary,
                    self.file[f'{prefix}norm_sum.{name}'],
                    msg=lambda m, k=name: f'{k}: {m}',
                    **self.close,
                )
