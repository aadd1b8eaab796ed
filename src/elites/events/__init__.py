"""Subscribers: callables that take the events of a run."""

from .checkpoint import Checkpoint, resume
from .progress import Progress
from .report import Report, write_report
from .trackers import MLflow, TensorBoard, WandB

__all__ = ["Checkpoint", "MLflow", "Progress", "Report", "TensorBoard", "WandB", "resume", "write_report"]
