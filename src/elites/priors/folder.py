"""Networks and pipelines from local folders: safetensors only, and no code from the folder."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..types import InputError
from .gaussian import check_device

__all__ = ["diffusers", "load_pipeline", "own_memory"]


def diffusers() -> Any:
    """The diffusers package.

    Raises:
        ImportError: if it is not installed.
    """
    try:
        import diffusers
    except ImportError as error:
        raise ImportError("This prior needs diffusers: pip install 'elites[diffusers]'.") from error
    return diffusers


def own_memory(module: nn.Module) -> nn.Module:
    """The module, its weights in memory of their own.

    safetensors maps weights at addresses that are not aligned, where CPU kernels take another path: without the copy,
    a saved and loaded network differs from the one in memory in the last bits.
    """
    for tensor in [*module.parameters(), *module.buffers()]:
        tensor.data = tensor.data.clone()
    return module


def load_pipeline(
    folder: str | Path, *, dtype: torch.dtype = torch.float32, device: str | torch.device = "cpu"
) -> Any:
    """The pipeline in a local folder, ready to be a prior.

    Arguments:
        folder: one saved by `save_pretrained`, with weights as safetensors.
        dtype: precision of the networks.
        device: where to put them.

    Raises:
        InputError: if the folder is missing or no pipeline, has no safetensors, or brings code of its own; or if the
            device is not there.
        ImportError: if diffusers is not installed.
    """
    folder, device = Path(folder), check_device(device)
    if not folder.is_dir():
        raise InputError(f"There is no folder {folder}: give one saved by save_pretrained.")
    library, parts = diffusers(), _parts(folder)
    for name, (source, _) in parts.items():
        own = source not in (None, "diffusers", "transformers") and not hasattr(library.pipelines, str(source))
        if own or (folder / name / f"{source}.py").exists():
            raise InputError(
                f"{folder} takes its {name} from {source}, code that is not of diffusers: load it yourself."
            )
    # a part that was saved as absent has to be named as absent, or loading asks for it
    absent = {name: None for name, part in parts.items() if part == [None, None]}
    try:
        with warnings.catch_warnings(category=FutureWarning, action="ignore"):  # older versions know no other name
            pipe = library.DiffusionPipeline.from_pretrained(
                str(folder), use_safetensors=True, local_files_only=True, torch_dtype=dtype, **absent
            )
    except ImportError:
        raise
    except Exception as error:  # tokenizers before transformers 5 raise no other kind
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise InputError(
            f"{folder} could not be loaded, as safetensors and without code of its own: {reason}."
        ) from error
    for part in pipe.components.values():
        if isinstance(part, nn.Module):
            own_memory(part.eval())
    return pipe.to(device)


def _parts(folder: Path) -> dict[str, list[Any]]:
    """The parts that a pipeline's folder lists: names to library and class."""
    index = folder / "model_index.json"
    if not index.is_file():
        raise InputError(f"{folder} has no model_index.json: give a pipeline's folder, saved by save_pretrained.")
    try:
        listed = json.loads(index.read_text())
    except ValueError as error:
        raise InputError(f"{index} is no JSON ({error}): save the pipeline again.") from error
    if not isinstance(listed, dict) or not isinstance(listed.get("_class_name"), str):
        raise InputError(f"{index} names no pipeline of diffusers: load it yourself, and give it as the prior's pipe.")
    return {name: part for name, part in listed.items() if isinstance(part, list) and len(part) == 2}
