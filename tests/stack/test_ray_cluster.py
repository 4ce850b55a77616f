"""What is checked before a cluster is joined, without Ray; tests/ray starts clusters."""

import importlib.util
import socket
from collections.abc import Sequence
from pathlib import Path

import pytest

from configs.errors import UserError
from configs.inference_settings import RaySettings
from configs.loading import load_settings
from stack.ray_cluster import check_ray, count_actors, ray_engine
from vision.inference.ray_job import check_storage


def ray_settings(**changes: object) -> RaySettings:
    return load_settings([], {"inference": {"ray": changes}}).inference.ray


@pytest.mark.parametrize(
    ("slots", "actors"),
    [([2], 1), ([8], 4), ([2, 2], 1), ([4, 4], 2), ([16, 4, 4], 4), ([2.0, 2.0, 2.0, 0.5], 2), ([0, 8], 4)],
)
def test_actors_get_half_of_the_slots_that_survive_the_largest_machine(slots: Sequence[float], actors: int) -> None:
    assert count_actors(slots, 0) == actors


@pytest.mark.parametrize("slots", [[], [1], [1, 1], [4, 1], [0.5, 0.5]])
def test_too_few_slots_are_refused(slots: Sequence[float]) -> None:
    with pytest.raises(UserError, match="needs 2 of them"):
        count_actors(slots, 0)


def test_more_actors_are_allowed_while_a_slot_is_left_to_read_and_write() -> None:
    assert count_actors([4, 4], 3) == 3
    with pytest.raises(UserError, match=r"inference.ray.actors is 4.*allowed: 1 to 3, or 0 for 2"):
        count_actors([4, 4], 4)


def test_a_missing_package_is_named_with_the_way_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)

    with pytest.raises(UserError, match=r"ray\[data\].*make setup-servers"):
        check_ray(ray_settings())


def test_an_address_where_nothing_answers_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: True)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        free = taken.getsockname()[1]

    with pytest.raises(UserError, match=rf"inference.ray.address 127.0.0.1:{free}: nothing answers"):
        check_ray(ray_settings(address=f"127.0.0.1:{free}"))


@pytest.mark.parametrize("address", ["", "here", "ray://head:10001", "head:", "user@head:6379"])
def test_an_address_is_a_host_with_a_port(address: str) -> None:
    with pytest.raises(UserError, match=r"inference.ray.address"):
        ray_settings(address=address)


def test_a_storage_with_a_login_is_refused_without_showing_it() -> None:
    with pytest.raises(UserError, match=r"inference.ray.storage.*a login") as refused:
        ray_settings(storage="s3://key:hidden@bucket/jobs")

    assert "hidden" not in str(refused.value)


def test_the_parts_of_a_job_lie_in_its_folder_or_in_the_storage(tmp_path: Path) -> None:
    folder = tmp_path / "out" / "faces-0123456789"

    assert ray_engine(ray_settings(), folder).storage.path == str(folder / "parts")
    assert ray_engine(ray_settings(storage=f"{tmp_path}/all"), folder).storage.path == f"{tmp_path}/all/{folder.name}"
    assert ray_engine(ray_settings(storage=f"file://{tmp_path}/all/"), folder).storage.uri.endswith(
        f"/all/{folder.name}"
    )


def test_a_storage_of_an_unknown_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"inference.ray.storage nosuch://place"):
        ray_engine(ray_settings(storage="nosuch://place"), tmp_path)


def test_a_machine_says_where_it_does_not_see_the_storage(tmp_path: Path) -> None:
    storage = ray_engine(ray_settings(storage=str(tmp_path)), Path("job")).storage
    assert "does not see" in check_storage(storage)

    (tmp_path / "job").mkdir()
    (tmp_path / "job" / "probe").touch()
    assert check_storage(storage) == ""
    assert [path.name for path in (tmp_path / "job").iterdir()] == ["probe"]
