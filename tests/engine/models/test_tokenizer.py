"""Token ids against the stock CLIP tokenizer of transformers 5.23 (scripts/make_fixtures.py)."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.errors import CheckpointError, DataError
from engine.models.tokenizer import CLIPTokenizer

NAMES = ["sd15", "sd21v"]


@pytest.fixture
def folder_of(copy_of: Callable) -> Callable[[str], Path]:
    """Copy a fixture's tokenizer to where a test may change it."""
    return lambda name: copy_of(name) / "tokenizer"


def expected(fixtures: Path, name: str) -> tuple[list[str], list[list[int]]]:
    cases = json.loads((fixtures / "tokens.json").read_text(encoding="utf-8"))
    return cases["prompts"], cases[name]


def as_json(folder: Path) -> None:
    """Put tokenizer.json in the place of vocab.json and merges.txt, as transformers 5 writes it."""
    vocabulary = json.loads((folder / "vocab.json").read_text())
    merges = (folder / "merges.txt").read_text().splitlines()[1:]
    model = {"type": "BPE", "vocab": vocabulary, "merges": [merge.split(" ") for merge in merges]}
    (folder / "tokenizer.json").write_text(json.dumps({"model": model, "added_tokens": []}))
    (folder / "vocab.json").unlink()
    (folder / "merges.txt").unlink()


@pytest.mark.parametrize("name", NAMES)
def test_ids_equal_the_stock_tokenizer(name: str, fixtures: Path) -> None:
    """Lower case, white space, accents, contractions, digits, emoji, special tokens, long ones."""
    prompts, wanted = expected(fixtures, name)
    tokenizer = CLIPTokenizer(fixtures / name / "tokenizer")
    assert tokenizer.max_length == 77
    found = tokenizer(prompts).tolist()
    for prompt, ids, others in zip(prompts, found, wanted, strict=True):
        assert ids == others + [tokenizer.pad_id] * (77 - len(others)), prompt


@pytest.mark.parametrize("name", NAMES)
def test_the_encoders_reference_ids_come_from_its_prompts(
    name: str, fixtures: Path, reference_of: Callable
) -> None:
    meta = json.loads((fixtures / name / "reference.json").read_text())["meta"]
    tokenizer = CLIPTokenizer(fixtures / name / "tokenizer")
    found = tokenizer(meta["text_encoder.prompts"])
    assert (found == reference_of(name)["text_encoder.input_ids"]).all()


@pytest.mark.parametrize("name", NAMES)
def test_tokenizer_json_says_the_same(name: str, fixtures: Path, folder_of: Callable) -> None:
    folder = folder_of(name)
    as_json(folder)
    prompts, _ = expected(fixtures, name)
    wanted = CLIPTokenizer(fixtures / name / "tokenizer")(prompts)
    assert (CLIPTokenizer(folder)(prompts) == wanted).all()


def test_padding_follows_the_special_tokens_map_before_the_config(
    folder_of: Callable, edit_json: Callable
) -> None:
    """Stable Diffusion 2.1 names one padding token in each file."""
    folder = folder_of("sd21v")
    edit_json(folder / "tokenizer_config.json", pad_token="<|endoftext|>")
    assert CLIPTokenizer(folder).pad_id == 0
    (folder / "special_tokens_map.json").unlink()
    assert CLIPTokenizer(folder).pad_id == 538


def test_added_tokens_in_the_config_make_the_map_old(
    folder_of: Callable, edit_json: Callable
) -> None:
    folder = folder_of("sd21v")
    entry = {"content": "<cat>", "normalized": True, "special": False}
    edit_json(
        folder / "tokenizer_config.json",
        pad_token="<|endoftext|>",
        added_tokens_decoder={"539": entry},
    )
    tokenizer = CLIPTokenizer(folder)
    assert tokenizer.pad_id == 538
    assert tokenizer(["<CAT>"])[0, :3].tolist() == [537, 539, 538]
    assert tokenizer.highest_id == 539


