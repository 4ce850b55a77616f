import base64
from typing import Any

import numpy as np
import pytest
from PIL import Image

from serving.examples import PIXEL
from serving.served_model import ServedModel
from tests.serving.conftest import NAMES, Running, drawn_scene, encoded
from vision.data.decoding import decode_image
from vision.inference.face_cuts import cut_faces

URL = "/v1/emotions"


def ask(running: Running, content: bytes, **headers: str) -> dict[str, Any]:
    answer = running.client.post(URL, content=content, headers=headers)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_an_answer_has_the_model_and_for_each_face_its_box_and_probabilities(
    running: Running, photo: bytes, model: ServedModel
) -> None:
    found = ask(running, photo)

    assert found["model"] == {"name": "emotions", "version": "3", "sha256": model.sha256, "source": "registry"}
    assert (found["width"], found["height"], found["too_small"], len(found["faces"])) == (640, 480, 0, 2)
    face = found["faces"][0]
    assert set(face) == {"box", "score", "emotion", "confidence", "uncertain", "probabilities"}
    assert tuple(face["probabilities"]) == NAMES
    assert face["confidence"] == max(face["probabilities"].values()) == face["probabilities"][face["emotion"]]
    assert sum(face["probabilities"].values()) == pytest.approx(1, abs=1e-4)
    assert face["uncertain"] == (face["confidence"] < running.service.settings.inference.confidence_threshold)


def test_the_service_answers_as_batch_inference_cuts_and_the_model_predicts(
    running: Running, photo: bytes, model: ServedModel
) -> None:
    faces = cut_faces(decode_image(photo, 10**8).image, running.service.settings.inference, 48)
    expected = model.predictor.predict(faces.images, 16)

    found = ask(running, photo)["faces"]

    assert [list(face["box"].values()) for face in found] == faces.boxes.tolist()
    np.testing.assert_allclose([list(face["probabilities"].values()) for face in found], expected, atol=1e-5)


def test_raw_multipart_and_base64_are_answered_alike(running: Running, photo: bytes) -> None:
    raw = ask(running, photo, **{"content-type": "image/jpeg"})

    form = running.client.post(URL, files={"image": ("face.jpg", photo)}).json()
    text = running.client.post(URL, json={"image": base64.b64encode(photo).decode()}).json()

    assert raw == form == text


def test_a_picture_without_a_face_is_no_error(running: Running) -> None:
    found = ask(running, base64.b64decode(PIXEL))

    assert (found["width"], found["height"], found["faces"]) == (1, 1, [])


def test_faces_that_are_too_small_are_counted(serve: Any, photo: bytes) -> None:
    found = ask(serve(inference={"min_face_pixels": 170}), photo)

    assert (len(found["faces"]), found["too_small"]) == (1, 1)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_each_exif_orientation_is_applied(running: Running, orientation: int) -> None:
    upright = Image.fromarray(drawn_scene((40, 80, 200)))
    turns = {2: [Image.Transpose.FLIP_LEFT_RIGHT], 3: [Image.Transpose.ROTATE_180],
             4: [Image.Transpose.FLIP_TOP_BOTTOM], 5: [Image.Transpose.TRANSPOSE], 6: [Image.Transpose.ROTATE_90],
             7: [Image.Transpose.TRANSVERSE], 8: [Image.Transpose.ROTATE_270]}  # fmt: skip
    stored = upright
    for turn in turns.get(orientation, []):
        stored = stored.transpose(turn)
    exif = Image.Exif()
    exif[0x0112] = orientation

    found = ask(running, encoded(stored, "JPEG", quality=95, exif=exif))

    assert (found["width"], found["height"]) == (640, 480)
    box = found["faces"][0]["box"]
    assert abs(box["x"] + box["width"] / 2 - 140) < 25
    assert abs(box["y"] + box["height"] / 2 - 180) < 25


def sixteen_bits(scene: np.ndarray) -> bytes:
    return encoded(Image.fromarray(scene[..., 0].astype(np.uint16) * 257))


def palette(scene: np.ndarray) -> bytes:
    return encoded(Image.fromarray(scene).convert("P", palette=Image.Palette.ADAPTIVE))


def animated(scene: np.ndarray) -> bytes:
    first = Image.fromarray(scene)
    return encoded(first, "GIF", save_all=True, append_images=[Image.new("RGB", first.size)] * 3)


@pytest.mark.parametrize(
    "write",
    [
        lambda scene: encoded(Image.fromarray(scene).convert("CMYK"), "JPEG", quality=95),
        sixteen_bits,
        palette,
        animated,
        lambda scene: encoded(Image.fromarray(scene).convert("LA")),
        lambda scene: encoded(scene, "WEBP", quality=95),
        lambda scene: encoded(scene, "BMP"),
        lambda scene: encoded(scene, "TIFF"),
    ],
    ids=["cmyk", "16 bit", "palette", "animated", "grey with alpha", "webp", "bmp", "tiff"],
)
def test_each_mode_and_format_is_answered_as_the_plain_picture(running: Running, write: Any) -> None:
    scene = drawn_scene((40, 80, 200))
    plain = ask(running, encoded(scene))["faces"][0]

    (found,) = ask(running, write(scene))["faces"]

    for name, value in plain["box"].items():
        assert abs(found["box"][name] - value) <= 12
    assert abs(found["confidence"] - plain["confidence"]) < 0.1


def pages(scene: np.ndarray) -> bytes:
    first = Image.fromarray(scene)
    return encoded(first, "TIFF", save_all=True, append_images=[Image.new("RGB", first.size)])


@pytest.mark.parametrize(
    ("write", "several"),
    [(animated, True), (pages, True), (palette, False), (lambda scene: encoded(scene, "TIFF"), False)],
    ids=["animated", "pages", "png", "one page"],
)
def test_a_file_of_several_pictures_is_said_and_counted(running: Running, write: Any, several: bool) -> None:
    found = ask(running, write(drawn_scene((40, 80, 200))))

    assert (found["first_of_several"], len(found["faces"])) == (several, 1)
    counted = running.service.metrics.registry.get_sample_value("face_emotion_files_of_several_total")
    assert counted == several


def test_many_pictures_are_answered_in_their_order_with_a_problem_for_each_that_cannot_be_read(
    running: Running, photo: bytes
) -> None:
    parts = [("image", ("a.jpg", photo)), ("image", ("b.txt", b"text")), ("image", ("c.jpg", photo))]

    found = running.client.post(f"{URL}:batch", files=parts).json()

    alone = ask(running, photo)
    assert found["model"] == alone.pop("model")
    assert found["pictures"][0] == found["pictures"][2] == alone
    assert found["pictures"][1]["problem"]["status"] == 415


def test_many_pictures_in_json_are_answered(running: Running) -> None:
    found = running.client.post(f"{URL}:batch", json={"images": [PIXEL, PIXEL]}).json()

    assert [picture["width"] for picture in found["pictures"]] == [1, 1]


def test_more_pictures_than_the_setting_allows_are_refused(serve: Any) -> None:
    answer = serve(max_pictures=2).client.post(f"{URL}:batch", json={"images": [PIXEL] * 3})

    assert (answer.status_code, "serving.max_pictures" in answer.json()["detail"]) == (413, True)
