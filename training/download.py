"""Fetches the public files of a data set (``python -m training.download data=online_retail_ii``).

It deliberately does not know what the columns mean. Fetching, resuming, verifying, unpacking and
converting are tested against a server on loopback; whether a public address still serves what it
did can only be seen by trying it.
"""

import importlib.util
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import hydra
import polars as pl
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from holdfast.errors import ConfigError, DataError, RunError
from training.data_config import DataConfig
from training.entry import CONFIG_DIR, run_entry
from training.fetch import fetch
from training.source_config import DownloadConfig, SourceConfig, WorkbookConfig
from training.sources import first_line, is_remote, local_files, polars_reasons

TellProgress = Callable[[str, int, int | None], None]
"""Told the source, how many bytes of it are here and how many there are, None if not known."""

TellDigest = Callable[[str, str], None]
"""Told the address and the digest of what it served."""


def download(
    config: DataConfig,
    *,
    force: bool = False,
    progress: TellProgress = lambda *_: None,
    tell_digest: TellDigest = lambda *_: None,
) -> list[Path]:
    """Fetch every source that names an address and is not there yet.

    Args:
        config: The data set.
        force: Whether files that are there are fetched anew.
        progress: Told how far it is.
        tell_digest: Told the digest of every file that was fetched, so that it can be pinned.

    Returns:
        The files that are new.

    Raises:
        ConfigError: No source names an address.
        DataError: A file that was fetched holds something else than was expected.
        RunError: A file cannot be fetched or written, or a package is missing.
    """
    wanted = {name: s for name, s in config.sources.items() if s.download is not None}
    if not wanted:
        limit = "none of its sources names an address; fetch its files by hand (see the file's header)"
        raise ConfigError("data.sources", list(config.sources), limit)
    fetched = []
    for name, source in wanted.items():
        if is_remote(source.path):
            raise ConfigError(
                f"data.sources.{name}.path", source.path, "only a local path can be downloaded to"
            )
        if force or not local_files(source.path):
            fetched.append(_download(name, source, progress, tell_digest))
    return fetched


def _download(name: str, source: SourceConfig, progress: TellProgress, tell_digest: TellDigest) -> Path:
    download, path = source.download, Path(source.path)
    assert download is not None
    where = f"data.sources.{name}.download"
    if download.workbook is not None:
        check_workbook_reader(where)
    # The archive's own name keeps what an interrupted attempt left apart from other files.
    archive = path.with_name(f".{path.name}.download")
    fetched = fetch(
        download.url,
        archive,
        sha256=download.sha256,
        progress=lambda done, total: progress(name, done, total),
    )
    tell_digest(download.url, fetched.sha256)
    try:
        with tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as folder:
            made = _unpacked(where, download, archive, Path(folder))
            if download.workbook is not None:
                made = _converted(where, download.workbook, made)
            made.replace(path)
    except OSError as error:
        raise RunError(f"{path}: it cannot be written: {error}") from error
    finally:
        archive.unlink(missing_ok=True)
    return path


def _unpacked(where: str, download: DownloadConfig, archive: Path, folder: Path) -> Path:
    if download.member is None:
        return archive
    target = folder / Path(download.member).name
    try:
        with (
            zipfile.ZipFile(archive) as zipped,
            zipped.open(download.member) as member,
            target.open("wb") as file,
        ):
            shutil.copyfileobj(member, file)
    except KeyError as error:
        with zipfile.ZipFile(archive) as zipped:
            limit = f"the archive holds {zipped.namelist()}"
        raise DataError(f"{where}.member", download.member, limit) from error
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        limit = f"what it serves is no sound zip archive: {first_line(error)}"
        raise DataError(f"{where}.url", download.url, limit) from error
    return target


def check_workbook_reader(where: str) -> None:
    """Refuse early to convert a workbook if the package that reads it is missing.

    Raises:
        RunError: Naming the package.
    """
    if importlib.util.find_spec("fastexcel") is None:
        reason = "converting a workbook needs the package fastexcel, which is not installed"
        raise RunError(f"{where}.workbook: {reason}; pip install fastexcel")


def _converted(where: str, workbook: WorkbookConfig, path: Path) -> Path:
    """Return a Parquet file made of the workbook's sheets."""
    target = path.with_name("converted.parquet")
    with polars_reasons(f"{where}.workbook", workbook.sql, what="the workbook cannot be converted"):
        sheets = {}
        for table, sheet in workbook.sheets.items():
            try:
                # Types are inferred from all rows: from the first thousand, a column of numbers would
                # lose the text that comes later without a word.
                frame = pl.read_excel(path, sheet_name=sheet, engine="calamine", infer_schema_length=None)
                sheets[table] = frame.lazy()
            except (ValueError, RuntimeError) as error:
                limit = f"this sheet cannot be read: {first_line(error)}"
                raise DataError(f"{where}.workbook.sheets.{table}", sheet, limit) from error
        pl.SQLContext(frames=sheets).execute(workbook.sql, eager=False).sink_parquet(target)
    return target


@hydra.main(version_base=None, config_path=CONFIG_DIR, config_name="download")
@run_entry
def main(settings: DictConfig) -> None:
    """Fetch the data set that the command line names and print where it lies."""
    config = DataConfig.from_plain(OmegaConf.to_container(settings.data, resolve=True))
    console = Console()
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console, transient=True) as bars:
        tasks = {name: bars.add_task(name, total=None, visible=False) for name in config.sources}
        files = download(
            config,
            force=settings.force,
            progress=lambda name, done, total: bars.update(
                tasks[name], completed=done, total=total, visible=True
            ),
            tell_digest=lambda url, sha256: console.print(f"{url}\n  sha256 {sha256}", highlight=False),
        )
    for file in files:
        console.print(f"fetched {file}", highlight=False)
    if not files:
        console.print("every file is there already; force=true fetches them anew")


if __name__ == "__main__":
    main()
