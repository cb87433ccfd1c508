"""The socket: varint-delimited requests in, responses out, in order, on any number of connections.

CometBFT opens four (consensus, mempool, query, snapshot). Requests are answered one at a time over
all of them, as they arrive.
"""

from __future__ import annotations

import asyncio
import signal
from contextlib import suppress
from pathlib import Path

from chain.adapters.abci.application import AbciApplication, AbciError
from chain.adapters.abci.messages import TABLE
from chain.adapters.abci.wire import WireError, varint

MAX_MESSAGE = 1 << 27
"""Bytes of one request: CometBFT's largest block is 100 MiB."""


class Server:
    """Serves one application. A request that cannot be read, or that no correct engine makes, is
    answered with an exception, after which the connection is closed; the others go on."""

    def __init__(self, application: AbciApplication) -> None:
        self.application = application
        self.connections: set[asyncio.Task[None]] = set()

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, to its end."""
        task = asyncio.current_task()
        if task is not None:
            self.connections.add(task)
            task.add_done_callback(self.connections.discard)
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await self.converse(reader, writer)
        finally:  # also where the disk fails: an engine that hears nothing more halts
            writer.close()

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Requests and responses, until one side ends."""
        is_over = False
        while not is_over and (data := await read_delimited(reader)) is not None:
            response, is_over = self.respond(data)
            writer.write(delimited(response))
            await writer.drain()

    def respond(self, data: bytes) -> tuple[bytes, bool]:
        """The response to a request, and whether the connection ends with it."""
        try:
            made = self.application.handle(TABLE.decode("Request", data))
            return TABLE.encode("Response", made), False
        except (AbciError, WireError) as error:
            return TABLE.encode("Response", {"exception": {"error": str(error)}}), True

    async def run(self, address: str) -> None:
        """Serves at ``tcp://host:port`` or ``unix://path`` until SIGTERM or SIGINT."""
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        server = await self.listen(address)
        await stop.wait()
        server.close()
        for task in list(self.connections):
            task.cancel()

    async def listen(self, address: str) -> asyncio.Server:
        """Begins to accept; raises ValueError for what is no address."""
        scheme, _, rest = address.partition("://")
        if scheme == "unix" and rest:
            Path(rest).unlink(missing_ok=True)
            return await asyncio.start_unix_server(self.accept, rest)
        host, _, port = rest.rpartition(":")
        if scheme != "tcp" or not host or not port.isdigit() or int(port) > 65535:
            raise ValueError(
                f"address must be tcp://HOST:PORT or unix://PATH, received {address!r}"
            )
        return await asyncio.start_server(self.accept, host, int(port))


def delimited(data: bytes) -> bytes:
    """A message behind its length."""
    return varint(len(data)) + data


async def read_delimited(reader: asyncio.StreamReader) -> bytes | None:
    """The next message; None at the end of the stream or where a length is none or too large."""
    size = shift = 0
    while True:
        try:
            (byte,) = await reader.readexactly(1)
        except asyncio.IncompleteReadError:
            return None
        size |= (byte & 127) << shift
        if byte < 128:
            break
        shift += 7
        if shift > 28:
            return None
    if size > MAX_MESSAGE:
        return None
    return await reader.readexactly(size)
