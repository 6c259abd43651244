"""The server's life: listen, load and verify, serve, drain, stop.

It deliberately does not know what a call does, nor where settings come from.
"""

import asyncio
import logging
import os
import signal
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from holdfast.errors import RunError
from serving.access import SCORED, Access
from serving.administration import Administration
from serving.collecting import collecting_little
from serving.open_inference.servicer import OPEN_INFERENCE_SERVICE, OpenInferenceServicer
from serving.preparing import Prepared, prepare
from serving.recording import Snapshot
from serving.scorer import Scorer
from serving.servicer import SCORING_SERVICE, ScoringServicer
from serving.settings import Settings
from serving.tracing import Tracer
from serving.trial import Trial
from serving.versions import Version, Versions, beside, follow, follow_candidate, version_at

SERVICES = (SCORING_SERVICE, OPEN_INFERENCE_SERVICE)
"""What the port serves beside health and reflection."""

LAST_ANSWERS_SECONDS = 1.0
"""How long a stop waits for answers that are ready to be sent."""
SHARED_CONNECTION_AGE_SECONDS = 60.0
"""A connection stays with the process that took it: opened anew now and then, load spreads again."""

_log = logging.getLogger(__name__)


class ScoringServer:
    """A gRPC server with the scoring service, health and reflection on one port.

    Attributes:
        port: The port that it listens on, once started.
        scorer: What scores, shared by every service of the port.
        administration: Metrics and probes, where the settings ask for a port of their own.
    """

    def __init__(self, settings: Settings) -> None:
        """Keep the settings; nothing is opened yet."""
        self.port = 0
        self.scorer = Scorer(
            limits=settings.limits,
            default_deadline_seconds=settings.default_deadline_seconds,
            max_queued_events=settings.max_queued_events,
            trial=None
            if settings.candidate is None
            else Trial(share=settings.candidate_share, is_shadow=settings.candidate_shadow),
        )
        self._settings = settings
        self._health = health.aio.HealthServicer()
        self._server: grpc.aio.Server | None = None
        self._tracer: Tracer | None = None
        self._is_open = False
        self.administration = Administration(snapshot=self._snapshot, is_ready=lambda: self.scorer.is_ready)

    async def start(self) -> None:
        """Listen, and say NOT_SERVING until :meth:`open` has been called.

        Raises:
            ConfigError: The settings of who may call, or of traces, cannot be used.
            RunError: The address cannot be listened on.
        """
        settings = self._settings
        access = Access.of(settings, self.scorer.recorder)
        if settings.metrics_port is not None:
            await self.administration.start(settings.metrics_host, settings.metrics_port)
            _log.info("metrics", extra={"host": settings.metrics_host, "port": self.administration.port})
        self._tracer = Tracer.of(settings, services=SCORED)
        # The last one looks at what the others let pass.
        interceptors = [*access.interceptors, *(() if self._tracer is None else (self._tracer,))]
        self._server = grpc.aio.server(interceptors=interceptors, options=_channel_options(settings))
        ScoringServicer(self.scorer).add_to(self._server)
        OpenInferenceServicer(self.scorer).add_to(self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = (*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server)
        await self._say(is_serving=self._is_open)
        self.port = access.open_port(self._server, f"{settings.host}:{settings.port}")
        await self._server.start()
        _log.info("listening", extra={"host": settings.host, "port": self.port})

    async def load(self) -> Prepared:
        """Load and verify the artifact on a thread, then say SERVING.

        Returns:
            What is served now.

        Raises:
            ArtifactError: It cannot be served.
        """
        prepared = await asyncio.to_thread(prepare, self._settings)
        await self.open(prepared)
        self._tell(prepared)
        return prepared

    async def open(self, prepared: Prepared) -> None:
        """Answer with a model from now on, and say SERVING; before :meth:`start` or after.

        What was asked of a model before is still answered by it.
        """
        measured = prepared.measured
        self.scorer.open(
            prepared.artifact, workers=measured.threads, seconds_per_event=measured.seconds_per_event
        )
        self._is_open = True
        await self._say(is_serving=True)

    async def stop(self, grace_seconds: float) -> None:
        """Say NOT_SERVING, refuse new calls as UNAVAILABLE, and let those in flight end.

        Args:
            grace_seconds: How long they may take; what is left then is cancelled.
        """
        await self._health.enter_graceful_shutdown()
        self.scorer.refuse()
        _log.info("stopping", extra={"grace_seconds": grace_seconds})
        with suppress(TimeoutError):
            await asyncio.wait_for(self.scorer.wait_idle(), grace_seconds)
        if self._server is not None:
            # Only now: gRPC's own grace would last as long as streams of health watchers, which never end.
            await self._server.stop(min(grace_seconds, LAST_ANSWERS_SECONDS))
            self._server = None
        # A cancelled call's worker ends before its next run; the event loop stays free meanwhile.
        await asyncio.to_thread(self.scorer.close)
        await self.administration.stop()
        if self._tracer is not None:
            await asyncio.to_thread(self._tracer.close, grace_seconds)
        _log.info("stopped")

    async def swap(self, version: Version, versions: Versions) -> None:
        """Answer with another version from now on.

        Raises:
            ArtifactError: It cannot be served, and what is served goes on.
        """
        prepared = await versions.prepare(version)
        await versions.swap(self.open)
        self._tell(prepared)

    async def try_out(self, version: Version, versions: Versions) -> None:
        """Have another version as the candidate from now on.

        Raises:
            ArtifactError: It cannot be served, and the candidate before it goes on.
        """
        prepared = await versions.prepare_candidate(version)
        versions.try_out(self.take)
        manifest = prepared.artifact.manifest
        _log.info("candidate", extra={"model": manifest.name, "version": manifest.version})

    def take(self, prepared: Prepared | None) -> None:
        """Have a model as the candidate from now on; None for nobody."""
        if prepared is None:
            self.scorer.end_trial()
            return
        measured = prepared.measured
        self.scorer.try_out(
            prepared.artifact, workers=measured.threads, seconds_per_event=measured.seconds_per_event
        )

    def _tell(self, prepared: Prepared) -> None:
        manifest = prepared.artifact.manifest
        extra = {"model": manifest.name, "version": manifest.version, "port": self.port}
        _log.info("serving", extra=extra)

    async def _snapshot(self) -> Snapshot:
        return self.scorer.snapshot()

    async def _say(self, *, is_serving: bool) -> None:
        statuses = health_pb2.HealthCheckResponse
        for service in (health.OVERALL_HEALTH, *SERVICES):
            await self._health.set(service, statuses.SERVING if is_serving else statuses.NOT_SERVING)


def _channel_options(settings: Settings) -> Sequence[tuple[str, int]]:
    options = [
        ("grpc.max_receive_message_length", settings.max_message_bytes),
        ("grpc.max_send_message_length", -1),
        ("grpc.max_metadata_size", settings.max_metadata_bytes),
        ("grpc.absolute_max_metadata_size", settings.max_metadata_bytes),
        # Two servers on one port would share its connections without anybody noticing.
        ("grpc.so_reuseport", int(settings.processes > 1)),
    ]
    age_seconds = settings.max_connection_age_seconds
    if age_seconds is None and settings.processes > 1:
        age_seconds = SHARED_CONNECTION_AGE_SECONDS
    if age_seconds is not None:
        options.append(("grpc.max_connection_age_ms", max(1, int(1_000 * age_seconds))))
    return options


async def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        settings: What the server was told.

    Raises:
        ArtifactError: The artifact cannot be served.
        RunError: The address cannot be listened on.
    """
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    server = ScoringServer(settings)
    stopped = asyncio.create_task(stopping.wait())
    try:
        await server.start()
        # Looked at before it is read: what is written meanwhile is another version.
        version = version_at(settings.artifact)
        loaded = asyncio.create_task(server.load())
        await asyncio.wait((loaded, stopped), return_when=asyncio.FIRST_COMPLETED)
        if loaded.done():
            versions = Versions(settings, await loaded, version)
            with port_file(settings.port_file, server.port), collecting_little():
                async with beside(*following(settings, version, server, versions)):
                    await stopped
        loaded.cancel()
    finally:
        stopped.cancel()
        await server.stop(settings.grace_seconds)


def following(
    settings: Settings, served: Version | None, server: ScoringServer, versions: Versions
) -> Iterator[Coroutine[Any, Any, None]]:
    """Yield what goes on beside a server of one process: looking for versions, and for candidates.

    Args:
        settings: What the server was told.
        served: What is served now.
        server: What serves.
        versions: What it has loaded.
    """
    recorder = server.scorer.recorder
    yield follow(settings, served, partial(server.swap, versions=versions), tell=recorder.found_version)

    async def end() -> None:
        versions.end_trial(server.take)

    if settings.candidate is not None:
        yield follow_candidate(
            settings.candidate,
            settings.reload_seconds,
            try_out=partial(server.try_out, versions=versions),
            end=end,
            tell=recorder.found_candidate,
        )


@contextmanager
def port_file(path: Path | None, port: int) -> Iterator[None]:
    """Keep a file with the port while a server serves, and remove it afterwards as far as it is still ours.

    It is written in one step, so that whoever waits for it never reads half of it.

    Args:
        path: Where; None for nowhere.
        port: What is written.

    Raises:
        RunError: It cannot be written, or what lies there is no file.
    """
    if path is None:
        yield
        return
    written = f"{port}\n"
    # Not with_name(), which a path that ends in a dot has none of.
    partial = path.parent / f"{path.name}.{os.getpid()}"
    try:
        if path.exists() and not path.is_file():
            raise RunError(f"cannot write the port file {path}: what lies there is no file")
        partial.write_text(written, encoding="ascii")
        partial.replace(path)
    except OSError as error:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise RunError(f"cannot write the port file {path}: {error.strerror}") from error
    try:
        yield
    finally:
        # Another server may have written its own there since.
        with suppress(OSError, UnicodeError):
            if path.read_text(encoding="ascii") == written:
                path.unlink()
