"""Lines of the stage tree that say how a run ended, and when each phase was at work."""

from engine.run.events import (
    Event,
    GridChosen,
    Paused,
    PhaseFinished,
    PhaseStarted,
    RunFinished,
    RunStarted,
)
from tests.tui.journals import stored
from tests.tui.told import BEGUN, label_of
from tui.fold import fold
from tui.state import RunView
from tui.widgets.grid_axis import grid_of


def test_loading_ends_where_the_look_at_the_machine_begins() -> None:
    started = RunStarted(pid=1, host="studio", device="cpu")
    probe = PhaseStarted(phase="probe", unit="forwards")
    cache = PhaseStarted(phase="cache", stage=1, unit="samples")
    events: list[Event] = [started, probe, PhaseFinished(phase="probe", seconds=4.0), cache]
    told = label_of(fold(RunView(), stored(events, [100.0, 102.0, 106.0, 106.5])))
    assert told[1:3] == ["✓ load the model 2.0s", "✓ look at the machine 4.0s"]
    paused = fold(RunView(), stored([started, probe, Paused(step=0)], [100.0, 102.0, 103.0]))
    assert [line[0] for line in label_of(paused)[1:3]] == ["✓", "‖"], "one of them stands still"


def test_a_run_that_kept_the_original_is_no_success_in_the_tree() -> None:
    end = RunFinished(
        result="", exit_code=3, optimized_steps=16, score=1.0, lower_bound=1.0, seconds=9.0
    )
    grid = GridChosen(steps=4, timesteps=(9.0, 7.0, 5.0, 3.0), source="dp")
    view = fold(RunView(), stored([*BEGUN, grid, end]))
    assert label_of(view)[0] == "≠ run  16 → 4 steps: missed"
    assert grid_of(view) == ((), ""), "rejected timesteps are not those that are kept"
