"""What is wrong with a store is said before the first step: one sentence, exit code 2."""

from collections.abc import Callable

import pytest

from tests.conftest import FinishedRun
from tests.servers.conftest import STACK, Stores, UsersStack
from tests.servers.processes import HOST, free_ports
from tests.servers.seaweedfs import READER, STRANGER, Login

pytestmark = pytest.mark.servers
ROLLBACK = ["--pipeline", "rollback"]


@pytest.fixture(scope="module")
def refused(
    stores: Stores, run_commands: Callable[..., list[FinishedRun]], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., str]:
    """Return a function that starts a pipeline on a bucket, and returns the one line of its error."""
    folder = tmp_path_factory.mktemp("refused")

    def run(*words: str, **environment: str) -> str:
        given = {**stores.environment, "MLFLOW_TRACKING_URI": stores.mlflow.uri, **environment}
        (done,) = run_commands(folder, [*ROLLBACK, *words], environment=given)
        assert done.code == 2, done.output
        assert "Traceback" not in done.output
        (error,) = [line for line in done.output.splitlines() if line.startswith("error: ")]
        return error

    return run


@pytest.mark.parametrize(
    ("login", "said"),
    [
        (STRANGER, "refuses the key (InvalidAccessKeyId); set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"),
        (Login("writer-of-tests", "another secret"), "refuses the key (SignatureDoesNotMatch)"),
        (READER, "does not let this key write (AccessDenied)"),
    ],
)
def test_a_key_that_is_wrong_or_may_only_read_is_refused(
    login: Login, said: str, refused: Callable[..., str], stores: Stores
) -> None:
    error = refused("--stores.artifacts", stores.zenml_bucket, **login.environment)

    assert f"the artifact store s3://zenml/zenml at {stores.s3.endpoint} (stores.artifacts) {said}" in error
    assert login.secret not in error


def test_a_bucket_that_is_missing_is_named(refused: Callable[..., str]) -> None:
    assert "s3://nowhere/zenml" in refused("--stores.artifacts", "s3://nowhere")


def test_an_endpoint_that_does_not_answer_is_named(refused: Callable[..., str]) -> None:
    silent = f"http://{HOST}:{free_ports(1)[0]}"

    error = refused("--stores.artifacts", "s3://zenml", AWS_ENDPOINT_URL=silent)

    assert f"no server answers at {silent}, where the artifact store s3://zenml/zenml (stores.artifacts) is" in error
    assert "AWS_ENDPOINT_URL" in error


def test_an_unknown_stack_and_one_without_a_tracker_are_refused_with_the_names_of_all(
    refused: Callable[..., str], users_stack: UsersStack
) -> None:
    unknown = refused("--stack", "nobody", **users_stack.environment)
    plain = refused("--stack", "default", **users_stack.environment)

    for error in (unknown, plain):
        assert "default (without a tracker)" in error
        assert f"{STACK} (tracks with mlflow)" in error


def test_a_zenml_server_refuses_a_wrong_key(refused: Callable[..., str], users_stack: UsersStack) -> None:
    error = refused("--stack", STACK, **{**users_stack.environment, "ZENML_STORE_API_KEY": "ZENKEY_wrong"})

    assert f"the ZenML server {users_stack.zenml.url} refuses the login" in error
    assert "ZENML_STORE_API_KEY" in error
    assert "ZENKEY_wrong" not in error
