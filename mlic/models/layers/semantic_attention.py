"""Where an image speaks of a class, asked with the class's vector.

Shapes in this module: B images, C classes, N feature cells, K channels, E width of a vector,
D hidden width.
"""

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mlic.models.checks import check_counts


class SemanticAttention(nn.Module):
    r"""The semantic decoupling of SSGRL (Chen et al., ICCV 2019): a feature vector for each class.

    With x a cell and z a class's vector, the score of the cell for the class is

    .. math::
        u^\top (W_3 \tanh(W_1 x \odot W_2 z) + b_3) + b

    and the class's feature is the mean of the cells, weighted by the softmax of their scores.

    The released code forms (B, C, N, K) and (B, C, N, D) several times and multiplies each entry by
    :math:`W_3`. Here :math:`u^\top W_3` is formed first, and the rest for a few classes at a time:
    the same values, with less memory and a small part of the work.

    Args:
        in_channels (int): K.
        vector_dims (int): E.
        hidden_channels (int): D. Defaults to 1024.
        classes_at_once (int): In training, what they leave in memory is formed again on the way
            back, so that (B, classes_at_once, N, D) is the largest. Defaults to 8.

    Raises:
        ValueError: If ``classes_at_once`` is below 1.

    Example:
        >>> import torch
        >>> from mlic.models import SemanticAttention
        >>> attention = SemanticAttention(in_channels=16, vector_dims=8, hidden_channels=4)
        >>> feats, weights = attention(torch.rand(2, 49, 16), torch.rand(3, 8))
        >>> feats.shape, weights.shape
        (torch.Size([2, 3, 16]), torch.Size([2, 3, 49]))
    """

    def __init__(
        self,
        in_channels: int,
        vector_dims: int,
        hidden_channels: int = 1024,
        classes_at_once: int = 8,
    ) -> None:
        super().__init__()
        check_counts(classes_at_once=classes_at_once)
        self.classes_at_once = classes_at_once
        self.cell = nn.Linear(in_channels, hidden_channels, bias=False)  # W_1
        self.label = nn.Linear(vector_dims, hidden_channels, bias=False)  # W_2
        self.hidden = nn.Linear(hidden_channels, hidden_channels)  # W_3, b_3
        self.score = nn.Linear(hidden_channels, 1)  # u, b

    def forward(self, cells: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """(B, N, K) and (C, E) → features (B, C, K), and the weights (B, C, N), which sum to 1."""
        asked, asking = self.cell(cells), self.label(vectors)  # (B, N, D), (C, D)
        weight = self.score.weight @ self.hidden.weight  # (1, D)
        bias = self.score(self.hidden.bias)  # (1,)
        chunks = [self._run(asked, some, weight[0]) for some in asking.split(self.classes_at_once)]
        weights = (torch.cat(chunks, dim=1) + bias).softmax(dim=-1)  # (B, C, N)
        return weights @ cells.to(weights.dtype), weights

    @staticmethod
    def _run(asked: Tensor, asking: Tensor, weight: Tensor) -> Tensor:
        """Scores of some classes, of which only the inputs are kept."""
        if torch.is_grad_enabled():
            return checkpoint(
                _scores, asked, asking, weight, use_reentrant=False, preserve_rng_state=False
            )
        return _scores(asked, asking, weight)


def _scores(asked: Tensor, asking: Tensor, weight: Tensor) -> Tensor:
    """(B, N, D), (C, D) and (D,) → (B, C, N)."""
    return (asked[:, None] * asking[None, :, None]).tanh() @ weight
