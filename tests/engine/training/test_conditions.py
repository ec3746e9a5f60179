"""Conditions are dealt in turn, held once, and say the same however they are held."""

import mlx.core as mx
import numpy as np
import pytest

from engine.training.conditions import Conditions, ConditionSets, classes


@pytest.fixture
def prompts() -> Conditions:
    rng = np.random.default_rng(0)
    return Conditions.of_arrays(
        {
            "encoder_hidden_states": rng.standard_normal((3, 5, 4), dtype=np.float32),
            "uncond_encoder_hidden_states": rng.standard_normal((1, 5, 4), dtype=np.float32),
        }
    )


def test_classes_are_dealt_in_turn() -> None:
    labels = classes(10).repeated(31).labels
    assert labels is not None
    assert labels.dtype == np.int32
    np.testing.assert_array_equal(labels, np.arange(31) % 10)


def test_a_model_without_conditions_has_samples_all_the_same() -> None:
    none = classes(None).repeated(7)
    assert len(none) == 7
    assert none.labels is None
    assert none[2:5].to_condition() == {}


def test_labels_in_any_order_come_back_as_they_were() -> None:
    labels = np.array([7, 2, 2, 9, 0], np.int32)
    found = Conditions.of_labels(labels)
    np.testing.assert_array_equal(found.labels, labels)
    np.testing.assert_array_equal(found[np.array([3, 0])].labels, [9, 7])
    np.testing.assert_array_equal(found.to_condition()["class_labels"], labels)


def test_a_prompt_is_held_once_however_many_samples_it_has(prompts: Conditions) -> None:
    many = prompts.repeated(1000)
    assert many.tables["encoder_hidden_states"] is prompts.tables["encoder_hidden_states"]
    condition = many[4:6].to_condition()
    np.testing.assert_array_equal(
        condition["encoder_hidden_states"], prompts.tables["encoder_hidden_states"][[1, 2]]
    )


def test_a_table_of_one_row_serves_every_sample(prompts: Conditions) -> None:
    condition = prompts.repeated(8).to_condition()
    assert condition["uncond_encoder_hidden_states"].shape == (8, 5, 4)
    assert mx.array_equal(
        condition["uncond_encoder_hidden_states"][0], condition["uncond_encoder_hidden_states"][7]
    )


def test_states_of_several_points_keep_their_conditions(prompts: Conditions) -> None:
    pool = prompts.repeated(6).at_points(2)
    assert len(pool) == 6
    point, place = np.array([0, 1, 1]), np.array([5, 0, 4])
    np.testing.assert_array_equal(
        pool[point, place].values("encoder_hidden_states"),
        prompts.tables["encoder_hidden_states"][[2, 0, 1]],
    )


def test_the_digest_sees_rows_names_and_values(prompts: Conditions) -> None:
    other = Conditions.of_arrays(
        {**prompts.tables, "encoder_hidden_states": prompts.tables["encoder_hidden_states"] + 1}
    )
    renamed = Conditions.of_arrays({"text_embeds": prompts.tables["encoder_hidden_states"]})
    found = [one.digest() for one in (prompts, prompts[:2], other, renamed, classes(3))]
    assert len(set(found)) == 5
    assert prompts.repeated(3).digest() == prompts.digest()


def test_a_row_that_no_table_has_is_refused() -> None:
    with pytest.raises(ValueError, match="text_embeds has 2 rows; row 2 is asked for"):
        Conditions(np.array([0, 2]), {"text_embeds": np.zeros((2, 4), np.float32)})


def test_classes_are_learned_and_measured_alike() -> None:
    sets = ConditionSets.same(classes(4))
    assert sets.train is sets.select is sets.final
