# SPDX-License-Identifier: GPL-3.0-or-later
"""Which requests to Vault did a piece of work: their ids, as Vault's audit log has them.

Kept by thread, so that work on several certificates side by side keeps its requests apart, and
nobody has to hand a list through stores and ledgers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

_NOTED: ContextVar[list[str] | None] = ContextVar("noted", default=None)


@contextmanager
def noted() -> Iterator[list[str]]:
    """The ids of the writes that this thread makes meanwhile, in their order.

    Calls that only ask are not among them, and a wrapped answer has no id: it comes when a host
    unwraps. Within another such block both lists get them.
    """
    ids: list[str] = []
    outer = _NOTED.get()
    token = _NOTED.set(ids)
    try:
        yield ids
    finally:
        _NOTED.reset(token)
        if outer is not None:
            outer.extend(ids)


def note(answer: Mapping[str, Any] | None) -> None:
    """Note an answer's id. An answer without content (HTTP 204) has none to tell."""
    ids = _NOTED.get()
    request_id = (answer or {}).get("request_id")
    if ids is not None and isinstance(request_id, str) and request_id:
        ids.append(request_id)
