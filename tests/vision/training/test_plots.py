from vision.training.plots import learning_curves

EPOCH = {"loss": 1.0, "accuracy": 0.5, "macro_f1": 0.4, "learning_rate": 0.1}


def test_learning_curves_are_a_png_of_every_epoch() -> None:
    scored = {f"val_{name}": value for name, value in EPOCH.items() if name != "learning_rate"}

    image = learning_curves([EPOCH | scored] * 3, ["head", "head", "all"], best_epoch=2)

    assert image.startswith(b"\x89PNG")
