"""A connection to the page, which may not stay for ever, as it might for all that uvicorn does."""

from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

ASK_WITHIN = 10.0  # seconds from the connection to the end of its request's headers
END_WITHIN = 300.0  # to the end of all: the first answer may wait for a compilation


class PromptConnection(H11Protocol):
    """Closed unless it asks in time, cut off unless it has read its answer in time.

    Else as many silent connections as are allowed at once would keep everybody out. `App` closes it
    after its answer, and bounds the upload.
    """

    def connection_made(self, transport: Any) -> None:  # asyncio's, or another loop's
        super().connection_made(transport)
        self._limits = (
            self.loop.call_later(ASK_WITHIN, self._close_unless_asked),
            self.loop.call_later(END_WITHIN, transport.abort),  # `close` waits for the reader
        )

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        for limit in self._limits:
            limit.cancel()  # else a page that is asked often keeps all that END_WITHIN saw

    def _close_unless_asked(self) -> None:
        if self.cycle is None:  # uvicorn's, of a request whose headers are whole
            self.transport.close()
