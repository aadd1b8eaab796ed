"""Subscribers: callables that take the events of a run."""

from .checkpoint import Checkpoint, resume
from .progress import Progress
from .report import Report, write_report

__all__ = ["Checkpoint", "Progress", "Report", "resume", "write_report"]
