"""Several processes go over to another version as one server."""

import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path
from urllib.error import HTTPError

import pytest
from artifact_builder import build_artifact
from gated_server import WAIT_SECONDS
from linked_versions import point
from served_processes import (
    ask,
    children_of,
    events_of,
    probe,
    reader_of,
    replaced_by,
    running,
    schema_of,
    until,
)

from builders import small_schema, small_spec


@pytest.mark.parametrize("num_processes", [1, 2])
def test_all_processes_go_over_to_another_version(link: Path, num_processes: int) -> None:
    """They load it one by one and swap together; one that is replaced later serves it too.

    A version that is refused by one is served by none.
    """
    logger = "serving.server" if num_processes == 1 else "serving.processes"
    flags = ("--artifact", str(link), "--port", "0", "--metrics-port", "0", "--reload-seconds", "0.02")
    with running(*flags, num_processes=num_processes) as process:
        events = events_of(process)
        metrics_port = until(events, "metrics", logger)["port"]
        port = until(events, "serving", logger)["port"]
        assert {ask(port).version for _ in range(8)} == {"1"}
        point(link, link.with_name("second"))
        until(events, "serving", logger)
        assert {ask(port).version for _ in range(8)} == {"2"}
        if num_processes > 1:
            replaced_by(process, events, "process replaced")
            assert {ask(port).version for _ in range(8)} == {"2"}
        (link.with_name("first") / "model.onnx").write_bytes(b"nothing")
        point(link, link.with_name("first"))
        refused = until(events, "version refused", "serving.versions")
        assert "model.onnx" in refused["reason"]
        assert {ask(port).version for _ in range(8)} == {"2"}
        shown = probe(metrics_port, "metrics")
        assert f'holdfast_model_processes{{model="small",version="2"}} {num_processes}.0' in shown
        for outcome in ("served", "refused"):
            assert f'holdfast_versions_total{{outcome="{outcome}"}} 1.0' in shown
        process.send_signal(signal.SIGTERM)
        assert process.wait(WAIT_SECONDS) == 0


@pytest.mark.parametrize("is_held", [False, True])
def test_one_that_is_started_meanwhile_goes_over_as_well(link: Path, is_held: bool) -> None:
    """Whether it listens after the others went over or while they still load, in the end all serve one."""
    schema = replace(small_schema(), lookback_days=small_schema().lookback_days + 1)
    other = build_artifact(link.with_name("other"), spec=small_spec(schema=schema))
    flags = ("--artifact", str(link), "--port", "0", "--reload-seconds", "0.02")
    with running(*flags) as process:
        events = events_of(process)
        port = until(events, "serving")["port"]
        replaced_by(process, events, "process died")
        held = children_of(process)[0]
        if is_held:
            os.kill(held, signal.SIGSTOP)
        point(link, other)
        if is_held:
            until(events, "process replaced")
            os.kill(held, signal.SIGCONT)
        until(events, "serving")
        if not is_held:
            until(events, "process replaced")
        # Only the schema tells them apart: both are called version 1.
        assert {schema_of(port) for _ in range(8)} == {schema.fingerprint()}
        process.terminate()
        assert process.wait(WAIT_SECONDS) == 0


def test_a_version_that_ends_two_processes_is_not_given_a_third(link: Path) -> None:
    """The others serve on. What it is that ends them is not for them to find out, one after the other."""
    second = link.with_name("second")
    (second / "model.onnx").unlink()
    # Whoever loads it waits here for the rest, and can be ended meanwhile.
    os.mkfifo(second / "model.onnx")
    flags = ("--artifact", str(link), "--port", "0", "--reload-seconds", "0.02")
    with running(*flags) as process:
        events = events_of(process)
        port = until(events, "serving")["port"]
        point(link, second)
        reasons = []
        for _ in range(2):
            with (second / "model.onnx").open("wb"):
                os.kill(reader_of(second / "model.onnx", process), signal.SIGKILL)
                reasons.append(until(events, "version refused", "serving.versions")["reason"])
        assert "ended with exit code -9" in reasons[0]
        assert "processes end while they load it" in reasons[1]
        assert {ask(port).version for _ in range(8)} == {"1"}
        process.terminate()
        assert process.wait(WAIT_SECONDS) == 0


def test_what_comes_after_all_have_died_is_what_lies_there_then(link: Path) -> None:
    """Where what they served is gone, no version waits for one that serves; meanwhile nobody is ready."""
    flags = ("--artifact", str(link), "--port", "0", "--metrics-port", "0", "--reload-seconds", "0.02")
    with running(*flags) as process:
        events = events_of(process)
        metrics_port = until(events, "metrics")["port"]
        port = until(events, "serving")["port"]
        shutil.rmtree(link.with_name("first"))
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text(encoding="ascii")
        for child in children.split():
            os.kill(int(child), signal.SIGKILL)
        for _ in children.split():
            until(events, "process died")
        with pytest.raises(HTTPError, match="503"):
            probe(metrics_port, "readyz")
        point(link, link.with_name("second"))
        for _ in range(2):
            until(events, "process replaced")
        assert {ask(port).version for _ in range(8)} == {"2"}
        assert probe(metrics_port, "readyz") == "ready\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(WAIT_SECONDS) == 0
