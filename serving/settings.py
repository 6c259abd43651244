"""Settings of the server, from flags and the environment (``HOLDFAST_*``); flags win.

It deliberately checks form and range alone: whether a folder holds an artifact is found out
by opening it.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, CliApp, CliImplicitFlag, SettingsConfigDict, SettingsError

from holdfast.arguments import LARGEST
from holdfast.errors import ConfigError
from holdfast.wire import Limits

LONGEST_SECONDS = 2_000_000.0
"""What gRPC and event loops can still count, some three weeks."""


class Settings(BaseSettings):
    """Everything that a server can be told."""

    model_config = SettingsConfigDict(
        env_prefix="HOLDFAST_",
        frozen=True,
        use_attribute_docstrings=True,
        cli_prog_name="python -m serving",
        cli_kebab_case=True,
        cli_hide_none_type=True,
        cli_exit_on_error=False,
    )

    artifact: Path
    """Folder of the artifact, or a link to it."""

    reload_seconds: float = Field(default=5.0, ge=0, le=LONGEST_SECONDS)
    """How often to look whether another version lies there, which is then served; 0 for never."""

    candidate: Path | None = None
    """Folder of another version, or a link to it, that is tried out beside the one that is served."""

    candidate_share: float = Field(default=0.05, gt=0, le=1)
    """Share of the calls that it answers, or is asked in the shadow; by the first customer of a call."""

    candidate_shadow: CliImplicitFlag[bool] = False
    """Whether it answers nobody, and only scores these calls as well, when their answer is on its way."""

    host: str = Field(default="127.0.0.1", min_length=1)
    """Address to listen on: loopback unless told otherwise."""

    port: int = Field(default=50051, ge=0, le=65_535)
    """Port to listen on; 0 takes a free one."""

    port_file: Path | None = None
    """File to write the port into once the server is serving; removed when it stops."""

    tls_certificate: Path | None = None
    """Certificate in PEM, with those that lead to its authority; by default the port speaks plain text."""

    tls_key: Path | None = None
    """Private key of the certificate in PEM, without a password."""

    tls_client_ca: Path | None = None
    """Authorities in PEM; whoever calls must then show a certificate of one of them."""

    token_file: Path | None = None
    """Accepted bearer tokens, one a line; by default none is asked for."""

    metrics_port: int | None = Field(default=None, ge=0, le=65_535)
    """Port of metrics and probes over HTTP; 0 takes a free one, by default there is none."""

    metrics_host: str = Field(default="127.0.0.1", min_length=1)
    """Address that it listens on: loopback unless told otherwise."""

    trace_endpoint: str | None = Field(default=None, pattern=r"^https?://[^\s/]+(/\S*)?$")
    """Where traces go by OTLP over HTTP, as http://localhost:4318/v1/traces; by default there are none."""

    trace_share: float = Field(default=0.01, ge=0, le=1)
    """Share of the calls that are traced; a caller whose own trace says yes or no decides by itself."""

    schema_fingerprint: str = ""
    """Schema that the artifact must have; empty for any."""

    processes: int = Field(default=1, ge=1, le=256)
    """Processes that share the port, each with the model and threads of its own."""

    threads: int | None = Field(default=None, ge=1, le=256)
    """Threads that score, in each process; by default as many as a measurement at the start finds best."""

    provider: Literal["cpu", "cuda"] = "cpu"
    """What runs the graph."""

    budget_events: int | None = Field(default=None, ge=8, le=2**20)
    """Padded events of one run of the graph; by default what a measurement at the start finds best."""

    max_queued_events: int = Field(default=1_048_576, ge=1, le=LARGEST)
    """Padded events that wait to be scored; what would exceed them is refused with RESOURCE_EXHAUSTED.

    It bounds memory, some tens of megabytes; the time that a request waits is bounded by its deadline.
    """

    default_deadline_seconds: float = Field(default=30.0, gt=0, le=LONGEST_SECONDS)
    """Deadline of a request that comes without one."""

    max_connection_age_seconds: float | None = Field(default=None, gt=0, le=LONGEST_SECONDS)
    """When a connection is asked to be opened anew; by default never, of several processes after a minute."""

    max_customers: int = Field(default=1_024, ge=1, le=LARGEST)
    """Most customers of one request."""

    max_events_per_customer: int = Field(default=100_000, ge=1, le=LARGEST)
    """Most events of one customer; a customer with more is refused, the others are scored."""

    max_events: int = Field(default=1_048_576, ge=1, le=LARGEST)
    """Most events of one request."""

    max_message_bytes: int = Field(default=32 * 1_024 * 1_024, ge=1_024, le=LARGEST)
    """Largest request in bytes."""

    max_metadata_bytes: int = Field(default=16_384, ge=1_024, le=LARGEST)
    """Largest metadata of a request in bytes."""

    grace_seconds: float = Field(default=20.0, ge=0, le=LONGEST_SECONDS)
    """How long requests in flight may take to end after SIGTERM or SIGINT."""

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """Least level that is logged."""

    @property
    def limits(self) -> Limits:
        """What the server takes."""
        return Limits(
            max_customers=self.max_customers,
            max_events_per_customer=self.max_events_per_customer,
            max_events=self.max_events,
            max_message_bytes=self.max_message_bytes,
        )


def flag_of(name: str) -> str:
    """Return how a person gives a setting: its flag, and its variable in brackets."""
    return f"--{name.replace('_', '-')} (HOLDFAST_{name.upper()})"


def read_settings(arguments: Sequence[str]) -> Settings:
    """Read flags and environment.

    Args:
        arguments: Flags, without the program's name.

    Returns:
        The settings.

    Raises:
        ConfigError: A setting is missing, unknown, of the wrong type or out of range.
    """
    try:
        return CliApp.run(Settings, cli_args=list(arguments))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = ".".join(str(part) for part in first["loc"])
        given = None if first["type"] == "missing" else first["input"]
        raise ConfigError(flag_of(name), given, first["msg"]) from error
    except SettingsError as error:
        raise ConfigError("flags", list(arguments), str(error)) from error
