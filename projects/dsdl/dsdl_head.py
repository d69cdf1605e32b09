"""DSDL: an image as a code over a dictionary that is made of the classes' word vectors.

Shapes in this module: B images, N images of all processes, C classes, K input channels, E width of
a word vector, H hidden width.
"""

import math

import torch
import torch.nn.functional as F
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from mlic.dtypes import raised
from mlic.models.heads.label_vector_head import LabelVectorHead
from mlic.models.layers.gather import gather_rows
from mlic.models.losses.known_labels import loss_of_known

LEAST_COSINE = 0.01


@MODELS.register_module()
class DSDLHead(LabelVectorHead):
    r"""Head of DSDL (Zhou et al., *Deep Semantic Dictionary Learning for Multi-label Image
    Classification*, AAAI 2021).

    With f the largest value of each channel of the feature map, Z the classes' vectors and
    :math:`\sigma` LeakyReLU of slope 0.2, the logits are the code of f over a dictionary D, by
    ridge regression, and the same two weights lead from the dictionary back to the vectors:

    .. math::
        D = \sigma(Z W_1) W_2, \quad s = (D D^\top + \lambda I)^{-1} D f, \quad
        \hat Z = \sigma(D W_2^\top) W_1^\top

    With F and S the features and codes of all N images, the loss is

    .. math::
        \Bigl(L_{cls} + \beta (\lVert S D - F \rVert + \lambda \lVert S \rVert)\Bigr) \Big/
        \frac{1}{C} \sum_c \cos(z_c, \hat z_c)

    The norms are those of whole matrices, of the batch of all processes: they grow with
    :math:`\sqrt N`, and steps that are accumulated are not one large batch. The released code
    divides by the cosine whatever its sign, and would push a negative one further down. Here 1/x is
    continued by its tangent below 0.01, so that the loss falls wherever the cosine grows.

    The system is solved, where the released code has the inverse, in at least float32.

    Args:
        num_classes (int): C.
        in_channels (int): K, channels of the backbone's last feature map.
        hidden_channels (int): H. Defaults to 1024.
        ridge (float): :math:`\lambda`, more than 0. Defaults to 0.1, as on COCO.
        dictionary_weight (float): :math:`\beta`. Defaults to 1e-6, as on COCO.
        vectors (dict, optional): Arguments of ``LabelVectors``. They are not learned: the loss
            would make them what is easy to reconstruct. Defaults to None: 300 random numbers a
            class; the paper has GloVe's.
        **kwargs: More of ``LabelVectorHead``.

    Raises:
        ValueError: If the ridge is not more than 0, or vectors would be learned.

    Example:
        >>> import torch
        >>> from mmpretrain.structures import DataSample
        >>> from projects.dsdl import DSDLHead
        >>> head = DSDLHead(num_classes=3, in_channels=16)
        >>> feats = (torch.rand(2, 16, 7, 7),)
        >>> head(feats).shape
        torch.Size([2, 3])
        >>> samples = [DataSample().set_gt_label([0, 2]), DataSample().set_gt_label([1])]
        >>> list(head.loss(feats, samples))
        ['loss_cls', 'loss_dictionary', 'cosine']
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        hidden_channels: int = 1024,
        ridge: float = 0.1,
        dictionary_weight: float = 1e-6,
        vectors: dict | None = None,
        **kwargs,
    ) -> None:
        if not ridge > 0:
            raise ValueError(f'ridge must be more than 0, got {ridge}')
        super().__init__(num_classes, in_channels, {'fixed': True, **(vectors or {})}, **kwargs)
        if isinstance(self.vectors.vectors, nn.Parameter):
            raise ValueError('DSDLHead reconstructs the vectors of the classes: set vectors.fixed')
        self.ridge = ridge
        self.dictionary_weight = dictionary_weight
        self.w1 = nn.Parameter(torch.empty(self.vectors.vectors.shape[1], hidden_channels))
        self.w2 = nn.Parameter(torch.empty(hidden_channels, in_channels))
        for weight in (self.w1, self.w2):
            bound = 1 / math.sqrt(weight.shape[1])
            nn.init.uniform_(weight, -bound, bound)

    def dictionary(self) -> tuple[Tensor, Tensor]:
        """D (C, K), and the mean cosine () of the vectors and what is reconstructed of them."""
        dtype = raised(self.w1.dtype)
        w1, w2, vectors = self.w1.to(dtype), self.w2.to(dtype), self.vectors().to(dtype)
        atoms = F.leaky_relu(vectors @ w1, 0.2) @ w2
        reconstructed = F.leaky_relu(atoms @ w2.T, 0.2) @ w1.T  # (C, E)
        return atoms, F.cosine_similarity(vectors, reconstructed).mean()

    def classifiers(self, atoms: Tensor) -> Tensor:
        """What gives the code of features as a product, (C, K), of the dictionary (C, K)."""
        ridge = self.ridge * torch.eye(len(atoms), dtype=atoms.dtype, device=atoms.device)
        # always regular; without a check, for which the host would wait
        return torch.linalg.solve_ex(atoms @ atoms.T + ridge, atoms)[0]

    def class_part(self) -> Tensor:
        """Classifiers (C, K)."""
        return self.classifiers(self.dictionary()[0])

    def loss(self, feats: tuple[Tensor, ...], data_samples: list[DataSample]) -> dict[str, Tensor]:
        """``loss_cls`` and ``loss_dictionary`` of B samples, both divided by ``cosine``.

        Unknown labels are left out of the first; the second knows no labels.
        """
        pooled = self.pooled(feats)
        with torch.autocast(pooled.device.type, enabled=False):
            atoms, cosine = self.dictionary()
            pooled = pooled.to(atoms.dtype)
            cls_score = self.score(pooled, self.classifiers(atoms))  # (B, C)
            error = norm_of_all(cls_score @ atoms - pooled)
            dictionary = error + self.ridge * norm_of_all(cls_score)
            scale = one_over(cosine)
        target = self.target_of(data_samples, cls_score)
        return dict(
            loss_cls=scale * loss_of_known(self.loss_module, cls_score, target),
            loss_dictionary=scale * self.dictionary_weight * dictionary,
            cosine=cosine.detach(),
        )


def norm_of_all(rows: Tensor) -> Tensor:
    """The Frobenius norm () of the rows (B, ...) of all processes."""
    return torch.linalg.vector_norm(gather_rows(torch.linalg.vector_norm(rows, dim=1)))


def one_over(cosine: Tensor) -> Tensor:
    """1 / x; below ``LEAST_COSINE`` its tangent there, which is positive and falls, too."""
    tangent = (2 * LEAST_COSINE - cosine) / LEAST_COSINE**2
    return torch.where(cosine < LEAST_COSINE, tangent, 1 / cosine.clamp(min=LEAST_COSINE))
