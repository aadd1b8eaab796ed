"""What the workers of every crew share: what is said of a server, and of what it raised."""

from __future__ import annotations

import traceback
from typing import Any

__all__ = ["about", "reason", "traced"]


def about(server: Any) -> dict[str, Any]:
    """What a server says of itself, such as how long its parts take; nothing if it says nothing."""
    return dict(getattr(server, "about", {}))


def reason(error: BaseException) -> str:
    """An exception on one line."""
    return f"{type(error).__name__}: {error}".strip(": ")


def traced() -> str:
    """The exception in flight, whole."""
    return traceback.format_exc().strip()
