from dataclasses import replace

from tests.vision.lifecycle.training_facts import invented_facts


def test_splits_are_those_that_have_or_had_faces_in_their_usual_order() -> None:
    facts = invented_facts()
    undivided = replace(facts.preprocessing, before={"unassigned": 9}, rules=())

    assert facts.splits == ["train", "validation", "test"]
    assert replace(facts, preprocessing=undivided).splits == ["unassigned"]


def test_phases_have_their_number_of_epochs() -> None:
    assert invented_facts().phases == [("head", 1), ("top", 2)]


def test_the_headline_has_the_scores_on_all_test_faces() -> None:
    assert invented_facts().headline == {
        "test accuracy": "64.12%",
        "test macro-F1": "58.35%",
        "worst class recall": "25.00%",
        "expected calibration error": "0.0441",
        "best validation accuracy": "64.89%",
    }


def test_the_headline_names_the_views_that_were_averaged() -> None:
    facts = invented_facts()
    scores = {**facts.evaluation.scores, "test_tta": {"accuracy": 0.66}}
    averaged = replace(facts, evaluation=replace(facts.evaluation, views="ten_crop", scores=scores))

    assert averaged.headline["  with ten-crop"] == "66.00%"
