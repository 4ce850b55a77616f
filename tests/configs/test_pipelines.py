import pytest

from configs.loading import FOLDER, PROJECT
from configs.pipelines import PIPELINES


def test_every_pipeline_is_in_the_table() -> None:
    modules = {path.stem for path in (PROJECT / "pipelines").glob("*.py")} - {"__init__", "runner"}

    assert modules == set(PIPELINES)


@pytest.mark.parametrize("name", PIPELINES)
def test_a_pipeline_has_a_module_and_a_yaml_of_its_name(name: str) -> None:
    assert PIPELINES[name].module == f"pipelines.{name}"
    assert (FOLDER / f"{name}.yaml").is_file()
