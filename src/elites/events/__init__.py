"""Subscribers: callables that take the events of a run; and what its objects look like in a report."""

from .checkpoint import Checkpoint, resume
from .drawings import Molecule, Series, Text, Trajectory, drawing
from .progress import Progress
from .report import Report, write_report

__all__ = [
    "Checkpoint",
    "Molecule",
    "Progress",
    "Report",
    "Series",
    "Text",
    "Trajectory",
    "drawing",
    "resume",
    "write_report",
]
