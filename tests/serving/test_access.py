"""Who may call: nothing is asked for by default, and settings that make no sense together are refused."""

import logging
from pathlib import Path

import pytest
import trustme
from issued import TOKENS, issue, write_tls, write_tokens

from holdfast.errors import ConfigError
from serving.access import Access, check_access
from serving.recording import Recorder
from serving.settings import Settings

ANYWHERE = "0.0.0.0"  # noqa: S104 (never listened on)


def test_nothing_stands_in_the_way_by_default(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """No TLS, nothing that looks at calls, and nobody to warn on loopback."""
    settings = Settings(artifact=tmp_path)
    access = Access.of(settings, Recorder())
    assert (access.credentials, access.interceptors) == (None, ())
    check_access(settings)
    assert caplog.records == []


@pytest.mark.parametrize("host", [ANYWHERE, "[::]", "10.1.2.3", "scoring.example"])
def test_a_port_that_anybody_may_ask_is_warned_of_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, host: str
) -> None:
    """Beyond loopback with neither TLS nor tokens; the line says what would help."""
    check_access(Settings(artifact=tmp_path, host=host))
    (said,) = caplog.records
    assert (said.levelname, said.getMessage(), said.host) == ("WARNING", "open to the network", host)
    assert "--tls-certificate" in said.reason
    assert "--token-file" in said.reason


def test_a_token_does_not_travel_readable(
    tmp_path: Path, authority: trustme.CA, caplog: pytest.LogCaptureFixture
) -> None:
    """Beyond loopback it needs TLS, and the refusal says how to go on."""
    tokens = write_tokens(tmp_path, *TOKENS)
    with pytest.raises(ConfigError, match=r"^--token-file .*tokens', .*set --tls-certificate .*127\.0\.0\.1"):
        check_access(Settings(artifact=tmp_path, host=ANYWHERE, **tokens))
    for host in ("127.0.0.1", "localhost", "[::1]"):
        check_access(Settings(artifact=tmp_path, host=host, **tokens))
    check_access(
        Settings(artifact=tmp_path, host=ANYWHERE, **tokens, **write_tls(tmp_path, issue(authority)))
    )
    with caplog.at_level(logging.WARNING):
        assert caplog.records == []
