"""A model's whole life on servers: MLflow on PostgreSQL with its files in S3, ZenML's artifacts in S3."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import FinishedRun
from tests.pipelines.conftest import BETTER, TRAIN
from tests.servers.conftest import Stores
from tests.servers.postgresql import PASSWORD
from tests.servers.seaweedfs import WRITER

pytestmark = pytest.mark.servers
LONG_CARD = ["--card.limits", "[" + ", ".join(f'"{number}: {"long " * 30}"' for number in range(60)) + "]"]
NAME = "face-emotion-classifier"


@dataclass(frozen=True)
class Life:
    """The commands' outcomes by name, the folder that they ran in, and the pictures' predictions."""

    steps: dict[str, FinishedRun]
    folder: Path

    @property
    def bundle(self) -> Path:
        return self.folder / "champion.zip"


@pytest.fixture(scope="module")
def life(
    stores: Stores,
    run_commands: Callable[..., list[FinishedRun]],
    crops: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Life:
    folder = tmp_path_factory.mktemp("life")
    artifacts = ["--stores.artifacts", f"{stores.zenml_bucket}/team"]
    predict = ["--inference.detect", "false", "--inference.output", str(folder / "predictions"), "--inference.input"]
    commands = {
        "training": [*TRAIN, *LONG_CARD],
        "better": [*TRAIN, *BETTER],
        "rollback": ["--pipeline", "rollback", "--rollback.reason", "a test"],
        "export": ["--pipeline", "export", "--bundle.path", str(folder / "champion.zip")],
        "inference": ["--pipeline", "inference", *predict, str(crops)],
    }
    environment = {**stores.environment, "MLFLOW_TRACKING_URI": stores.mlflow.uri}
    done = run_commands(folder, *([*words, *artifacts] for words in commands.values()), environment=environment)
    return Life(dict(zip(commands, done, strict=True)), folder)


def test_every_command_ends_well(life: Life) -> None:
    for name, step in life.steps.items():
        assert step.code == 0, f"{name}: {step.output}"
        assert "Traceback" not in step.output


def test_the_model_card_is_cut_for_postgresql_and_whole_among_the_artifacts(life: Life, stores: Stores) -> None:
    version = stores.client.get_model_version(NAME, "1")

    assert len(version.description) <= 5000
    assert "lines are left out here" in version.description.splitlines()[-1]
    (card,) = [key for key in stores.s3.names("mlflow") if key.endswith(f"{version.run_id}/artifacts/model_card.md")]
    whole = stores.s3.client().get_object(Bucket="mlflow", Key=card)["Body"].read().decode()
    assert whole.count("long long long") > 60


def test_the_champion_is_the_one_that_the_rollback_restored(life: Life, stores: Stores) -> None:
    assert stores.client.get_model_version_by_alias(NAME, "champion").version == "1"
    assert "now" in life.steps["rollback"].output


def test_what_steps_return_is_in_the_bucket_and_not_in_the_state_folder(life: Life, stores: Stores) -> None:
    kept = stores.s3.names("zenml", "team/zenml/")

    assert any("/train_model/" in f"/{key}" for key in kept)
    assert not any("check-" in key for key in kept)
    assert not list((life.folder / "state" / "artifacts").rglob("*.keras"))


def test_the_second_training_takes_its_data_from_the_cache_in_the_bucket(life: Life) -> None:
    assert "ingest_data: done" in life.steps["training"].output
    assert life.bundle.stat().st_size > 0


def test_no_secret_is_shown_or_kept(life: Life) -> None:
    secrets = (PASSWORD, WRITER.secret)
    said = "".join(step.output for step in life.steps.values())
    kept = b"".join(path.read_bytes() for path in (life.folder / "state" / "zenml").rglob("*") if path.is_file())

    assert not [secret for secret in secrets if secret in said or secret.encode() in kept]
