"""States as JSON and tensors, and back.

A state is a dataclass of tensors, numbers, strings and objects with `state_dict`. Its tensors go into a safetensors
file under their names, the rest is JSON, and nothing is pickled, so that loading a state never runs code.
"""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
from torch import Tensor

__all__ = ["pack", "unpack"]


def pack(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """A state as JSON, with its tensors put aside under their names.

    Arguments:
        value: tensor, number, string, `None`, list, tuple, dict, dataclass, or object with `state_dict`.
        name: of the value.
        tensors: filled with every tensor met.
    """
    if isinstance(value, Tensor):
        tensors[name] = value.detach().cpu().contiguous()
        return {"tensor": name}
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return {type(value).__name__: [pack(v, f"{name}.{i}", tensors) for i, v in enumerate(value)]}
    if isinstance(value, dict):
        return {"dict": [[pack(k, "", tensors), pack(v, f"{name}.{k}", tensors)] for k, v in value.items()]}
    if is_dataclass(value):
        parts = {f.name: getattr(value, f.name) for f in fields(value)}
        return {"fields": {k: pack(v, f"{name}.{k}", tensors) for k, v in parts.items()}}
    if not callable(getattr(value, "state_dict", None)):
        raise TypeError(
            f"{name} is a {type(value).__name__}: a state holds tensors, numbers, or what has a state_dict."
        )
    return {"state_dict": pack(value.state_dict(), name, tensors)}


def unpack(packed: Any, like: Any, tensors: dict[str, Tensor]) -> Any:
    """The value again; `like` is one of the same form, such as the first state of the method."""
    if not isinstance(packed, dict):
        return packed
    ((kind, inner),) = packed.items()
    if kind == "tensor":
        stored = tensors[inner]
        return stored.to(like.device) if isinstance(like, Tensor) else stored
    if kind in ("list", "tuple"):
        return (list if kind == "list" else tuple)(unpack(v, None, tensors) for v in inner)
    if kind == "dict":
        pairs = ((unpack(k, None, tensors), v) for k, v in inner)
        return {k: unpack(v, like.get(k) if like else None, tensors) for k, v in pairs}
    if kind == "state_dict":
        like.load_state_dict(unpack(inner, None, tensors))
        return like
    return type(like)(**{k: unpack(v, getattr(like, k), tensors) for k, v in inner.items()})
