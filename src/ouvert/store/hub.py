"""Fetching from a hub that speaks Hugging Face's API: what a repository holds, and its files, resumed and checked.

Listing is huggingface_hub's; bytes come over its HTTP session. The body is hashed while it arrives, and what has
arrived stays in a .partial file, so that a fetch goes on where it was cut off. Facts: docs/formats/store.md.
"""

import os
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ouvert.store.arrival import Arrival, ExpectedFile
from ouvert.store.blobs import Blobs, disk_full_said
from ouvert.store.error import StoreError, Unreachable
from ouvert.store.foreign import foreign_text
from ouvert.store.progress import Progress, bytes_in_words
from ouvert.store.source import HubSource

if TYPE_CHECKING:
    import httpx2
DIGEST = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
SILENCE_SECONDS = 30.0  # without a byte, a connection counts as lost
LOOK_AGAIN_SECONDS = 0.1  # how often a wait looks whether the fetch is still wanted
PARTIAL_CONTENT = 206
BUSY = (408, 425, 429)  # worth another try, as are all 5xx

# What huggingface_hub reads once, when it is imported.
QUIET = {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_SYMLINKS_WARNING": "1",
    "HF_HUB_DISABLE_UPDATE_CHECK": "1",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Repository:
    """One commit of a repository."""

    source: HubSource
    commit: str
    licence: str | None
    files: tuple[ExpectedFile, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hub:
    """Where the hub is and who asks. Without `endpoint`, the public one; without `token`, anonymously.

    A lost connection is taken up again `retries` times, with growing pauses; the count starts anew whenever bytes came.
    """

    endpoint: str | None = None
    token: str | None = None
    retries: int = 4
    pause: float = 1.0

    @property
    def host(self) -> str:
        """The host that is asked. Opens no connection and raises nothing."""
        quiet_hub()
        from huggingface_hub import constants

        return urlsplit(self.endpoint or constants.ENDPOINT).hostname or "the hub"

    def repository(self, source: HubSource) -> Repository:
        """What the repository holds. Raises Unreachable when the hub does not answer, StoreError when it refuses."""
        quiet_hub()
        import httpx2
        from huggingface_hub import HfApi, errors

        api = HfApi(endpoint=self.endpoint, token=self.token or False, library_name="ouvert")
        try:
            info = api.model_info(
                source.repository, revision=source.revision, files_metadata=True, timeout=SILENCE_SECONDS
            )
        except errors.GatedRepoError as problem:
            raise StoreError(
                f"{source}: its owners ask that you accept their licence first. Do so on the model's page of the hub, "
                "then give a token of your account: `hf auth login`, or HF_TOKEN=... in the environment."
            ) from problem
        except errors.RevisionNotFoundError as problem:
            raise StoreError(f"{source}: the repository has no revision {source.revision!r}.") from problem
        except errors.RepositoryNotFoundError as problem:
            raise StoreError(
                f"{source}: the hub knows no such repository, or it is private. Check the spelling; for a private one "
                "give a token of an account that may read it: `hf auth login`, or HF_TOKEN=... in the environment."
            ) from problem
        except (httpx2.RequestError, errors.OfflineModeIsEnabled) as problem:
            raise Unreachable(f"{source} cannot be fetched: the hub does not answer ({problem}).") from problem
        except errors.HfHubHTTPError as problem:
            raise StoreError(f"{source}: the hub answered {problem}. Try again later.") from problem
        except (ValueError, TypeError, KeyError, AttributeError) as problem:
            raise StoreError(
                f"{source}: what answered does not speak as a hub does ({problem!r}). Is there a page to sign in to "
                "before this network opens, or is HF_ENDPOINT not a hub?"
            ) from problem
        files = []
        for each in info.siblings or ():
            sha256 = each.lfs.sha256 if each.lfs else None
            # The digest names a file here before its content is known, so it must be one.
            if not isinstance(each.size, int) or not DIGEST.fullmatch(str(sha256 or each.blob_id)):
                raise StoreError(
                    f"{source}: the hub says that {each.rfilename} has {each.size} bytes and the digest "
                    f"{sha256 or each.blob_id}: expected a number and hexadecimal digits. Is this address a hub?"
                )
            files.append(ExpectedFile(name=each.rfilename, size=each.size, sha256=sha256, git_sha1=each.blob_id))
        if info.sha is None:
            raise StoreError(f"{source}: the hub does not say which commit it serves.")
        card = info.card_data
        licence = (card.get("license_name") or card.get("license")) if card else None
        return Repository(source=source, commit=info.sha, licence=foreign_text(licence), files=tuple(files))

    def fetch(self, repository: Repository, file: ExpectedFile, blobs: Blobs, progress: Progress) -> str:
        """Bring one file into `blobs` and return its digest ("sha256:<hex>"). The caller holds the lock of its key.

        Raises Unreachable when the connection is lost for good (what came is kept for the next time), and StoreError
        when the content is not what the hub announced (then what came is discarded, and nothing else is touched).
        """
        partial = blobs.partial(file.key)
        partial.touch()
        with disk_full_said(partial), partial.open("r+b") as stream:
            arrival = Arrival(stream, file)
            arrival.take_up(progress)
            progress.begin(file.name, file.size, arrival.count)
            try:
                self.receive(repository, arrival, progress)
            finally:
                progress.end()
        if fault := arrival.fault():
            partial.unlink()
            raise StoreError(
                f"{file.name} of {repository.source} did not arrive as the hub announced it: {fault}. It was discarded "
                "and nothing else was touched. Run the same command again; if it happens twice, something between the "
                "hub and this machine changes what passes through."
            )
        digest = "sha256:" + arrival.sha256.hexdigest()
        blobs.keep(partial, digest)
        return digest

    def receive(self, repository: Repository, arrival: Arrival, progress: Progress) -> None:
        """Ask for what is missing until it is here.

        Raises Unreachable when the connection is lost for good, StoreError when the server refuses, OSError when the
        disk cannot take it.
        """
        quiet_hub()
        import httpx2
        from huggingface_hub import errors, get_session, hf_hub_url

        file = arrival.file
        url = hf_hub_url(repository.source.repository, file.name, revision=repository.commit, endpoint=self.endpoint)
        # Content is wanted as it is stored: in a compressed body, ranges and sizes would mean something else.
        headers = {"User-Agent": "ouvert", "Accept-Encoding": "identity"}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"  # the HTTP library drops it when another host is named
        failures = 0
        while arrival.count < file.size:
            before = arrival.count
            asked = headers | {"Range": f"bytes={before}-"} if before else headers
            try:
                with get_session().stream("GET", url, headers=asked, timeout=SILENCE_SECONDS) as answer:
                    require_success(answer, file, repository)
                    if before and answer.status_code != PARTIAL_CONTENT:
                        arrival.restart(progress)  # this server does not resume: it sends everything again
                    # Piece by piece as it comes: what a buffer held would be lost with the connection.
                    for piece in answer.iter_raw():
                        progress.require_wanted()
                        arrival.write(piece)
                        progress.advance(len(piece))
                        if arrival.count > file.size:
                            return
                if arrival.count < file.size:
                    raise httpx2.RemoteProtocolError("the body ended early")
            except (httpx2.RequestError, httpx2.StreamError, errors.OfflineModeIsEnabled) as problem:
                failures = 1 if arrival.count > before else failures + 1
                if failures > self.retries:
                    raise Unreachable(
                        f"{file.name} of {repository.source} was cut off after {bytes_in_words(arrival.count)} of "
                        f"{bytes_in_words(file.size)} ({problem}). What has arrived is kept: run the same command "
                        "again and it goes on from there."
                    ) from problem
                wait(self.pause * 2 ** (failures - 1), progress)


def wait(seconds: float, progress: Progress) -> None:
    """Let the time pass, unless the fetch is given up meanwhile."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        progress.require_wanted()
        time.sleep(min(left, LOOK_AGAIN_SECONDS))


def require_success(answer: "httpx2.Response", file: ExpectedFile, repository: Repository) -> None:
    """Raise what can be acted on: try again (a TransportError) where a server is busy, StoreError elsewhere."""
    import httpx2

    if answer.is_success:
        return
    if answer.status_code >= httpx2.codes.INTERNAL_SERVER_ERROR or answer.status_code in BUSY:
        raise httpx2.RemoteProtocolError(f"the server answered {answer.status_code} {answer.reason_phrase}")
    raise StoreError(
        f"{file.name} of {repository.source}: the server answered {answer.status_code} {answer.reason_phrase}. "
        "If this model asks you to accept a licence, do so on its page and give a token (HF_TOKEN); else try later."
    )


def quiet_hub() -> None:
    """Switch off what huggingface_hub would tell its makers, before it is imported and after."""
    os.environ.update(QUIET)
    from huggingface_hub import constants

    constants.HF_HUB_DISABLE_TELEMETRY = True
