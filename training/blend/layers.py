"""The experts as layers: readout features in, answers to every question out.

They deliberately repeat in float32 what :mod:`training.baselines` says, for the exported graph;
tests hold both together.
"""

import math

import numpy as np
import torch
from jaxtyping import Float, Int64
from numpy import ndarray
from torch import Tensor, nn
from torch.nn import functional as F

from holdfast.encoding import EncodingSpec
from holdfast.graph import TREES_DOMAIN, TREES_OPSET
from training.baselines.linear import MOST_STANDARD_DEVIATIONS, LinearAmount, LinearProbability
from training.baselines.repeat_buying import PARETO_NBD
from training.baselines.single import ConstantProbability
from training.baselines.trees import Boosted, TreesAmount, TreesProbability
from training.blend.buying_layer import BuyingLayer
from training.blend.experts import AmountExpert, Expert, ProbabilityExpert
from training.blend.fixed import fixed
from training.blend.questions import MAX_LOGIT, Questions, is_survival
from training.blend.tree_arrays import TreeArrays

MARK = "tree_roots"
"""Attribute in which an operator without its trees says whose it is."""

_NO_LIMIT = 1e30


def expert_layer(name: str, expert: Expert, spec: EncodingSpec) -> nn.Module:
    """Return the layer of an expert.

    Args:
        name: One of :data:`training.blend.experts.EXPERTS`.
        expert: The fitted expert.
        spec: The encoding, for the sizes of its inputs.

    Returns:
        A module of readout values ``[batch, feature]`` and ids ``[batch, column]``, which gives
        ``[batch, question]`` as :class:`training.blend.questions.Questions` numbers them.
    """
    return {"trees": TreeLayer, "linear": LinearLayer, PARETO_NBD: BuyingLayer}[name](expert, spec)


class TreeLayer(nn.Module):
    """All trees of an expert, one operator per question.

    ONNX Runtime adds up one score faster than several: with three horizons and an amount, one operator
    for all took a quarter more time.
    """

    def __init__(self, expert: Expert, spec: EncodingSpec) -> None:
        """Flatten the trees."""
        super().__init__()
        questions = Questions.of(spec.schema)
        models = expert.models(questions)
        boosted = [_boosted(model) for model in models]
        pairs = sorted({pair for trees in boosted if trees is not None for pair in trees.categories.pairs})
        num_values = spec.readout_value_size
        columns = [
            [*range(num_values), *(num_values + pairs.index(pair) for pair in trees.categories.pairs)]
            if trees is not None
            else []
            for trees in boosted
        ]
        arrays = [TreeArrays.of([trees], [own]) for trees, own in zip(boosted, columns, strict=True)]
        self.trees = nn.ModuleList(Trees(one, mark=question) for question, one in enumerate(arrays))
        self.id_column = fixed(np.array([column for column, _ in pairs], dtype=np.int64))
        self.category = fixed(np.array([category for _, category in pairs], dtype=np.int64))
        base = np.concatenate([one.base for one in arrays])
        self.base = fixed(base + np.array([_offset(model) for model in models], dtype=np.float32))
        self.sign = fixed(_signs(questions))

    def forward(
        self, values: Float[Tensor, "batch feature"], ids: Int64[Tensor, "batch column"]
    ) -> Float[Tensor, "batch question"]:
        """Return the answers."""
        is_category = torch.eq(ids.index_select(1, self.id_column), self.category)
        features = torch.cat([values, is_category.to(values.dtype)], dim=1)
        scores = self.base + torch.cat([trees(features) for trees in self.trees], dim=1)
        return torch.clamp(scores, -_NO_LIMIT, _NO_LIMIT) * self.sign


