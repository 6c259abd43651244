"""Calls without an accepted token are refused before they cost anything; probes need none."""

import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from artifact_builder import running_server
from gated_server import WAIT_SECONDS, connected, request
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from issued import TOKENS, bearer, send_authorization, write_tokens

from holdfast.errors import ConfigError
from holdfast.inference import open_inference_pb2
from holdfast.inference.open_inference_pb2_grpc import GRPCInferenceServiceStub
from holdfast.v1 import scoring_pb2 as pb
from serving import tokens as tokens_module
from serving.logs import configure_logging
from serving.server import ScoringServer
from serving.tokens import Tokens, read_tokens

UNAUTHENTICATED = grpc.StatusCode.UNAUTHENTICATED
MAX_BYTES = 100_000
WRONG = "third-token-of-nobody-at-all"


@pytest.fixture
def server(artifact_folder: Path, tmp_path: Path) -> Iterator[ScoringServer]:
    """Return a running server that asks for a token."""
    files = write_tokens(tmp_path, *TOKENS)
    with running_server(artifact_folder, **files, max_message_bytes=MAX_BYTES) as server:
        yield server


@pytest.fixture
def channel(server: ScoringServer) -> Iterator[grpc.Channel]:
    """Return a channel to it."""
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        yield channel


def refusal(call: Any, asked: Any, **options: Any) -> str:
    """Return the words of a refusal."""
    with pytest.raises(grpc.RpcError) as caught:
        call(asked, timeout=WAIT_SECONDS, **options)
    assert caught.value.code() is UNAUTHENTICATED
    words: str = caught.value.details()
    return words


def test_every_token_of_the_file_is_accepted(server: ScoringServer) -> None:
    """So that one can be replaced while callers still have the other; the scheme's spelling is free."""
    with connected(server) as stub:
        for token in TOKENS:
            answer = stub.Score(request(), timeout=WAIT_SECONDS, **bearer(token))
            assert len(answer.customers) == 5
        spelled = (("authorization", f"bearer {TOKENS[0]}"),)
        assert stub.GetModel(pb.GetModelRequest(), timeout=WAIT_SECONDS, metadata=spelled).name == "small"


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([], "a token is needed: send it as metadata 'authorization: Bearer <token>'"),
        (["Bearer"], "a token is needed"),
        ([f"Basic {TOKENS[0]}"], "a token is needed"),
        ([f"Bearer {TOKENS[0]}"] * 2, "a token is needed"),
        ([f"Bearer {WRONG}"], "the token is not accepted here"),
        ([f"Bearer {TOKENS[0]}x"], "the token is not accepted here"),
        ([f"Bearer {TOKENS[0][:-1]}"], "the token is not accepted here"),
        ([f"Bearer {TOKENS[0]} {TOKENS[1]}"], "the token is not accepted here"),
    ],
)
def test_a_call_without_an_accepted_token_is_refused(
    server: ScoringServer, values: list[str], words: str
) -> None:
    """UNAUTHENTICATED, in words that show no token."""
    with connected(server) as stub:
        metadata = tuple(("authorization", value) for value in values)
        for call, asked in ((stub.Score, request()), (stub.GetModel, pb.GetModelRequest())):
            said = refusal(call, asked, metadata=metadata)
            assert said.startswith(words)
            assert "token-of" not in said


def test_a_refused_call_is_never_read(channel: grpc.Channel) -> None:
    """What is no request, or larger than any may be, is not found out to be so without a token."""
    call = channel.unary_unary("/holdfast.v1.ScoringService/Score")
    for data in (b"\xff", b"\x00" * 10 * MAX_BYTES):
        assert "a token is needed" in refusal(call, data)
        with pytest.raises(grpc.RpcError) as caught:
            call(data, timeout=WAIT_SECONDS, **bearer(TOKENS[0]))
        assert caught.value.code() is not UNAUTHENTICATED


def test_the_open_inference_protocol_needs_a_token(channel: grpc.Channel) -> None:
    """Every method of it, also those that say whether somebody is there."""
    stub = GRPCInferenceServiceStub(channel)
    asked = open_inference_pb2.ServerReadyRequest()
    assert stub.ServerReady(asked, timeout=WAIT_SECONDS, **bearer(TOKENS[1])).ready
    assert "a token is needed" in refusal(stub.ServerReady, asked)
    assert "a token is needed" in refusal(stub.ModelInfer, open_inference_pb2.ModelInferRequest())


def test_reflection_needs_a_token(channel: grpc.Channel) -> None:
    """What there is to ask is for those who may."""
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    asked = reflection_pb2.ServerReflectionRequest(list_services="")

    def listed(**options: Any) -> set[str]:
        answers = stub.ServerReflectionInfo(iter([asked]), timeout=WAIT_SECONDS, **options)
        return {service.name for answer in answers for service in answer.list_services_response.service}

    assert "holdfast.v1.ScoringService" in listed(**bearer(TOKENS[0]))
    with pytest.raises(grpc.RpcError) as caught:
        listed()
    assert caught.value.code() is UNAUTHENTICATED


