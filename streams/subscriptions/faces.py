"""Small pictures of faces at moments of change for the page of a call, cut from the recording when somebody looks."""

from __future__ import annotations

import base64
import logging
import threading
from typing import TYPE_CHECKING, Any

from extractors.errors import AffectstreamError
from streams.subscriptions.feed import Feed
from streams.subscriptions.reading import events_of

if TYPE_CHECKING:
    from streams.ingest.media import MediaInfo

SIDE_PX = 96
_SESSIONS = 16
log = logging.getLogger(__name__)


class FaceCrops:
    """Cuts each face once and keeps those of the sessions that were looked at last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cut: dict[str, dict[str, str]] = {}
        self._info: dict[str, MediaInfo | None] = {}

    def document(self, feed: Feed, session: str) -> dict[str, Any]:
        """``{"faces": [{"event", "at_ms", "image"}]}`` in the order of the media. What is not in the picture any more (another
        label, another decision) is not given again; a recording that cannot be read gives none."""
        events, _ = events_of(feed, session)
        wanted = feed.faces(session, events)
        with self._lock:
            kept = self._cut.pop(session, {})
            self._cut[session] = kept
            while len(self._cut) > _SESSIONS:
                oldest = next(iter(self._cut))
                del self._cut[oldest]
                self._info.pop(oldest, None)
            missing = [request for request in wanted if f"{request.key} {request.media_ms}" not in kept]
            media = feed.media_of(session)
            if missing and media is not None and media.is_file():
                made = self._crops(session, str(media), missing)
                for request in missing:  # one that could not be cut is not tried again
                    kept[f"{request.key} {request.media_ms}"] = made.get(request.key, "")
            shown = [(request, kept.get(f"{request.key} {request.media_ms}", "")) for request in wanted]
        return {"faces": [{"event": request.key, "at_ms": request.media_ms, "image": image} for request, image in shown if image]}

    def _crops(self, session: str, media: str, requests: list[Any]) -> dict[str, str]:
        from streams.egress.faces import crops
        from streams.ingest.media import probe

        try:
            if session not in self._info:
                self._info[session] = probe(media, digest=False)
            info = self._info[session]
            found = crops(media, requests, info=info, side=SIDE_PX) if info is not None and info.video is not None else {}
        except AffectstreamError as error:
            self._info[session] = None
            log.warning("no faces are shown: %s", error)
            return {}
        return {key: "data:image/jpeg;base64," + base64.b64encode(data).decode() for key, data in found.items()}
