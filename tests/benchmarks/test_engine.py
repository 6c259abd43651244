"""Operations are counted from the shapes that the profiler notes."""

import pytest

from benchmarks.engine import flops_of


@pytest.mark.parametrize(
    ("kind", "inputs", "outputs", "expected"),
    [
        ("MatMul", [[2, 3, 4]], [[2, 3, 5]], 2 * 2 * 3 * 5 * 4),
        ("GRU", [[7, 2, 4], [1, 18]], [[7, 1, 2, 3]], 2 * 7 * 2 * 9 * (4 + 3)),
        ("GRU", [[7, 2, 4], [1, 18], [2]], [[1, 2, 3]], 2 * 7 * 2 * 9 * (4 + 3)),
        ("Attention", [[2, 4, 7, 3]] * 3, [[2, 4, 7, 3]], 2 * 2 * 2 * 4 * 7 * 7 * 3),
        ("Add", [[2, 3], [3]], [[2, 3]], 0),
    ],
)
def test_a_multiplication_and_an_addition_are_two_operations(
    kind: str, inputs: list[list[int]], outputs: list[list[int]], expected: float
) -> None:
    """Products, recurrences and attention count; what only moves or adds numbers does not."""
    arguments = {
        "input_type_shape": [{"float": shape} for shape in inputs],
        "output_type_shape": [{"float": shape} for shape in outputs],
    }
    assert flops_of(kind, arguments) == expected
