import io

import numpy as np
from PIL import Image

from vision.reporting.figures import DPI, image_grid, labelled_faces, new_figure, to_png


def opened(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def test_every_image_of_a_grid_is_drawn_and_an_empty_place_stays_white() -> None:
    red = np.zeros((24, 24, 3), np.uint8)
    red[..., 0] = 255
    images = [np.full((48, 48), 60, np.uint8), None, red, np.full((44, 44), 120, np.uint8)]

    drawn = opened(image_grid(images, [""] * 4, 2))

    height, width = drawn.shape[:2]
    quarters = [drawn[rows, columns] for rows in (slice(0, height // 2), slice(height // 2, height))
                for columns in (slice(0, width // 2), slice(width // 2, width))]  # fmt: skip
    assert [tuple(np.median(part.reshape(-1, 3), axis=0)) for part in quarters] == [
        (60, 60, 60), (255, 255, 255), (255, 255, 255), (120, 120, 120),
    ]  # fmt: skip
    assert (quarters[2] == (255, 0, 0)).all(axis=2).mean() > 0.1


def test_titles_and_row_labels_are_drawn_beside_the_images() -> None:
    images = [np.full((48, 48), 255, np.uint8)] * 2

    blank, written = opened(image_grid(images, ["", ""], 2)), opened(image_grid(images, ["happy", "sad"], 2, ["train"]))

    assert (blank == 255).all()
    assert (written < 100).any()


def test_without_faces_the_sentence_is_drawn() -> None:
    assert (opened(labelled_faces([], [], "nothing was found")) < 100).any()


def test_a_figure_has_the_size_in_inches_that_was_asked_for() -> None:
    figure, _ = new_figure(3, 2)

    assert opened(to_png(figure)).shape == (2 * DPI, 3 * DPI, 3)


def test_a_title_with_dollar_signs_is_not_read_as_a_formula() -> None:
    assert opened(image_grid([np.zeros((8, 8), np.uint8)], [r"$\no_such_command$"], 1)).size > 0
