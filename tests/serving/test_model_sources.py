import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from configs.errors import UserError
from serving.model_sources import load_bundle
from serving.served_model import UnusableModelError
from tests.serving.bundles import write_tiny_bundle
from tests.serving.conftest import Running, settings_with, tiny_onnx


@pytest.fixture
def bundle(tmp_path: Path, content: bytes) -> Path:
    folder = tmp_path / "content"
    folder.mkdir()
    return write_tiny_bundle(tmp_path / "champion.zip", folder, content)


def test_a_bundle_is_served_with_what_it_says_of_its_model(bundle: Path) -> None:
    model = load_bundle(bundle, "serving.bundle", settings_with())

    assert (model.name, model.version, model.source) == ("emotions", "7", "bundle")
    assert model.facts.metrics == {"test/accuracy": 0.7}
    assert model.facts.decision == {"promoted": True, "reasons": ["first"]}
    assert (model.facts.card, model.facts.since) == ("# Card", "2026-01-01")


def test_a_metric_that_is_not_a_number_does_not_keep_the_model_from_being_shown(
    bundle: Path, serve: Callable[..., Running]
) -> None:
    running = serve(first=load_bundle(bundle, "serving.bundle", settings_with()))

    assert running.client.get("/v1/model").json()["metrics"] == {"test/accuracy": 0.7}


def test_an_int8_file_of_another_network_is_refused(tmp_path: Path, content: bytes) -> None:
    folder = tmp_path / "content"
    folder.mkdir()
    bundle = write_tiny_bundle(tmp_path / "champion.zip", folder, content, int8=tiny_onnx(seed=9))

    with pytest.raises(UserError, match=r"serving\.bundle .*its model\.int8\.onnx does not answer as the model did"):
        load_bundle(bundle, "serving.bundle", settings_with(runtime="onnx_int8"))


def test_an_altered_bundle_is_refused_by_the_name_of_the_setting(bundle: Path, tmp_path: Path) -> None:
    altered = tmp_path / "altered.zip"
    with zipfile.ZipFile(bundle) as source, zipfile.ZipFile(altered, "w") as target:
        for name in source.namelist():
            target.writestr(name, tiny_onnx(seed=9) if name == "model.onnx" else source.read(name))

    with pytest.raises(UserError, match=r"serving\.bundle .*altered"):
        load_bundle(altered, "serving.bundle", settings_with())


def test_a_bundle_without_the_runtime_s_file_says_what_writes_it(bundle: Path) -> None:
    with pytest.raises(UnusableModelError, match=r"model\.int8\.onnx .*serving\.runtime onnx_int8"):
        load_bundle(bundle, "serving.bundle", settings_with(runtime="onnx_int8"))
