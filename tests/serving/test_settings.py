"""Settings come from flags and environment, and a wrong one is named in one line."""

from pathlib import Path

import pytest

from holdfast.errors import ConfigError
from serving.settings import read_settings


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep a developer's own HOLDFAST_ variables out."""
    for name in ("ARTIFACT", "PORT", "HOST", "THREADS", "DATA", "TLS_CERTIFICATE", "TLS_KEY", "TOKEN_FILE"):
        monkeypatch.delenv(f"HOLDFAST_{name}", raising=False)


def test_defaults_listen_on_loopback() -> None:
    """Nobody serves the whole network without having said so."""
    settings = read_settings(["--artifact", "here"])
    assert (settings.artifact, settings.host, settings.port) == (Path("here"), "127.0.0.1", 50051)
    assert (settings.processes, settings.threads, settings.provider) == (1, None, "cpu")
    assert settings.limits.max_events_per_customer == 100_000
    assert settings.port_file is None
    assert (settings.tls_certificate, settings.tls_key, settings.tls_client_ca) == (None, None, None)
    assert settings.token_file is None
    assert settings.trace_endpoint is None
    assert (settings.candidate, settings.candidate_share, settings.candidate_shadow) == (None, 0.05, False)


def test_flags_win_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment is what an image sets, a flag what a person says; other variables are left alone."""
    monkeypatch.setenv("HOLDFAST_ARTIFACT", "env")
    monkeypatch.setenv("HOLDFAST_PORT", "1")
    monkeypatch.setenv("HOLDFAST_THREADS", "3")
    monkeypatch.setenv("HOLDFAST_DATA", "/somewhere")
    monkeypatch.setenv("HOLDFAST_TLS_KEY", "key")
    monkeypatch.setenv("HOLDFAST_TOKEN_FILE", "env")
    settings = read_settings(
        [
            "--port",
            "0",
            "--max-queued-events=7",
            "--port-file",
            "p",
            "--token-file",
            "t",
            "--candidate-shadow",
        ]
    )
    assert settings.candidate_shadow
    assert (settings.artifact, settings.port, settings.threads) == (Path("env"), 0, 3)
    assert (settings.max_queued_events, settings.port_file) == (7, Path("p"))
    assert (settings.tls_key, settings.token_file) == (Path("key"), Path("t"))


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        ([], r"--artifact \(HOLDFAST_ARTIFACT\): got None"),
        (["--artifact", "a", "--port", "70000"], r"--port \(HOLDFAST_PORT\): got '70000'"),
        (["--artifact", "a", "--port", "http"], "--port .*: got 'http'"),
        (["--artifact", "a", "--threads", "0"], "--threads"),
        (["--artifact", "a", "--processes", "0"], "--processes"),
        (["--artifact", "a", "--provider", "tpu"], r"--provider \(HOLDFAST_PROVIDER\)"),
        (["--artifact", "a", "--default-deadline-seconds", "0"], "--default-deadline-seconds"),
        (
            ["--artifact", "a", "--max-queued-events", "0"],
            r"--max-queued-events \(HOLDFAST_MAX_QUEUED_EVENTS\)",
        ),
        (["--artifact", "a", "--grace-seconds", "-1"], "--grace-seconds"),
        (["--artifact", "a", "--candidate-share", "0"], r"--candidate-share \(HOLDFAST_CANDIDATE_SHARE\)"),
        (["--artifact", "a", "--candidate-share", "1.5"], "--candidate-share .*: got '1.5'"),
        (["--artifact", "a", "--grace-seconds", "inf"], "--grace-seconds .*: got 'inf'"),
        (["--artifact", "a", "--default-deadline-seconds", "inf"], "--default-deadline-seconds"),
        (["--artifact", "a", "--max-connection-age-seconds", "1e12"], "--max-connection-age-seconds"),
        (["--artifact", "a", "--max-customers", "99999999999"], "--max-customers .*: got '99999999999'"),
        (["--artifact", "a", "--max-events", "99999999999"], "--max-events"),
        (["--artifact", "a", "--host", ""], "--host .*: got ''"),
        (["--artifact", "a", "--metrics-host", ""], "--metrics-host"),
        (
            ["--artifact", "a", "--trace-endpoint", "localhost:4318"],
            "--trace-endpoint .*: got 'localhost:4318'",
        ),
        (["--artifact", "a", "--trace-endpoint", "ftp://localhost/v1/traces"], "--trace-endpoint"),
        (["--artifact", "a", "--trace-endpoint", "http://"], "--trace-endpoint"),
        (["--artifact", "a", "--trace-share", "1.5"], r"--trace-share \(HOLDFAST_TRACE_SHARE\): got '1.5'"),
        (["--artifact", "a", "--trace-share", "nan"], "--trace-share"),
        (["--artifact", "a", "--log-level", "LOUD"], "--log-level"),
        (["--artifact", "a", "--prot", "1"], "flags: .*--prot"),
    ],
)
def test_a_wrong_setting_is_named(flags: list[str], named: str) -> None:
    """Flag, variable, value and limit stand in one line."""
    with pytest.raises(ConfigError, match=named) as caught:
        read_settings(flags)
    assert "\n" not in str(caught.value)


def test_help_is_given(capsys: pytest.CaptureFixture[str]) -> None:
    """Every setting explains itself."""
    with pytest.raises(SystemExit) as caught:
        read_settings(["--help"])
    assert caught.value.code == 0
    shown = capsys.readouterr().out
    assert "python -m serving" in shown
    assert "Folder of the artifact, or a link to it." in shown
