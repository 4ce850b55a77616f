"""Examples: what /openapi.json shows of requests and answers."""

from typing import Any

MODEL = {
    "name": "face-emotion-classifier",
    "version": "3",
    "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "source": "registry",
}
PICTURE = {
    "width": 640,
    "height": 480,
    "faces": [
        {
            "box": {"x": 212, "y": 96, "width": 150, "height": 150},
            "score": 0.97,
            "emotion": "happy",
            "confidence": 0.91,
            "uncertain": False,
            "probabilities": {
                "angry": 0.01,
                "disgust": 0.0,
                "fear": 0.01,
                "happy": 0.91,
                "neutral": 0.05,
                "sad": 0.01,
                "surprise": 0.01,
            },
        }
    ],
    "too_small": 0,
    "first_of_several": False,
}
ANSWER = {"model": MODEL, **PICTURE}
UNREAD = {
    "problem": {
        "type": "about:blank",
        "title": "Unsupported Media Type",
        "status": 415,
        "detail": "not an image: the file starts with b'%PDF-1.7'; send a JPEG, PNG, WebP, GIF, BMP, TIFF or AVIF",
    }
}
BATCH_ANSWER = {"model": MODEL, "pictures": [PICTURE, UNREAD]}
# a white picture of one pixel: an answer without a face
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGP4DwABAQEAsTjL/wAAAABJRU5ErkJggg=="


def _schema(name: str, of: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "required": [name], "properties": {name: of}}


BINARY, BASE64 = {"type": "string", "format": "binary"}, {"type": "string", "format": "byte", "minLength": 4}
PICTURE_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        "image/*": {"schema": BINARY},
        "multipart/form-data": {"schema": _schema("image", BINARY)},
        "application/json": {"schema": _schema("image", BASE64), "example": {"image": PIXEL}},
    },
}
BATCH_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        "multipart/form-data": {"schema": _schema("image", {"type": "array", "minItems": 1, "items": BINARY})},
        "application/json": {
            "schema": _schema("images", {"type": "array", "minItems": 1, "items": BASE64}),
            "example": {"images": [PIXEL, PIXEL]},
        },
    },
}
TEXT, PARAMETERS = {"type": "string"}, {"type": "object"}
INFER_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["inputs"],
                "properties": {
                    "id": TEXT,
                    "parameters": PARAMETERS,
                    "inputs": {
                        "type": "array",
                        "minItems": 1,
                        "maxItems": 1,
                        "items": {
                            "type": "object",
                            "required": ["name", "shape", "datatype", "data"],
                            "properties": {
                                "name": {"type": "string", "const": "faces"},
                                "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}},
                                "datatype": {"type": "string", "enum": ["UINT8", "FP32"]},
                                "parameters": PARAMETERS,
                                "data": {"type": "array", "items": {"type": "number", "minimum": 0, "maximum": 255}},
                            },
                        },
                    },
                    "outputs": {
                        "type": "array",
                        "items": {
                            "type": "object",
                            "required": ["name"],
                            "properties": {
                                "name": {"type": "string", "const": "probabilities"},
                                "parameters": PARAMETERS,
                            },
                        },
                    },
                },
            },
            "example": {
                "id": "1",
                "inputs": [{"name": "faces", "shape": [1, 48, 48, 1], "datatype": "UINT8", "data": [128] * 48 * 48}],
            },
        }
    },
}
