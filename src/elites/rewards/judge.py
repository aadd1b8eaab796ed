"""A chat model as a judge: a number for an image or a text, from any OpenAI-compatible endpoint."""

from __future__ import annotations

import json
import math
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..answers import gather
from ..types import InputError
from .address import check_line
from .chat import SCHEMA, Asked, ask, verdict
from .encoding import shown, to_parts
from .held import Held
from .transport import Again, Line, Request, refusal

__all__ = ["Judge"]

PLAIN = (400, 422)  # what endpoints without structured output answer


@dataclass(frozen=True, eq=False, repr=False)
class Judge:
    """Scores from a chat model that is told a rubric and shown one object a request, at temperature 0.

    The rubric is in the system message alone. The object is data: images as image parts, texts between marks that a
    hash of the contents makes, so that no text can hold them; the system message says that nothing in there is an
    instruction. What comes back must be exactly one JSON object `{"score": number, "reason": text}`, bare or in a code
    fence, with the score in the scale. Prose around it, other keys, keys given twice, text or booleans for numbers and
    scores outside of the scale are failures with the reason and the raw reply, never numbers. Such a reply is asked
    for once more.

    This does not make a judge honest: a picture may still persuade the model behind it, and a search will find such
    pictures. Watch the best objects with a second judge that the search never sees.

    Structured output (`response_format`) is asked for; where that is answered by 400 or 422 and the same question
    without it is not, it is left out from then on. A copy in another process has its own connections, pace and budget.

    Arguments:
        url: such as http://127.0.0.1:8000/v1, or its `/chat/completions`; link-local addresses are refused.
        model: as the endpoint names it.
        rubric: what is good, in words; trusted.
        scale: least and largest score.
        prompt: what the objects were made from, shown as data; or `None`.
        parts: makes an object a list of texts and PNG bytes.
        temperature: of the model; `None` sends none, for endpoints that refuse it.
        key_env: name of the environment variable with the key, sent as a bearer token and never shown.
        parallel: requests at a time, whoever asks.
        per_minute: requests in any minute, whoever asks; `None` for no limit.
        budget: requests in all, tries included; then all objects fail without being sent. `None` for no limit.
        timeout: seconds of a request, from connecting to the last byte. With its waits, an object takes at most
            `timeout` times `again + 1`, from the first request on; a longer `Retry-After` is a failure at once.
        again: tries after the first.
        log: file to which every reply that is read is added as a line of JSON, or `None`.

    Raises:
        InputError: if the address, the scale or a number cannot work, the variable is not set, or the folder of the
            log is not there.
        ImportError: without the extra `http`.

    References:
        Judging LLM-as-a-Judge with MT-Bench and Chatbot Arena (Zheng et al., 2023), arXiv:2306.05685.
        Defending Against Indirect Prompt Injection Attacks With Spotlighting (Hines et al., 2024), arXiv:2403.14720.
    """

    url: str
    model: str
    rubric: str
    scale: tuple[float, float] = (0, 10)
    prompt: str | None = None
    parts: Callable[[Any], Sequence[str | bytes]] = to_parts
    temperature: float | None = 0.0
    key_env: str | None = field(default=None, repr=False)  # what changes no score does not identify a run
    parallel: int = field(default=4, repr=False)
    per_minute: int | None = field(default=None, repr=False)
    budget: int | None = field(default=None, repr=False)
    timeout: float = field(default=120.0, repr=False)
    again: int = field(default=4, repr=False)
    log: str | Path | None = field(default=None, repr=False)
    _line: Held[Line] = field(default_factory=Held, init=False, repr=False)
    _knows: dict[str, bool] = field(default_factory=dict, init=False, repr=False)  # "schema": it has such output

    __repr__ = shown

    def __post_init__(self) -> None:
        check_line(self.url, self.parallel, self.timeout, self.again, self.key_env, self.per_minute, self.budget)
        low, high = self.scale
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise InputError(f"The scale is {self.scale}: give two finite numbers, the least first.")
        if not (self.model and self.rubric.strip()):
            raise InputError("A judge needs a model and a rubric: say what is good.")
        if self.log is not None and not Path(self.log).absolute().parent.is_dir():
            raise InputError(f"There is no folder for the log {self.log}: make it first.")

    @property
    def width(self) -> int:
        """Objects that are away at a time."""
        return self.parallel

    @property
    def spent(self) -> int:
        """Requests sent so far by this process."""
        return self._open().spent

    def __call__(self, objects: Any) -> list[Any]:
        """The answers in order."""
        return gather(self.each(objects), len(objects))

    def each(self, objects: Any) -> Iterator[tuple[int, Any]]:
        """(Position, answer) as answers come."""
        faults: list[tuple[int, Exception]] = []
        yield from self._open().each(self._requests(objects, faults))
        yield from faults

    def _open(self) -> Line:
        limits = (self.parallel, self.timeout, self.again, self.key_env, self.per_minute, self.budget)
        end = "/chat/completions"
        return self._line.get(lambda: Line(self.url.rstrip("/").removesuffix(end) + end, *limits))

    def _requests(self, objects: Any, faults: list[tuple[int, Exception]]) -> Iterator[tuple[list[int], Request]]:
        for row, obj in enumerate(objects):
            try:
                question = _Question(self, ask(self.rubric, self.scale, self.prompt, self.parts(obj)))
            except Exception as error:  # a user's function may raise anything
                faults.append((row, error))
                continue
            yield [row], Request(question.body, question.read)


class _Question:
    """What is asked about one object, and how the replies to it are read."""

    def __init__(self, judge: Judge, asked: Asked) -> None:
        self.judge, self.asked = judge, asked
        self.structured = True  # how it was asked last
        self.unclear = 0

    def body(self) -> bytes:
        judge = self.judge
        self.structured = self.structured and judge._knows.get("schema", True)
        body = {"model": judge.model, "messages": self.asked.messages, "stream": False}
        if judge.temperature is not None:
            body["temperature"] = judge.temperature
        if self.structured:
            body["response_format"] = SCHEMA
        return json.dumps(body).encode()

    def read(self, status: int, text: str) -> list[Any]:
        try:
            score = self._score(status, text)
        except Exception as fault:
            self._log(status, text, "fault", str(fault))
            raise
        self._log(status, text, "score", score)
        return [score]

    def _score(self, status: int, text: str) -> float:
        knows = self.judge._knows
        if status in PLAIN and self.structured and not knows.get("schema", False):
            self.structured = False
            raise Again(refusal(status, text), wait=0.0, free=True)
        if status != 200:
            raise refusal(status, text)
        knows.setdefault("schema", self.structured)
        try:
            return verdict(text, self.judge.scale)
        except ValueError as fault:
            self.unclear += 1
            if self.unclear > 1:
                raise ValueError(f"{fault} (asked twice)") from None
            raise Again(fault, wait=0.0) from None

    def _log(self, status: int, text: str, name: str, what: Any) -> None:
        if self.judge.log is None:
            return
        line = {"time": time.time(), "object": self.asked.mark, "status": status, "reply": text, name: what}
        try:
            with Path(self.judge.log).open("a", encoding="utf-8") as log:
                log.write(json.dumps(line) + "\n")
        except OSError as error:  # the score is paid for, so it is kept
            warnings.warn(f"The log {self.judge.log} cannot be written: {error}.", stacklevel=2)
