"""A sheet shows the samples that were given, row by row."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine.pictures import save_sheet


def read(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def test_rows_and_columns_stand_where_they_were_given(tmp_path: Path) -> None:
    rows = [np.full((3, 48, 48, 3), value) for value in (-1.0, 0.0, 1.0)]
    rows[1][2] = [1.0, -1.0, -1.0]
    save_sheet(tmp_path / "sheet.png", rows)
    sheet = read(tmp_path / "sheet.png")
    assert sheet.shape == (3 * 49 - 1, 3 * 49 - 1, 3)
    assert (sheet[:48, :48] == 0).all()
    assert (sheet[98:, :48] == 255).all()
    assert sheet[60, 110].tolist() == [255, 0, 0]
    assert (sheet[48] == 255).all()  # the gap


def test_tiny_samples_are_enlarged_without_being_smoothed(tmp_path: Path) -> None:
    row = np.random.default_rng(0).uniform(-1, 1, (2, 8, 8, 1))
    save_sheet(tmp_path / "sheet.png", [row])
    sheet = read(tmp_path / "sheet.png")
    assert sheet.shape == (48, 17 * 6, 3)
    wanted = np.round((row[0, ..., 0] / 2 + 0.5) * 255).astype(np.uint8)
    np.testing.assert_array_equal(sheet[:48:6, :48:6, 0], wanted)
    np.testing.assert_array_equal(sheet[:48:6, :48:6, 0], sheet[5:48:6, 5:48:6, 2])


def test_what_is_out_of_range_is_clipped_and_short_rows_rule(tmp_path: Path) -> None:
    save_sheet(
        tmp_path / "deep" / "sheet.png", [np.full((4, 48, 48, 1), 9.0), -np.ones((2, 48, 48, 1))]
    )
    sheet = read(tmp_path / "deep" / "sheet.png")
    assert sheet.shape[1] == 2 * 49 - 1
    assert (sheet[:48, :48] == 255).all()
    assert (sheet[49:, :48] == 0).all()


def test_a_sheet_that_cannot_be_written_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Image.Image, path: Path, **_: object) -> None:
        Path(path).write_bytes(b"half")
        raise OSError("no space left")

    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(OSError, match="no space"):
        save_sheet(tmp_path / "sheet.png", [np.zeros((1, 8, 8, 1))])
    assert list(tmp_path.iterdir()) == []
