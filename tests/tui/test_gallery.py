"""Sheets are taken apart as the engine made them, and laid out so that most is seen."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from engine.errors import DataError
from engine.pictures import LAYOUT_KEY as WRITTEN_KEY
from engine.pictures import save_sheet
from engine.run.events import SamplesSaved
from tui.gallery import SampleFile, arrange, gallery
from tui.halfcell import MODES, Palette, width_of
from tui.sheet import LAYOUT_KEY, Layout, measured, read_sheet

NAMES = ("original 50", "undistilled 4", "student 4")


@pytest.fixture
def sheet(tmp_path: Path) -> Path:
    rows = np.random.default_rng(0).uniform(-1, 1, (3, 10, 8, 8, 1))
    save_sheet(tmp_path / "sheet.png", list(rows))
    return tmp_path / "sheet.png"


def without_layout(path: Path) -> Path:
    with Image.open(path) as image:
        plain = image.copy()
    plain.info.clear()
    plain.save(path)
    return path


def test_the_engines_layout_is_read_back(sheet: Path) -> None:
    assert LAYOUT_KEY == WRITTEN_KEY
    found = read_sheet(sheet)
    assert found.layout == Layout(3, 10, 8, 8, 1, 6)
    assert [len(row) for row in found.pictures] == [10, 10, 10]
    assert found.pictures[2][9].size == (8, 8)


def test_pictures_come_out_as_they_went_in(tmp_path: Path) -> None:
    rows = np.random.default_rng(1).uniform(-1, 1, (3, 4, 12, 12, 3))
    save_sheet(tmp_path / "sheet.png", list(rows))
    found = read_sheet(tmp_path / "sheet.png")
    wanted = np.round((rows[1, 2] / 2 + 0.5) * 255).astype(np.uint8)
    np.testing.assert_array_equal(np.asarray(found.pictures[1][2]), wanted)


def test_a_sheet_without_its_layout_is_measured(sheet: Path) -> None:
    assert read_sheet(without_layout(sheet)).layout == Layout(3, 10, 8, 8, 1, 6)


@pytest.mark.parametrize("side", [8, 12, 16, 24, 28, 32, 47, 48, 64, 256])
@pytest.mark.parametrize("columns", [1, 4, 10])
def test_every_square_sheet_of_the_engine_can_be_measured(side: int, columns: int) -> None:
    wanted = Layout(3, columns, side, side, 1, max(1, -(-48 // side)))
    assert measured(*wanted.size, rows=3) == wanted


def test_what_is_no_sheet_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is gone"):
        read_sheet(tmp_path / "none.png")
    (tmp_path / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\nhalf")
    with pytest.raises(DataError, match="cannot be read as a picture"):
        read_sheet(tmp_path / "torn.png")
    Image.new("RGB", (101, 77)).save(tmp_path / "photo.png")
    with pytest.raises(DataError, match=r"101x77, no sheet of 3 rows"):
        read_sheet(tmp_path / "photo.png")


def test_a_layout_that_lies_is_not_believed(tmp_path: Path) -> None:
    facts = PngInfo()
    layout = {"rows": 9, "columns": 1, "height": 8, "width": 8, "gap": 1, "scale": 1}
    facts.add_text(LAYOUT_KEY, json.dumps(layout))
    Image.new("RGB", (101, 77)).save(tmp_path / "sheet.png", pnginfo=facts)
    with pytest.raises(DataError, match="no sheet"):
        read_sheet(tmp_path / "sheet.png")


def test_where_there_is_room_every_pixel_of_every_digit_shows() -> None:
    plan = arrange(116, 20, (8, 8), 10, NAMES, "cells")
    assert plan is not None
    assert plan.count >= 10
    assert plan.picture_rows * 2 >= 8


def test_little_room_goes_to_few_pictures_rather_than_to_unreadable_ones() -> None:
    plan = arrange(76, 9, (8, 8), 10, NAMES, "cells")
    assert plan is not None
    assert plan.picture_rows * 2 >= 8
    assert arrange(10, 2, (8, 8), 10, NAMES, "cells") is None


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", [(40, 7), (76, 9), (76, 17), (116, 30), (156, 44)])
def test_a_gallery_stays_within_its_pane(sheet: Path, mode: str, size: tuple[int, int]) -> None:
    rows = gallery(read_sheet(sheet), (0, 1, 2), NAMES, size, mode, Palette())
    assert 0 < len(rows) <= size[1]
    assert max(map(width_of, rows)) <= size[0]
    told = "".join(text for row in rows for text, _, _ in row)
    assert all(name.split()[0] in told for name in NAMES)


def test_one_row_alone_is_drawn_at_the_place_of_the_other(sheet: Path) -> None:
    found = read_sheet(sheet)
    before, after = (
        gallery(found, (row,), ("a name...",), (76, 17), "cells", Palette()) for row in (1, 2)
    )
    assert [width_of(row) for row in before] == [width_of(row) for row in after]
    assert before != after


def test_a_sheet_with_fewer_rows_shows_those(tmp_path: Path) -> None:
    save_sheet(tmp_path / "sheet.png", [np.zeros((2, 8, 8, 1))])
    rows = gallery(
        read_sheet(tmp_path / "sheet.png"), (0, 1, 2), NAMES, (76, 9), "cells", Palette()
    )
    assert rows[0][0][0].startswith("original 50")


def test_a_sheet_says_where_in_the_run_it_was_made() -> None:
    event = SamplesSaved(path="samples/a.png", what="comparison", stage=2, step=450, steps=8)
    assert SampleFile.of(1.0, event).words == "stage 2 · step 450"
    end = SamplesSaved(path="samples/comparison.png", what="comparison", steps=4)
    assert SampleFile.of(1.0, end).words == "finished student"


@pytest.mark.parametrize(("height", "is_stacked"), [(14, True), (13, False), (12, False)])
def test_samplers_stand_side_by_side_where_they_would_run_into_each_other(
    height: int, is_stacked: bool
) -> None:
    plan = arrange(72, height, (8, 8), 10, NAMES, "cells")
    assert plan is not None
    assert (plan.is_stacked, plan.picture_rows) == (is_stacked, 4)