def test_what_is_not_served_is_not_told_either(channel: grpc.Channel) -> None:
    """Whether there is such a method is for those who may ask; the others hear the same as ever."""
    for name in ("/holdfast.v1.ScoringService/None", "/grpc.health.v1.HealthOther/Check"):
        call = channel.unary_unary(name)
        assert "a token is needed" in refusal(call, b"")
        with pytest.raises(grpc.RpcError) as caught:
            call(b"", timeout=WAIT_SECONDS, **bearer(TOKENS[0]))
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_health_needs_none(channel: grpc.Channel) -> None:
    """Probes and balancers have no token."""
    stub = health_pb2_grpc.HealthStub(channel)
    serving = health_pb2.HealthCheckResponse.SERVING
    assert stub.Check(health_pb2.HealthCheckRequest(), timeout=WAIT_SECONDS).status == serving
    watch = stub.Watch(health_pb2.HealthCheckRequest(), timeout=WAIT_SECONDS)
    assert next(watch).status == serving
    watch.cancel()


def test_refusals_are_counted(server: ScoringServer, channel: grpc.Channel) -> None:
    """Of every method by their reason, of those that ask for scores by their status too."""
    with connected(server) as stub:
        for _ in range(2):
            refusal(stub.Score, request())
        refusal(stub.GetModel, pb.GetModelRequest())
    refusal(GRPCInferenceServiceStub(channel).ModelInfer, open_inference_pb2.ModelInferRequest())
    totals = server.scorer.snapshot()["totals"]
    assert totals["refusals"] == {"unauthenticated": 4}
    assert totals["requests"] == {
        "holdfast.v1.ScoringService\tUNAUTHENTICATED": 2,
        "inference.GRPCInferenceService\tUNAUTHENTICATED": 1,
    }


def test_tokens_are_replaced_under_a_live_server(
    server: ScoringServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The new one is accepted, the former no longer; a file that cannot be used changes nothing."""
    monkeypatch.setattr(tokens_module, "LOOK_SECONDS", 0.0)
    with connected(server) as stub:

        def is_accepted(token: str) -> bool:
            call = stub.GetModel.future(pb.GetModelRequest(), timeout=WAIT_SECONDS, **bearer(token))
            assert call.code() in {grpc.StatusCode.OK, UNAUTHENTICATED}
            return call.code() is grpc.StatusCode.OK

        write_tokens(tmp_path, WRONG)
        assert [is_accepted(token) for token in (WRONG, *TOKENS)] == [True, False, False]
        write_tokens(tmp_path, "short")
        assert [is_accepted(token) for token in (WRONG, "short", "short")] == [True, False, False]
    (said,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert "the token in line 1 must have at least 22 characters" in said.reason
    assert "short" not in said.reason


def test_a_token_among_other_bytes_is_not_logged(
    server: ScoringServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """What gRPC cannot read it would quote."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        configure_logging("INFO")
        send_authorization(server.port, f"Bearer {TOKENS[0]}".encode() + b"\xff")
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
    shown = capsys.readouterr().err
    assert "Invalid encoding on metadata" in shown
    assert TOKENS[0] not in shown


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
def test_what_is_no_file_is_not_waited_for(tmp_path: Path, make: Callable[[Path], None]) -> None:
    """Nobody may ever write into a pipe, and calls would wait with whoever reads it."""
    make(tmp_path / "tokens")
    with pytest.raises(ConfigError, match="what lies there is no file"):
        read_tokens(tmp_path / "tokens")


def test_the_file_is_looked_at_once_a_second_at_most(tmp_path: Path) -> None:
    """However many calls there are."""
    path = write_tokens(tmp_path, TOKENS[0])["token_file"]
    now = [100.0]
    tokens = Tokens(path, clock=lambda: now[0])
    write_tokens(tmp_path, TOKENS[1])
    now[0] = 100.9
    assert [tokens.accepts(token) for token in TOKENS] == [True, False]
    now[0] = 101.0
    assert [tokens.accepts(token) for token in TOKENS] == [False, True]


def test_remarks_and_empty_lines_are_no_tokens(tmp_path: Path) -> None:
    """Whatever editor or system wrote the file."""
    path = tmp_path / "tokens"
    path.write_bytes(f"\ufeff# of the nightly job\r\n\r\n  {TOKENS[0]}  \r\n{TOKENS[1]}".encode())
    assert len(read_tokens(path)) == 2
    assert all(Tokens(path).accepts(token) for token in TOKENS)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (None, "it cannot be read: No such file"),
        (b"", "it must hold a token"),
        (b"# none\n\n", "it must hold a token"),
        (b"# one\n" + b"s" * 21, "the token in line 2 must have at least 22 characters"),
        (TOKENS[0].encode() + b"\nsecret secret secret secret", "line 2 is no token: it must be letters"),
        (b"\xff\xfes\x00e\x00c\x00r\x00e\x00t", "it must be text in UTF-8"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(tmp_path: Path, data: bytes | None, reason: str) -> None:
    """By the setting, its value and the number of the line, and never by what is in it."""
    path = tmp_path / "tokens"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(ConfigError, match=rf"^--token-file \(HOLDFAST_TOKEN_FILE\): .*{reason}") as caught:
        read_tokens(path)
    assert "secret" not in str(caught.value)
    assert "sssss" not in str(caught.value)
    assert data is None or caught.value.__cause__ is None
