"""Folders of images become arrays, or one clear line."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine.errors import DataError
from engine.training.digits import TRAINING_COUNT, load_digits
from engine.training.images import MOST_SKIPPED, load_images


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.astype(np.uint8)).save(path)


def test_the_bundled_digits_are_whole() -> None:
    images, labels = load_digits()
    assert images.shape == (1797, 8, 8, 1)
    assert images.dtype == np.float32
    assert (images.min(), images.max()) == (-1, 1)
    assert np.bincount(labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]


def test_training_never_sees_the_digits_held_out() -> None:
    images, labels, _ = load_images("bundled:digits", (8, 8, 1), 10)
    assert labels is not None
    assert len(images) == len(labels) == TRAINING_COUNT == 1500
    assert load_images("bundled:digits", (8, 8, 1), None)[1] is None


def test_the_bundled_digits_fit_only_a_model_of_their_size() -> None:
    with pytest.raises(DataError, match=r"8x8 grey; the model wants .* \(16, 16, 3\)"):
        load_images("bundled:digits", (16, 16, 3), None)


def test_subfolders_are_classes_in_the_order_of_their_names(tmp_path: Path) -> None:
    for name, value in (("b", 255), ("a", 0), ("c", 51)):
        save(tmp_path / name / "one.png", np.full((4, 4, 3), value))
    images, labels, _ = load_images(str(tmp_path), (4, 4, 3), 3)
    assert labels is not None
    assert labels.tolist() == [0, 1, 2]
    np.testing.assert_allclose(images[:, 0, 0, 0], [-1, 1, -0.6], atol=1e-6)


def test_pictures_are_cropped_at_their_centre_and_never_stretched(tmp_path: Path) -> None:
    wide = np.zeros((8, 24, 3))
    wide[:, 8:16] = 255
    save(tmp_path / "wide.png", wide)
    images, labels, _ = load_images(str(tmp_path), (8, 8, 3), None)
    assert labels is None
    np.testing.assert_array_equal(images, 1)


def test_one_channel_is_grey(tmp_path: Path) -> None:
    save(tmp_path / "grey.png", np.full((4, 4, 3), 255))
    assert load_images(str(tmp_path), (4, 4, 1), None)[0].shape == (1, 4, 4, 1)


def test_a_few_broken_files_are_skipped_and_many_are_refused(tmp_path: Path) -> None:
    for number in range(20):
        save(tmp_path / f"{number:02}.png", np.zeros((4, 4, 3)))
    (tmp_path / "broken.png").write_bytes(b"no picture")
    assert len(load_images(str(tmp_path), (4, 4, 3), None)[0]) == 20
    for number in range(int(40 * MOST_SKIPPED)):
        (tmp_path / f"broken{number}.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"5 of 25 images .* cannot be decoded, the first broken"):
        load_images(str(tmp_path), (4, 4, 3), None)


def test_wrong_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data\.images: .*nowhere is not a folder"):
        load_images(str(tmp_path / "nowhere"), (4, 4, 3), None)
    with pytest.raises(DataError, match=r"data\.images: .* holds no image"):
        load_images(str(tmp_path), (4, 4, 3), None)
    save(tmp_path / "a" / "one.png", np.zeros((4, 4, 3)))
    with pytest.raises(DataError, match="images in 1 subfolders; the model has 3 classes"):
        load_images(str(tmp_path), (4, 4, 3), 3)
