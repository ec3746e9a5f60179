"""The search for few timesteps: what it proposes, and that measuring decides."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from engine.diffusion.grid import spaced_grid
from engine.diffusion.names import SPACINGS
from engine.diffusion.scheduler_config import read_scheduler_config
from engine.models.diffusion import DiffusionModel
from engine.settings import QualitySettings, ScheduleSettings
from engine.training.adaptive import AdaptiveScheduler, Candidate, Ranked

pytestmark = pytest.mark.usefixtures("eager")

QUALITY = QualitySettings(select_samples=64, bootstrap=100)


@pytest.fixture
def scheduler(gaussian_model: Callable[..., DiffusionModel]) -> AdaptiveScheduler:
    return AdaptiveScheduler(gaussian_model(steps=24), quality=QUALITY)


def test_programmes_choose_among_the_models_own_points(scheduler: AdaptiveScheduler) -> None:
    fine = scheduler.model.grid
    for steps in (1, 2, 4, 9):
        grids = scheduler.programme_grids(steps)
        assert grids
        assert len({grid.timesteps for grid in grids}) == len(grids)
        for grid in grids:
            assert grid.steps == steps
            assert fine.indices_of(grid)[0] == 0
            assert grid.alphas[-1] == fine.alphas[-1]
            assert grid.name.startswith("dp ")


def test_nested_grids_contain_the_smaller_ones_points(scheduler: AdaptiveScheduler) -> None:
    fine = scheduler.model.grid
    forced = [0, 3, 7, 20]
    for grid in scheduler.programme_grids(9, forced=forced):
        assert set(forced) <= set(fine.indices_of(grid))
    for grid in scheduler.training_grids(9, forced=forced):
        assert set(forced) <= set(fine.indices_of(grid))


def test_as_many_steps_as_the_model_has_leave_nothing_to_plan(scheduler: AdaptiveScheduler) -> None:
    assert scheduler.programme_grids(24) == []
    assert scheduler.programme_grids(30) == []


def test_training_grids_are_subsets_and_begin_with_the_uniform_one(
    scheduler: AdaptiveScheduler,
) -> None:
    fine = scheduler.model.grid
    grids = scheduler.training_grids(4)
    assert grids[0].name == "uniform"
    uniform = spaced_grid(scheduler.model.schedule, "trailing", 4)
    assert np.abs(np.array(grids[0].timesteps) - np.array(uniform.timesteps)).max() <= 1000 / 24
    assert len({grid.timesteps for grid in grids}) == len(grids) > 3
    for grid in grids:
        assert fine.subset(fine.indices_of(grid)).alphas == grid.alphas


def test_every_published_spacing_and_solver_is_proposed_once(scheduler: AdaptiveScheduler) -> None:
    candidates = scheduler.propose(4)
    names = {candidate.name for candidate in candidates}
    for spacing in SPACINGS:
        for solver in ("ddim", "dpmpp_2m"):
            assert f"{solver} on {spacing}" in names
    assert any("dp z_mse" in name for name in names)
    assert {candidate.grid.steps for candidate in candidates} == {4}
    keys = {(c.solver, c.grid.timesteps, c.grid.alphas[0], c.grid.alphas[-1]) for c in candidates}
    assert len(keys) == len(candidates)
    assert {c.solver for c in scheduler.propose(4, ["euler"])} == {"euler"}


def test_noise_levels_are_proposed_and_can_be_left_out(scheduler: AdaptiveScheduler) -> None:
    fixed = scheduler.propose(4, with_noise_levels=False)
    varied = scheduler.propose(4)
    levels = {(c.grid.alphas[0], c.grid.alphas[-1]) for c in varied}
    assert {c.name for c in fixed} < {c.name for c in varied}
    assert any(last < 1 for _, last in levels)  # ends at the first trained level
    assert any(c.grid.timesteps[0] < 999 and "from" in c.grid.name for c in varied)


@pytest.mark.parametrize(
    ("kind", "is_offered"), [("epsilon", False), ("v_prediction", True), ("sample", True)]
)
def test_zero_terminal_snr_is_only_for_models_that_predict_a_picture(
    kind: str, is_offered: bool, gaussian_model: Callable[..., DiffusionModel]
) -> None:
    scheduler = AdaptiveScheduler(gaussian_model(steps=12, prediction_type=kind), quality=QUALITY)
    zero = [c for c in scheduler.propose(3) if c.grid.alphas[0] == 0]
    assert bool(zero) is is_offered
    ranked = scheduler.rank(zero)
    assert all(np.isfinite(one.quality.score) for one in ranked)


def test_a_schedule_that_has_it_already_is_not_rescaled_again(
    gaussian_model: Callable[..., DiffusionModel],
) -> None:
    schedule = gaussian_model().schedule.rescaled_to_zero_terminal_snr()
    scheduler = AdaptiveScheduler(gaussian_model(steps=12, schedule=schedule), quality=QUALITY)
    assert not [c for c in scheduler.propose(3) if "zero terminal SNR" in c.grid.name]


def test_the_checkpoints_own_offset_is_kept(
    gaussian_model: Callable[..., DiffusionModel],
) -> None:
    settings = read_scheduler_config({"steps_offset": 1}, "test")
    scheduler = AdaptiveScheduler(gaussian_model(steps=12), scheduler=settings, quality=QUALITY)
    (leading,) = [c for c in scheduler.propose(4, ["ddim"]) if c.grid.name == "leading"]
    assert leading.grid.timesteps == (751, 501, 251, 1)


def test_a_ranking_is_sorted_by_what_was_measured(scheduler: AdaptiveScheduler) -> None:
    seen: list[Ranked] = []
    ranked = scheduler.rank(scheduler.propose(3), seen.append)
    scores = [one.quality.score for one in ranked]
    assert scores == sorted(scores, reverse=True)
    assert len(seen) == len(ranked)
    assert set(map(id, seen)) == set(map(id, ranked))
    assert scheduler.best(3).candidate == ranked[0].candidate


def test_the_search_beats_the_uniform_grid(scheduler: AdaptiveScheduler) -> None:
    uniform = Candidate("ddim", spaced_grid(scheduler.model.schedule, "trailing", 3))
    (plain,) = scheduler.rank([uniform])
    assert scheduler.best(3).quality.score > plain.quality.score
    assert scheduler.best(3, ["ddim"]).quality.score > plain.quality.score


def test_the_models_own_way_of_sampling_scores_exactly_one(scheduler: AdaptiveScheduler) -> None:
    (own,) = scheduler.rank([Candidate("ddim", scheduler.model.grid)])
    assert own.quality.score == own.quality.lower_bound == 1


def test_shared_trajectories_and_samples_are_not_made_again(
    scheduler: AdaptiveScheduler, gaussian_model: Callable[..., DiffusionModel]
) -> None:
    paths, evaluator = scheduler.trajectories, scheduler.evaluator
    other = AdaptiveScheduler(gaussian_model(steps=24), quality=QUALITY)
    other.share(trajectories=paths, evaluator=evaluator)
    assert other.trajectories is paths
    assert other.evaluator is evaluator
    mine, theirs = scheduler.programme_grids(4), other.programme_grids(4)
    assert [grid.timesteps for grid in mine] == [grid.timesteps for grid in theirs]


def test_settings_say_which_costs_and_discounts_are_tried(
    gaussian_model: Callable[..., DiffusionModel],
) -> None:
    settings = ScheduleSettings(costs=["x0_mse"], gammas=[1.0])
    scheduler = AdaptiveScheduler(gaussian_model(steps=24), settings, quality=QUALITY)
    assert [grid.name for grid in scheduler.programme_grids(4)] == ["dp x0_mse 1"]


def test_a_ranking_survives_being_written_down(scheduler: AdaptiveScheduler) -> None:
    import json

    ranked = scheduler.rank(scheduler.propose(3, ["ddim"])[:2])
    for one in ranked:
        again = Ranked.from_record(json.loads(json.dumps(one.to_record())))
        assert again == one
        assert again.to_dict() == one.to_dict()


def test_one_grid_under_two_names_is_sampled_once(scheduler: AdaptiveScheduler) -> None:
    grid = spaced_grid(scheduler.model.schedule, "trailing", 4)
    twin = replace(grid, name="the same by another name")
    first, second = scheduler.rank([Candidate("ddim", grid), Candidate("ddim", twin)])
    assert first.quality == second.quality
    assert {first.candidate.grid.name, second.candidate.grid.name} == {grid.name, twin.name}
    assert scheduler.evaluator.looks["select"] == 1
    scheduler.rank([Candidate("dpmpp_2m", grid)])
    assert scheduler.evaluator.looks["select"] == 2
