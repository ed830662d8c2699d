"""OpenAI's lists, page by page: `limit` and `after`."""

from collections.abc import Mapping, Sequence
from typing import Any

from starlette.datastructures import QueryParams

from ouvert.serving.errors import Refusal


def page_of(items: Sequence[Mapping[str, Any]], query: QueryParams, *, default: int, most: int) -> dict[str, Any]:
    """The items behind the one with the id `after`, `limit` of them at most. Raises Refusal."""
    limit = query.get("limit", str(default))
    if not (limit.isdecimal() and limit.isascii() and len(limit) < 7 and 1 <= int(limit) <= most):
        raise Refusal(400, f"limit is {limit!r:.40}, expected 1 to {most}.", code="invalid_value", param="limit")
    if after := query.get("after"):
        places = [n for n, item in enumerate(items) if item["id"] == after]
        if not places:
            raise Refusal(400, f"after: there is no {after!r:.100} here.", code="invalid_value", param="after")
        items = items[places[0] + 1 :]
    page = list(items[: int(limit)])
    return {
        "object": "list",
        "data": page,
        "first_id": page[0]["id"] if page else None,
        "last_id": page[-1]["id"] if page else None,
        "has_more": len(items) > len(page),
    }
