"""/api/ui/session: from where the page was opened, who asks, and what they may do."""

from starlette.responses import Response

from ouvert.serving.callers import identify, opened_from
from ouvert.serving.endpoints import Call
from ouvert.serving.errors import Refusal
from ouvert.serving.keys import SCOPES
from ouvert.serving.origin_guard import refuse_other_pages
from ouvert.serving.streams import JSONAnswer


async def session(call: Call) -> Response:
    """What the page may say of where its words go, and whether it must ask for a key before it shows conversations."""
    refuse_other_pages(call.request)
    try:
        caller = identify(call.request, call.service.keys, counted=False)
    except Refusal as refusal:
        if refusal.status != 401:
            raise
        caller = None
    who = "nobody" if caller is None else "owner" if caller.is_owner else "guest" if caller.key is None else "key"
    return JSONAnswer(
        {
            "opened_from": opened_from(call.request),
            "who": who,
            "needs_key": caller is None,
            "reads_stored": caller is not None and caller.reads_stored,
            "compares": call.request.app.state.comparison is not None,
            "scopes": [scope for scope in SCOPES if caller is not None and caller.may(scope)],
        },
        headers={"cache-control": "no-store"},
    )
