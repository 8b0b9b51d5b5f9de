"""Which transcripts are not believed: Whisper invents text on silence, noise and music, and sometimes repeats itself."""

from __future__ import annotations

import unicodedata
import zlib
from collections.abc import Sequence

from msgspec import Struct

NO_SPEECH = 0.6
LOG_PROB = -1.0
HOPELESS_LOG_PROB = -1.4
SHORT_WORDS = 2
COMPRESSION = 2.4
QUIET_DBFS = -55.0

CREDITS = (
    "amara.org", "subtitles by", "captions by", "subscribe to", "thanks for watching", "thank you for watching",
    "thank you so much for watching", "thanks so much for watching", "see you in the next video", "untertitel der",
    "untertitel im auftrag", "untertitelung des", "fürs zuschauen", "copyright wdr", "sous-titres réalisés",
    "sous-titrage", "merci d'avoir regardé", "subtítulos realizados", "subtítulos por la", "gracias por ver",
    "sottotitoli", "grazie per la visione", "legendas pela", "obrigado por assistir", "ondertitels ingediend",
    "ondertiteld door", "undertexter från", "undertekster av", "napisy stworzone", "dziękuję za uwagę",
    "субтитры", "редактор субтитров", "спасибо за просмотр", "продолжение следует", "altyazı", "izlediğiniz için",
    "اشتركوا في القناة", "ترجمة نانسي", "ご視聴ありがとう", "チャンネル登録", "시청해주셔서", "구독과 좋아요", "字幕by", "字幕由", "请不吝点赞",
    "谢谢观看", "謝謝觀看", "感谢观看",
)  # fmt: skip
"""Parts of closing credits: common in the captions Whisper learnt from, rare in conversation."""

FILLERS = frozenset(
    ("you", "thank you", "thank you very much", "thanks", "bye", "bye bye", "the", "i", "15", "vielen dank", "merci", "gracias",
     "grazie", "obrigado", "谢谢", "ありがとうございました", "おはようございます", "감사합니다", "아", "ん", "음")
)  # fmt: skip
"""What is said where nothing is said: whole texts, without case and punctuation."""


class Hypothesis(Struct, frozen=True):
    """One decoded text with what is needed to judge it. `endless` says that no end of text came within the token cap."""

    text: str
    tokens: tuple[int, ...]
    avg_logprob: float
    no_speech_prob: float
    compression_ratio: float
    endless: bool
    duration_s: float
    level_dbfs: float
    speech_probability: float | None = None

    @property
    def failed(self) -> bool:
        """The decoder lost itself, whatever the audio."""
        return self.endless or self.compression_ratio > COMPRESSION


def compression_ratio(text: str) -> float:
    """Length of the UTF-8 text over its zlib length: above 2.4 the text repeats itself (the measure of Whisper)."""
    data = text.encode("utf-8")
    return round(len(data) / len(zlib.compress(data)), 4) if data else 0.0


def objection(hypothesis: Hypothesis) -> str | None:
    """Why this text is not believed, or None.

    ``no_speech``: nothing but punctuation, or Whisper itself doubts that there is speech and its words are unlikely;
    ``repetition``: no end of text, or a text that repeats itself; ``stock_phrase``: closing credits, or a filler on audio
    that is hardly speech; ``low_confidence``: words too unlikely to be shown.
    """
    plain = plain_text(hypothesis.text)
    doubt = hypothesis.no_speech_prob
    if not plain:
        return "no_speech"
    if hypothesis.failed or repeats(plain):
        return "repetition"
    if doubt >= NO_SPEECH and hypothesis.avg_logprob < LOG_PROB:
        return "no_speech"
    unsure = hypothesis.avg_logprob < -0.5 or hypothesis.level_dbfs < QUIET_DBFS
    if plain in FILLERS and unsure and (doubt >= NO_SPEECH or hypothesis.level_dbfs < QUIET_DBFS):
        return "stock_phrase"
    if unsure and any(credit in hypothesis.text.lower() for credit in CREDITS):
        return "stock_phrase"
    short = len(plain.split()) <= SHORT_WORDS
    if hypothesis.avg_logprob < (LOG_PROB if short else HOPELESS_LOG_PROB):
        return "low_confidence"
    # A cough or a sob becomes an interjection: one or two words are believed less where voice activity doubts too.
    faint = hypothesis.speech_probability is not None and hypothesis.speech_probability < 0.45
    if short and hypothesis.avg_logprob < -0.75 and (doubt >= 0.55 or faint):
        return "no_speech"
    return None


def plain_text(text: str) -> str:
    """Lower case, letters and digits only, single spaces."""
    kept = (c if c.isalnum() or unicodedata.category(c)[0] == "M" else "" if c in ".'’" else " " for c in text.lower())
    return " ".join("".join(kept).split())


def repeats(plain: str) -> bool:
    """One word six times in a row, two to four words four times, or one or two letters ten times."""
    words = plain.split()
    return any(_in_a_row(words, size, 6 if size == 1 else 4) for size in range(1, 5)) or any(
        _in_a_row(plain, size, 10) for size in (1, 2)
    )


def _in_a_row(items: Sequence[str], size: int, times: int) -> bool:
    """Whether some stretch of `size` items comes `times` times without a break."""
    equal = 0
    for place in range(size, len(items)):
        equal = equal + 1 if items[place] == items[place - size] else 0
        if equal >= size * (times - 1):
            return True
    return False
