"""The interface: paths, limits, and errors that are always of one shape."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chain.adapters.rpc.view import View
from chain.refusal import Code, Refused

MAX_PAGE = 100
MAX_BLOB = 1 << 25
"""Bytes of parameters that are taken."""
MAX_PART = 1 << 20
"""Bytes of a file or blob in one answer."""
STATUS = {Code.UNKNOWN: 404, Code.OVERSIZED: 413}
"""HTTP status by code; of other refusals 400."""

Count = Annotated[int, Query(ge=1, le=MAX_PAGE)]
Start = Annotated[int, Query(ge=0, le=(1 << 63) - 1)]
After = Annotated[str, Query(max_length=64)]


class Submission(BaseModel):
    """A signed transaction in hex."""

    model_config = ConfigDict(extra="forbid", strict=True)
    transaction: str


def make_app(folder: Path) -> FastAPI:
    """The application over a node's folder; the store is opened with the first request."""
    app = FastAPI(title="gvm", version="1", docs_url=None, redoc_url=None)
    opened: list[View] = []

    def view() -> View:
        if not opened:
            opened.append(View(folder))
        opened[0].follow()
        return opened[0]

    def most(path: str) -> int:
        if path == "/v1/blobs":
            return MAX_BLOB
        return 2 * view().explorer.state.parameters.max_transaction_bytes + 1024

    app.add_middleware(BodyLimit, most=most)
    app.add_exception_handler(Refused, on_refused)
    app.add_exception_handler(RequestValidationError, on_invalid)
    app.add_exception_handler(HTTPException, on_http)
    app.add_exception_handler(Exception, on_failure)

    # Handlers are coroutines: one thread has the store.

    @app.get("/v1/status")
    async def status() -> Any:
        return view().explorer.status()

    @app.get("/v1/blocks")
    async def blocks(start: Start = 1, count: Count = 20) -> Any:
        found = view()
        last = found.explorer.state.height
        first = max(found.explorer.base + 1, start)
        heights = range(first, min(last, first + count - 1) + 1)
        following = heights.stop if heights and heights.stop <= last else None
        return {"blocks": [found.block(h) for h in heights], "next": following}

    @app.get("/v1/blocks/{height}")
    async def block(height: int) -> Any:
        return view().block(height)

    @app.get("/v1/blocks/{height}/transactions")
    async def transactions(height: int, start: Start = 0, count: Count = 20) -> Any:
        found = view()
        rows = found.transactions(height, start, count)
        last = found.block(height)["transactions"]
        return {
            "transactions": rows,
            "next": start + len(rows) if rows and start + len(rows) < last else None,
        }

    @app.get("/v1/values/{height}")
    async def value(height: int) -> Any:
        return Response(view().value(height), media_type="application/cbor")

    @app.get("/v1/transactions/{name}")
    async def transaction(name: str) -> Any:
        return view().transaction(digest(name))

    @app.post("/v1/transactions", status_code=202)
    async def submit(body: Submission) -> Any:
        data = from_hex(body.transaction)
        try:
            return view().submit(data)
        except ConnectionError as failed:
            return error(503, "unavailable", str(failed))

    @app.get("/v1/records/{table}")
    async def records(table: str, after: After = "", count: Count = 20) -> Any:
        key = digest(after) if after else b""
        rows = view().records(table, key, count + 1)
        following = rows[count - 1]["key"] if len(rows) > count else None
        return {"records": rows[:count], "next": following}

    @app.get("/v1/records/{table}/{key}")
    async def record(table: str, key: str) -> Any:
        return view().record(table, digest(key))

    @app.get("/v1/accounts/{name}")
    async def account(name: str) -> Any:
        return view().explorer.account(digest(name))

    @app.get("/v1/jobs/{name}")
    async def job(name: str) -> Any:
        found = view()
        key = digest(name)
        found.record("jobs", key)
        shown = found.explorer.job(key)
        return shown | {"rounds": len(shown["rounds"])}

    @app.get("/v1/jobs/{name}/rounds")
    async def rounds(name: str, start: Start = 0, count: Count = 20) -> Any:
        rows = view().rounds(digest(name), start, count + 1)
        return {"rounds": rows[:count], "next": start + count if len(rows) > count else None}

    @app.get("/v1/proofs/records/{table}/{key}")
    async def record_proof(table: str, key: str, height: Start | None = None) -> Any:
        found = view()
        at = found.explorer.state.height if height is None else height
        return found.record_proof(table, digest(key), at)

    @app.get("/v1/proofs/header")
    async def header_proof(height: Start | None = None) -> Any:
        found = view()
        return found.header_proof(found.explorer.state.height if height is None else height)

    @app.get("/v1/genesis")
    async def genesis(start: Start = 0) -> Any:
        return part(view().file("genesis"), start)

    @app.get("/v1/model")
    async def model(start: Start = 0) -> Any:
        return part(view().file("model"), start)

    @app.get("/v1/blobs/{name}")
    async def blob(name: str, start: Start = 0) -> Any:
        return part(view().blob(digest(name)), start)

    @app.post("/v1/blobs", status_code=202)
    async def take_blob(request: Request) -> Any:
        try:
            return view().take_blob(await request.body())
        except ConnectionError as failed:
            return error(503, "unavailable", str(failed))

    @app.get("/v1/proofs/transactions/{name}")
    async def transaction_proof(name: str) -> Any:
        return view().transaction_proof(digest(name))

    return app