def test_without_its_configs_a_tokenizer_is_openais(folder_of: Callable, fixtures: Path) -> None:
    folder = folder_of("sd15")
    (folder / "tokenizer_config.json").unlink()
    (folder / "special_tokens_map.json").unlink()
    wanted = CLIPTokenizer(fixtures / "sd15" / "tokenizer")(["a photo of a cat"])
    assert (CLIPTokenizer(folder)(["a photo of a cat"]) == wanted).all()


def test_a_long_prompt_loses_its_end_and_says_how_much(fixtures: Path) -> None:
    tokenizer = CLIPTokenizer(fixtures / "sd15" / "tokenizer")
    assert tokenizer.dropped("a " * 75) == 0
    assert tokenizer.dropped("a " * 200) == 125
    row = tokenizer(["a " * 200])[0]
    assert (row[0], row[-1], len(row)) == (537, 538, 77)


def test_no_prompts_give_no_rows(fixtures: Path) -> None:
    assert CLIPTokenizer(fixtures / "sd15" / "tokenizer")([]).shape == (0, 77)


@pytest.mark.parametrize("prompt", ["\ud800", 3, None])
def test_what_is_no_text_is_refused(prompt: Any, fixtures: Path) -> None:
    with pytest.raises(DataError, match="A prompt cannot be read"):
        CLIPTokenizer(fixtures / "sd15" / "tokenizer")([prompt])


def write_vocabulary(folder: Path, **changes: Any) -> None:
    vocabulary = json.loads((folder / "vocab.json").read_text()) | changes
    (folder / "vocab.json").write_text(
        json.dumps({key: value for key, value in vocabulary.items() if value is not None})
    )


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "merges.txt").unlink(), "neither vocab.json with merges.txt nor"),
        (lambda f: (f / "vocab.json").write_text("{"), r"vocab\.json is not JSON"),
        (lambda f: (f / "vocab.json").write_text("{}"), r"vocab\.json: no vocabulary"),
        (lambda f: (f / "merges.txt").write_text("a b c\n"), r"merges\.txt: merge 1 is 'a b c'"),
        (lambda f: (f / "merges.txt").write_text("a zz\n"), r"merges\.txt: merge 1 is 'a zz', but"),
        (lambda f: (f / "merges.txt").write_bytes(b"\xff\xfe"), r"merges\.txt is not UTF-8"),
        (
            lambda f: write_vocabulary(f, **{"<|startoftext|>": None}),
            r"vocab\.json does not hold <\|startoftext\|>",
        ),
        (lambda f: write_vocabulary(f, a="x"), "no vocabulary, an object from token to number"),
    ],
)
def test_a_wrong_tokenizer_is_refused(
    damage: Callable[[Path], Any], message: str, folder_of: Callable
) -> None:
    folder = folder_of("sd15")
    damage(folder)
    with pytest.raises(CheckpointError, match=message):
        CLIPTokenizer(folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"model": {"type": "Unigram"}}, "model.type is 'Unigram', but 'BPE' is wanted"),
        ({}, "model.type is None"),
        ({"model": {"type": "BPE", "vocab": {"a": 0}}}, "model.merges is missing"),
        ({"model": {"type": "BPE", "vocab": [], "merges": []}}, "no vocabulary"),
    ],
)
def test_another_kind_of_tokenizer_json_is_refused(
    content: dict[str, Any], message: str, tmp_path: Path
) -> None:
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match=message):
        CLIPTokenizer(tmp_path)


@pytest.mark.parametrize("length", [2, "77", 1.5])
def test_a_length_that_holds_no_prompt_is_refused(
    length: Any, folder_of: Callable, edit_json: Callable
) -> None:
    folder = folder_of("sd15")
    edit_json(folder / "tokenizer_config.json", model_max_length=length)
    with pytest.raises(CheckpointError, match=r"model_max_length is .* at least 3 is wanted"):
        CLIPTokenizer(folder)
