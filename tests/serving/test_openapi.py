"""The OpenAPI description: its examples are answered, and no request made from it ends in a server error."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.serving.conftest import Running


def operations(running: Running) -> dict[tuple[str, str], dict[str, Any]]:
    paths = running.client.get("/openapi.json").json()["paths"]
    return {(method, path): operation for path, methods in paths.items() for method, operation in methods.items()}


def test_every_endpoint_is_described(running: Running) -> None:
    assert {path for _, path in operations(running)} == {
        "/v1/emotions", "/v1/emotions:batch", "/v1/model", "/v2", "/v2/health/live", "/v2/health/ready", "/metrics",
        *(f"/v2/models/{{name}}{version}{end}" for version in ("", "/versions/{version}")
          for end in ("", "/ready", "/infer")),
    }  # fmt: skip


def test_the_examples_of_requests_are_answered(running: Running) -> None:
    answered = {}
    for (method, path), operation in operations(running).items():
        example = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("example")
        if example is not None:
            at = path.replace("{name}", "emotions").replace("{version}", "3")
            answered[path] = running.client.request(method, at, json=example).status_code

    assert len(answered) == 4
    assert set(answered.values()) == {200}


def test_the_examples_of_answers_have_the_members_of_real_ones(running: Running, photo: bytes) -> None:
    described = operations(running)["post", "/v1/emotions"]["responses"]["200"]["content"]["application/json"]
    real = running.client.post("/v1/emotions", content=photo).json()

    example = described["example"]
    assert set(example) == set(real)
    assert set(example["faces"][0]) == set(real["faces"][0])
    assert set(example["model"]) == set(real["model"])


@pytest.mark.serving
def test_no_generated_request_ends_in_a_server_error(serve: Callable[..., Running]) -> None:
    schemathesis = pytest.importorskip("schemathesis")
    from hypothesis import HealthCheck, given, settings
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance

    running = serve(allowed_hosts=["testserver"])
    schema = schemathesis.openapi.from_asgi("/openapi.json", running.client.app)
    checks = [not_a_server_error, content_type_conformance, response_schema_conformance]
    asked = 0
    for result in schema.get_all_operations():
        for mode in schemathesis.GenerationMode:

            @given(case=result.ok().as_strategy(generation_mode=mode))
            @settings(max_examples=25, deadline=None, database=None, suppress_health_check=list(HealthCheck))
            def ask(case: Any) -> None:
                nonlocal asked
                asked += 1
                case.call_and_validate(checks=checks)

            ask()
    assert asked > 100
