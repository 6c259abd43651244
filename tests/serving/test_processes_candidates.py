"""Several processes have one candidate: each of them, also one that comes in the place of another."""

import os
import signal
from pathlib import Path

import pytest
from gated_server import WAIT_SECONDS
from linked_versions import point, remove
from served_processes import ask, children_of, events_of, probe, reader_of, replaced_by, running, until

CANDIDATES = "serving.candidates"


@pytest.mark.parametrize("num_processes", [1, 2])
def test_all_processes_try_a_candidate_out(link: Path, num_processes: int) -> None:
    """They take it together, a process that is replaced gets it, and none has it when it is gone."""
    candidate = link.with_name("candidate")
    logger = "serving.server" if num_processes == 1 else "serving.processes"
    taker = "serving.server" if num_processes == 1 else CANDIDATES
    flags = (
        *("--artifact", str(link), "--port", "0", "--metrics-port", "0", "--reload-seconds", "0.02"),
        *("--candidate", str(candidate), "--candidate-share", "1"),
    )
    with running(*flags, num_processes=num_processes) as process:
        events = events_of(process)
        metrics_port = until(events, "metrics", logger)["port"]
        port = until(events, "serving", logger)["port"]
        until(events, "candidate missing", "serving.versions")
        assert {ask(port).version for _ in range(4)} == {"1"}
        point(candidate, link.with_name("second"))
        until(events, "candidate", taker)
        assert {ask(port).version for _ in range(8)} == {"2"}
        shown = probe(metrics_port, "metrics")
        assert f'holdfast_candidate_processes{{model="small",version="2"}} {num_processes}.0' in shown
        assert f'holdfast_model_processes{{model="small",version="1"}} {num_processes}.0' in shown
        assert 'holdfast_role_requests_total{role="candidate",version="2"} 8.0' in shown
        assert 'holdfast_candidate_versions_total{outcome="taken"} 1.0' in shown
        if num_processes > 1:
            replaced_by(process, events, "process replaced")
            until(events, "candidate given", CANDIDATES)
            assert {ask(port).version for _ in range(8)} == {"2"}
        (link.with_name("first") / "model.onnx").write_bytes(b"nothing")
        point(candidate, link.with_name("first"))
        assert "first" in until(events, "candidate refused", "serving.versions")["artifact"]
        assert {ask(port).version for _ in range(4)} == {"2"}
        remove(candidate)
        until(events, "candidate missing", "serving.versions")
        while "holdfast_candidate_processes{" in probe(metrics_port, "metrics"):
            pass
        assert {ask(port).version for _ in range(8)} == {"1"}
        process.send_signal(signal.SIGTERM)
        assert process.wait(WAIT_SECONDS) == 0


def test_a_candidate_that_ends_two_processes_is_not_given_a_third(link: Path) -> None:
    """The others serve on, and those that come in the place of the two do without."""
    second = link.with_name("second")
    (second / "model.onnx").unlink()
    # Whoever loads it waits here for the rest, and can be ended meanwhile.
    os.mkfifo(second / "model.onnx")
    flags = ("--artifact", str(link), "--port", "0", "--reload-seconds", "0.02", "--candidate", str(second))
    with running(*flags) as process:
        events = events_of(process)
        port = until(events, "serving")["port"]
        reasons = []
        for _ in range(2):
            with (second / "model.onnx").open("wb"):
                os.kill(reader_of(second / "model.onnx", process), signal.SIGKILL)
                reasons.append(until(events, "candidate refused", "serving.versions")["reason"])
        assert "ended with exit code -9" in reasons[0]
        assert "processes end while they load it" in reasons[1]
        assert {ask(port).version for _ in range(8)} == {"1"}
        process.terminate()
        assert process.wait(WAIT_SECONDS) == 0


def test_a_process_that_cannot_have_the_candidate_serves_without(link: Path) -> None:
    """Its folder may be gone by the time that a process is replaced: that one is told of, and no more."""
    second = link.with_name("second")
    flags = ("--artifact", str(link), "--port", "0", "--reload-seconds", "0", "--candidate", str(second))
    with running(*flags, "--candidate-share", "1") as process:
        events = events_of(process)
        port = until(events, "serving")["port"]
        until(events, "candidate", CANDIDATES)
        (second / "model.onnx").write_bytes(b"nothing")
        number = replaced_by(process, events, "process replaced")["pid"]
        told = until(events, "no candidate", CANDIDATES)
        assert told["pid"] == number
        assert "model.onnx" in told["reason"]
        assert {ask(port).version for _ in range(16)} <= {"1", "2"}
        assert len(children_of(process)) == 2
        process.terminate()
        assert process.wait(WAIT_SECONDS) == 0
