"""Every error that Holdfast raises on purpose, as one tree.

It deliberately does not know gRPC: the status code of an answer is chosen once, in the
servicer.

    HoldfastError
    ├── InputError            a value that somebody gave us (also a ValueError)
    │   ├── ConfigError       ... in a configuration
    │   ├── DataError         ... in a table to prepare or to score
    │   ├── HistoryError      ... in one customer's history or attributes
    │   └── RequestError      ... in a request as a whole
    ├── ArtifactError         an artifact that cannot be trusted: names file and reason
    │   └── SchemaMismatchError   the artifact is sound but speaks of other columns
    ├── ServiceError          what a scoring service answered instead of a result
    └── RunError              the machine cannot do what was asked: disk, device, folder
"""

from pathlib import Path


class HoldfastError(Exception):
    """Base of every error raised on purpose. It crosses from one process to another as it is."""

    def __reduce__(self) -> tuple[object, ...]:
        """Return how to restore the error; by default its message would be given to its constructor."""
        return _restored, (type(self), self.args, self.__dict__)


def _restored(kind: type[HoldfastError], args: tuple[object, ...], state: dict[str, object]) -> HoldfastError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(state)
    return error


class InputError(HoldfastError, ValueError):
    """A given value is outside its limit.

    Attributes:
        field: Where the value stands, as the caller would write it
            (``customers[3].occurred_at_us``, ``data.horizons_days``).
        value: The value at fault, shortened for display.
        limit: What is allowed there.
    """

    def __init__(self, field: str, value: object, limit: str) -> None:
        """Keep the three parts and join them into one line."""
        self.field = field
        self.value = shorten(value)
        self.limit = limit
        super().__init__(f"{field}: got {self.value}, but {limit}")


class ConfigError(InputError):
    """A configuration value is missing, of the wrong type or out of range."""


class DataError(InputError):
    """A source table cannot be used: file, column and row are in ``field``."""


class HistoryError(InputError):
    """One customer's history or attributes cannot be scored."""


class RequestError(InputError):
    """A request as a whole is malformed: no customer of it can be scored."""


class ArtifactError(HoldfastError):
    """A file of an artifact is missing, altered or of another form.

    Attributes:
        path: The file at fault.
        reason: Why it is refused.
    """

    def __init__(self, path: Path | str, reason: str) -> None:
        """Keep file and reason and join them into one line."""
        self.path = Path(path)
        self.reason = reason
        super().__init__(f"{path}: {reason}")


class SchemaMismatchError(ArtifactError):
    """The artifact is sound, but its schema is not the one that was asked for."""


class ServiceError(HoldfastError):
    """A scoring service refused a request, failed, or could not be reached.

    Attributes:
        code: Name of the status, such as ``INVALID_ARGUMENT``.
        reason: What the service said.
        violations: Pairs of field and description, where the service named any.
    """

    def __init__(self, code: str, reason: str, violations: tuple[tuple[str, str], ...] = ()) -> None:
        """Keep the three parts and join them into one line."""
        self.code = code
        self.reason = reason
        self.violations = violations
        super().__init__(f"{code}: {reason}")


class RunError(HoldfastError):
    """The machine cannot do what was asked; the message says what and what would help."""


def shorten(value: object, *, limit: int = 80) -> str:
    """Return ``repr(value)`` cut in the middle to ``limit`` characters.

    No message carries a payload, and the end of a long path, its file name, is still there.
    """
    text = repr(value)
    if len(text) <= limit:
        return text
    tail = limit // 2
    return f"{text[: limit - tail - 1]}…{text[-tail:]}"
