import shutil
from pathlib import Path

import keras
import pytest

from commands.average import average
from configs.errors import UserError
from configs.settings import Settings
from vision.model.classifier import build_classifier


@pytest.fixture(scope="module")
def member(small_settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = small_settings.classifier.model_copy(update={"backbone": "vgg_compact", "width": 0.1})
    file = tmp_path_factory.mktemp("members") / "a.keras"
    build_classifier(settings, side=48, classes=7).save(file)
    return file


def test_files_are_averaged_into_a_new_one(member: Path, tmp_path: Path) -> None:
    other = shutil.copy(member, tmp_path / "b.keras")

    line = average([str(tmp_path / "new" / "mean.keras"), str(member), str(other)])

    assert "the mean of 2 classifiers" in line
    assert keras.saving.load_model(tmp_path / "new" / "mean.keras", safe_mode=True).output_shape == (None, 7)


@pytest.mark.parametrize("words", [[], ["mean.keras", "a.keras"], ["mean.keras", "a.keras", "b.h5"]])
def test_too_few_or_other_files_are_answered_with_the_usage(words: list[str]) -> None:
    with pytest.raises(UserError, match=r"make average ARGS=.MEAN\.keras A\.keras B\.keras"):
        average(words)


def test_a_file_that_is_there_is_not_written_over(member: Path) -> None:
    with pytest.raises(UserError, match="exists; name a new file"):
        average([str(member), "a.keras", "b.keras"])
