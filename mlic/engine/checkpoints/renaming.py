"""Weights of another program: its names and ours, by a table, in both directions."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence

from torch import Tensor, is_tensor

from mlic.names import counted, repeated

# what may stand in braces in a table: a layer's number, and how the names of an entry may continue
PLACEHOLDERS = dict(
    n=r'\d+',
    affine='weight|bias',
    attention=r'in_proj_weight|in_proj_bias|out_proj\.weight|out_proj\.bias',
    norm='weight|bias|running_mean|running_var',
    resnet=(
        r'(?:conv1|bn1|layer[1-4]\.\d+\.(?:conv[1-3]|bn[1-3]|downsample\.[01]))'
        r'\.(?:weight|bias|running_mean|running_var)'
    ),
    block=(
        r'\d+\.(?:conv[1-3]|bn[1-3]|downsample\.[01])\.(?:weight|bias|running_mean|running_var)'
    ),
)
# torchvision's ResNet cut into a sequence that begins conv1, bn1, relu, maxpool
SEQUENTIAL_RESNET = (
    ('features.0.weight', 'backbone.conv1.weight'),
    ('features.1.{norm}', 'backbone.bn1.{norm}'),
    *(
        (f'features.{stage + 3}.{{block}}', f'backbone.layer{stage}.{{block}}')
        for stage in range(1, 5)
    ),
)
# torch's nn.TransformerEncoderLayer, and mlic's EncoderLayer
ENCODER_LAYER = (
    ('self_attn.{attention}', 'attn.{attention}'),
    ('linear1.{affine}', 'ffn.0.{affine}'),
    ('linear2.{affine}', 'ffn.3.{affine}'),
    ('norm1.{affine}', 'attn_norm.{affine}'),
    ('norm2.{affine}', 'ffn_norm.{affine}'),
)


class NameTable:
    """Pairs of names, theirs and ours.

    Args:
        pairs (Sequence[tuple[str, str]]): Names, with PLACEHOLDERS in braces; the first that fits
            is taken, in both directions.
        dropped (tuple[str]): Endings of entries that have no counterpart on the other side.
        unused (tuple[str]): Beginnings of such entries of theirs.
    """

    def __init__(
        self,
        pairs: Sequence[tuple[str, str]],
        dropped: tuple[str, ...] = (),
        unused: tuple[str, ...] = (),
    ) -> None:
        self.pairs = pairs
        self.dropped = dropped
        self.unused = unused

    def ours(self, name: str) -> str:
        """Our name of an entry of theirs; the name itself if it has none."""
        return self._rename(name, 1) or name

    def theirs(self, name: str) -> str:
        """Their name of an entry of ours; the name itself if it has none."""
        return self._rename(name, 0) or name

    def lacks(self, names: Iterable[str]) -> int:
        """How many of the pairs none of their names fits."""
        groups = {key: f'(?:{value})' for key, value in PLACEHOLDERS.items()}
        patterns = [theirs.replace('.', r'\.').format(**groups) for theirs, _ in self.pairs]
        return sum(not any(re.fullmatch(pattern, n) for n in names) for pattern in patterns)

    def rename(self, state_dict: Mapping[str, Tensor], back: bool = False) -> dict[str, Tensor]:
        """The same tensors under our names, without the dropped ones; ``back``: under theirs.

        Raises:
            ValueError: Naming the keys that are unknown, or stand for the same entry.
        """
        names = {
            name: self._rename(name, 0 if back else 1)
            for name in state_dict
            if not name.endswith(self.dropped) and (back or not name.startswith(self.unused))
        }
        unknown = [name for name, renamed in names.items() if renamed is None]
        if unknown:
            raise ValueError(f'{counted(len(unknown), "unknown key")}: {listed(unknown)}')
        again = {*repeated(names.values())}
        twice = [old for old, new in names.items() if new in again]
        if twice:
            raise ValueError(f'keys that stand for the same entry: {listed(twice)}')
        return {new: state_dict[old] for old, new in names.items()}

    def compare(
        self,
        found: Mapping[str, Tensor],
        expected: Mapping[str, Tensor],
        kind: str,
        rename: Callable[[str], str] = str,
    ) -> None:
        """Check that all entries but the dropped ones are there, and of the right shape.

        Args:
            found (Mapping): By our names, as ``expected``.
            expected (Mapping): What a ``kind`` of model has; the message names it.
            kind (str): For the message.
            rename (Callable): Gives the names that the message has. Defaults to ours.

        Raises:
            ValueError: Listing missing and unknown keys, or else wrong shapes.
        """
        found, expected = (
            {name: tuple(t.shape) for name, t in side.items() if not name.endswith(self.dropped)}
            for side in (found, expected)
        )
        missing = [rename(name) for name in expected if name not in found]
        unknown = [rename(name) for name in found if name not in expected]
        lists = dict(missing=missing, unknown=unknown)
        faults = [f'{fault}: {listed(keys, 1000)}' for fault, keys in lists.items() if keys]
        if faults:
            raise ValueError(f'not a complete {kind}; {"; ".join(faults)}')
        wrong = [
            f'{rename(name)} {shape} instead of {expected[name]}'
            for name, shape in found.items()
            if shape != expected[name]
        ]
        if wrong:
            raise ValueError(f'shapes do not fit together, as a {kind}: {listed(wrong)}')

    def _rename(self, name: str, side: int) -> str | None:
        """The name on that side, 0 theirs or 1 ours, or None."""
        groups = {key: f'(?P<{key}>{value})' for key, value in PLACEHOLDERS.items()}
        for pair in self.pairs:
            pattern = pair[1 - side].replace('.', r'\.').format(**groups)
            match = re.fullmatch(pattern, name)
            if match:
                return pair[side].format(**match.groupdict())
        return None


def listed(names: Sequence[str], most: int = 10) -> str:
    """The first names, and how many more there are."""
    more = f', … ({len(names)} in all)' if len(names) > most else ''
    return ', '.join(map(str, names[:most])) + more


def select_weights(content: Mapping, ema: bool) -> Mapping:
    """The state dict of another program's checkpoint, by the usual keys.

    Args:
        content (Mapping): Of the file: a bare state dict, or one with it.
        ema (bool): Take the averaged weights.

    Raises:
        ValueError: If there is none of the kind asked for, or it holds more than tensors by name.
    """
    is_bare = bool(content) and all(
        isinstance(name, str) and is_tensor(value) for name, value in content.items()
    )
    if is_bare and not ema:
        return content
    keys = ('state_dict_ema',) if ema else ('state_dict', 'model')
    for key in keys:
        if isinstance(content.get(key), Mapping):
            odd = [k for k, v in content[key].items() if not (isinstance(k, str) and is_tensor(v))]
            if odd:
                raise ValueError(f'{key!r} holds more than tensors by name: {listed(odd, 3)}')
            return content[key]
    held = 'a bare state dict' if is_bare else listed(sorted(map(str, content))) or 'nothing'
    hint = " (the published code saves the better of both as 'state_dict')" if ema else ''
    raise ValueError(f'no {" or ".join(map(repr, keys))} in it, but {held}{hint}')
