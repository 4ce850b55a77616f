"""Kaggle: data sets downloaded with kagglehub, which keeps them in its cache."""

import importlib
from pathlib import Path

from configs.errors import UserError


def download_dataset(name: str) -> Path:
    """Return the folder of the newest version of a data set on Kaggle, downloaded if it is not in the cache.

    Raises UserError where kagglehub is not installed or cannot download.
    """
    try:
        kagglehub = importlib.import_module("kagglehub")
    except ImportError as error:
        raise UserError(
            "dataset.reader kaggle needs the package kagglehub: run `.venv/bin/pip install kagglehub`, "
            "or download the data set by hand and give its path with --dataset.path"
        ) from error
    try:
        return Path(kagglehub.dataset_download(name))
    except Exception as error:  # kagglehub raises requests', its own and OS errors alike
        raise UserError(
            f"kagglehub could not download dataset.kaggle_name {name}: {error}; "
            "check the network and the name, or download it by hand and give its path with --dataset.path"
        ) from error
