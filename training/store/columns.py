"""Flat columns as .npy files: appended part by part, then memory-mapped.

It deliberately does not know what a column means.
"""

import zlib
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import numpy as np
from numpy import ndarray
from numpy.lib import format as npy

from holdfast.errors import ArtifactError
from training.pages import release
from training.store.layout import FileEntry

RENUMBERED_AT_ONCE = 1 << 20


class ColumnWriter:
    """Appends to one .npy file whose length is known only at the end."""

    def __init__(self, path: Path, dtype: np.dtype) -> None:
        """Create the file with a header of length 0."""
        self._path = path
        self._dtype = dtype
        self._crc32 = 0
        self.length = 0
        self._file: BinaryIO = path.open("xb")
        self._write_header()
        self._data_start = self._file.tell()

    def append(self, values: ndarray) -> None:
        """Write further values, converted to the column's type."""
        values = np.ascontiguousarray(values, dtype=self._dtype)
        data = values.view(np.uint8).data
        self._file.write(data)
        self._crc32 = zlib.crc32(data, self._crc32)
        self.length += len(values)

    def renumber(self, number: ndarray) -> None:
        """Replace every value ``v`` written so far by ``number[v]``."""
        if (number[:-1] == np.arange(len(number) - 1)).all():
            return
        self._crc32, position = 0, self._data_start
        with self._path.open("rb") as written:
            written.seek(position)
            self._file.flush()
            self._file.seek(position)
            while len(values := np.fromfile(written, dtype=self._dtype, count=RENUMBERED_AT_ONCE)):
                data = number.take(values).astype(self._dtype, copy=False).view(np.uint8).data
                self._file.write(data)
                self._crc32 = zlib.crc32(data, self._crc32)

    def finish(self) -> FileEntry:
        """Put the length into the header and close the file."""
        num_bytes = self._file.tell()
        self._file.seek(0)
        self._write_header()
        # NumPy pads a header so that a length of any size fits where a shorter one stood.
        assert self._file.tell() == self._data_start
        self._file.close()
        return FileEntry(num_bytes=num_bytes, crc32=self._crc32)

    def _write_header(self) -> None:
        header = {"descr": npy.dtype_to_descr(self._dtype), "fortran_order": False, "shape": (self.length,)}
        npy.write_array_header_1_0(self._file, header)

    def close(self) -> None:
        """Close the file whatever its state."""
        self._file.close()


class ColumnWriters:
    """The columns of a store that is being written, by file name."""

    def __init__(self, folder: Path) -> None:
        """Write into ``folder``."""
        self._folder = folder
        self._writers: dict[str, ColumnWriter] = {}

    def __enter__(self) -> "ColumnWriters":  # noqa: PYI034 (Self cannot be checked at run time)
        """Open nothing yet."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close every file, complete or not."""
        for writer in self._writers.values():
            writer.close()

    def create(self, file: str, dtype: type[np.generic]) -> None:
        """Begin a column."""
        self._writers[file] = ColumnWriter(self._folder / file, np.dtype(dtype))

    def append(self, file: str, values: ndarray) -> None:
        """Append to a column."""
        self._writers[file].append(values)

    def length(self, file: str) -> int:
        """Return how many values a column has so far."""
        return self._writers[file].length

    def renumber(self, file: str, number: ndarray) -> None:
        """Replace every value ``v`` of a column by ``number[v]``; -1 takes the last entry, itself -1."""
        self._writers[file].renumber(number)

    def finish(self) -> dict[str, FileEntry]:
        """Complete every column."""
        return {file: writer.finish() for file, writer in self._writers.items()}


def map_column(
    path: Path, dtype: type[np.generic], *, length: int, entry: FileEntry, verify: bool
) -> ndarray:
    """Memory-map a column.

    Args:
        path: The file.
        dtype: The type it must have.
        length: The length it must have.
        entry: What the index says about the file.
        verify: Whether the values are read once and compared with their checksum.

    Returns:
        A read-only array over the file.

    Raises:
        ArtifactError: The file is missing, truncated, altered or of another type.
    """
    check_size(path, entry)
    try:
        column = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise ArtifactError(path, f"it is not a column: {error}") from error
    if column.dtype != np.dtype(dtype) or column.shape != (length,):
        found = f"{column.dtype} {column.shape}"
        raise ArtifactError(path, f"it must hold {np.dtype(dtype)} ({length},), but holds {found}")
    # A plain array over the same pages: slicing np.memmap costs microseconds each time.
    plain = np.asarray(column)
    if verify:
        if zlib.crc32(plain.view(np.uint8).data) != entry.crc32:
            raise ArtifactError(path, "it was altered: its checksum does not fit")
        release(plain)
    return plain


def check_size(path: Path, entry: FileEntry) -> None:
    """Refuse a file that is missing or of another size.

    Raises:
        ArtifactError: Naming the file.
    """
    if not path.is_file():
        raise ArtifactError(path, "no such file")
    num_bytes = path.stat().st_size
    if num_bytes != entry.num_bytes:
        raise ArtifactError(path, f"it must have {entry.num_bytes:,} bytes, but has {num_bytes:,}")


def entry_of(path: Path) -> FileEntry:
    """Return size and checksum of a whole file."""
    return FileEntry(num_bytes=path.stat().st_size, crc32=_crc32_of(path))


def check_content(path: Path, entry: FileEntry, *, verify: bool) -> None:
    """Refuse a whole file that is missing, truncated or altered.

    Raises:
        ArtifactError: Naming the file.
    """
    check_size(path, entry)
    if verify and _crc32_of(path) != entry.crc32:
        raise ArtifactError(path, "it was altered: its checksum does not fit")


def _crc32_of(path: Path) -> int:
    checksum = 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            checksum = zlib.crc32(block, checksum)
    return checksum
