"""How entry points end."""

import resource
import signal
import subprocess
import sys
from contextlib import chdir
from pathlib import Path

import pytest
from commands import run_command
from pytorch_lightning.utilities import exceptions as lightning

from holdfast.errors import ConfigError
from training.entry import run_entry

ROOT = Path(__file__).parents[2]

# Importing an entry point makes beartype look at the bases of Hydra's DictConfig, which it finds deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:.*deprecated by PEP 585")

COMMANDS = (
    *(
        ("prepare", ()),
        ("simulate.__main__", ()),
        ("download", ()),
        ("train", ()),
        ("compare", ()),
        ("sweep", ()),
    ),
    *(("evaluate", ("run=nowhere",)), ("report.__main__", ("run=nowhere",))),
)


def test_an_error_on_purpose_is_one_line_and_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    """No traceback, no markup read out of the message, no line break, however long it is."""

    @run_entry
    def main() -> None:
        raise ConfigError("data.x", "[bold]" + "y" * 300, "it must\nbe [red]short[/red]")

    with pytest.raises(SystemExit) as caught:
        main()
    shown = capsys.readouterr()
    assert caught.value.code == 2
    assert shown.out == ""
    assert shown.err.count("\n") == 1
    assert shown.err.startswith("error: data.x: got '[bold]yyy")
    assert "but it must be [red]short[/red]" in shown.err


def test_a_defect_keeps_its_traceback() -> None:
    """What nobody raised on purpose is not dressed up as a message to the user."""

    @run_entry
    def main() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        main()


def test_an_interruption_is_exit_code_130(capsys: pytest.CaptureFixture[str]) -> None:
    """Ctrl-C ends the run as shells expect."""

    @run_entry
    def main() -> None:
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 130
    assert "interrupted" in capsys.readouterr().err


class SIGTERMException(SystemExit):
    """What Lightning makes of SIGTERM: an exit that says success."""


def test_what_lightning_makes_of_a_signal_keeps_its_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    """SIGTERM is 143 and Ctrl-C 130, each with a line; any other exit is as it was."""

    @run_entry
    def main(name: str) -> None:
        if name == "SIGTERM":
            raise SIGTERMException
        try:
            signal.raise_signal(getattr(signal, name))
        except KeyboardInterrupt:
            sys.exit(1)
        sys.exit(7)

    assert issubclass(lightning.SIGTERMException, SystemExit)
    for name, code, line in (
        ("SIGTERM", 143, "error: told to stop; nothing"),
        ("SIGINT", 130, "error: interrupted; nothing"),
        ("SIGCHLD", 7, ""),
    ):
        with pytest.raises(SystemExit) as caught:
            main(name)
        assert caught.value.code == code
        assert capsys.readouterr().err.startswith(line)


def test_an_interruption_of_the_imports_is_one_line_too() -> None:
    """Whichever command it is: this package is imported first."""
    program = "import sys; sys.argv = ['-m']; import training; raise {}"
    for error, shown in (("KeyboardInterrupt", "error: interrupted\n"), ("ZeroDivisionError", "Traceback")):
        command = [sys.executable, "-c", program.format(error)]
        ended = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
        assert ended.returncode
        assert ended.stderr.startswith(shown)
        assert (ended.stderr == shown) == (error == "KeyboardInterrupt")


def test_arguments_name_and_result_pass_through() -> None:
    """The decorated function is the same to its callers, and to Hydra, which reads its name."""

    @run_entry
    def main(a: int, *, b: int) -> int:
        """Add."""
        return a + b

    assert main(1, b=2) == 3
    assert main.__name__ == "main"
    assert main.__doc__ == "Add."


def refusal(folder: Path, command: str, *overrides: str, capsys: pytest.CaptureFixture[str]) -> str:
    """Return the one line with which a command ends."""
    with chdir(folder), pytest.raises(SystemExit) as ended:
        run_command(f"training.{command}", *overrides)
    assert ended.value.code == 2
    shown = capsys.readouterr()
    assert "Traceback" not in shown.out + shown.err
    (line,) = shown.err.splitlines()
    return line


@pytest.mark.parametrize("mode", ["run", "sweep"])
@pytest.mark.parametrize(("command", "needed"), COMMANDS, ids=lambda value: value)
def test_a_folder_that_cannot_be_made_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str, needed: tuple[str, ...], mode: str
) -> None:
    """Of every command, and of a multirun as a whole."""
    (tmp_path / "file").touch()
    several = ("hydra.mode=MULTIRUN",) if mode == "sweep" else ()
    where = f"hydra.{mode}.dir=file/run"
    line = refusal(tmp_path, command, *needed, *several, where, capsys=capsys)
    assert line.startswith("error: the run folder file/run cannot be written: Not a directory")


@pytest.mark.parametrize("mode", ["run", "sweep"])
def test_a_full_disk_is_one_line_before_anything_is_done(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], mode: str
) -> None:
    """A folder can be made there, but nothing written into it."""
    several = ("hydra.mode=MULTIRUN",) if mode == "sweep" else ()
    where = f"hydra.{mode}.dir=run"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
        line = refusal(tmp_path, "report.__main__", "run=nowhere", *several, where, capsys=capsys)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert line.startswith("error: the run folder run cannot be written: File too large")
    assert not list((tmp_path / "run").iterdir())
