"""HTTP at the edge of every server of the product."""

from __future__ import annotations

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

_MOST_LINE = 8000
_MOST_HEADERS = 120


class BoundedHttp(H11Protocol):
    """For ``uvicorn.Config(http=BoundedHttp)``: refuses a WebSocket handshake that the library behind would choke on.

    It takes lines of 8192 bytes and 128 headers; a longer one leaves the connection hanging and breaks the shutdown of the
    server (uvicorn 0.54, websockets 17).
    """

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        longest = max([len(event.target) + len(event.method) + 11, *(len(name) + len(value) + 4 for name, value in self.headers)])
        if longest > _MOST_LINE or len(self.headers) > _MOST_HEADERS:
            self.send_400_response(f"a WebSocket handshake has lines of at most {_MOST_LINE} bytes and at most {_MOST_HEADERS} headers")
        else:
            super().handle_websocket_upgrade(event)
