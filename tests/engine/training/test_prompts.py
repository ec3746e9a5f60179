"""Prompts come from wherever people keep them, and a source that holds none says so."""

import json
from itertools import pairwise
from pathlib import Path

import pytest
from PIL import Image

from engine.errors import DataError
from engine.training.prompts import BUNDLED_PROMPTS, captioned_images, load_prompts, split_prompts

TEXTS = [f"a picture of number {i}" for i in range(12)]


def text_file(folder: Path) -> Path:
    path = folder / "prompts.txt"
    path.write_text("\n".join([*TEXTS, "", TEXTS[0]]) + "\n", encoding="utf-8")
    return path


def csv_file(folder: Path) -> Path:
    path = folder / "prompts.csv"
    rows = "".join(f'{i},"{text}"\n' for i, text in enumerate(TEXTS))
    path.write_text("id,prompt\n" + rows, encoding="utf-8-sig")
    return path


def jsonl_file(folder: Path) -> Path:
    path = folder / "prompts.jsonl"
    path.write_text("\n".join(json.dumps({"caption": t}) for t in TEXTS), encoding="utf-8")
    return path


def image(path: Path) -> Path:
    Image.new("RGB", (4, 4)).save(path)
    return path


def captioned_folder(folder: Path) -> Path:
    for i, text in enumerate(TEXTS):
        image(folder / f"{i:02}.png").with_suffix(".txt").write_text(text + "\n", encoding="utf-8")
    return folder


def metadata_folder(folder: Path) -> Path:
    rows = [
        {"file_name": image(folder / f"{i:02}.png").name, "text": t} for i, t in enumerate(TEXTS)
    ]
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    "make", [text_file, csv_file, jsonl_file, captioned_folder, metadata_folder]
)
def test_prompts_are_read_from_every_kind_of_source(make, tmp_path: Path) -> None:
    source = str(make(tmp_path))
    assert load_prompts(source) == TEXTS
    assert load_prompts(source, count=9) == TEXTS[:9]


def test_a_column_can_be_named(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("prompt,mine\n" + "".join(f"x,{t}\n" for t in TEXTS), encoding="utf-8")
    assert load_prompts(str(path), column="mine") == TEXTS


def test_the_bundled_prompts_are_128_and_all_different() -> None:
    prompts = load_prompts(BUNDLED_PROMPTS)
    assert len(prompts) == len({text.lower() for text in prompts}) == 128


def broken(folder: Path, name: str, text: str) -> str:
    (folder / name).write_text(text, encoding="utf-8")
    return str(folder / name)


@pytest.mark.parametrize(
    ("name", "text", "arguments", "message"),
    [
        ("empty.txt", "\n \n", {}, "empty.txt holds no prompt"),
        ("few.txt", "a\nb\n", {}, "few.txt holds 2 distinct prompts; wanted at least 8"),
        ("few.txt", "\n".join(TEXTS), {"count": 30}, "data.prompt_count: .*12 distinct .* 30"),
        ("a.csv", "id,name\n1,2\n", {}, "has the columns id, name; wanted prompt or caption"),
        ("a.csv", "prompt\nx\n", {"column": "words"}, "columns prompt; wanted words"),
        ("a.jsonl", '{"prompt": "x"}\nno\n', {}, "a.jsonl, line 2: not JSON"),
        ("a.jsonl", "[1]\n", {}, "a.jsonl, line 1: wanted a JSON object"),
        ("a.jsonl", '{"prompt": 3}\n', {}, "a.jsonl, line 1 has the keys prompt; wanted text"),
    ],
)
def test_a_source_that_cannot_be_used_is_refused_with_its_place(
    name: str, text: str, arguments: dict, message: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=message):
        load_prompts(broken(tmp_path, name, text), **arguments)


def test_files_that_are_missing_or_no_text_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no such file or folder"):
        load_prompts(str(tmp_path / "nothing.txt"))
    (tmp_path / "latin.txt").write_bytes("größe\n".encode("latin-1"))
    with pytest.raises(DataError, match="cannot be read as UTF-8"):
        load_prompts(str(tmp_path / "latin.txt"))


def test_a_folder_with_an_image_without_a_caption_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no captioned image"):
        captioned_images(tmp_path)
    captioned_folder(tmp_path)
    (tmp_path / "03.txt").unlink()
    with pytest.raises(DataError, match=r"1 of 12 images have no caption, the first 03\.png"):
        captioned_images(tmp_path)


def test_metadata_that_names_no_image_is_refused(tmp_path: Path) -> None:
    broken(tmp_path, "metadata.jsonl", '{"file_name": "no.png", "text": "x"}')
    with pytest.raises(DataError, match=r"line 1: file_name is 'no.png'"):
        captioned_images(tmp_path)


@pytest.mark.parametrize(("count", "share", "held"), [(128, 0.25, 32), (8, 0.25, 2), (64, 0.1, 6)])
def test_prompts_are_parted_evenly_and_nothing_is_in_two_parts(
    count: int, share: float, held: int
) -> None:
    prompts = [str(i) for i in range(count)]
    parts = split_prompts(prompts, share)
    everything = [*parts.train, *parts.select, *parts.final]
    assert sorted(everything, key=int) == prompts
    assert len(parts.select) + len(parts.final) == held
    assert len(parts.select) - len(parts.final) in (0, 1)
    gaps = sorted(int(text) for text in (*parts.select, *parts.final))
    assert max(b - a for a, b in pairwise(gaps)) <= count / held + 1
