"""Why a call is not scored, as one tree beside :mod:`holdfast.errors`.

It deliberately does not know gRPC: :mod:`serving.statuses` turns each of them into a status.

    HoldfastError
    └── CallError
        ├── UnavailableError     the model is still being loaded, or the server is stopping
        ├── UnauthenticatedError  the call shows no token that is accepted here
        ├── UnknownModelError    there is no model of that name here
        ├── OtherSchemaError     the model's schema is another than the caller's
        ├── OverloadedError      the answer would come too late, or the queue is full
        └── ExpiredError         the caller's deadline passed before the answer
"""

from holdfast.errors import HoldfastError


class CallError(HoldfastError):
    """Base: this call is not answered, and the server is well.

    Attributes:
        reason: Why, in a word that can be counted.
    """

    reason = "other"


class UnavailableError(CallError):
    """Nobody is answered now; another server, or this one later, will do."""

    reason = "unavailable"


class UnauthenticatedError(CallError):
    """The call shows no token that is accepted here."""

    reason = "unauthenticated"


class UnknownModelError(CallError):
    """The call names a model that is not served here."""

    reason = "unknown_model"


class OtherSchemaError(CallError):
    """The call was built for another schema than the model's."""

    reason = "other_schema"


class OverloadedError(CallError):
    """The queue holds more than can be scored in time.

    Attributes:
        reason: ``deadline`` where the answer would come too late, ``queue`` where there is no room.
        retry_after_seconds: When it is worth while to come back.
    """

    def __init__(self, message: str, *, reason: str, retry_after_seconds: float) -> None:
        """Keep the reason and the time."""
        super().__init__(message)
        self.reason = reason
        self.retry_after_seconds = retry_after_seconds


class ExpiredError(CallError):
    """Nobody waits for the answer any more."""

    reason = "expired"

    def __init__(self) -> None:
        """Say so."""
        super().__init__("the deadline passed before the answer")


def forget_frames(error: BaseException) -> None:
    """Let go of the frames that an error, and whatever it came of, has passed.

    gRPC keeps the exception that ends a call with the call, a future its own, and frames hold the request:
    they would stay in memory together until Python looks for cycles, which it counts by objects.
    """
    passed: BaseException | None = error
    while passed is not None:
        passed.__traceback__ = None
        passed = passed.__cause__ or passed.__context__
