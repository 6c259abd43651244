"""What holds for every test: checked shapes and types, one thread per worker, reproducible draws.

It deliberately knows no part of the product: a part's fixtures stand in the conftest beside its tests.
"""

import os

from call_checks import check_calls
from hypothesis import settings

# Every pytest-xdist worker is a process of its own; with as many threads as cores in each they would only
# get in each other's way. Set before NumPy, torch and Polars are imported, in each worker as well.
for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS"):
    os.environ.setdefault(_variable, "1")

# Shapes and types in the signatures are checked at every call that a test makes.
check_calls(["holdfast", "training", "serving"])

# Examples are drawn anew in every run where a person looks on, and the same ones every time in CI. There is
# no deadline: on shared cores a slow example says nothing.
settings.register_profile("holdfast", deadline=None, max_examples=50)
settings.register_profile("ci", parent=settings.get_profile("holdfast"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "holdfast")
