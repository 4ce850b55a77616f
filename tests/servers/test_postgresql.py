"""MLflow on PostgreSQL without a server before it, its files put into S3 by the run itself."""

from collections.abc import Callable
from pathlib import Path

import mlflow
import pytest

from tests.conftest import FinishedRun
from tests.servers.conftest import Stores
from tests.servers.postgresql import PASSWORD

pytestmark = pytest.mark.servers


def test_a_training_runs_on_a_database_and_a_bucket_alone(
    stores: Stores, run_commands: Callable[..., list[FinishedRun]], tmp_path: Path
) -> None:
    database, bucket = stores.postgresql.create_database("direct"), stores.s3.create_bucket("direct")
    environment = {**stores.environment, "MLFLOW_TRACKING_URI": database}
    words = ["--pipeline", "training", "--promotion.allow_drawn", "true", "--stores.artifacts", bucket]

    (done,) = run_commands(tmp_path, words, environment=environment)

    assert done.code == 0, done.output
    assert PASSWORD not in done.output
    champion = mlflow.MlflowClient(database).get_model_version_by_alias("face-emotion-classifier", "champion")
    kept = stores.s3.names("direct", "mlflow/")
    assert any(champion.run_id in key and key.endswith("model_card.html") for key in kept)
