from typing import Any

import numpy as np
import pytest

from configs.lifecycle_settings import PromotionSettings
from configs.settings import Settings
from vision.data.faces import FaceSet
from vision.evaluation.robustness import SliceScore
from vision.lifecycle.decision import Decision
from vision.lifecycle.gate import Contender, GateRules, decide
from vision.reporting.reports import Report

NAMES = 7
PLOTS = ("class_changes", "confusion_pair")


@pytest.fixture(autouse=True)
def undrawn(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw no figures, which take seconds, in tests that do not look at them."""
    if "with_figures" not in request.fixturenames:
        for name in PLOTS:
            monkeypatch.setattr(f"vision.lifecycle.plots.{name}", lambda *_: b"")
        monkeypatch.setattr("vision.lifecycle.gate.labelled_faces", lambda *_: b"")


@pytest.fixture
def with_figures() -> None:
    """Mark a test that looks at the figures."""


@pytest.fixture(scope="module")
def lenient(small_settings: Settings) -> PromotionSettings:
    """Every floor is kept by anything; drawn faces count."""
    floors = {"min_accuracy": 0, "min_macro_f1": 0, "min_worst_class_recall": 0, "max_expected_calibration_error": 1}
    return small_settings.promotion.model_copy(update={**floors, "allow_drawn": True, "bootstrap_samples": 500})


def contender(faces: FaceSet, right: float, version: str = "1", seed: int = 0, **changes: Any) -> Contender:
    """A model that is right on a share of the faces, and sure of what it says."""
    random = np.random.default_rng(seed)
    hit = random.random(len(faces)) < right
    predicted = np.where(hit, faces.labels, (faces.labels + 1) % NAMES)
    probabilities = np.full((len(faces), NAMES), 0.05) + np.eye(NAMES)[predicted] * 0.65
    measured = {"megabytes": 10.0, "latency_p95_milliseconds": 5.0, **changes}
    return Contender(version, probabilities.astype(np.float32), **measured)


@pytest.fixture(scope="module")
def judge(drawn: FaceSet, small_settings: Settings) -> Any:
    def run(
        challenger: Contender, champion: Contender | None, settings: PromotionSettings, learned: Any = None
    ) -> Decision:
        seen = np.zeros(len(drawn), dtype=bool) if learned is None else learned
        rules = GateRules(promotion=settings, evaluation=small_settings.evaluation, seed=1)
        return decide(challenger, champion, drawn, seen, rules)

    return run


def test_a_challenger_that_is_clearly_better_is_promoted(
    judge: Any, drawn: FaceSet, lenient: PromotionSettings
) -> None:
    decision = judge(contender(drawn, 0.9, "2"), contender(drawn, 0.5, "1", seed=5), lenient)

    assert decision.outcome == "promoted"
    assert decision.champion == "1"
    accuracy = {gain.metric: gain for gain in decision.gains}["accuracy"]
    scores = decision.scores
    assert accuracy.gain == pytest.approx(scores["challenger"]["accuracy"] - scores["champion"]["accuracy"])
    assert accuracy.low < accuracy.gain < accuracy.high
    assert decision.only_challenger_right > decision.only_champion_right
    assert decision.mcnemar_p < 0.001


@pytest.mark.parametrize("right", [0.7, 0.5], ids=["no better", "worse"])
def test_a_challenger_that_is_not_shown_to_be_better_is_held(
    right: float, judge: Any, drawn: FaceSet, lenient: PromotionSettings
) -> None:
    decision = judge(contender(drawn, right, "2", seed=3), contender(drawn, 0.7, "1", seed=5), lenient)

    assert decision.outcome == "held"
    assert "not shown to be better" in decision.reasons[0]


def test_the_same_model_is_held_with_a_gain_of_exactly_zero(
    judge: Any, drawn: FaceSet, lenient: PromotionSettings
) -> None:
    decision = judge(contender(drawn, 0.7, "2"), contender(drawn, 0.7, "1"), lenient)

    assert decision.outcome == "held"
    assert [(gain.gain, gain.low, gain.high) for gain in decision.gains] == [(0, 0, 0), (0, 0, 0)]
    assert decision.mcnemar_p == 1.0


@pytest.mark.parametrize(
    ("setting", "bound", "name"),
    [
        ("min_accuracy", 0.99, "accuracy"),
        ("min_macro_f1", 0.99, "macro f1"),
        ("min_worst_class_recall", 0.99, "worst class recall"),
        ("max_expected_calibration_error", 0.0, "expected calibration error"),
        ("max_model_megabytes", 1.0, "model megabytes"),
        ("max_latency_p95_milliseconds", 1.0, "latency p95 milliseconds"),
    ],
)
@pytest.mark.parametrize("first", [True, False], ids=["first model", "better than the champion"])
def test_a_broken_floor_rejects_whatever_the_champion_is(
    setting: str, bound: float, name: str, first: bool, judge: Any, drawn: FaceSet, lenient: PromotionSettings
) -> None:
    champion = None if first else contender(drawn, 0.3, "1", seed=5)

    decision = judge(contender(drawn, 0.9, "2"), champion, lenient.model_copy(update={setting: bound}))

    assert decision.outcome == "rejected"
    assert len(decision.reasons) == 1
    assert decision.reasons[0].startswith(name)


def test_a_broken_floor_for_slices_rejects_and_names_the_worst_slice(
    judge: Any, drawn: FaceSet, lenient: PromotionSettings
) -> None:
    floor = lenient.model_copy(update={"min_worst_slice_accuracy": 0.4})
    weak, strong = SliceScore("lower_half_covered", 0.31, 0.2, []), SliceScore("noisy", 0.41, 0.2, [])

    broken = judge(contender(drawn, 0.9, worst_slice=weak), contender(drawn, 0.5, seed=5, worst_slice=strong), floor)
    kept = judge(contender(drawn, 0.9, worst_slice=strong), None, floor)

    assert broken.outcome == "rejected"
    assert broken.reason == "worst slice accuracy 0.31 (lower half covered), must be at least 0.4"
    row = "| worst slice accuracy (lower half covered) | 0.41 | 0.31 | at least 0.4 | **broken** |"
    assert row in broken.markdown()
    assert "worst slice accuracy (lower half covered)" in broken.page()
    assert kept.outcome == "promoted"


def test_a_gap_above_its_ceiling_rejects_and_the_champions_is_not_known(
    judge: Any, drawn: FaceSet, lenient: PromotionSettings
) -> None:
    ceiling = lenient.model_copy(update={"max_generalization_gap": 0.08})
    champion = contender(drawn, 0.5, seed=5)

    broken = judge(contender(drawn, 0.9, generalization_gap=0.2), champion, ceiling)
    kept = judge(contender(drawn, 0.9, generalization_gap=-0.01), champion, ceiling)

    assert (broken.outcome, kept.outcome) == ("rejected", "promoted")
    assert broken.reason == "generalization gap 0.2, must be at most 0.08"
    assert "| generalization gap | – | 0.2 | at most 0.08 | **broken** |" in broken.markdown()


def test_the_first_model_that_keeps_the_floors_is_promoted(
    judge: Any, drawn: FaceSet, lenient: PromotionSettings
) -> None:
    decision = judge(contender(drawn, 0.5), None, lenient)

    assert decision.outcome == "promoted"
    assert (decision.champion, decision.gains, decision.mcnemar_p) == (None, [], None)


def test_drawn_faces_are_never_promoted_unless_a_test_allows_it(
    judge: Any, drawn: FaceSet, lenient: PromotionSettings
) -> None:
    decision = judge(contender(drawn, 0.9, "2"), None, lenient.model_copy(update={"allow_drawn": False}))

    assert decision.outcome == "held"
    assert "drawn" in decision.reasons[0]


def test_faces_that_a_model_was_trained_on_do_not_count_for_the_gain(
    judge: Any, drawn: FaceSet, lenient: PromotionSettings
) -> None:
    challenger, champion = contender(drawn, 0.9, "2"), contender(drawn, 0.5, "1", seed=5)
    learned = challenger.probabilities.argmax(axis=1) == drawn.labels  # all that it knows, it knows by heart

    decision = judge(challenger, champion, lenient, learned)

    assert decision.outcome == "held"
    assert decision.compared_faces == (~learned).sum()
    assert decision.only_challenger_right == 0
    everything = judge(challenger, champion, lenient, np.ones(len(drawn), dtype=bool))
    assert everything.outcome == "held"
    assert "nothing is left" in everything.reasons[0]


def test_a_first_model_that_was_trained_on_every_test_face_is_held(
    judge: Any, drawn: FaceSet, lenient: PromotionSettings
) -> None:
    learned = np.ones(len(drawn), dtype=bool)

    decision = judge(contender(drawn, 0.9), None, lenient, learned)
    broken = judge(contender(drawn, 0.9), None, lenient.model_copy(update={"min_accuracy": 0.99}), learned)

    assert decision.outcome == "held"
    assert decision.reason.startswith("the model was trained on every test face")
    assert broken.outcome == "rejected"
    learned[0] = False
    assert judge(contender(drawn, 0.9), None, lenient, learned).outcome == "promoted"


def test_a_class_without_a_test_face_has_no_score_in_the_decision(
    drawn: FaceSet, lenient: PromotionSettings, small_settings: Settings
) -> None:
    test = drawn.take(np.flatnonzero(drawn.table["label"] != "disgust"))
    rules = GateRules(promotion=lenient, evaluation=small_settings.evaluation, seed=1)
    one, other = contender(test, 0.9, "2"), contender(test, 0.5, "1", seed=5)

    decision = decide(one, other, test, np.zeros(len(test), dtype=bool), rules)

    assert decision.scores["challenger"]["worst_class_recall"] > 0.5  # of the classes that have faces
    assert decision.untested == ("disgust",)
    assert "| disgust | – | – | 0 |" in decision.markdown()
    for text in (decision.markdown(), decision.page()):
        assert "No test face of disgust: nothing was judged on it." in text


def test_a_gain_must_exceed_the_minimum(judge: Any, drawn: FaceSet, lenient: PromotionSettings) -> None:
    strict = lenient.model_copy(update={"min_gain": 0.6})

    decision = judge(contender(drawn, 0.9, "2"), contender(drawn, 0.5, "1", seed=5), strict)

    assert decision.outcome == "held"


def test_a_decision_survives_json_and_shows_both_models(
    with_figures: None, judge: Any, drawn: FaceSet, lenient: PromotionSettings
) -> None:
    decision = judge(contender(drawn, 0.9, "2"), contender(drawn, 0.5, "1", seed=5), lenient)

    again = Decision.from_facts(decision.facts(), decision.figures)

    assert isinstance(again, Report)
    assert again == decision
    assert set(decision.figures) == {"class_changes.png", "confusion_matrices.png", "disagreements.png"}
    page = decision.page()
    assert page.count("data:image/png;base64,") == 3
    for text in ("McNemar", "paired bootstrap", "worst class recall", "disgust"):
        assert text in page
    summary = decision.markdown()
    assert "| happy |" in summary
    assert f"{decision.gains[0].gain:+.4f}" in summary
    assert "| kept |" in summary


def test_a_broken_floor_is_bold_in_the_summary(judge: Any, drawn: FaceSet, lenient: PromotionSettings) -> None:
    summary = judge(contender(drawn, 0.5), None, lenient.model_copy(update={"min_accuracy": 0.9})).markdown()

    assert "at least 0.9 | **broken** |" in summary
