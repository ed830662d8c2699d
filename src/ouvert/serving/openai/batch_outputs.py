"""What a batch writes: OpenAI's output and error files, one line for each request.

https://platform.openai.com/docs/api-reference/batch/request-output
"""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from ouvert.serving.openai.batch_answers import Response
from ouvert.serving.openai.batch_lines import Line
from ouvert.store import Job, KeptFile, KeptFiles, OpenJob, Result, kept_until, open_regular, write_whole

Reread = Iterable[Result]  # that may be gone through several times
UNANSWERED = {
    "expired": ("batch_expired", "This request could not be answered before the completion window was over."),
    "failed": ("batch_failed", "The batch ended before this request was answered; its own error says why."),
    "cancelled": ("batch_cancelled", "The batch was cancelled before this request was answered."),
}


def as_result(job_id: str, line: Line, response: Response) -> Result:
    """What is recorded of a request that was answered or refused. Raises nothing."""
    request_id = response.request_id or item_id("req_", job_id, line.custom_id)
    answer = {"status_code": response.status, "request_id": request_id, "body": dict(response.body)}
    return Result(line.custom_id, response.ok, output_line(job_id, line.custom_id, answer, None))


def unanswered(job_id: str, custom_id: str, ending: str) -> dict[str, Any]:
    """The line of a request that was not begun, or not finished, when the batch ended. Raises KeyError."""
    code, message = UNANSWERED[ending]
    return output_line(job_id, custom_id, None, {"code": code, "message": message})


def output_line(
    job_id: str, custom_id: str, response: Mapping[str, Any] | None, error: Mapping[str, Any] | None
) -> dict[str, Any]:
    return {
        "id": item_id("batch_req_", job_id, custom_id),
        "custom_id": custom_id,
        "response": response,
        "error": error,
    }


def item_id(prefix: str, job_id: str, custom_id: str) -> str:
    """An id that the same item of the same job always has. Raises nothing."""
    return prefix + hashlib.sha256(f"{job_id}\n{custom_id}".encode("utf-8", "surrogatepass")).hexdigest()[:32]


def as_line(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=True, separators=(",", ":")).encode("ascii") + b"\n"


@dataclass(frozen=True, slots=True)
class Ended:
    """A batch that is over, before its files are written: its items (custom ids) in the order of the files. `ending` is
    its state."""

    job: OpenJob
    items: Sequence[str]
    ending: str

    def answered(self) -> Iterator[bytes]:
        """The lines of the output file. Raises OSError."""
        for item in self.items:
            if item in self.job.results and (result := self.job.results.of(item)).ok:
                yield as_line(result.value)

    def refused(self) -> Iterator[bytes]:
        """The lines of the error file. Raises OSError."""
        for item in self.items:
            if item not in self.job.results:
                yield as_line(unanswered(self.job.job.id, item, self.ending))
            elif not (result := self.job.results.of(item)).ok:
                yield as_line(result.value)


class Outputs(Protocol):
    """Where a batch's answers go, beside the record of its results."""

    def begin(self, results: Reread) -> None:
        """Before the work: what was recorded earlier, read as often as it is asked for. Raises OSError."""

    def add(self, result: Result) -> None:
        """It was recorded. Raises OSError."""

    def finish(self, ended: Ended) -> dict[str, Any]:
        """Write what is to stay; fields of the job's `outcome`. Raises OSError."""

    def close(self) -> None:
        """Raises nothing."""


class KeptOutputs:
    """A server's: two kept files, written when the batch is over."""

    def __init__(self, files: KeptFiles, keep: float | None) -> None:
        """`keep`: seconds for which they are kept, None for good."""
        self._files, self._keep = files, keep

    def begin(self, results: Reread) -> None:
        pass

    def add(self, result: Result) -> None:
        pass

    def finish(self, ended: Ended) -> dict[str, Any]:
        job = ended.job.job
        output = self._written(job, "output", ended.answered())
        return {**output, **self._written(job, "error", ended.refused())}

    def close(self) -> None:
        pass

    def _written(self, job: Job, which: str, lines: Iterator[bytes]) -> dict[str, Any]:
        """Nothing is written where there is no line. The id is the job's own, so that a second attempt replaces the
        first."""
        first = next(lines, None)
        if first is None:
            return {}
        file = KeptFile(
            id=item_id("file-", job.id, which),
            owner=job.owner,
            name=f"{job.id}_{which}.jsonl",
            purpose="batch_output",
            bytes=0,
            created=float(int(job.at("finalizing")["finalizing"])),
            removal=kept_until(self._keep),
        )
        self._files.write(file, chained(first, lines))
        return {f"{which}_file_id": file.id}


class PathOutputs:
    """A command's: two files that grow with every answer, and are put in the order of the input at the end."""

    def __init__(self, output: Path, errors: Path) -> None:
        self._output, self._errors = output, errors
        self._files: dict[Path, BinaryIO] = {}  # open for appending

    def begin(self, results: Reread) -> None:
        write_whole(self._output, (as_line(result.value) for result in results if result.ok))
        refused = (as_line(result.value) for result in results if not result.ok)
        first = next(refused, None)
        if first is None:
            self._errors.unlink(missing_ok=True)
        else:
            write_whole(self._errors, chained(first, refused))

    def add(self, result: Result) -> None:
        path = self._output if result.ok else self._errors
        if path not in self._files:
            self._files[path] = os.fdopen(open_regular(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), "ab")
        self._files[path].write(as_line(result.value))
        self._files[path].flush()

    def finish(self, ended: Ended) -> dict[str, Any]:
        self.close()
        write_whole(self._output, ended.answered())
        errors = ended.refused()
        first = next(errors, None)
        if first is None:
            self._errors.unlink(missing_ok=True)
            return {"output": str(self._output)}
        write_whole(self._errors, chained(first, errors))
        return {"output": str(self._output), "errors": str(self._errors)}

    def close(self) -> None:
        while self._files:
            with suppress(OSError):  # of a full disk; the record has what could not be written here
                self._files.popitem()[1].close()


def chained(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest
