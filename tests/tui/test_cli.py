"""The dashboard command is honest about what this version holds."""

import pytest

from tui.cli import main


def test_the_dashboard_command_says_plainly_that_there_is_no_dashboard_yet(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([]) == 2
    assert "diffopt run demo" in capsys.readouterr().err
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out.startswith("diffopt-tui ")
