from pathlib import Path

import pytest

from commands import serve
from configs.errors import UserError
from configs.settings import Settings
from serving.model_sources import RegisteredModels
from tests.serving.bundles import write_tiny_bundle
from tests.serving.conftest import settings_with, tiny_onnx
from tests.serving.registries import Registry
from vision.lifecycle import releases


@pytest.fixture(scope="module")
def content() -> bytes:
    return tiny_onnx()


@pytest.fixture
def bundle(tmp_path: Path, content: bytes) -> Path:
    folder = tmp_path / "content"
    folder.mkdir()
    return write_tiny_bundle(tmp_path / "champion.zip", folder, content)


@pytest.fixture
def released(tmp_path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder, inside = tmp_path / "released", tmp_path / "inside"
    folder.mkdir()
    inside.mkdir()
    write_tiny_bundle(folder / "face-emotion-1.9.zip", inside, content, "9")
    write_tiny_bundle(folder / "face-emotion-1.10.zip", inside, content, "10")
    monkeypatch.setattr(releases, "RELEASED", folder)
    return folder


def models(registry: Registry, settings: Settings) -> RegisteredModels:
    return RegisteredModels(registry, settings)


def test_the_champion_comes_before_a_bundle_and_a_bundle_before_a_release(
    content: bytes, bundle: Path, released: Path
) -> None:
    registry = Registry({"3": content}, {"champion": "3"})
    both = settings_with(bundle=str(bundle))
    champion = serve._first_model(models(registry, both), both)
    registry.aliases.clear()
    second = serve._first_model(models(registry, both), both)
    third = serve._first_model(models(registry, settings_with()), settings_with())

    assert [(model.source, model.version) for model in (champion, second, third)] == [
        ("registry", "3"),
        ("bundle", "7"),
        ("released", "10"),
    ]


def test_a_bundle_answers_while_the_registry_does_not(bundle: Path, content: bytes) -> None:
    settings = settings_with(bundle=str(bundle))

    assert serve._first_model(models(Registry(gone=True), settings), settings).source == "bundle"


def test_without_any_model_the_commands_that_make_one_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(releases, "RELEASED", tmp_path)

    with pytest.raises(UserError, match=r"--pipeline training.*--pipeline import.*--serving\.bundle") as raised:
        serve._first_model(models(Registry(), settings_with()), settings_with())
    assert raised.value.exit_code == 2


def test_a_zenml_of_the_user_needs_the_store_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZENML_STORE_URL", "sqlite:///elsewhere.db")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)

    with pytest.raises(UserError, match=r"ZENML_STORE_URL .*MLFLOW_TRACKING_URI"):
        serve._tracking_uri(tmp_path)
