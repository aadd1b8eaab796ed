"""What a damaged ledger still holds.

SQLite reads a table as a tree, and gives up a branch for one bad page. But every row lies whole on one page, with its
key and a checksum, so no tree is needed: each page of the file is read by itself, those in the log in place of those
in the database, and a row is taken over if its checksum is right. Only what was overwritten is lost.

The layout of a page is that of an index leaf (type 10) or an index node (type 2) of the format:

    page    type, ..., number of cells (2 bytes at 3), offsets of the cells (2 bytes each, from 8; from 12 in a node)
    cell    (child page, 4 bytes, in a node) length of the record, record, (first overflow page, 4 bytes)
    record  length of the head, a type for each column, and their values

References:
    Database file format (SQLite), sqlite.org/fileformat2.html.
"""

from __future__ import annotations

import shutil
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .ledger import ROW, Ledger, checksum
from .types import InputError

__all__ = ["repair", "rows"]

PAGE = 4096  # bytes, where the head of the file does not say
LEAF, NODE = 10, 2
WIDTHS = (0, 1, 2, 3, 4, 6, 8, 8, 0, 0)  # bytes of a value by its type
STATE, ENDED = ROW.index("state"), ROW.index("ended")


def repair(path: Path) -> tuple[int, Path]:
    """Take every evaluation that can be read over into a new ledger; nobody may have it open.

    Returns:
        How many there are, and where the damaged ledger is kept.

    Raises:
        InputError: if there is no ledger.
        StoreError: if the new one cannot be written; then nothing has changed.
    """
    if not path.is_file():
        raise InputError(f"There is no ledger {path}: nothing can be repaired.")
    found: dict[tuple[int, ...], tuple[Any, ...]] = {}
    for row in rows(path):
        old = found.get(row[:STATE])
        if old is None or old[ENDED] <= row[ENDED]:
            found[row[:STATE]] = row
    new = path.with_name(f".{path.name}.new")
    _remove(new)
    ledger = Ledger(new)
    ledger.take(list(found.values()))
    ledger.close()
    kept = next(p for i in range(1, 10**6) if not (p := path.with_name(f"{path.stem}.damaged-{i}.sqlite")).exists())
    for tail in ("-wal", ""):
        if (old_file := Path(f"{path}{tail}")).exists():
            shutil.copy2(old_file, f"{kept}{tail}")
    for tail in ("-wal", "-shm"):
        Path(f"{path}{tail}").unlink(missing_ok=True)
    new.replace(path)
    return len(found), kept


def rows(path: Path) -> Iterator[tuple[Any, ...]]:
    """Every evaluation that has ended and whose checksum is right, in the order of `ROW`; some may come twice."""
    data, log = path.read_bytes(), Path(f"{path}-wal")
    size, used = _sizes(data)
    pages = {1 + i // size: data[i : i + size].ljust(size, b"\0") for i in range(0, len(data), size)}
    pages |= _logged(log.read_bytes() if log.exists() else b"", size)
    for page in pages.values():
        for at in _cells(page):
            try:
                values = _record(_payload(page, at, used, pages))
                values[ENDED] = float(values[ENDED])  # a whole number is stored as one
                sound = len(values) == len(ROW) + 1 and values[-1] == checksum(values[:-1])
            except (IndexError, KeyError, TypeError, ValueError, struct.error):
                continue  # overwritten, or pending
            if sound:
                yield tuple(values[:-1])


def _remove(path: Path) -> None:
    for tail in ("", "-wal", "-shm"):
        Path(f"{path}{tail}").unlink(missing_ok=True)


def _sizes(data: bytes) -> tuple[int, int]:
    """Bytes of a page, and how many of them are used."""
    head = data[:24].ljust(24, b"\0")
    size, spare = struct.unpack_from(">H", head, 16)[0], head[20]
    size = 65536 if size == 1 else size
    if not head.startswith(b"SQLite format 3\0") or size < 512 or size & (size - 1):
        return PAGE, PAGE
    return size, size - spare


def _logged(log: bytes, size: int) -> dict[int, bytes]:
    """The newest copy of each page in the log, up to its last commit."""
    if len(log) < 32 or struct.unpack_from(">I", log, 8)[0] != size:
        return {}
    pages: dict[int, bytes] = {}
    fresh: dict[int, bytes] = {}
    for at in range(32, len(log) - size - 23, size + 24):
        number, commit = struct.unpack_from(">II", log, at)
        if log[at + 8 : at + 16] != log[16:24]:  # of an earlier use of the file
            break
        fresh[number] = log[at + 24 : at + 24 + size]
        if commit:
            pages, fresh = pages | fresh, {}
    return pages


def _cells(page: bytes) -> list[int]:
    """Where the records of a page begin."""
    if page[0] not in (LEAF, NODE):
        return []
    first, skip = (12, 4) if page[0] == NODE else (8, 0)
    n = min(struct.unpack_from(">H", page, 3)[0], (len(page) - first) // 2)
    return [at + skip for at in struct.unpack_from(f">{n}H", page, first)]


def _payload(page: bytes, at: int, used: int, pages: dict[int, bytes]) -> bytes:
    """The record of a cell, with what of it overflows to other pages."""
    length, at = _number(page, at)
    if length > used * len(pages):
        raise ValueError("longer than the file")
    most, least = (used - 12) * 64 // 255 - 23, (used - 12) * 32 // 255 - 23
    if length <= most:
        return page[at : at + length]
    here = least + (length - least) % (used - 4)
    here = here if here <= most else least
    parts, left = [page[at : at + here]], length - here
    (after,) = struct.unpack_from(">I", page, at + here)
    while left > 0:
        parts.append(pages[after][4 : min(used, 4 + left)])
        left -= used - 4
        (after,) = struct.unpack_from(">I", pages[after])
    return b"".join(parts)


def _record(data: bytes) -> list[Any]:
    """The values of a record."""
    end, at = _number(data, 0)
    types = []
    while at < end:
        kind, at = _number(data, at)
        types.append(kind)
    return [_value(data, kind, start) for kind, start in _placed(types, end)]


def _placed(types: list[int], at: int) -> Iterator[tuple[int, int]]:
    for kind in types:
        yield kind, at
        at += (kind - 12) // 2 if kind >= 12 else WIDTHS[kind]


def _value(data: bytes, kind: int, at: int) -> Any:
    if kind == 0:
        return None
    if kind in (8, 9):
        return kind - 8
    if kind == 7:
        return struct.unpack_from(">d", data, at)[0]
    if kind < 7:
        return int.from_bytes(data[at : at + WIDTHS[kind]], "big", signed=True)
    body = data[at : at + (kind - 12) // 2]
    return body.decode() if kind % 2 else body


def _number(data: bytes, at: int) -> tuple[int, int]:
    """A whole number of one to nine bytes, and where it ends."""
    value = 0
    for i in range(8):
        byte = data[at + i]
        value = value << 7 | byte & 127
        if byte < 128:
            return value, at + i + 1
    return value << 8 | data[at + 8], at + 9
