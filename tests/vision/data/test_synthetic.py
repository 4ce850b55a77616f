import numpy as np

from configs.data_settings import DrawnSettings
from vision.data.synthetic import EXPRESSIONS, class_counts, draw_face, draw_faces

NAMES = tuple(EXPRESSIONS)


def test_the_same_seed_draws_the_same_faces_and_another_seed_others() -> None:
    settings = DrawnSettings(faces=70, noise=5)

    one, again, other = (list(draw_faces(settings, NAMES, 32, seed)) for seed in (1, 1, 2))

    assert all(a[0] == b[0] and np.array_equal(a[1], b[1]) for a, b in zip(one, again, strict=True))
    assert not all(np.array_equal(a[1], b[1]) for a, b in zip(one, other, strict=True))


def test_classes_are_as_unbalanced_as_in_fer2013() -> None:
    counts = class_counts(NAMES, 28709)

    assert counts == {
        "angry": 3995, "disgust": 436, "fear": 4097, "happy": 7215, "neutral": 4965, "sad": 4830, "surprise": 3171,
    }  # fmt: skip


def test_expressions_differ_by_more_than_the_pose_does() -> None:
    def mean_face(name: str) -> np.ndarray:
        random = np.random.default_rng(0)
        return np.mean([draw_face(EXPRESSIONS[name], 32, 0.0, random) for _ in range(60)], axis=0)

    happy, sad = mean_face("happy"), mean_face("sad")
    again = np.mean([draw_face(EXPRESSIONS["happy"], 32, 0.0, np.random.default_rng(9)) for _ in range(60)], axis=0)

    assert happy.dtype == again.dtype
    assert np.abs(happy - sad).max() > 20
