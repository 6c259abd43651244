"""Certificates and tokens as files, and what a port shows to those who open a connection."""

import socket
import ssl
from pathlib import Path
from typing import Any

import grpc
import trustme

TOKENS = ("first-token-of-the-tests", "second-token-of-the-tests")
"""Two that are long enough."""


def issue(authority: trustme.CA) -> trustme.LeafCert:
    """Return a certificate of this machine."""
    return authority.issue_cert("localhost", "127.0.0.1")


def chain_of(issued: trustme.LeafCert) -> bytes:
    """Return a certificate and those that lead to its authority, in PEM."""
    return b"".join(pem.bytes() for pem in issued.cert_chain_pems)


def write_tls(folder: Path, issued: trustme.LeafCert) -> dict[str, Path]:
    """Write a certificate and its key; returns the settings that name them."""
    paths = {"tls_certificate": folder / "certificate.pem", "tls_key": folder / "key.pem"}
    paths["tls_certificate"].write_bytes(chain_of(issued))
    paths["tls_key"].write_bytes(issued.private_key_pem.bytes())
    return paths


def write_tokens(folder: Path, *tokens: str) -> dict[str, Path]:
    """Write accepted tokens; returns the setting that names the file."""
    path = folder / "tokens"
    path.write_text("".join(f"{token}\n" for token in tokens), encoding="utf-8")
    return {"token_file": path}


def credentials_of(authority: trustme.CA, own: trustme.LeafCert | None = None) -> grpc.ChannelCredentials:
    """Return how a caller speaks TLS that trusts an authority and, with a certificate, shows its own."""
    trusted = authority.cert_pem.bytes()
    if own is None:
        return grpc.ssl_channel_credentials(trusted)
    return grpc.ssl_channel_credentials(trusted, own.private_key_pem.bytes(), chain_of(own))


def shown_by(port: int, authority: trustme.CA) -> bytes:
    """Open a connection that trusts an authority; returns the certificate that the port shows, in PEM."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_alpn_protocols(["h2"])
    authority.configure_trust(context)
    with (
        socket.create_connection(("127.0.0.1", port), timeout=30) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as wrapped,
    ):
        shown = wrapped.getpeercert(binary_form=True)
    assert shown is not None
    return ssl.DER_cert_to_PEM_cert(shown).encode()


def send_authorization(port: int, value: bytes) -> bytes:
    """Call with a value of ``authorization`` that gRPC's own clients refuse; returns the answer's frames."""
    fields = {b":method": b"POST", b":scheme": b"http", b":path": b"/any.Service/Method", b":authority": b"a"}
    fields |= {b"te": b"trailers", b"content-type": b"application/grpc", b"authorization": value}
    # HTTP/2 by hand: each field with its length, then frames of SETTINGS and of HEADERS that end the call.
    block = b"".join(b"\0%c%b%c%b" % (len(name), name, len(text), text) for name, text in fields.items())
    settings, headers = b"\0\0\0\4\0\0\0\0\0", b"\0\0%c\1\5\0\0\0\1" % len(block)
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + settings + headers + block)
        answer = b""
        while b"grpc-status" not in answer:
            received = connection.recv(4_096)
            assert received, answer
            answer += received
    return answer


def bearer(token: str) -> dict[str, Any]:
    """Return the options of a call that carries a token."""
    return {"metadata": (("authorization", f"Bearer {token}"),)}
