"""What has to be found. `HELD_OUT` were written down before any was run, and no default was chosen on them."""

from benchmarks.quality.images import DIGITS
from benchmarks.quality.modes import MODES
from benchmarks.quality.motions import MOTIONS
from benchmarks.quality.task import Task

__all__ = ["HELD_OUT", "TASKS"]

TASKS: dict[str, Task] = (
    {f"digits {name}": task for name, task in DIGITS.items()}
    | {f"motion {name}": task for name, task in MOTIONS.items()}
    | MODES
)
HELD_OUT = ("digits slant", "digits crossings")
