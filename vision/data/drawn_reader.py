"""Drawn reader: drawn faces in place of a data set."""

from configs.data_settings import DatasetSettings
from vision.data.faces import UNASSIGNED
from vision.data.raw_faces import RawFace, Reading
from vision.data.synthetic import draw_faces


def read_drawn(settings: DatasetSettings, seed: int) -> Reading:
    """Draw `dataset.drawn.faces` faces; nothing is read from the disk."""
    drawn = draw_faces(settings.drawn, settings.class_names, settings.image_size, seed)
    faces = (RawFace(f"drawn/{i:06d}", label, UNASSIGNED, pixels) for i, (label, pixels) in enumerate(drawn))
    return Reading("drawn", "drawn", settings.drawn.faces, faces)
