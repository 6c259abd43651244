"""Fitted trees as flat arrays, exactly: the form that a graph can hold.

It deliberately does not know ONNX. Features are float32 and LightGBM's thresholds float64;
``x <= t`` holds for a float32 ``x`` exactly where ``x <= t`` rounded down to float32 does.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import lightgbm
import numpy as np
from jaxtyping import Float, Float32, Int64
from numpy import ndarray

from training.baselines.trees import Boosted


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeArrays:
    """Trees of several targets.

    A child is a node where it is 0 or more, and leaf ``-1 - child`` otherwise.

    Attributes:
        feature: Per node, what is compared.
        threshold: Per node; at most this goes to the first child.
        children: Per node.
        leaf_value: Per leaf.
        leaf_target: Per leaf, where its value is added.
        roots: Nodes.
        depth: Longest way from a root to a leaf.
        base: Per target, what trees without a node add.
    """

    feature: Int64[ndarray, " node"]
    threshold: Float32[ndarray, " node"]
    children: Int64[ndarray, "node 2"]
    leaf_value: Float32[ndarray, " leaf"]
    leaf_target: Int64[ndarray, " leaf"]
    roots: Int64[ndarray, " tree"]
    depth: int
    base: Float32[ndarray, " target"]

    @classmethod
    def of(cls, models: Sequence[Boosted | None], columns: Sequence[Sequence[int]]) -> "TreeArrays":
        """Flatten models, one per target.

        Args:
            models: Fitted trees, or None where a target has none.
            columns: Per model, the common column of each of its own columns.
        """
        growing = _Growing(base=[0.0] * len(models))
        for target, (model, own) in enumerate(zip(models, columns, strict=True)):
            for tree in _structures(model.booster) if model is not None else ():
                growing.plant(tree, own, target)
        return cls(
            feature=np.array(growing.feature, dtype=np.int64),
            threshold=rounded_down(np.array(growing.threshold, dtype=np.float64)),
            children=np.array(growing.children, dtype=np.int64).reshape(-1, 2),
            leaf_value=np.array(growing.leaf_value, dtype=np.float32),
            leaf_target=np.array(growing.leaf_target, dtype=np.int64),
            roots=np.array(growing.roots, dtype=np.int64),
            depth=growing.depth,
            base=np.array(growing.base, dtype=np.float32),
        )


def rounded_down(values: Float[ndarray, " value"]) -> Float32[ndarray, " value"]:
    """Return the largest float32 that is not above each value; infinite ones stay within float32."""
    most = np.finfo(np.float32).max
    within = np.clip(values, -most, most)
    nearest = within.astype(np.float32)
    down: ndarray = np.where(nearest > within, np.nextafter(nearest, np.float32(-most)), nearest)
    return down.astype(np.float32)


def _structures(booster: lightgbm.Booster) -> Iterator[dict[str, Any]]:
    model = booster.dump_model()
    assert not model["average_output"], "the graph adds trees, it takes no mean over them"
    for tree in model["tree_info"]:
        yield tree["tree_structure"]


@dataclass(slots=True, kw_only=True)
class _Growing:
    """Flat lists while trees are planted one after another."""

    base: list[float]
    feature: list[int] = field(default_factory=list)
    threshold: list[float] = field(default_factory=list)
    children: list[list[int]] = field(default_factory=list)
    leaf_value: list[float] = field(default_factory=list)
    leaf_target: list[int] = field(default_factory=list)
    roots: list[int] = field(default_factory=list)
    depth: int = 0

    def plant(self, tree: dict[str, Any], columns: Sequence[int], target: int) -> None:
        """Add a whole tree."""
        if "split_feature" in tree:
            self.roots.append(self._grown(tree, columns, target, depth=1))
        else:
            self.base[target] += tree["leaf_value"]

    def _grown(self, part: dict[str, Any], columns: Sequence[int], target: int, *, depth: int) -> int:
        """Add a node with all below it, or a leaf, and return it as a child."""
        if "split_feature" not in part:
            self.leaf_value.append(part["leaf_value"])
            self.leaf_target.append(target)
            return -len(self.leaf_value)
        # Categories are columns of their own, and no feature is ever missing or sparse.
        assert part["decision_type"] == "<=", part["decision_type"]
        assert part["missing_type"] != "Zero", part["missing_type"]
        node, self.depth = len(self.feature), max(self.depth, depth)
        self.feature.append(columns[part["split_feature"]])
        self.threshold.append(part["threshold"])
        self.children.append([])
        sides = (part["left_child"], part["right_child"])
        self.children[node] = [self._grown(side, columns, target, depth=depth + 1) for side in sides]
        return node
