"""Who is analysed for what, before any emotion model runs."""

from pathlib import Path

import pytest

from extractors.errors import InputError
from streams.policy import EMPLOYEE_REASON, NOTICE_REASON, UNJOINED_FACES, audit, decide, load, normal_role
from streams.records import Notice, Participant

CALL = (Participant("customer", "customer"), Participant("agent", normal_role("agent")))


def write(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "policy.toml"
    file.write_text(text, "utf-8")
    return file


def test_an_employee_is_transcribed_and_never_emotion_analysed() -> None:
    decisions = decide(CALL)
    assert decisions["customer"].emotion
    agent = decisions["agent"]
    assert (agent.transcribe, agent.measure, agent.emotion, agent.reason) == (True, True, False, EMPLOYEE_REASON)


def test_a_face_of_nobody_declared_is_not_analysed_where_it_could_be_the_employee() -> None:
    assert not decide(CALL)[UNJOINED_FACES].emotion
    assert decide([Participant("a"), Participant("b", "public")])[UNJOINED_FACES].emotion


def test_live_needs_notice_and_a_role() -> None:
    without = decide(CALL, live=True)
    assert without["customer"].reason == NOTICE_REASON and not without["customer"].emotion
    told = decide([*CALL, Participant("x", "")], notice=Notice(True, "announcement", "09:00"), live=True)
    assert told["customer"].emotion and not told["agent"].emotion and not told["x"].emotion


def test_observables_only_measures_without_labels(tmp_path: Path) -> None:
    decision = decide(CALL, load(write(tmp_path, "observables_only = true")))["customer"]
    assert decision.observables_only and decision.measure and not decision.emotion


def test_employees_need_an_exception_with_a_name_behind_it(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="needs an exception"):
        load(write(tmp_path, "[roles.employee]\nemotion = true"))
    granted = write(
        tmp_path,
        '[roles.employee]\nemotion = true\n[exception]\nkind = "safety"\nroles = ["employee"]\njustification = "pilot study"\noperator = "R. Hall"',
    )
    policy = load(granted)
    decision = decide(CALL, policy)["agent"]
    assert decision.emotion and decision.exception == "safety: pilot study (R. Hall)"
    audit(tmp_path / "audit.jsonl", policy, "s1")
    audit(tmp_path / "audit.jsonl", policy, "s2")
    assert len((tmp_path / "audit.jsonl").read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("text", "cure"),
    [
        ("observable_only = true", "observables_only"),
        ("[roles.custmer]\nemotion = true", "customer"),
        ("[roles.customer]\nemotions = true", "emotion"),
        ("roles =", "not TOML"),
        ('[exception]\nkind = "fun"\nroles = []\njustification = "x"\noperator = "y"', "wrong entry"),
    ],
)
def test_a_faulty_policy_is_refused_with_its_cure(tmp_path: Path, text: str, cure: str) -> None:
    with pytest.raises(InputError, match=cure):
        load(write(tmp_path, text))


def test_card_numbers_are_redacted_unless_the_policy_says_otherwise(tmp_path: Path) -> None:
    assert decide(CALL)["customer"].redact == decide(CALL)["agent"].redact == ("card",)
    assert decide(CALL, load(write(tmp_path, 'redact = ["card", "phone", "email"]')))["agent"].redact == ("card", "phone", "email")
    assert decide(CALL, load(write(tmp_path, "redact = []")))["customer"].redact == ()
    with pytest.raises(InputError, match="did you mean `phone`"):
        load(write(tmp_path, 'redact = ["phones"]'))
