"""Networks in ONNX files.

ONNX Runtime evaluates them, so nothing of what they were trained with is needed; for a walk they are black boxes
without gradients.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..types import InputError

__all__ = ["Onnx"]

DTYPES = {
    "tensor(float16)": torch.float16,
    "tensor(float)": torch.float32,
    "tensor(double)": torch.float64,
    "tensor(int32)": torch.int32,
    "tensor(int64)": torch.int64,
    "tensor(bool)": torch.bool,
}


@dataclass(frozen=True)
class _Input:
    """An input as the file declares it; dimensions that may vary are names or `None`."""

    name: str
    shape: tuple[int | str | None, ...]
    dtype: torch.dtype

    @property
    def rows(self) -> int | None:
        """Rows that it is fixed to, if it is."""
        return self.shape[0] if self.shape and isinstance(self.shape[0], int) else None

    def takes(self, value: Tensor) -> bool:
        """Whether rank and fixed dimensions agree, whatever the rows."""
        fixed = zip(self.shape[1:], value.shape[1:], strict=False)
        return len(self.shape) == value.ndim and all(n == m for n, m in fixed if isinstance(n, int))

    def array(self, value: Tensor) -> Any:
        """The value as ONNX Runtime wants it."""
        return value.detach().to("cpu", self.dtype).numpy()

    def __str__(self) -> str:
        return f"{self.name} of shape ({', '.join(map(str, self.shape))})"


@dataclass(frozen=True, eq=False)
class Onnx:
    """A network in an ONNX file, as the `net` of a `GaussianPrior`; it has no gradients.

    Of its inputs, those that are not constants are the noisy objects `(B, *shape)`, of any float type, and the time,
    of shape `()`, `(1,)` or `(B,)` and any float or whole number type; the one of lower rank is the time, and of two
    that are alike the second. Its first output is the prediction.

    Arguments:
        net: the file, or an `onnxruntime.InferenceSession` made with options of your own.
        providers: of a file, what evaluates it, in order of preference; there are as many threads as torch has now.
        inputs: constants of the other inputs by name, such as a class; one row stands for all.

    Raises:
        InputError: if the file is missing or unreadable, a provider is not there, or the inputs are not as above; and,
            of a call, if the network is fixed to other rows or another shape, takes whole numbers as time and is given
            a fraction, or is asked for a gradient.
        ImportError: if onnxruntime is not installed.
    """

    net: str | os.PathLike[str] | Any
    providers: Sequence[str] = ("CPUExecutionProvider",)
    inputs: Mapping[str, Any] = field(default_factory=dict, repr=False)
    _session: Any = field(init=False, repr=False)
    _x: _Input = field(init=False, repr=False)
    _t: _Input = field(init=False, repr=False)
    _rest: tuple[tuple[_Input, Tensor], ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        session = _open(self.net, self.providers)
        known = {i.name: _Input(i.name, tuple(i.shape), _dtype(i)) for i in session.get_inputs()}
        free = [i for i in known.values() if i.name not in self.inputs]
        if len(free) != 2 or not set(self.inputs) <= set(known):
            names = ", ".join(known)
            raise InputError(f"The network has the inputs {names}: give all but x and the time as inputs=.")
        x, t = sorted(free, key=lambda i: -len(i.shape))
        if len(t.shape) > 1 or t.dtype == torch.bool:
            raise InputError(f"The time is {t}: export the network with a number for each row, or one for all.")
        if not x.dtype.is_floating_point:
            raise InputError(f"The network takes {x} as {x.dtype}: export it for floats.")
        rest = tuple((known[name], torch.as_tensor(value)) for name, value in self.inputs.items())
        for i, value in rest:
            if not i.takes(value):
                raise InputError(f"The network takes {i}: give that in inputs=, not {tuple(value.shape)}.")
        for name, found in {"_session": session, "_x": x, "_t": t, "_rest": rest}.items():
            object.__setattr__(self, name, found)

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy, in this process or another, opens the file again: sessions cannot be copied."""
        return Onnx, (self.net, self.providers, dict(self.inputs))

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        """The prediction `(B, *shape)` in the type of x, for noisy x `(B, *shape)` and times t `(B,)`."""
        if torch.is_grad_enabled() and x.requires_grad:
            raise InputError("An ONNX network has no gradients: use a method that needs none, such as Elites.")
        if not self._x.takes(x):
            raise InputError(f"The network takes {self._x}: the prior has objects of shape {tuple(x.shape[1:])}.")
        single = self._t.shape in ((), (1,))  # one time for all rows
        rows = self._x.rows or (None if single else self._t.rows)
        if rows not in (None, len(x)):
            raise InputError(f"The network takes exactly {rows} rows, not {len(x)}: give the target batch={rows}.")
        feed = {self._x.name: self._x.array(x), self._t.name: self._t.array(self._time(t, single))}
        for i, value in self._rest:
            every = value.ndim and len(value) == 1 and i.rows != 1
            feed[i.name] = i.array(value.expand(len(x), *value.shape[1:]) if every else value)
        (y,) = self._session.run([self._session.get_outputs()[0].name], feed)
        return torch.from_numpy(np.asarray(y)).to(x)

    def _time(self, t: Tensor, single: bool) -> Tensor:
        """The times in the shape of the input."""
        if not self._t.dtype.is_floating_point and not torch.equal(t, t.round()):
            raise InputError(
                f"The network takes whole times, not {float(t[0]):g}: use a Table, or scale and round them."
            )
        if single and not (t == t[0]).all():
            raise InputError("The network takes one time for all rows: give it rows of one time.")
        return t[0].reshape(self._t.shape) if single else t  # type: ignore[arg-type]


def _onnxruntime() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise ImportError("This network needs onnxruntime: pip install 'elites[onnx]'.") from error
    return onnxruntime


def _open(net: Any, providers: Sequence[str]) -> Any:
    """The session of a file, or the one that was given."""
    runtime = _onnxruntime()
    if isinstance(net, runtime.InferenceSession):
        return net
    if not isinstance(net, str | os.PathLike):
        raise InputError(f"The network is a {type(net).__name__}: give an ONNX file or an InferenceSession.")
    if not Path(net).is_file():
        raise InputError(f"There is no file {net}: give a network that was exported to ONNX.")
    there = runtime.get_available_providers()
    for name in providers:
        if name not in there:
            raise InputError(f"This onnxruntime has no {name}: choose from {', '.join(there)}.")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()  # by default it takes every core, beside other workers
    try:
        session = runtime.InferenceSession(os.fspath(net), options, providers=list(providers))
    except Exception as error:  # what onnxruntime raises has no class in common
        raise InputError(f"onnxruntime cannot open {net}: {error}") from error
    used = session.get_providers()
    if providers and providers[0] not in used:  # it logs why, and goes on much slower
        raise InputError(f"{providers[0]} does not work on this machine: mend it, or ask for {used[0]}.")
    return session


def _dtype(declared: Any) -> torch.dtype:
    if declared.type not in DTYPES:
        raise InputError(f"The input {declared.name} is a {declared.type}: export the network in float32 or float16.")
    return DTYPES[declared.type]
