"""The dataclasses of one source table: where it lies, how it is read, where it can be fetched.

It deliberately reads and fetches nothing: :mod:`training.sources` and :mod:`training.download` do.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from holdfast.errors import ConfigError

SourceFormat = Literal["parquet", "csv", "lines", "database"]


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkbookConfig:
    """How a downloaded workbook becomes the Parquet file of a source.

    Attributes:
        sheets: Sheet names of the workbook, by the table names that ``sql`` knows them by.
        sql: One Polars SQL query over the sheets; its result is written.
    """

    sheets: Mapping[str, str]
    sql: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DownloadConfig:
    """Where a source can be fetched.

    Attributes:
        url: Public address of a file or of a zip archive.
        sha256: Digest of what the address serves, where it is known.
        member: Name of the file inside the zip archive; None if it is no archive.
        workbook: How to convert a workbook; None if the file is kept as it is.
    """

    url: str
    sha256: str | None = None
    member: str | None = None
    workbook: WorkbookConfig | None = None

    def __post_init__(self) -> None:
        """Refuse an address and a digest that cannot be one.

        Raises:
            ConfigError: Naming the key.
        """
        if not self.url.startswith(("http://", "https://")):
            raise ConfigError("download.url", self.url, "it must begin with http:// or https://")
        digest = self.sha256
        if digest is not None and (len(digest) != 64 or not set(digest) <= set("0123456789abcdef")):
            raise ConfigError("download.sha256", digest, "it must be 64 lower-case hexadecimal digits")


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceConfig:
    """One source table.

    Attributes:
        path: File, folder, glob or object-store address; for ``database`` the database's URI.
        format: ``parquet``; ``csv``; ``lines``: every line of a text file as the column ``line``;
            ``database``: the rows of ``query``.
        query: SQL for the database; only for that format.
        options: Passed on to the Polars reader; types are named as Polars names them.
        download: Where the file can be fetched; None if nowhere.
    """

    path: str
    format: SourceFormat
    query: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    download: DownloadConfig | None = None

    def __post_init__(self) -> None:
        """Refuse a query without a database and a database without a query."""
        if (self.query is not None) != (self.format == "database"):
            raise ConfigError(
                "source.query", self.query, "format database needs one, the other formats have none"
            )
