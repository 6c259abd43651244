"""What holds for every test: checked shapes and types, one thread per worker, reproducible draws.

It deliberately knows no part of the product: a part's fixtures stand in the conftest beside its tests.
"""

import os
from pathlib import Path

import pytest
from call_checks import check_calls
from hypothesis import settings

# Every pytest-xdist worker is a process of its own; with as many threads as cores in each they would only
# get in each other's way. Set before NumPy, torch and Polars are imported, in each worker as well.
for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS"):
    os.environ.setdefault(_variable, "1")

# As the packages under test do, which some tests import after it.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

# Shapes and types in the signatures are checked at every call that a test makes.
check_calls(["holdfast", "training", "serving"])

# Examples are drawn anew in every run where a person looks on, and the same ones every time in CI. There is
# no deadline: on shared cores a slow example says nothing.
settings.register_profile("holdfast", deadline=None, max_examples=50)
settings.register_profile("ci", parent=settings.get_profile("holdfast"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "holdfast")

# Modules that take long by themselves, the longest first: a worker that begins one of them last keeps the
# other one waiting at the end.
_LONG = (
    "e2e/test_readme.py",
    "skew/test_future.py",
    "training/test_fitting.py",
    "training/test_onnx_export.py",
    "packaging/test_serve_extra.py",
    "e2e/test_killed_run.py",
    "training/test_export.py",
    "e2e/test_many_processes.py",
    "training/test_compiled.py",
    "training/report/test_browser.py",
    "training/test_compare.py",
    "training/report/test_page.py",
    "packaging/test_imports.py",
    "training/simulate/test_simulate_run.py",
    "training/test_sweep.py",
    "serving/test_processes.py",
)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the long modules; within them, and behind them, the order stays random."""
    rank = {Path(__file__).parent / name: number for number, name in enumerate(_LONG)}
    assert all(path.exists() for path in rank), "a module was renamed"
    items.sort(key=lambda item: rank.get(item.path, len(rank)))
