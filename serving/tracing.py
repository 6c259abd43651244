"""Traces by OpenTelemetry, where the settings name a collector: a span per call that asks for scores.

It deliberately knows neither customers nor their events, of which only numbers are told, and imports
OpenTelemetry only when there is something to trace. Spans leave by a thread of their own and a queue that
is bounded: a collector that is slow or gone costs spans, and no call.
"""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from typing import Any, Self

import grpc

from holdfast.errors import ConfigError
from serving.settings import Settings, flag_of
from serving.statuses import Context
from serving.traced import CURRENT, Trace

LAST_SPANS_SECONDS = 2.0
"""How long a stop waits for a collector, at most."""
EXPORT_SECONDS = 5.0
"""How long the collector may take for what is sent to it at once, further tries included."""
MAX_QUEUED_SPANS = 4_096
"""What exceeds them is forgotten."""

# What means that the server failed, and not that the call was as it should not be.
_FAILURES = frozenset({"UNKNOWN", "DEADLINE_EXCEEDED", "INTERNAL", "UNAVAILABLE"})


class Tracer(grpc.aio.ServerInterceptor):
    """Traces calls by method, as many as the settings say or as the caller's own trace asks for."""

    def __init__(self, settings: Settings, exporter: Any, *, services: Mapping[str, str]) -> None:
        """Begin to send.

        Args:
            settings: What the server was told.
            exporter: Where spans go; OpenTelemetry's own kind.
            services: Services by the methods whose calls are traced.
        """
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._services = services
        self._provider: Any = TracerProvider(
            sampler=ParentBased(TraceIdRatioBased(settings.trace_share)),
            resource=Resource.create({"service.name": "holdfast"}),
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(BatchSpanProcessor(exporter, max_queue_size=MAX_QUEUED_SPANS))
        self._tracer: Any = self._provider.get_tracer("holdfast")
        self._extract: Callable[[Mapping[str, str]], Any] = TraceContextTextMapPropagator().extract

    @classmethod
    def of(cls, settings: Settings, *, services: Mapping[str, str]) -> Self | None:
        """Return what traces where the settings name a collector, else None.

        Raises:
            ConfigError: The packages that it needs are not installed.
        """
        if settings.trace_endpoint is None:
            return None
        check_tracing(settings)
        return cls(settings, _exporter(settings.trace_endpoint), services=services)

    async def intercept_service(
        self,
        # What answers is generic to type checkers alone, and not at run time.
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Return what answers a call, within a span where it is one that is traced."""
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        # What is refused for its token is answered as a stream.
        if method not in self._services or handler is None or handler.unary_unary is None:
            return handler
        metadata = handler_call_details.invocation_metadata or ()
        caller = {key: str(value) for key, value in metadata if key in {"traceparent", "tracestate"}}
        answer = partial(self._answer, handler.unary_unary, method, self._extract(caller))
        return grpc.unary_unary_rpc_method_handler(
            answer,
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )

    async def _answer(
        self,
        behaviour: Callable[[Any, Context], Awaitable[Any]],
        method: str,
        parent: Any,
        request: Any,
        context: Context,
    ) -> Any:
        with self._span(method, parent, context):
            answered = behaviour(request, context)
            # This frame stays with the call where it is refused; see serving.statuses.abort.
            del request
            return await answered

    # What gRPC hands over is its own kind of context, and none of the public one's.
    @contextmanager
    def _span(self, method: str, parent: Any, context: Any) -> Iterator[None]:
        from opentelemetry.trace import SpanKind

        attributes = {"rpc.system": "grpc", "rpc.service": self._services[method]}
        attributes["rpc.method"] = method.rpartition("/")[2]
        span = self._tracer.start_span(
            method.removeprefix("/"), context=parent, kind=SpanKind.SERVER, attributes=attributes
        )
        if not span.is_recording():
            yield
            return
        trace = Trace()
        before = CURRENT.set(trace)
        code = grpc.StatusCode.UNKNOWN
        try:
            yield
            code = grpc.StatusCode.OK
        except grpc.aio.AbortError:
            code = context.code()
            raise
        except asyncio.CancelledError:
            code = grpc.StatusCode.CANCELLED
            raise
        finally:
            CURRENT.reset(before)
            self._end(span, trace, code)

    def _end(self, span: Any, trace: Trace, code: grpc.StatusCode) -> None:
        from opentelemetry.trace import StatusCode, set_span_in_context

        span.set_attributes(trace.attributes | {"rpc.grpc.status_code": code.value[0]})
        if code.name in _FAILURES:
            # Without a text: what is wrong with a request may quote it.
            span.set_status(StatusCode.ERROR)
        # Spans go by the time of day, the queue by a clock that never goes back.
        offset = time.time_ns() - time.monotonic_ns()
        around = set_span_in_context(span)
        for name, start, end in trace.phases:
            inner = self._tracer.start_span(name, context=around, start_time=int(start * 1e9) + offset)
            inner.end(int(end * 1e9) + offset)
        span.end()

    def close(self, seconds: float) -> None:
        """Send what is left, as far as that takes no longer; blocks."""
        # The library would wait for half a minute.
        last = threading.Thread(target=self._provider.shutdown, name="last-spans", daemon=True)
        last.start()
        last.join(min(seconds, LAST_SPANS_SECONDS))


def check_tracing(settings: Settings) -> None:
    """Refuse to trace where what that needs is not installed.

    Raises:
        ConfigError: It is not.
    """
    endpoint = settings.trace_endpoint
    if endpoint is not None and not (_is_installed("opentelemetry.sdk") and _is_installed(_EXPORTER)):
        limit = "it needs OpenTelemetry, which is not installed: pip install '.[tracing]'"
        raise ConfigError(flag_of("trace_endpoint"), endpoint, limit)


_EXPORTER = "opentelemetry.exporter.otlp.proto.http"


def _is_installed(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:
        # Not even the package around it.
        return False


def _exporter(endpoint: str) -> Any:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter(endpoint=endpoint, timeout=EXPORT_SECONDS)
