"""EmotionML: the assertions of the W3C implementation report that concern what is written, and the W3C schema itself."""

from __future__ import annotations

import shutil
import subprocess
import zipfile

import msgspec
import pytest
from lxml import etree

from fusion.settle import settled
from streams.egress.emotionml import NAMESPACE, emotionml
from tests.streams.egress.scenario import right_to_left, round_table, support_call

NS = {"e": NAMESPACE}
PAD = {"pleasure", "arousal", "dominance"}
EVENTS = support_call()


def document(events: list, **options: str) -> etree._Element:
    return etree.fromstring(emotionml(events, **options).encode(), etree.XMLParser(resolve_entities=False))


def check(root: etree._Element) -> None:
    """The rules in words; numbers are those of the implementation report."""
    assert root.tag == f"{{{NAMESPACE}}}emotionml" and root.get("version") == "1.0"  # 101-103
    ids = root.xpath("//e:*/@id", namespaces=NS)
    assert len(ids) == len(set(ids)) and all(i[0].isalpha() for i in ids)
    vocabularies = {v.get("id"): [i.get("name") for i in v.xpath("e:item", namespaces=NS)] for v in root.xpath("e:vocabulary", namespaces=NS)}
    for vocabulary in root.xpath("e:vocabulary", namespaces=NS):  # 301-
        assert vocabulary.get("type") in {"category", "dimension", "appraisal", "action-tendency"}
        names = vocabularies[vocabulary.get("id")]
        assert names and len(names) == len(set(names))
    for emotion in root.xpath("e:emotion", namespaces=NS):
        kinds = [etree.QName(child).localname for child in emotion]
        assert {"category", "dimension", "appraisal", "action-tendency"} & set(kinds)  # 156
        assert kinds.count("info") <= 1 and set(kinds) <= {"info", "category", "dimension", "reference"}
        assert kinds == sorted(kinds, key=["info", "category", "dimension", "reference"].index)
        for name in ("category", "dimension"):
            elements = emotion.xpath(f"e:{name}", namespaces=NS)
            declared = emotion.get(f"{name}-set") or root.get(f"{name}-set")
            assert not elements or declared, f"{name} needs a declared vocabulary"  # 210, 220
            allowed = vocabularies[declared[1:]] if elements and declared.startswith("#") else PAD
            names = [e.get("name") for e in elements]
            assert len(names) == len(set(names)) and set(names) <= set(allowed)  # 212-213
            for element in elements:
                numbers = [element.get(a) for a in ("value", "confidence") if element.get(a) is not None]
                assert all(0 <= float(n) <= 1 for n in numbers)
                assert element.find("e:trace", NS) is None
                assert name == "category" or element.get("value") is not None  # 224
        assert int(emotion.get("duration")) >= 0 and int(emotion.get("offset-to-start")) >= 0
        assert set((emotion.get("expressed-through") or "voice").split()) <= {"face", "voice", "text"}
        for reference in emotion.xpath("e:reference", namespaces=NS):
            assert reference.get("uri") and reference.get("role") == "expressedBy"


@pytest.fixture(scope="session")
def w3c_schema(tmp_path_factory: pytest.TempPathFactory) -> etree.XMLSchema:
    """The schema of the Recommendation, out of the published checker; skips where it cannot be had."""
    if shutil.which("mvn") is None:
        pytest.skip("the W3C schema rides in a Maven artefact and there is no mvn here")
    folder = tmp_path_factory.mktemp("w3c")
    got = subprocess.run(
        ["mvn", "-q", "-B", "dependency:copy", "-Dartifact=de.dfki.mary:emotionml-checker-java:1.2.2", f"-DoutputDirectory={folder}"],
        capture_output=True, text=True, timeout=240, check=False, cwd=folder,
    )
    jars = list(folder.glob("*.jar"))
    if got.returncode or not jars:
        pytest.skip("the Maven artefact with the W3C schema could not be had")
    with zipfile.ZipFile(jars[0]) as jar:
        for name in ("emotionml.xsd", "emotionml-fragments.xsd"):
            (folder / name).write_bytes(jar.read(f"emotionml/{name}"))
    return etree.XMLSchema(etree.parse(folder / "emotionml.xsd"))


@pytest.mark.parametrize("events", [EVENTS, round_table(), right_to_left(), [], [e for e in EVENTS if e.status == "withheld"]],
                         ids=["call", "eight people", "right to left", "no event", "withheld only"])
def test_the_document_keeps_the_rules(events: list) -> None:
    check(document(events, media="my call ä.wav", media_type="audio/wav"))
    check(document(events))


@pytest.mark.parametrize("events", [EVENTS, round_table(), right_to_left(), []], ids=["call", "eight people", "right to left", "no event"])
def test_the_document_validates_against_the_w3c_schema(events: list, w3c_schema: etree.XMLSchema) -> None:
    w3c_schema.assertValid(document(events, media="my call ä.wav", media_type="audio/wav"))
    w3c_schema.assertValid(document(events))


def test_the_schema_would_notice_a_mistake(w3c_schema: etree.XMLSchema) -> None:
    root = document(EVENTS)
    root.find("e:emotion/e:dimension", NS).set("value", "-0.3")
    assert not w3c_schema.validate(root)


def test_values_are_those_of_the_event_on_the_scale_of_the_format() -> None:
    event = next(e for e in EVENTS if e.label == "anger")
    root = document([event], media="a call.wav", media_type="audio/wav")
    emotion = root.find("e:emotion", NS)
    pleasure = emotion.find("e:dimension[@name='pleasure']", NS)
    assert float(pleasure.get("value")) == pytest.approx((event.valence + 1) / 2, abs=1e-4)
    first = emotion.find("e:category", NS)
    assert first.get("name") == "anger" and float(first.get("confidence")) == pytest.approx(event.probabilities["anger"], abs=1e-4)
    assert emotion.find("e:reference", NS).get("uri") == f"a%20call.wav#t={event.start_ms / 1000:g},{event.end_ms / 1000:g}"
    assert emotion.get("offset-to-start") == str(event.start_ms) and emotion.get("duration") == str(event.end_ms - event.start_ms)


def test_nobody_withheld_and_no_abstention_becomes_a_category() -> None:
    root = document(EVENTS)
    written = {e.get("id") for e in root.xpath("e:emotion", namespaces=NS)}
    assert written == {f"e-{e.id}" for e in settled(EVENTS) if e.status != "withheld"}
    unknown = {f"e-{e.id}" for e in EVENTS if e.label == "unknown"}
    assert unknown
    for emotion in root.xpath("e:emotion", namespaces=NS):
        assert (emotion.find("e:category", NS) is None) == (emotion.get("id") in unknown)
    assert "not what a person feels" in root.find("e:info", NS).text


def test_strange_names_cannot_break_the_document() -> None:
    event = msgspec.structs.replace(EVENTS[1], participant='<x a="1">\x00&', label="very odd/label", probabilities={"very odd/label": 1.0})
    check(document([event], media="a&b <c>.wav"))
