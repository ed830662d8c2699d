"""What can be said of views that were asked for before anything is computed for them."""

from collections.abc import Iterable

from ouvert.inspection.attention import attention_names, heads_asked
from ouvert.inspection.lens import check_top, layers_asked
from ouvert.inspection.price import as_bytes
from ouvert.inspection.subject import Subject


def check_asked(
    subject: Subject,
    views: Iterable[str],
    *,
    layers: str | Iterable[int] | None = None,
    top: int = 1,
    layer: int | None = None,
    heads: int | Iterable[int] | None = None,
    max_bytes: int | str = 0,
) -> None:
    """Raises InspectionError for a view that the model does not have, and for `layers` and `top` of a lens, a `layer`
    and `heads` of attention, or a size, that cannot be."""
    as_bytes(max_bytes)
    for view in views:
        subject.need(view)
    layers_asked(subject, layers)
    if "lens" in subject.views:
        check_top(subject, top)
    if layer is not None:
        attention_names(subject, layer, values=False)
    if heads is not None:
        heads_asked(subject, heads)
