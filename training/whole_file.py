"""Writes a file complete or not at all: what lay under its name before is lost at no point.

It deliberately does not know what is written.
"""

import io
import os
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO

from holdfast.errors import RunError


def write_whole(path: Path, content: bytes | memoryview) -> None:
    """Write a file beside its place and rename it when all of it is on the disk.

    Raises:
        RunError: The disk is full or the folder cannot be written; an earlier file is as it was.
    """
    partial = path.with_name(f"{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        if partial.is_file():
            partial.unlink()
        raise RunError(f"{path} cannot be written: {error.strerror or error}") from error


def save_whole(content: Any, path: Path) -> None:
    """Write what ``torch.save`` makes of a value, complete or not at all.

    Raises:
        RunError: See :func:`write_whole`.
    """
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_whole(path, buffer.getbuffer())


class WholeCheckpoints(TorchCheckpointIO):
    """Checkpoints beside which the one before them stays until they are complete.

    Lightning's own are made in the system's folder for temporary files and copied from there where
    that is another disk: a full disk or a kill would then leave half of one, and nothing else.
    """

    def save_checkpoint(
        self,
        checkpoint: dict[str, Any],
        path: str | Path,
        storage_options: Any | None = None,  # noqa: ARG002 - as Lightning has it
    ) -> None:
        """Write a checkpoint."""
        save_whole(checkpoint, Path(path))
