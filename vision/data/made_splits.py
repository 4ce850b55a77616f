"""Made splits: those that a data set lacks, drawn from its training faces."""

import pandas as pd
from sklearn.model_selection import train_test_split

from configs.data_settings import PreprocessingSettings
from configs.errors import InvalidDataError
from vision.data.faces import TEST, TRAIN, UNASSIGNED, VALIDATION


def make_splits(table: pd.DataFrame, settings: PreprocessingSettings, seed: int) -> pd.DataFrame:
    """Return a table in which every face has one of the three splits.

    Splits that are missing are drawn from training, stratified by class, with copies kept on one side. They are the
    same whatever the order of the rows: a folder is read by name, an archive in its own order. Raises InvalidDataError
    where there are too few faces.
    """
    table = table.copy()
    present = set(table["split"])
    if settings.held_out_as_test and VALIDATION in present and TEST not in present:
        table["split"] = table["split"].replace(VALIDATION, TEST)
        present = set(table["split"])
    table["split"] = table["split"].replace(UNASSIGNED, TRAIN)
    for split, share in ((TEST, settings.test_share), (VALIDATION, settings.validation_share)):
        if split not in present:
            pool = table[table["split"] == TRAIN]
            # near copies may lie on both sides, and are counted: grouping them would change every split made before
            images = pool.sort_values("source", kind="stable").drop_duplicates("exact_hash")
            try:
                _, taken = train_test_split(images, test_size=share, stratify=images["label"], random_state=seed)
            except ValueError as error:
                raise InvalidDataError(_too_few(images["label"], split, share)) from error
            table.loc[pool.index[pool["exact_hash"].isin(taken["exact_hash"])], "split"] = split
    return table


def _too_few(labels: pd.Series, split: str, share: float) -> str:
    """Say why no split can be drawn from different images with these labels."""
    counts = labels.value_counts()
    rarest = f"{counts.index[-1]} has {counts.iloc[-1]}"
    return (
        f"too few faces to make a {split} split of {share:.0%}: training has {len(labels)} different images of "
        f"{len(counts)} classes, {rarest}; every class needs two or more, and the split one of each class. Add images, "
        f"raise preprocessing.{split}_share, or give the data set a folder {split}/ beside train/"
    )
