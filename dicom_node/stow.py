"""Films in by STOW-RS: `POST /studies` and `POST /studies/{study}`, as multipart/related of application/dicom.

Each instance is taken, or refused, by itself; an instance that is told as stored is on disk.

Source: PS3.18, 10.5 and Annex I.
"""

import asyncio
import hmac
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, NoReturn

from aiohttp import BodyPartReader, MultipartReader, StreamReader, web
from aiohttp.http import HttpProcessingError

from dicom_node.errors import RefusedObjectError, where
from dicom_node.objects import CANNOT_UNDERSTAND, CLASS_MISMATCH, PROCESSING_FAILURE, ObjectFacts, check_object
from dicom_node.scp import Take
from dicom_node.settings import Settings

logger = logging.getLogger(__name__)

DICOM = "application/dicom"
DICOM_JSON = "application/dicom+json"
MAX_PARTS = 1000
READ_BYTES = 1 << 16
KEEP_ALIVE_S = 15.0
RETRY_AFTER_S = 10
"""What a sender is told that finds no place."""

# Tags of the response (PS3.18, I.2).
RETRIEVE_URL, FAILED, REFERENCED, OTHER_FAILURES = "00081190", "00081198", "00081199", "0008119A"
CLASS_UID, INSTANCE_UID, REASON = "00081150", "00081155", "00081197"

NOT_RETRIEVABLE: dict[str, Any] = {RETRIEVE_URL: {"vr": "UR"}}
"""The attribute must be there; films cannot be had back."""


@dataclass
class Stored:
    """What became of the instances of a request."""

    referenced: list[dict[str, Any]] = field(default_factory=list)
    failed: list[dict[str, Any]] = field(default_factory=list)
    other: list[dict[str, Any]] = field(default_factory=list)
    """Of parts in which no instance can be recognised."""

    @property
    def status(self) -> HTTPStatus:
        """200 where all were stored, 202 where some, 409 where none."""
        if not self.failed and not self.other:
            return HTTPStatus.OK
        return HTTPStatus.ACCEPTED if self.referenced else HTTPStatus.CONFLICT

    def refuse(self, exc: RefusedObjectError) -> None:
        """Add an instance that is not taken."""
        reason = {REASON: {"vr": "US", "Value": [exc.status]}}
        if exc.instance is None:
            self.other.append(reason)
        else:
            self.failed.append(_reference(*exc.instance) | reason)

    def body(self) -> bytes:
        """The response in the DICOM JSON model."""
        answer = dict(NOT_RETRIEVABLE)
        sequences = ((REFERENCED, self.referenced), (FAILED, self.failed), (OTHER_FAILURES, self.other))
        answer |= {tag: {"vr": "SQ", "Value": items} for tag, items in sequences if items}
        return json.dumps(answer).encode()