class Trees(nn.Module):
    """The trees of one question; torch walks them itself, step by step.

    Attributes:
        arrays: The trees, which the exporter writes into the operator.
        mark: By which it knows whose operator it is: no two of a graph are alike.
    """

    def __init__(self, arrays: TreeArrays, *, mark: int) -> None:
        """Lay the trees out for torch."""
        super().__init__()
        self.arrays, self.mark = arrays, mark
        num_leaves, num_nodes = len(arrays.leaf_value), len(arrays.feature)
        # Leaves are nodes behind the others that lead to themselves.
        children = np.where(arrays.children < 0, num_nodes - 1 - arrays.children, arrays.children)
        leaves = np.arange(num_nodes, num_nodes + num_leaves)
        self._node_feature = torch.from_numpy(np.pad(arrays.feature, (0, num_leaves)))
        self._node_threshold = torch.from_numpy(np.pad(arrays.threshold, (0, num_leaves)))
        self._node_children = torch.from_numpy(np.concatenate([children, np.stack([leaves, leaves], axis=1)]))

    def forward(self, features: Float[Tensor, "batch column"]) -> Float[Tensor, "batch 1"]:
        """Return the sum of the leaves."""
        if not len(self.arrays.roots):
            return torch.zeros_like(features[:, :1])
        return self._operator(features) if torch.compiler.is_exporting() else self._walked(features)

    def _operator(self, features: Tensor) -> Tensor:
        """Stand for the operator while the graph is traced; the exporter fills in the trees."""
        return torch.onnx.ops.symbolic(
            f"{TREES_DOMAIN}::TreeEnsemble",
            (features,),
            {"n_targets": 1, MARK: [self.mark]},
            dtype=features.dtype,
            # A size taken with len() would be frozen into the graph.
            shape=(features.shape[0], 1),
            version=TREES_OPSET,
        )

    def _walked(self, features: Tensor) -> Tensor:
        arrays = self.arrays
        node = torch.from_numpy(arrays.roots).expand(features.shape[0], -1)
        for _ in range(arrays.depth):
            is_second = features.gather(1, self._node_feature[node]) > self._node_threshold[node]
            node = self._node_children[node, is_second.long()]
        return torch.from_numpy(arrays.leaf_value)[node - len(arrays.feature)].sum(dim=1, keepdim=True)


class LinearLayer(nn.Module):
    """All regressions of an expert; the columns of categories are looked up."""

    def __init__(self, expert: Expert, spec: EncodingSpec) -> None:
        """Stack the weights."""
        super().__init__()
        questions = Questions.of(spec.schema)
        models = expert.models(questions)
        shape, num_values = (len(models), spec.readout_value_size), spec.readout_value_size
        mean, std, weights = np.zeros(shape), np.ones(shape), np.zeros(shape)
        tables = [np.zeros((size, len(models))) for size in spec.readout_id_sizes]
        intercept, most = np.zeros(len(models)), np.full(len(models), _NO_LIMIT)
        for row, model in enumerate(models):
            if isinstance(model, LinearProbability | LinearAmount):
                mean[row], std[row] = model.design.mean, model.design.std
                weights[row], intercept[row] = model.weights[:num_values], model.intercept
                pairs = model.design.categories.pairs
                for (column, category), weight in zip(pairs, model.weights[num_values:], strict=True):
                    tables[column][category, row] = weight
            if isinstance(model, LinearAmount):
                most[row] = math.log(model.most / model.unit)
        offset = np.array([_offset(model) for model in models])
        self.mean, self.std, self.weights = fixed(mean), fixed(std), fixed(weights)
        self.intercept, self.most, self.offset = fixed(intercept), fixed(most), fixed(offset)
        # All in one, so that a graph looks up once.
        self.offsets = fixed(np.cumsum([0, *map(len, tables)])[:-1])
        self.table = fixed(np.concatenate(tables)) if tables else None
        self.sign = fixed(_signs(questions))

    def forward(
        self, values: Float[Tensor, "batch feature"], ids: Int64[Tensor, "batch column"]
    ) -> Float[Tensor, "batch question"]:
        """Return the answers."""
        scaled = (values[:, None, :] - self.mean) / self.std
        scaled = torch.clamp(scaled, -MOST_STANDARD_DEVIATIONS, MOST_STANDARD_DEVIATIONS)
        scores = (scaled * self.weights).sum(dim=2) + self.intercept
        if self.table is not None:
            scores = scores + F.embedding(ids + self.offsets, self.table).sum(dim=1)
        return (torch.minimum(scores, self.most) + self.offset) * self.sign


def _boosted(model: ProbabilityExpert | AmountExpert) -> Boosted | None:
    if isinstance(model, TreesProbability):
        return model.trees
    return model.mean if isinstance(model, TreesAmount) else None


def _offset(model: ProbabilityExpert | AmountExpert) -> float:
    """Return what is added to a model's score: the log of its unit, or all that a constant says."""
    if isinstance(model, TreesAmount | LinearAmount):
        return math.log(model.unit)
    if isinstance(model, ConstantProbability) and not math.isnan(model.probability):
        logit = math.log(model.probability) - math.log1p(-model.probability)
        return min(max(logit, -MAX_LOGIT), MAX_LOGIT)
    return 0.0


def _signs(questions: Questions) -> ndarray:
    """Return -1 where a model gives the logit of the event and the question is survival."""
    signs = np.ones(len(questions))
    for target in questions.targets:
        if target.kind == "time_to_event" and not is_survival(target):
            signs[questions.columns[target.name]] = -1.0
    return signs
