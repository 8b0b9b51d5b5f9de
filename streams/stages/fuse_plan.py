"""What the fuse stage may look at, what it waits for, and in which lanes it keeps order, all from the session start.

A *lane* is a sequence of spans that must be composed in order, because they share a dialogue or the joins of faces and
voices. Every participant has his own lane; those who can only be found on a shared picture by their voice share one,
`EVERYONE`; faces that belong to nobody declared have a lane for each picture.
"""

from __future__ import annotations

from collections import Counter

from fusion.compose import Subject
from streams.policy import UNJOINED_FACES
from streams.records import Decision, SessionStart

EVERYONE = "everyone"
WITHHELD = Decision(
    transcribe=False, measure=False, emotion=False, reason="no policy decision: treated as not to be analysed"
)


class Plan:
    """Lanes and permissions of one session."""

    def __init__(self, start: SessionStart) -> None:
        self.session = start.session
        self.audio, self.video = start.audio_sources, start.video_sources
        self._decisions = start.decisions
        self._roles = {person.id: person.role for person in start.participants}
        self._channel = {p.id: p.channel for p in start.participants if p.channel in start.audio_sources}
        claims = Counter(person.video for person in start.participants)
        self._owner = {p.video: p.id for p in start.participants if p.video in self.video and claims[p.video] == 1}
        self._own_video = {owner: source for source, owner in self._owner.items()}
        channels = Counter(self._channel.values())
        self.solo = {person: source for person, source in self._channel.items() if channels[source] == 1}
        self.faces = start.decisions.get(UNJOINED_FACES, WITHHELD)
        strangers = self.faces.emotion or self.faces.observables_only
        shared = tuple(source for source in self.video if source not in self._owner) if strangers else ()
        # A decision without a declared participant is a voice that was told apart on a mixed channel.
        known = sorted({*self._roles, *start.decisions} - {UNJOINED_FACES})
        voices = [name for name in known if self.subject(name).faces_allowed and name not in self._own_video]
        self._free_audio = tuple(source for source in self.audio if source not in channels)
        voiced = {self._channel.get(name) for name in voices}
        self._voices_audio = tuple(source for source in self.audio if source not in channels or source in voiced)
        self.joining = bool(shared and voices and self._voices_audio)
        self.pictures: dict[str, tuple[str, ...]] = {}
        """Lanes with silent-face windows, and the video sources of each."""
        for owner, source in self._own_video.items():
            if self.subject(owner).faces_allowed:
                self.pictures[_person(owner)] = (source,)
                if strangers:
                    self.pictures[f"picture {source}"] = (source,)
        if self.joining:
            self.pictures[EVERYONE] = shared
        else:
            self.pictures |= {f"picture {source}": (source,) for source in shared}
        self.watched = frozenset(source for sources in self.pictures.values() for source in sources)
        self.sources = (*self.audio, *(source for source in self.video if source in self.watched))
        """Sources whose watermarks matter for the order of the session."""

    def subject(self, participant: str) -> Subject:
        """Whom an event is about: declared, undeclared, or a face of its own. No decision means withheld."""
        unjoined = participant.startswith("face-") and participant not in self._roles
        decision = self._decisions.get(participant, self.faces if unjoined else WITHHELD)
        role = self._roles.get(participant, "participant" if unjoined else "unknown")
        return Subject(self.session, participant, role, decision)

    def owner(self, source: str) -> str | None:
        """The one participant a video source was declared for."""
        return self._owner.get(source)

    def own_video(self, participant: str) -> str | None:
        return self._own_video.get(participant)

    def lane(self, participant: str) -> str:
        if self.joining and self.subject(participant).faces_allowed and participant not in self._own_video:
            return EVERYONE
        return _person(participant)

    def dependencies(self, lane: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Audio and video sources that the spans of a lane are made of."""
        if lane == EVERYONE:
            return self._voices_audio, self.pictures[EVERYONE]
        kind, _, name = lane.partition(" ")
        if kind == "picture":
            return (), self.pictures[lane]
        channel = self._channel.get(name)
        return (channel,) if channel else self._free_audio, self.pictures.get(lane, ())

    def face_name(self, source: str, track: int) -> str:
        """A face that belongs to nobody declared."""
        return f"face-{track}" if len(self.video) == 1 else f"face-{source.replace('/', '-')}-{track}"


def _person(participant: str) -> str:
    return f"person {participant}"
