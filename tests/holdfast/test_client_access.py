"""Both clients against servers that ask for TLS and tokens."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme
from artifact_builder import AS_OF_US, build_artifact, running_server
from issued import TOKENS, credentials_of, issue, write_tls, write_tokens
from scripted_server import ONE, pushback, scripted

from holdfast.client import AsyncScoringClient, ScoringClient
from holdfast.errors import ConfigError, ServiceError

AS_OF = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=AS_OF_US)


@pytest.fixture(scope="module")
def artifact_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a sound artifact."""
    return build_artifact(tmp_path_factory.mktemp("client") / "artifact")


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """Return who vouches for certificates."""
    return trustme.CA()


def test_what_a_client_keeps_shows_no_token() -> None:
    """Tracebacks that show values are common."""
    with ScoringClient("localhost:1", token=TOKENS[0]) as client:
        assert TOKENS[0] not in repr(vars(client))


@contextmanager
def asking_for_both(
    artifact_folder: Path, authority: trustme.CA, folder: Path
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Run a server with mutual TLS and tokens; yields its address and what a client needs."""
    trusted = folder / "clients.pem"
    trusted.write_bytes(authority.cert_pem.bytes())
    files = write_tls(folder, issue(authority)) | write_tokens(folder, *TOKENS)
    options = {"credentials": credentials_of(authority, issue(authority)), "token": TOKENS[0]}
    with running_server(artifact_folder, **files, tls_client_ca=trusted) as server:
        yield f"localhost:{server.port}", options


async def test_both_clients_are_answered_with_certificate_and_token(
    artifact_folder: Path, authority: trustme.CA, tmp_path: Path
) -> None:
    """Blocking and asyncio, over one connection and over several."""
    with asking_for_both(artifact_folder, authority, tmp_path) as (address, options):
        for num in (1, 2):
            with ScoringClient(address, **options, num_channels=num) as client:
                found = client.score(ONE, as_of=AS_OF)
            async with AsyncScoringClient(address, **options, num_channels=num) as client:
                again = await client.score(ONE, as_of=AS_OF)
            assert [result.fault for result in (*found, *again)] == [None, None]


async def test_a_token_that_is_not_accepted_is_an_error_at_once(
    artifact_folder: Path, authority: trustme.CA, tmp_path: Path
) -> None:
    """UNAUTHENTICATED does not get better by asking again; without any token likewise."""
    with asking_for_both(artifact_folder, authority, tmp_path) as (address, options):
        for token in (None, "none-that-anybody-accepts"):
            with (
                ScoringClient(address, **options | {"token": token}) as client,
                pytest.raises(ServiceError, match="token") as caught,
            ):
                client.model()
            assert caught.value.code == "UNAUTHENTICATED"
            async with AsyncScoringClient(address, **options | {"token": token}) as client:
                with pytest.raises(ServiceError, match="token") as caught:
                    await client.model()
            assert caught.value.code == "UNAUTHENTICATED"


async def test_a_function_gives_the_token_of_every_try() -> None:
    """A token that expires while a batch is under way is replaced; a further try asks as well."""
    asked = []

    def token() -> str:
        asked.append(f"token-{len(asked)}")
        return asked[-1]

    with scripted(pushback("1"), pushback("1")) as (servicer, address):
        with ScoringClient(address, token=token) as client:
            client.score(ONE, as_of=AS_OF)
        async with AsyncScoringClient(address, token=token) as client:
            await client.score(ONE, as_of=AS_OF)
        assert servicer.authorizations == [f"Bearer token-{number}" for number in (1, 2, 3, 5)]
    assert len(asked) == 6


async def test_a_token_over_plain_text_is_refused_before_a_channel_opens() -> None:
    """Naming the address; a loopback address may have one."""
    for kind in (ScoringClient, AsyncScoringClient):
        with pytest.raises(ConfigError, match=r"^target: got 'scoring.example:1', .*credentials"):
            kind("scoring.example:1", token=TOKENS[0])
        with pytest.raises(ConfigError, match=r"^token: got '0 characters'"):
            kind("localhost:1", token="")


def test_a_token_in_plain_text_passes_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was promised to this machine, whatever the environment says about proxies."""
    for name in ("no_grpc_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name in ("grpc_proxy", "http_proxy"):
        # Nobody listens there: whatever went that way would not arrive.
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with scripted() as (_, address):
        with ScoringClient(address, timeout_seconds=5) as client, pytest.raises(ServiceError):
            client.model()
        with ScoringClient(address, token=TOKENS[0]) as client:
            assert client.model().name == "m"


async def test_a_function_that_gives_no_token_is_named() -> None:
    """The call is not made."""
    message = r"^token: got '0 characters'"
    with ScoringClient("localhost:1", token=lambda: "") as client, pytest.raises(ConfigError, match=message):
        client.model()
    async with AsyncScoringClient("localhost:1", token=lambda: "") as client:
        with pytest.raises(ConfigError, match=message):
            await client.model()


def test_an_unknown_authority_is_unavailable(
    artifact_folder: Path, authority: trustme.CA, tmp_path: Path
) -> None:
    """A server that nobody vouches for gets no request."""
    with running_server(artifact_folder, **write_tls(tmp_path, issue(authority))) as server:
        credentials = grpc.ssl_channel_credentials(trustme.CA().cert_pem.bytes())
        client = ScoringClient(f"localhost:{server.port}", credentials=credentials, timeout_seconds=2)
        with client, pytest.raises(ServiceError) as caught:
            client.model()
    assert caught.value.code == "UNAVAILABLE"
