from dataclasses import replace

import numpy as np
import pandas as pd

from vision.data.faces import TABLE_COLUMNS, FaceSet, store_images


def face_set(*labels: str) -> FaceSet:
    """Three classes, the last of them unknown to the set; the images are 0, 1, 2, ..."""
    filled = {name: 0 if kind.startswith(("int", "float")) else "" for name, kind in TABLE_COLUMNS.items()}
    table = pd.DataFrame([{**filled, "label": label, "split": "train"} for label in labels]).astype(TABLE_COLUMNS)
    images = np.arange(len(labels), dtype=np.uint8)[:, None, None] * np.ones((1, 4, 4), np.uint8)
    return FaceSet("made", "folder", ("happy", "sad"), images, table)


def test_the_fingerprint_ignores_the_order_of_rows_but_not_their_labels(drawn: FaceSet) -> None:
    shuffled = replace(drawn, table=drawn.table.sample(frac=1, random_state=0))
    relabelled = replace(drawn, table=drawn.table.assign(label=drawn.table["label"].iloc[::-1].to_numpy()))

    assert shuffled.fingerprint == drawn.fingerprint
    assert relabelled.fingerprint != drawn.fingerprint
    assert replace(drawn, class_names=drawn.class_names[::-1]).fingerprint != drawn.fingerprint


def test_labels_are_positions_in_class_names_and_minus_one_for_others() -> None:
    assert face_set("sad", "bored", "happy").labels.tolist() == [1, -1, 0]


def test_a_face_with_an_error_is_not_decodable() -> None:
    faces = face_set("sad", "happy")

    assert replace(faces, table=faces.table.assign(error=["", "broken"])).decodable.tolist() == [True, False]


def test_taken_faces_keep_their_images_beside_their_rows() -> None:
    taken = face_set("sad", "happy", "sad").take(np.array([2, 1]))

    assert taken.images[:, 0, 0].tolist() == [2, 1]
    assert taken.table["label"].tolist() == ["sad", "happy"]
    assert taken.table.index.tolist() == [0, 1]


def test_rows_of_a_split_are_positions_in_ascending_order() -> None:
    faces = face_set("sad", "happy", "sad")

    faces = replace(faces, table=faces.table.assign(split=["test", "train", "test"]))

    assert faces.rows("test").tolist() == [0, 2]
    assert faces.rows("validation").tolist() == []


def test_blocks_are_stored_as_one_read_only_memory_map() -> None:
    blocks = [np.full((count, 4, 4), level, np.uint8) for level, count in ((7, 2), (9, 1))]

    stored = store_images(iter(blocks), 4)

    assert isinstance(stored, np.memmap)
    assert not stored.flags.writeable
    np.testing.assert_array_equal(stored, np.concatenate(blocks))


def test_no_blocks_are_no_images_of_the_same_side() -> None:
    assert store_images(iter(()), 4).shape == (0, 4, 4)