class BodyLimit:
    """Reads a request's body up to a limit and not beyond, whatever its header says."""

    def __init__(self, app: ASGIApp, most: Callable[[str], int]) -> None:
        self.app, self.most = app, most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD"):
            await self.app(scope, receive, send)
            return
        body, most, is_open = bytearray(), self.most(scope["path"]), True
        while is_open:
            message = await receive()
            if message["type"] != "http.request":
                return
            body += message.get("body", b"")
            is_open = message.get("more_body", False)
            if len(body) > most:
                answer = error(413, "oversized", f"a body has at most {most} bytes")
                await answer(scope, receive, send)
                return
        parts: list[Message] = [{"type": "http.request", "body": bytes(body), "more_body": False}]

        async def again() -> Message:
            return parts.pop() if parts else await receive()

        await self.app(scope, again, send)


def part(data: bytes, start: int) -> Response:
    """A page of bytes; ``X-Size`` says how many there are in all."""
    headers = {"X-Size": str(len(data))}
    page = data[start : start + MAX_PART]
    return Response(page, media_type="application/octet-stream", headers=headers)


def digest(text: str) -> bytes:
    """A 32-byte name from 64 hex digits."""
    found = from_hex(text)
    if len(found) != 32:
        raise Refused(Code.MALFORMED, "", f"a name has 64 hex digits, received {len(text)}")
    return found


def from_hex(text: str) -> bytes:
    """Bytes of hex digits; no spaces, no prefix."""
    if not text.isascii() or not text.isalnum():
        raise Refused(Code.MALFORMED, "", "must be hex digits")
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise Refused(Code.MALFORMED, "", "must be hex digits, two for each byte") from None


def error(status: int, code: str, message: str, rule: str = "") -> JSONResponse:
    """Every error looks like this."""
    body = {"error": {"code": code, "rule": rule, "message": message}}
    return JSONResponse(body, status_code=status)


async def on_refused(request: Request, refused: Exception) -> Response:
    """What the chain refuses, with its code and rule."""
    if not isinstance(refused, Refused):
        raise refused
    status = STATUS.get(refused.code, 400)
    return error(status, refused.code.name.lower(), refused.message, refused.rule)


async def on_invalid(request: Request, invalid: Exception) -> Response:
    """Parameters and bodies that are not what a path takes."""
    if not isinstance(invalid, RequestValidationError):
        raise invalid
    first = invalid.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    return error(400, "malformed", f"{place}: {first['msg']}")


async def on_http(request: Request, found: Exception) -> Response:
    """Paths and methods that there are not, bodies that cannot be read."""
    if not isinstance(found, HTTPException):
        raise found
    code = {404: "unknown", 405: "not_allowed"}.get(found.status_code, "malformed")
    return error(found.status_code, code, str(found.detail))


async def on_failure(request: Request, failure: Exception) -> Response:
    """A store that cannot be read, or a fault of ours: no more is said to strangers."""
    return error(500, "internal", type(failure).__name__)
