"""How entry points end."""

import pytest

from holdfast.errors import ConfigError
from training.entry import run_entry


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


def test_arguments_name_and_result_pass_through() -> None:
    """The decorated function is the same to its callers, and to Hydra, which reads its name."""

    @run_entry
    def main(a: int, *, b: int) -> int:
        """Add."""
        return a + b

    assert main(1, b=2) == 3
    assert main.__name__ == "main"
    assert main.__doc__ == "Add."
