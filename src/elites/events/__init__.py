"""Subscribers: callables that take the events of a run; and what its objects look like in a report."""

from .checkpoint import Checkpoint, resume
from .drawings import Molecule, Series, Text, Trajectory, drawing
from .progress import Progress
from .report import Report, write_report
from .trackers import MLflow, TensorBoard, WandB

__all__ = [
    "Checkpoint",
    "MLflow",
    "Molecule",
    "Progress",
    "Report",
    "Series",
    "TensorBoard",
    "Text",
    "Trajectory",
    "WandB",
    "drawing",
    "resume",
    "write_report",
]
