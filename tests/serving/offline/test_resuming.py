"""Killed or disturbed, offline scoring goes on where it stood; a result is whole or not there."""

import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from offline_files import AS_OF, events_table, flags, score
from polars.testing import assert_frame_equal

from holdfast.errors import RunError
from holdfast.histories import Histories
from serving.artifact import Artifact
from serving.finished import Finished
from serving.offline import score_file

ROOT = Path(__file__).parents[3]


def test_a_failure_in_the_middle_leaves_the_old_result(
    artifact: Artifact, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever happens after half of the customers, nothing half written is seen."""
    files["out"].write_bytes(b"yesterday")
    calls = []
    predict = type(artifact.predictor).predict

    def fail_later(*arguments: Any, **options: Any) -> Any:
        calls.append(None)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return predict(*arguments, **options)

    monkeypatch.setattr(type(artifact.predictor), "predict", fail_later)
    with pytest.raises(KeyboardInterrupt):
        score(artifact, files, workers=1, customers_per_chunk=100)
    assert files["out"].read_bytes() == b"yesterday"


KILLED_RUN = """
import os, signal, sys
from pathlib import Path

from serving import offline
from serving.finished import Finished

log, num_before_kill = Path(sys.argv[1]), int(sys.argv[2])
write_chunk, end_part = Finished.write_chunk, Finished.end_part
num = 0

def counted(finished, part, chunk, frame):
    global num
    write_chunk(finished, part, chunk, frame)
    with log.open("a") as file:
        file.writelines(f"{customer_id}\\n" for customer_id in frame["customer_id"])
    num += 1
    if num == num_before_kill:
        os.kill(os.getpid(), signal.SIGKILL)

Finished.write_chunk = counted
offline.score_file.__kwdefaults__ |= {"events_per_part": 2_500, "customers_per_chunk": 40}
sys.exit(offline.main(sys.argv[3:]))
"""


def test_a_killed_run_goes_on_where_it_stood(
    artifact: Artifact, artifact_folder: Path, files: dict[str, Path], tmp_path: Path
) -> None:
    """Killed twice, the same command ends with the same rows, and nothing finished is scored again."""
    expected = score(artifact, files, events_per_part=2_500, customers_per_chunk=40)
    files["out"].unlink()
    log = tmp_path / "scored.txt"
    codes, messages = [], []
    for num_before_kill in (3, 11, 10_000):
        command = [sys.executable, "-c", KILLED_RUN, str(log), str(num_before_kill)]
        run = subprocess.run(
            [*command, *flags(artifact_folder, files), "--workers=1"],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            cwd=ROOT,
        )
        codes.append(run.returncode)
        messages.append(run.stderr)
        assert files["out"].exists() == (run.returncode == 0)
    assert codes == [-signal.SIGKILL, -signal.SIGKILL, 0]
    assert "120 customers were scored by an earlier run" in messages[1]
    assert_frame_equal(pl.read_parquet(files["out"]), expected)
    scored = log.read_text(encoding="utf-8").splitlines()
    assert sorted(scored) == sorted(expected["customer_id"].to_list())
    assert {path.name for path in files["out"].parent.iterdir()} == {
        *(path.name for path in files.values()),
        log.name,
    }


@pytest.mark.parametrize("change", ["nothing", "as_of", "events", "half a chunk"])
def test_only_the_same_job_goes_on(
    artifact: Artifact, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """Another point in time or another file begins anew; so does a chunk that holds other customers."""
    counted: list[int] = []
    predict = type(artifact.predictor).predict

    def counting(predictor: Any, histories: Histories, *arguments: Any, **options: Any) -> Any:
        if len(counted) == 3:
            raise KeyboardInterrupt
        counted.append(histories.num_customers)
        return predict(predictor, histories, *arguments, **options)

    with monkeypatch.context() as patched:
        patched.setattr(type(artifact.predictor), "predict", counting)
        with pytest.raises(KeyboardInterrupt):
            score(artifact, files, workers=1, customers_per_chunk=100)
    (folder,) = (path for path in files["out"].parent.iterdir() if path.is_dir())
    as_of, good = AS_OF, sorted(folder.glob("*.parquet"))
    if change == "half a chunk":
        path = good.pop()
        pl.read_parquet(path).head(50).write_parquet(path)
    elif change == "as_of":
        as_of, good = as_of + timedelta(seconds=1), []
    elif change == "events":
        events_table().write_parquet(files["events"])
        good = []
    num_good = sum(pl.read_parquet(path).height for path in good)
    num_faults = sum(pl.read_parquet(path)["fault"].count() for path in good)
    counted.clear()
    with monkeypatch.context() as patched:
        counted.extend([0] * 4)
        patched.setattr(type(artifact.predictor), "predict", counting)
        num = score_file(artifact, as_of=as_of, **files, workers=1, customers_per_chunk=100)
    # The customer at fault reaches no predictor.
    assert sum(counted) == num - num_good - (1 - num_faults)
    assert (num_good > 0) == (change in {"nothing", "half a chunk"})
    assert not folder.exists()


def test_two_runs_never_write_one_result(artifact: Artifact, files: dict[str, Path]) -> None:
    """The second one says so and harms nothing."""
    with Finished.open(files["out"], {"job": 1}), pytest.raises(RunError, match="another run is writing"):
        score_file(artifact, as_of=AS_OF, **files)
    assert score(artifact, files).height > 0


def test_a_full_disk_is_one_line(
    artifact: Artifact, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Polars says it in errors of its own; what was finished before stays."""

    def full(*_: Any, **__: Any) -> None:
        raise pl.exceptions.ComputeError("No space left on device (os error 28)")

    with monkeypatch.context() as patch:
        patch.setattr(pl.DataFrame, "write_parquet", full)
        with pytest.raises(RunError, match=f"cannot write {files['out']}: No space left"):
            score(artifact, files)
    assert score(artifact, files).height > 0


def test_a_chunk_that_was_damaged_is_scored_again(artifact: Artifact, files: dict[str, Path]) -> None:
    """A result is never worth less than its parts."""
    with Finished.open(files["out"], {"job": 1}) as finished:
        frame = pl.DataFrame({"customer_id": ["a", "b"]})
        finished.write_chunk(0, 0, frame)
        assert finished.has_chunk(0, 0, ["a", "b"])
        (chunk,) = files["out"].parent.glob(f".{files['out'].name}.finished/chunk-*")
        chunk.write_bytes(chunk.read_bytes()[:-20])
        assert not finished.has_chunk(0, 0, ["a", "b"])
        assert finished.num_customers() == 0
