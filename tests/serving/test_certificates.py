"""TLS of the port: who is let in, and certificates that change under a live server."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme
from artifact_builder import running_server
from gated_server import WAIT_SECONDS, request
from issued import chain_of, credentials_of, issue, shown_by, write_tls

from holdfast.errors import ConfigError, RunError
from holdfast.v1.scoring_pb2_grpc import ScoringServiceStub
from serving.certificates import tls_credentials
from serving.server import ScoringServer
from serving.settings import Settings


@pytest.fixture
def own(authority: trustme.CA) -> trustme.LeafCert:
    """Return the server's certificate."""
    return issue(authority)


@pytest.fixture
def files(own: trustme.LeafCert, tmp_path: Path) -> dict[str, Path]:
    """Return the settings that name it and its key."""
    return write_tls(tmp_path, own)


@pytest.fixture
def server(artifact_folder: Path, files: dict[str, Path]) -> Iterator[ScoringServer]:
    """Return a running server that speaks TLS."""
    with running_server(artifact_folder, **files) as server:
        yield server


@pytest.fixture
def mutual(
    artifact_folder: Path, files: dict[str, Path], authority: trustme.CA, tmp_path: Path
) -> Iterator[ScoringServer]:
    """Return a running server whose callers must show a certificate."""
    trusted = tmp_path / "clients.pem"
    trusted.write_bytes(authority.cert_pem.bytes())
    with running_server(artifact_folder, **files, tls_client_ca=trusted) as server:
        yield server


def ask(server: ScoringServer, credentials: grpc.ChannelCredentials | None) -> int:
    """Ask by a connection of its own; returns how many customers are answered."""
    address, options = f"127.0.0.1:{server.port}", (("grpc.use_local_subchannel_pool", 1),)
    opened = (
        grpc.insecure_channel(address, options)
        if credentials is None
        else grpc.secure_channel(address, credentials, options)
    )
    with opened as channel:
        return len(ScoringServiceStub(channel).Score(request(), timeout=WAIT_SECONDS).customers)


def assert_unreachable(server: ScoringServer, credentials: grpc.ChannelCredentials | None) -> None:
    """Check that no call gets through."""
    with pytest.raises(grpc.RpcError) as caught:
        ask(server, credentials)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


def test_who_trusts_the_authority_is_answered(server: ScoringServer, authority: trustme.CA) -> None:
    """Whoever trusts another one, or speaks plain text, is not."""
    assert ask(server, credentials_of(authority)) == 5
    assert_unreachable(server, credentials_of(trustme.CA()))
    assert_unreachable(server, None)


def test_with_an_authority_for_callers_only_those_it_vouches_for_are_answered(
    mutual: ScoringServer, authority: trustme.CA
) -> None:
    """No certificate, or one of somebody else's, is not enough."""
    assert ask(mutual, credentials_of(authority, issue(authority))) == 5
    assert_unreachable(mutual, credentials_of(authority))
    assert_unreachable(mutual, credentials_of(authority, issue(trustme.CA())))


def test_the_authority_of_callers_can_be_replaced(
    mutual: ScoringServer, authority: trustme.CA, tmp_path: Path
) -> None:
    """From then on those of the new one connect, and no longer those of the former."""
    other = trustme.CA()
    (tmp_path / "clients.pem").write_bytes(other.cert_pem.bytes())
    assert ask(mutual, credentials_of(authority, issue(other))) == 5
    assert_unreachable(mutual, credentials_of(authority, issue(authority)))


def test_a_certificate_is_replaced_under_a_live_server(
    server: ScoringServer, own: trustme.LeafCert, authority: trustme.CA, tmp_path: Path
) -> None:
    """New connections see the new one, and a connection that is open goes on."""
    with grpc.secure_channel(f"127.0.0.1:{server.port}", credentials_of(authority)) as channel:
        stub = ScoringServiceStub(channel)
        assert len(stub.Score(request(), timeout=WAIT_SECONDS).customers) == 5
        assert shown_by(server.port, authority) == own.cert_chain_pems[0].bytes()
        other = issue(authority)
        write_tls(tmp_path, other)
        assert shown_by(server.port, authority) == other.cert_chain_pems[0].bytes()
        assert len(stub.Score(request(), timeout=WAIT_SECONDS).customers) == 5
    assert ask(server, credentials_of(authority)) == 5


