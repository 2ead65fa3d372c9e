"""A connection to the page, which may not stay without a request (uvicorn waits for ever)."""

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

ASK_WITHIN = 10.0  # seconds from the connection to the end of its request's headers


class PromptConnection(H11Protocol):
    """Closed unless it asks in time; `App` closes it after its answer, and bounds the upload.

    Else as many silent connections as are allowed at once would keep everybody out.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.loop.call_later(ASK_WITHIN, self._close_unless_asked)

    def _close_unless_asked(self) -> None:
        if self.cycle is None:  # uvicorn's, of a request whose headers are whole
            self.transport.close()