class Stow:
    """The handler of both paths."""

    def __init__(self, settings: Settings, take: Take) -> None:
        self._settings = settings
        self._take = take
        self._places = asyncio.Semaphore(settings.max_associations)

    async def post(self, request: web.Request) -> web.Response:
        """Answer one request."""
        peer = request.remote or ""
        if not peer or not self._settings.may_connect(peer):
            logger.warning("STOW-RS refused: %s is not in DICOM_ADDRESSES", peer)
            raise web.HTTPForbidden(text="this address may not send")
        self._require_token(request)
        if request.content_type != "multipart/related" or request.headers.get("Content-Encoding"):
            raise web.HTTPUnsupportedMediaType(text=f'send multipart/related; type="{DICOM}"')
        if (request.content_length or 0) > self._settings.stow_max_request_bytes:
            self._refuse_size()
        async with self._place():
            stored = await self._read(request, sender=f"STOW-RS@{peer}")
        return web.Response(status=stored.status, body=stored.body(), content_type=DICOM_JSON)

    def _require_token(self, request: web.Request) -> None:
        token = self._settings.stow_token
        if token is None:
            return
        wanted = f"Bearer {token.get_secret_value()}"
        if not hmac.compare_digest(request.headers.get("Authorization", "").encode(), wanted.encode()):
            raise web.HTTPUnauthorized(text="send the token", headers={"WWW-Authenticate": "Bearer"})

    @asynccontextmanager
    async def _place(self) -> AsyncIterator[None]:
        """Hold one of the places for requests that are read at once."""
        try:
            async with asyncio.timeout(self._settings.stow_wait_s):
                await self._places.acquire()
        except TimeoutError as exc:
            logger.warning("STOW-RS refused: DICOM_MAX_ASSOCIATIONS requests are being read")
            headers = {"Retry-After": str(RETRY_AFTER_S)}
            raise web.HTTPServiceUnavailable(text="too many requests are being read", headers=headers) from exc
        try:
            yield
        finally:
            self._places.release()

    def _refuse_size(self) -> NoReturn:
        limit = self._settings.stow_max_request_bytes
        raise web.HTTPRequestEntityTooLarge(limit, text=f"a request may have {limit} bytes")

    async def _read(self, request: web.Request, *, sender: str) -> Stored:
        stored = Stored()
        try:
            reader = _Reader(request.headers, request.content)
            for _ in range(MAX_PARTS):
                try:
                    file = await self._next_file(reader, request.content)
                    if file is None:
                        break
                    study = request.match_info.get("study")
                    facts = await asyncio.to_thread(self._put_in_queue, file, study=study, sender=sender)
                except RefusedObjectError as exc:
                    logger.warning("an object of %s is refused with 0x%04X: %s", sender, exc.status, exc)
                    stored.refuse(exc)
                else:
                    stored.referenced.append(_reference(*facts.instance) | NOT_RETRIEVABLE)
            else:
                raise web.HTTPRequestEntityTooLarge(MAX_PARTS, text=f"more than {MAX_PARTS} parts")
        except TimeoutError as exc:
            logger.warning("%s is too slow: its request is ended", sender)
            raise web.HTTPRequestTimeout(text="the body took too long to arrive") from exc
        except (ValueError, AssertionError, HttpProcessingError) as exc:
            logger.warning("%s sends a body that is no multipart/related, or breaks off", sender)
            raise web.HTTPBadRequest(text="the body is not multipart/related, or breaks off") from exc
        if stored == Stored():
            raise web.HTTPBadRequest(text="the body has no parts")
        return stored

    def _put_in_queue(self, file: bytes, *, study: str | None, sender: str) -> ObjectFacts:
        try:
            facts = check_object(file)
            _require_study(facts, study)
            self._take(file, facts, sender)
        except RefusedObjectError:
            raise
        except Exception as exc:  # a fault of ours: the sender keeps its film
            logger.error("an object of %s failed: %s", sender, where(exc))  # noqa: TRY400
            raise RefusedObjectError(PROCESSING_FAILURE, "the node failed") from exc
        return facts

    async def _next_file(self, reader: MultipartReader, content: StreamReader) -> bytes | None:
        """Return the file of the next part, None after the last; of one that is refused, all is read and not kept.

        Raises:
            RefusedObjectError: The part is no DICOM file, or too large.
            TimeoutError: It took too long to arrive.
        """
        async with asyncio.timeout(self._settings.stow_part_timeout_s):
            async with asyncio.timeout(self._settings.network_timeout_s):
                part = await reader.next()
            if part is None:
                return None
            if isinstance(part, BodyPartReader):
                return await self._read_part(part, content)
            await part.release()
            raise RefusedObjectError(CANNOT_UNDERSTAND, "a part has parts")

    async def _read_part(self, part: BodyPartReader, content: StreamReader) -> bytes:
        kind = part.headers.get("Content-Type", DICOM).partition(";")[0].strip().lower()
        file = bytearray()
        size = 0
        while True:
            async with asyncio.timeout(self._settings.network_timeout_s):
                chunk = await part.read_chunk(READ_BYTES)
            if content.total_bytes > self._settings.stow_max_request_bytes:
                self._refuse_size()
            if not chunk:
                break
            size += len(chunk)
            if size <= self._settings.max_object_bytes:
                file += chunk
        if kind != DICOM:
            raise RefusedObjectError(CANNOT_UNDERSTAND, f"a part is not of {DICOM}")
        if size > self._settings.max_object_bytes:
            raise RefusedObjectError(CANNOT_UNDERSTAND, "the object is larger than DICOM_MAX_OBJECT_BYTES")
        return bytes(file)


class _Reader(MultipartReader):
    def _get_boundary(self) -> str:
        """Return a boundary of any length: Orthanc's have 73 characters, and aiohttp allows 70, as RFC 2046 does."""
        return str(self._mimetype.parameters["boundary"])


def _require_study(facts: ObjectFacts, study: str | None) -> None:
    if study is not None and facts.study_instance_uid != study:
        raise RefusedObjectError(CLASS_MISMATCH, "the instance is of another study", instance=facts.instance)


def create_app(settings: Settings, take: Take) -> web.Application:
    """Return the application that takes STOW-RS."""
    app = web.Application()
    handler = Stow(settings, take)
    app.router.add_post("/studies", handler.post)
    app.router.add_post("/studies/{study}", handler.post)
    return app


def _reference(sop_class_uid: str, sop_instance_uid: str) -> dict[str, Any]:
    return {
        CLASS_UID: {"vr": "UI", "Value": [sop_class_uid]},
        INSTANCE_UID: {"vr": "UI", "Value": [sop_instance_uid]},
    }
