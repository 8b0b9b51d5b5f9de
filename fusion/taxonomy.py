"""Label sets, the mappings between them, compound expressions, and the anchors in valence, arousal and dominance.

Every corpus and every model names emotions in its own way. All of them are brought to the seven labels of
`extractors.cues.LABELS` here and nowhere else. A label that has no counterpart among the seven maps to None: it is
counted and named by whoever maps (`map_all`), never pressed into the nearest class.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from msgspec import Struct

from extractors.cues import LABELS


class Target(Struct, frozen=True):
    """Where a label goes: one of `LABELS`, or None with the reason why it has no counterpart."""

    label: str | None
    reason: str


class LabelSet(Struct, frozen=True):
    """One way of naming emotions: `targets` in the order of the set, `about` says where it comes from."""

    name: str
    about: str
    targets: dict[str, Target]

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(self.targets)


class Mapped(Struct, frozen=True):
    """Result of mapping a column of labels: one entry each (None where unmapped), and the unmapped ones counted."""

    labels: list[str | None]
    used: dict[str, str]
    unmapped: dict[str, int]


def _set(
    name: str, about: str, same: Mapping[str, str], other: Mapping[str, tuple[str | None, str]] | None = None
) -> LabelSet:
    targets = {
        label: Target(target, "same emotion" if label == target else f"another word for {target}")
        for label, target in same.items()
    }
    for label, (mapped, reason) in (other or {}).items():
        targets[label] = Target(mapped, reason)
    return LabelSet(name, about, targets)


_SAME = {label: label for label in LABELS}
_ADJECTIVES = {
    "angry": "anger",
    "disgusted": "disgust",
    "fearful": "fear",
    "happy": "happiness",
    "neutral": "neutral",
    "sad": "sadness",
    "surprised": "surprise",
}

_NOT_AFFECT = "says what the speaker does or knows, not how the expression feels; it occurs with any emotion"
_IN_TREE = "Parrott's tree puts it under {}"


def _tree(label: str) -> tuple[str, str]:
    return label, _IN_TREE.format({"happiness": "joy"}.get(label, label))


_GOEMOTIONS: dict[str, tuple[str | None, str]] = {
    "admiration": ("happiness", "positive evaluation; the authors' Ekman grouping puts it under joy"),
    "amusement": _tree("happiness"),
    "anger": ("anger", "same emotion"),
    "annoyance": _tree("anger"),
    "approval": (None, _NOT_AFFECT),
    "caring": (None, "concern for another person: its tone may be warm, sad or afraid"),
    "confusion": (None, _NOT_AFFECT),
    "curiosity": (None, "a question is not a surprise: in service talk most questions are asked calmly"),
    "desire": (None, "a wish ahead: neither joy that is there nor its absence"),
    "disappointment": _tree("sadness"),
    "disapproval": ("anger", "negative evaluation of somebody's act; the authors' Ekman grouping puts it under anger"),
    "disgust": ("disgust", "same emotion"),
    "embarrassment": _tree("sadness"),
    "excitement": _tree("happiness"),
    "fear": ("fear", "same emotion"),
    "gratitude": ("happiness", "positive and directed at a person; the authors' Ekman grouping puts it under joy"),
    "grief": _tree("sadness"),
    "joy": ("happiness", "another word for happiness"),
    "love": (
        "happiness",
        "a primary of its own in Parrott's tree; among the seven, happiness is the only positive one",
    ),
    "nervousness": _tree("fear"),
    "optimism": _tree("happiness"),
    "pride": _tree("happiness"),
    "realization": (None, _NOT_AFFECT),
    "relief": _tree("happiness"),
    "remorse": _tree("sadness"),
    "sadness": ("sadness", "same emotion"),
    "surprise": ("surprise", "same emotion"),
    "neutral": ("neutral", "same emotion"),
}
_EKMAN = "grouping published with GoEmotions (Demszky et al. 2020)"
_EKMAN_ONLY = {
    "approval": ("happiness", _EKMAN),
    "caring": ("happiness", _EKMAN),
    "desire": ("happiness", _EKMAN),
    "confusion": ("surprise", _EKMAN),
    "curiosity": ("surprise", _EKMAN),
    "realization": ("surprise", _EKMAN),
}
_BOREDOM = (None, "low arousal without one of the seven; in voice it lies between neutral and sadness")
_CALM = ("neutral", "speech of low arousal and near-zero valence; listeners hardly tell calm from neutral")
_CONTEMPT = (None, "not among the seven: kept as an open label where a model gives it")
_FRUSTRATION = (
    "anger",
    "Parrott's tree puts it under anger; corpora that keep it apart are not comparable after mapping",
)

SETS: dict[str, LabelSet] = {
    label_set.name: label_set
    for label_set in (
        _set(
            "basic",
            "the seven labels of this product with their usual other names",
            _SAME
            | _ADJECTIVES
            | {"joy": "happiness", "enjoyment": "happiness", "fright": "fear", "scared": "fear", "afraid": "fear"},
            {"calm": _CALM, "none": ("neutral", "no emotion was marked"), "contempt": _CONTEMPT, "boredom": _BOREDOM},
        ),
        _set(
            "goemotions",
            "28 labels of GoEmotions (Demszky et al. 2020), strict: no counterpart, no mapping",
            {},
            _GOEMOTIONS,
        ),
        _set(
            "goemotions-ekman",
            "28 labels of GoEmotions in the authors' Ekman grouping, for comparison with published figures",
            {},
            _GOEMOTIONS | _EKMAN_ONLY,
        ),
        _set(
            "meld",
            "MELD (Poria et al. 2019)",
            {
                "anger": "anger",
                "disgust": "disgust",
                "fear": "fear",
                "joy": "happiness",
                "neutral": "neutral",
                "sadness": "sadness",
                "surprise": "surprise",
            },
        ),
        _set(
            "emodb",
            "Berlin Database of Emotional Speech (Burkhardt et al. 2005); capital letters are its file codes",
            {label: label for label in LABELS if label != "surprise"}
            | {"W": "anger", "E": "disgust", "A": "fear", "F": "happiness", "N": "neutral", "T": "sadness"},
            {"boredom": _BOREDOM, "L": _BOREDOM},
        ),
        _set(
            "ravdess",
            "RAVDESS (Livingstone & Russo 2018); two digits are the codes of its file names",
            _SAME
            | _ADJECTIVES
            | {
                "01": "neutral",
                "03": "happiness",
                "04": "sadness",
                "05": "anger",
                "06": "fear",
                "07": "disgust",
                "08": "surprise",
            },
            {"calm": _CALM, "02": _CALM},
        ),
        _set(
            "urdu",
            "URDU-Dataset (Latif et al. 2018)",
            {"anger": "anger", "happiness": "happiness", "neutral": "neutral", "sadness": "sadness"},
        ),
        _set(
            "maia",
            "customer support dialogues MAIA-DQE (Mendonça et al. 2023)",
            {"anger": "anger", "happiness": "happiness", "neutral": "neutral"},
            {
                "empathy": (None, "politeness and thanks: an act, not an emotion"),
                "confusion": (None, _NOT_AFFECT),
                "disappointment": _tree("sadness"),
                "frustration": _FRUSTRATION,
                "anxiety": _tree("fear"),
            },
        ),
        _set("ferplus", "FER+ (Barsoum et al. 2016)", _SAME, {"contempt": _CONTEMPT}),
        _set(
            "fer2013",
            "FER2013 (Goodfellow et al. 2013)",
            _ADJECTIVES | {"disgust": "disgust", "fear": "fear", "surprise": "surprise"},
        ),
        _set(
            "iemocap",
            "IEMOCAP (Busso et al. 2008)",
            _ADJECTIVES,
            {"excited": _tree("happiness"), "frustrated": _FRUSTRATION, "frustration": _FRUSTRATION},
        ),
        _set("dailydialog", "DailyDialog (Li et al. 2017)", _SAME, {"none": ("neutral", "no emotion was marked")}),
        _set(
            "emocontext",
            "EmoContext, SemEval-2019 task 3",
            {"happy": "happiness", "sad": "sadness", "angry": "anger"},
            {"others": (None, "everything else: other emotions as well as none")},
        ),
    )
}


def map_label(label: str, from_set: str = "basic") -> str | None:
    """The label among `LABELS` for `label` of the set `from_set`; None where there is no counterpart or the set does
    not know the label. Case and surrounding blanks do not matter. Raises KeyError for an unknown set."""
    found = target(label, from_set)
    return found.label if found else None


def target(label: str, from_set: str = "basic") -> Target | None:
    """Like `map_label`, with the reason; None where the set does not know the label."""
    targets = SETS[from_set].targets
    stripped = label.strip()
    return targets.get(stripped) or targets.get(stripped.lower())


def map_all(labels: Iterable[str], from_set: str = "basic") -> Mapped:
    """Map a column of labels; what could not be mapped is counted by name (an empty label counts as ``(empty)``)."""
    mapped: list[str | None] = []
    used: dict[str, str] = {}
    lost: Counter[str] = Counter()
    for label in labels:
        result = map_label(label, from_set)
        mapped.append(result)
        if result is None:
            lost[label.strip() or "(empty)"] += 1
        else:
            used[label.strip()] = result
    return Mapped(mapped, dict(sorted(used.items())), dict(sorted(lost.items())))


def guess_set(labels: Iterable[str]) -> str:
    """The label set that knows most of `labels` (ties: the first in `SETS`); for manifests that do not name theirs."""
    distinct = {label.strip() for label in labels if label.strip()}
    return max(SETS, key=lambda name: sum(target(label, name) is not None for label in distinct))


REFERENCE_PRIOR: dict[str, float] = {
    "anger": 0.13,
    "disgust": 0.09,
    "fear": 0.08,
    "happiness": 0.16,
    "neutral": 0.30,
    "sadness": 0.11,
    "surprise": 0.13,
}
"""Label shares under which the posteriors of our own heads are stated. One prior for all makes them comparable: a
posterior equal to it says that the input told nothing. It lies half way between even shares and those of 9,989
utterances of conversation (MELD train: 1,109, 271, 268, 1,743, 4,710, 683, 1,205), rounded: the shares of a
conversation alone would hide rare labels, even shares would cry wolf. Who knows better for his own recordings restates
with `rebase`."""


def rebase(
    probabilities: Mapping[str, float], from_prior: Mapping[str, float], to_prior: Mapping[str, float]
) -> dict[str, float]:
    """A posterior stated under one prior, restated under another: p(l) · to(l) / from(l), scaled to sum 1 (Saerens et
    al. 2002). Labels without share in `from_prior` get 0. Not rounded."""
    scaled = {
        label: p * to_prior.get(label, 0.0) / from_prior[label] if from_prior.get(label, 0.0) > 0 else 0.0
        for label, p in probabilities.items()
    }
    total = sum(scaled.values())
    return {label: value / total if total > 0 else to_prior.get(label, 0.0) for label, value in scaled.items()}


ANCHORS: dict[str, tuple[float, float, float]] = {
    "anger": (-0.51, 0.59, 0.25),
    "disgust": (-0.60, 0.35, 0.11),
    "fear": (-0.62, 0.82, -0.43),
    "happiness": (0.81, 0.51, 0.46),
    "neutral": (0.0, 0.0, 0.0),
    "sadness": (-0.63, -0.27, -0.33),
    "surprise": (0.40, 0.67, -0.13),
}
"""(valence, arousal, dominance) of each label in [-1, 1]: pleasure-arousal-dominance ratings of emotion words by
Russell & Mehrabian (1977), in the form used for dialogue by Wen et al. (2021). Neutral is the origin by definition. The
value of surprise is that of the word: a surprise in a complaint is seldom pleasant."""


def dimensions(probabilities: Mapping[str, float]) -> tuple[float, float, float]:
    """Expected (valence, arousal, dominance) of a distribution over `LABELS`: the anchors weighted by probability."""
    total = sum(probabilities.get(label, 0.0) for label in LABELS)
    if total <= 0:
        return ANCHORS["neutral"]
    valence, arousal, dominance = (
        sum(probabilities.get(label, 0.0) * ANCHORS[label][axis] for label in LABELS) / total for axis in range(3)
    )
    return round(valence, 4), round(arousal, 4), round(dominance, 4)


COMPOUNDS: dict[str, tuple[str, str]] = {
    "fearfully surprised": ("fear", "surprise"),
    "happily surprised": ("happiness", "surprise"),
    "sadly surprised": ("sadness", "surprise"),
    "disgustedly surprised": ("disgust", "surprise"),
    "angrily surprised": ("anger", "surprise"),
    "sadly fearful": ("sadness", "fear"),
    "sadly angry": ("sadness", "anger"),
}
"""The seven compound expressions of C-EXPR-DB (Kollias 2023) and the two labels each is made of."""

_RARITY = {"anger": 5, "disgust": 6, "fear": 5, "happiness": 6, "sadness": 4, "surprise": 2}
COMPOUND_PART = 1 / 7
COMPOUND_MINIMUM = 0.5


def compound(posterior: Mapping[str, float], minimum: float = COMPOUND_MINIMUM) -> str | None:
    """The compound expression that a distribution over `LABELS` shows, or None.

    Pairs are scored by ``w1 p1 + w2 p2``, where a label that is rarer as a part of compounds weighs more (rule of
    Ryumina et al. 2024). A pair counts only if each of its labels is above 1/7 (chance) and both together hold at least
    `minimum` of the probability: a compound is said only where the pair explains the expression better than all else.
    """
    best, score = None, 0.0
    for name, (first, second) in COMPOUNDS.items():
        p1, p2 = posterior.get(first, 0.0), posterior.get(second, 0.0)
        if min(p1, p2) <= COMPOUND_PART or p1 + p2 < minimum:
            continue
        weight = _RARITY[first] / (_RARITY[first] + _RARITY[second])
        value = round(weight * p1 + (1 - weight) * p2, 9)
        if value > score:
            best, score = name, value
    return best
