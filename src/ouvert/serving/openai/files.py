"""/v1/files: what batches read and write, uploaded, listed, given back and removed; each caller has its own.

https://platform.openai.com/docs/api-reference/files
"""

import asyncio
import math
import time
from typing import Any

from starlette.responses import FileResponse, Response

from ouvert.serving.body import Bounds
from ouvert.serving.endpoints import Call, Endpoint
from ouvert.serving.errors import Refusal
from ouvert.serving.openai.pages import page_of
from ouvert.serving.streams import JSONAnswer, unless_gone
from ouvert.serving.uploads import Form, read_form
from ouvert.store import KeptFile, NoSuchFile, kept_until, new_file_id

PURPOSES = ("batch", "fine-tune")
SHORTEST_KEPT, LONGEST_KEPT = 3600, 30 * 86400  # seconds; OpenAI's
MOST_FILES = 10_000  # of one caller
FORM_FIELDS = ("purpose", "expires_after[anchor]", "expires_after[seconds]")


def as_file(file: KeptFile) -> dict[str, Any]:
    """The file as OpenAI shows it. Raises nothing."""
    return {
        "id": file.id,
        "object": "file",
        "bytes": file.bytes,
        "created_at": int(file.created),
        "expires_at": None if file.removal is None else int(file.removal),
        "filename": file.name,
        "purpose": file.purpose,
        "status": "processed",
        "status_details": None,
    }


def found_file(call: Call, file_id: str, param: str | None = None) -> KeptFile:
    """The caller's file of that id. Raises Refusal 404 where there is none; for all others it is not there."""
    try:
        file = call.service.files.get(file_id)
    except NoSuchFile:
        file = None
    if file is None or file.owner != call.caller.whose:
        raise Refusal(404, f"There is no file {file_id!r:.100} here.", code="file_not_found", param=param)
    return file


async def upload(call: Call) -> Response:
    settings, files, whose = call.service.settings, call.service.files, call.caller.whose
    mine = await asyncio.to_thread(lambda: files.every(owner=whose))
    room = settings.files_bytes - sum(file.bytes for file in mine)
    if room <= 0 or len(mine) >= MOST_FILES:
        raise no_room_for_files(settings.files_bytes)
    arriving = await asyncio.to_thread(files.arriving)
    with arriving:
        most = settings.file_bytes
        form = await read_form(call.request, arriving, Bounds(bytes=most, values=0, seconds=settings.read_seconds))
        if arriving.size > room:
            raise no_room_for_files(settings.files_bytes)
        file = asked_to_keep(form, whose, settings.job_keep)
        kept = await asyncio.to_thread(arriving.keep, file)
    return JSONAnswer(as_file(kept))


def asked_to_keep(form: Form, whose: str, keep: float | None) -> KeptFile:
    """The record of the form's file. Raises Refusal for what the form lacks."""
    for name in form.fields:
        if name not in FORM_FIELDS:
            sentence = f"The form's part {name!r:.80} is not known here, expected {', '.join(FORM_FIELDS)} and file."
            raise Refusal(400, sentence, code="unknown_parameter", param=name[:80])
    if form.name is None:
        raise Refusal(400, "file is missing: the part that holds the file.", code="missing_parameter", param="file")
    purpose = form.fields.get("purpose")
    if purpose not in PURPOSES:
        sentence = (
            f"purpose is {purpose!r:.40}, expected 'batch' (for /v1/batches) or 'fine-tune' (for /ouvert/tune/jobs)."
        )
        raise Refusal(400, sentence, code="invalid_value", param="purpose")
    return KeptFile(
        id=new_file_id(),
        owner=whose,
        name=form.name,
        purpose=purpose,
        bytes=0,
        created=float(int(time.time())),
        removal=kept_until(expiry_asked(form, keep)),
    )


def expiry_asked(form: Form, keep: float | None) -> float | None:
    """Seconds for which the file is kept. Raises Refusal."""
    anchor, seconds = form.fields.get("expires_after[anchor]"), form.fields.get("expires_after[seconds]")
    if anchor is None and seconds is None:
        return keep
    fits = seconds is not None and seconds.isdecimal() and seconds.isascii() and len(seconds) < 9
    if anchor != "created_at" or not fits or not SHORTEST_KEPT <= int(seconds or 0) <= LONGEST_KEPT:
        raise Refusal(
            400,
            f"expires_after is anchor {anchor!r:.40}, seconds {seconds!r:.40}, expected 'created_at' and "
            f"{SHORTEST_KEPT} to {LONGEST_KEPT}.",
            code="invalid_value",
            param="expires_after",
        )
    return min(float(seconds or 0), math.inf if keep is None else keep)


def no_room_for_files(most: int) -> Refusal:
    return Refusal(
        413,
        f"Your files would take more than {most} bytes or be more than {MOST_FILES}, which is the most this server "
        "keeps for one caller. Delete some first.",
        code="files_too_large",
        param="file",
    )


async def list_files(call: Call) -> Response:
    query = call.request.query_params
    order, purpose = query.get("order", "desc"), query.get("purpose")
    if order not in ("asc", "desc"):
        raise Refusal(400, f"order is {order!r:.40}, expected asc or desc.", code="invalid_value", param="order")
    files = await asyncio.to_thread(lambda: call.service.files.every(owner=call.caller.whose))
    if order == "asc":
        files.reverse()
    shown = [as_file(file) for file in files if purpose in (None, file.purpose)]
    return JSONAnswer(page_of(shown, query, default=10_000, most=10_000))


async def get_file(call: Call) -> Response:
    return JSONAnswer(as_file(await asyncio.to_thread(found_file, call, call.request.path_params["file_id"])))


async def file_content(call: Call) -> Response:
    file = await asyncio.to_thread(found_file, call, call.request.path_params["file_id"])
    path = await asyncio.to_thread(call.service.files.content, file.id)
    # Never shown as a page, whatever is in it; its name is what somebody else may have chosen.
    headers = {"content-disposition": "attachment", "cache-control": "no-store"}
    return FileResponse(path, media_type="application/octet-stream", headers=headers)


async def delete_file(call: Call) -> Response:
    file = await asyncio.to_thread(found_file, call, call.request.path_params["file_id"])
    listed = await asyncio.to_thread(lambda: call.service.jobs.every(owner=call.caller.whose))
    for job in listed.jobs:
        if not job.is_over and job.settings.get("input_file_id") == file.id:
            sentence = f"{file.id} is being read by {job.id}. Cancel that first, and wait until it is cancelled."
            raise Refusal(409, sentence, code="file_in_use", param="file_id")
    await unless_gone(call.request, asyncio.to_thread(call.service.files.remove, file.id))
    return JSONAnswer({"id": file.id, "object": "file", "deleted": True})


ENDPOINTS = (
    Endpoint(method="POST", path="/files", handler=upload, summary="Upload a file (multipart/form-data)", private=True),
    Endpoint(method="GET", path="/files", handler=list_files, summary="Your files", private=True),
    Endpoint(method="GET", path="/files/{file_id}", handler=get_file, summary="What is known of a file", private=True),
    Endpoint(
        method="GET",
        path="/files/{file_id}/content",
        handler=file_content,
        summary="The bytes of a file",
        answers="application/octet-stream",
        private=True,
    ),
    Endpoint(method="DELETE", path="/files/{file_id}", handler=delete_file, summary="Remove a file", private=True),
)
