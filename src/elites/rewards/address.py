"""Which addresses, keys and limits a reward over HTTP may have."""

from __future__ import annotations

import ipaddress
import math
import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from ..types import InputError

__all__ = ["check_line", "key_of", "look"]

METADATA = {"100.100.100.200", "168.63.129.16", "fd00:ec2::254"}  # of cloud machines; the others are link-local


def check_line(
    url: str,
    parallel: int,
    timeout: float,
    again: int,
    key_env: str | None,
    per_minute: int | None = None,
    budget: int | None = None,
) -> None:
    """Refuse settings that cannot work; see `HTTP` and `Judge`."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:  # which may quote a password
        raise InputError("The address cannot be read: give one like http://127.0.0.1:8000/score.") from None
    if parts.username or parts.password or parts.query or parts.fragment:
        raise InputError(
            "The address holds a user, a query or a fragment: leave them out, and name a key by `key_env`."
        )
    if parts.scheme not in ("http", "https") or not host:
        raise InputError(f"The address {url!r} is none: give one like http://127.0.0.1:8000/score.")
    if _private(host):
        raise InputError(f"{host} is link-local, where machines keep their secrets: give another address.")
    counts = {"parallel": parallel, "per_minute": per_minute, "budget": budget}
    for name, value in counts.items():
        if value is not None and not value >= 1:
            raise InputError(f"{name} is {value}: give at least 1.")
    if not (timeout > 0 and math.isfinite(timeout) and again >= 0):
        raise InputError(f"timeout is {timeout} s and again is {again}: give a positive time and no negative number.")
    key_of(key_env)
    try:
        import httpx2  # noqa: F401
    except ImportError as error:
        raise ImportError("Rewards over HTTP need httpx2: pip install 'elites[http]'.") from error


def key_of(name: str | None) -> str:
    """The key in an environment variable; never to be shown."""
    if name is None:
        return ""
    key = os.environ.get(name, "")
    if not key:
        raise InputError(f"The environment variable {name} is not set: put the key of the server there.")
    if not (key.isascii() and key.isprintable() and " " not in key):
        raise InputError(f"The environment variable {name} holds characters that no key has: set it anew.")
    return key


def _private(host: str) -> bool:
    """Whether an address is link-local or one where the machines of a cloud learn their secrets."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    address = getattr(address, "ipv4_mapped", None) or address
    return address.is_link_local or str(address) in METADATA


async def look(event: str, info: Mapping[str, Any]) -> None:
    """Refuse a name that leads to a link-local address, after it was looked up and before anything is sent."""
    if event.endswith("connect_tcp.complete"):
        address = info["return_value"].get_extra_info("server_addr")
        if _private(str(address[0])):
            await info["return_value"].aclose()
            raise InputError(
                f"The address leads to {address[0]}, where machines keep their secrets: give another one."
            )
