import pandas as pd

from vision.data.duplicates import audit_copies


def table(*rows: tuple[str, str, str, str]) -> pd.DataFrame:
    """Rows are split, label, exact hash and perceptual hash; an empty exact hash is an unreadable image."""
    built = pd.DataFrame(rows, columns=["split", "label", "exact_hash", "perceptual_hash"])
    return built.assign(error=["" if image else "broken" for image in built["exact_hash"]])


def marked(copies: pd.DataFrame, column: str) -> list[int]:
    return copies.index[copies[column]].tolist()


def test_only_later_copies_in_the_same_split_are_repeated() -> None:
    copies = audit_copies(table(("train", "sad", "a", "1"), ("train", "sad", "a", "1"), ("test", "sad", "a", "1")))

    assert marked(copies, "repeated") == [1]


def test_a_held_out_image_in_training_is_leaked_and_its_training_copy_is_marked() -> None:
    copies = audit_copies(table(("train", "sad", "a", "1"), ("validation", "sad", "a", "1"), ("test", "sad", "b", "2")))

    assert marked(copies, "leaked") == [1]
    assert marked(copies, "held_out_copy") == [0]


def test_a_look_alike_of_a_training_image_is_near_leaked_but_not_leaked() -> None:
    copies = audit_copies(table(("train", "sad", "a", "1"), ("test", "sad", "b", "1"), ("test", "sad", "a", "1")))

    assert marked(copies, "near_leaked") == [1]


def test_every_copy_of_an_image_with_two_labels_conflicts() -> None:
    copies = audit_copies(table(("train", "sad", "a", "1"), ("test", "fear", "a", "1"), ("train", "sad", "b", "2")))

    assert marked(copies, "conflicting") == [0, 1]


def test_unreadable_images_are_no_copies_of_each_other() -> None:
    copies = audit_copies(table(("train", "sad", "", ""), ("test", "fear", "", "")))

    assert not copies.to_numpy().any()
