"""EmotionML 1.0 (W3C Recommendation of 22 May 2014): one ``<emotion>`` for every event that states an expression.

The label and its rivals are categories of a vocabulary declared in the document itself (the W3C vocabularies have no
`neutral`), the dimensions are pleasure, arousal and dominance of the W3C set `pad-dimensions`, rescaled from [-1, 1] to the
[0, 1] that the format requires. A category's `confidence` is its calibrated probability; the `value` of the chosen one is
the intensity. Withheld events and those without label or dimension have no place in the format and are left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import quote
from xml.etree import ElementTree as ET

from fusion.events import EmotionEvent
from fusion.settle import settled

NAMESPACE = "http://www.w3.org/2009/10/emotionml"
PAD_DIMENSIONS = "http://www.w3.org/TR/emotion-voc/xml#pad-dimensions"
OWN_NAMESPACE = "urn:affectstream:emotion-event"
VOCABULARY_ID = "expression-labels"
STATEMENT = "Expression as perceived, not what a person feels."
MINIMUM_PROBABILITY = 0.01
"""Rival labels below this probability are left out of an emotion."""

_EXPRESSED_THROUGH = {"face": "face", "speech": "voice", "text": "text"}
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def emotionml(events: Iterable[EmotionEvent], *, media: str = "", media_type: str = "") -> str:
    """The document as text. `media` is the file's name or relative path, `media_type` its MIME type ("audio/wav")."""
    chosen = [event for event in settled(events) if _describable(event)]
    ET.register_namespace("", NAMESPACE)
    ET.register_namespace("affectstream", OWN_NAMESPACE)
    root = ET.Element(_name("emotionml"), {"version": "1.0", "dimension-set": PAD_DIMENSIONS})
    labels = sorted({_token(label) for event in chosen for label in _categories(event)})
    if labels:
        root.set("category-set", f"#{VOCABULARY_ID}")
    ET.SubElement(root, _name("info")).text = STATEMENT
    if labels:
        vocabulary = ET.SubElement(root, _name("vocabulary"), {"type": "category", "id": VOCABULARY_ID})
        for label in labels:
            ET.SubElement(vocabulary, _name("item"), {"name": label})
    uri = quote(media.replace("\\", "/"))
    for event in chosen:
        root.append(_emotion(event, uri, media_type))
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _describable(event: EmotionEvent) -> bool:
    return event.status != "withheld" and bool(_categories(event) or _dimensions(event))


def _categories(event: EmotionEvent) -> dict[str, float]:
    """Labels to state with their probabilities, the chosen one first; none where the system abstains."""
    if event.label is None or event.label == "unknown":
        return {}
    rivals = {k: v for k, v in event.probabilities.items() if v >= MINIMUM_PROBABILITY and k != event.label}
    first = event.probabilities.get(event.label, event.confidence if event.confidence is not None else 1.0)
    return {event.label: first} | dict(sorted(rivals.items(), key=lambda item: (-item[1], item[0])))


def _dimensions(event: EmotionEvent) -> dict[str, float]:
    values = {"pleasure": event.valence, "arousal": event.arousal, "dominance": event.dominance}
    return {name: (value + 1) / 2 for name, value in values.items() if value is not None}


def _emotion(event: EmotionEvent, uri: str, media_type: str) -> ET.Element:
    duration = max(event.end_ms - event.start_ms, 0)
    element = ET.Element(_name("emotion"), {"id": f"e-{event.id}"})
    if uri:
        element.set("time-ref-uri", uri)
        element.set("time-ref-anchor-point", "start")
    element.set("offset-to-start", str(event.start_ms))
    element.set("duration", str(duration))
    used = [_EXPRESSED_THROUGH[m] for m, use in event.modalities.items() if use.present and m in _EXPRESSED_THROUGH]
    if used:
        element.set("expressed-through", " ".join(sorted(used)))
    info = ET.SubElement(element, _name("info"))
    about = {"id": event.id, "revision": str(event.revision), "participant": event.participant, "role": event.role, "kind": event.kind}
    ET.SubElement(info, f"{{{OWN_NAMESPACE}}}event", {key: _clean(value) for key, value in about.items()})
    for index, (label, probability) in enumerate(_categories(event).items()):
        category = ET.SubElement(element, _name("category"), {"name": _token(label)})
        if index == 0 and event.intensity is not None:
            category.set("value", _scale(event.intensity))
        category.set("confidence", _scale(probability))
    for name, value in _dimensions(event).items():
        dimension = ET.SubElement(element, _name("dimension"), {"name": name, "value": _scale(value)})
        if event.confidence is not None:
            dimension.set("confidence", _scale(event.confidence))
    if uri:
        span = f"{uri}#t={_seconds(event.start_ms)},{_seconds(event.start_ms + max(duration, 1))}"
        reference = ET.SubElement(element, _name("reference"), {"uri": span, "role": "expressedBy"})
        if media_type:
            reference.set("media-type", media_type)
    return element


def _name(local: str) -> str:
    return f"{{{NAMESPACE}}}{local}"


def _token(label: str) -> str:
    """A label as the XML name token that vocabularies ask for."""
    return re.sub(r"[^\w.\-]+", "-", label.strip()) or "unnamed"


def _clean(text: str) -> str:
    return _NOT_XML.sub("\ufffd", text)


def _scale(value: float) -> str:
    return f"{min(max(value, 0.0), 1.0):.4f}".rstrip("0").rstrip(".")


def _seconds(ms: int) -> str:
    return f"{ms / 1000:.3f}".rstrip("0").rstrip(".")