def test_half_a_change_leaves_the_former_pair_in_place(
    server: ScoringServer,
    own: trustme.LeafCert,
    authority: trustme.CA,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A key before its certificate, or half a file: one line in the log, however many connect meanwhile."""
    other = issue(authority)
    with caplog.at_level(logging.INFO, logger="serving"):
        (tmp_path / "key.pem").write_bytes(other.private_key_pem.bytes())
        for _ in range(3):
            assert shown_by(server.port, authority) == own.cert_chain_pems[0].bytes()
        (tmp_path / "certificate.pem").write_bytes(chain_of(other)[:-100])
        for _ in range(3):
            assert shown_by(server.port, authority) == own.cert_chain_pems[0].bytes()
        (tmp_path / "certificate.pem").write_bytes(chain_of(other))
        assert shown_by(server.port, authority) == other.cert_chain_pems[0].bytes()
    assert [record.getMessage() for record in caplog.records] == [*["files not taken"] * 2, "files taken"]
    assert "it is not the key of" in caplog.records[0].reason
    assert "it must hold certificates in PEM" in caplog.records[1].reason


async def test_what_grpc_minds_may_be_the_key(server: ScoringServer, files: dict[str, Path]) -> None:
    """It says no more than that it cannot listen: with TLS there is one more reason to look at."""
    second = ScoringServer(server._settings.model_copy(update={"port": server.port}))
    with pytest.raises(
        RunError, match=r"cannot listen on .* port taken.* of a kind that gRPC does not speak"
    ):
        await second.start()
    await second.stop(0.0)


LOCKED = b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAAA\n-----END ENCRYPTED PRIVATE KEY-----\n"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"tls_key": None}, r"--tls-key \(HOLDFAST_TLS_KEY\): got None, .* needed beside --tls-certificate"),
        ({"tls_certificate": None}, r"--tls-certificate .*: got None, .* needed beside --tls-key"),
        (
            {"tls_certificate": None, "tls_key": None, "tls_client_ca": b""},
            r"--tls-certificate .*: got None, .* needed beside --tls-client-ca",
        ),
        ({"tls_certificate": "nowhere"}, r"--tls-certificate .*nowhere', but it cannot be read: No such"),
        ({"tls_key": "nowhere"}, r"--tls-key .*nowhere', but it cannot be read: No such file"),
        ({"tls_client_ca": "nowhere"}, r"--tls-client-ca .*nowhere', but it cannot be read: No such"),
        ({"tls_certificate": b"text"}, r"--tls-certificate .*tls_certificate', .*certificates in PEM"),
        ({"tls_certificate": b""}, r"--tls-certificate .*certificates in PEM"),
        ({"tls_certificate": bytes(range(256))}, r"--tls-certificate .*certificates in PEM"),
        ({"tls_key": b"text"}, r"--tls-key .*tls_key', .*whole private key in PEM .*none found"),
        ({"tls_key": LOCKED}, r"--tls-key .*locked by a password"),
        ({"tls_client_ca": b"text"}, r"--tls-client-ca .*certificates in PEM"),
    ],
)
def test_what_cannot_be_used_is_named(
    files: dict[str, Path], tmp_path: Path, given: dict[str, Any], message: str
) -> None:
    """Setting, value and reason, in one line."""
    paths: dict[str, Path | None] = {**files}
    for name, value in given.items():
        paths[name] = None if value is None else tmp_path / (name if isinstance(value, bytes) else value)
        if isinstance(value, bytes):
            (tmp_path / name).write_bytes(value)
    with pytest.raises(ConfigError, match=f"^{message}") as caught:
        tls_credentials(Settings(artifact=tmp_path, **paths))
    assert "\n" not in str(caught.value)


def test_a_key_of_another_certificate_is_named(
    files: dict[str, Path], authority: trustme.CA, tmp_path: Path
) -> None:
    """As is the certificate that it was to fit."""
    files["tls_key"].write_bytes(issue(authority).private_key_pem.bytes())
    with pytest.raises(ConfigError, match=r"--tls-key .*key.pem', but it is not the key of .*certificate"):
        tls_credentials(Settings(artifact=tmp_path, **files))


def test_a_key_that_is_gone_a_moment_later_is_named(
    files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files may be replaced while they are read: that ends as any other file that cannot be."""
    read = Path.read_bytes

    def read_last(path: Path) -> bytes:
        data = read(path)
        if path == files["tls_key"]:
            path.unlink()
        return data

    monkeypatch.setattr(Path, "read_bytes", read_last)
    with pytest.raises(ConfigError, match=r"--tls-key .*key.pem', but it cannot be read: No such file"):
        tls_credentials(Settings(artifact=tmp_path, **files))


def test_remarks_beside_certificates_do_not_matter(
    files: dict[str, Path], own: trustme.LeafCert, tmp_path: Path
) -> None:
    """Some tools write the owner's name above each, in any alphabet."""
    files["tls_certificate"].write_bytes("# Zürich\n".encode() + chain_of(own))
    assert tls_credentials(Settings(artifact=tmp_path, **files)) is not None
