"""What an import brings with it: nothing heavy, and nothing that happens by itself."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = {
    "hydra", "lightgbm", "matplotlib", "numba", "omegaconf", "onnx", "onnxruntime", "onnxscript", "pandas",
    "polars", "pyarrow", "pydantic", "pytorch_lightning", "rich", "scipy", "sklearn", "torch",
}  # fmt: skip
NOT_IN_SERVING = {
    "hydra",
    "lightgbm",
    "omegaconf",
    "onnx",
    "onnxscript",
    "pytorch_lightning",
    "sklearn",
    "torch",
}

IMPORT_ALL = """
import importlib, json, logging, os, pkgutil, sys, threading
import numpy

ROOT, PACKAGE = sys.argv[1:]
environment_reads = []

class Recorder(type(os.environ)):
    # Libraries may read what they like; only a read whose nearest caller is our own file is noted.
    def __getitem__(self, key):
        frame = sys._getframe(1)
        while frame.f_code.co_filename in (os.__file__, "<frozen os>", "<frozen _collections_abc>"):
            frame = frame.f_back
        if frame.f_code.co_filename.startswith(os.path.join(ROOT, PACKAGE)):
            environment_reads.append([frame.f_code.co_filename, str(key)])
        return super().__getitem__(key)

os.environ.__class__ = Recorder
random_state = numpy.random.get_state()[1].tobytes()
package = importlib.import_module(PACKAGE)
for module in pkgutil.walk_packages(package.__path__, PACKAGE + "."):
    importlib.import_module(module.name)
own = sorted(name for name in sys.modules if name == PACKAGE or name.startswith(PACKAGE + "."))
print(json.dumps({
    "own": own,
    "tops": sorted({name.split(".")[0] for name in sys.modules}),
    "environment_reads": environment_reads,
    "root_handlers": [repr(handler) for handler in logging.getLogger().handlers],
    "root_level": logging.getLogger().level,
    "own_handlers": [name for name in own if logging.getLogger(name).handlers],
    "threads": [thread.name for thread in threading.enumerate()],
    "folder": os.getcwd(),
    "random_is_untouched": numpy.random.get_state()[1].tobytes() == random_state,
}))
"""


def run_python(code: str, *arguments: str, folder: Path) -> str:
    """Run code in a fresh interpreter that finds this checkout, in a folder of its own."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_client_imports_nothing_heavy(tmp_path: Path) -> None:
    """A backend service starts with NumPy and gRPC, whatever else is installed beside them."""
    code = "import holdfast.client, sys; print(*{name.split('.')[0] for name in sys.modules})"
    tops = set(run_python(code, folder=tmp_path).split())
    assert {"holdfast", "grpc", "numpy"} <= tops
    assert tops & HEAVY == set()
    assert tops & {"training", "serving"} == set()


@pytest.mark.parametrize(
    ("package", "unwanted"),
    [
        ("holdfast", HEAVY | {"training", "serving"}),
        ("serving", NOT_IN_SERVING | {"training"}),
        pytest.param("training", {"serving"}, marks=pytest.mark.long),
    ],
)
def test_importing_every_module_does_nothing(package: str, unwanted: set[str], tmp_path: Path) -> None:
    """No module configures logging, reads the environment, starts a thread or writes when imported."""
    report = json.loads(run_python(IMPORT_ALL, str(ROOT), package, folder=tmp_path).splitlines()[-1])
    assert len(report["own"]) > 1
    assert set(report["tops"]) & unwanted == set()
    assert report["environment_reads"] == []
    assert report["root_handlers"] == []
    assert report["root_level"] == 30  # logging.WARNING: what Python begins with
    assert report["own_handlers"] == []
    assert report["threads"] == ["MainThread"]
    assert report["folder"] == str(tmp_path)
    assert report["random_is_untouched"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="where else it would write is not known")
@pytest.mark.parametrize("module", ["serving.artifact", "training.export", "benchmarks.engine"])
def test_the_engine_does_not_report_to_its_maker(module: str, tmp_path: Path) -> None:
    """It would keep a database of events in the user's cache folder, and send it from a thread of its own."""
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    environment |= {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    command = [sys.executable, "-c", f"import {module}; import onnxruntime"]
    subprocess.run(command, cwd=ROOT, env=environment, check=True)
    assert not [path for path in tmp_path.rglob("*") if "onnxruntime" in path.name]
