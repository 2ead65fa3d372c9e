"""Files of weights that others made: PyTorch's and safetensors, tensors only, nothing is run."""

import pickle
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np


def read_weights(path: Path) -> dict[str, np.ndarray]:
    """A state dict's arrays by name. No pickle is executed: only tensors are accepted.

    Raises ValueError naming the file when it is cut short or holds anything but tensors, and
    ImportError where its reader, of the extra `convert`, is not installed.
    """
    try:
        if path.suffix == ".safetensors":
            from safetensors.numpy import load_file

            return load_file(path)
        import torch

        if zipfile.is_zipfile(path):
            _refuse_compressed(path)
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
        return {str(name): tensor.numpy() for name, tensor in content.items()}
    except ImportError as error:
        raise ImportError(f"{error}; make install EXTRAS=convert") from error
    except (FileNotFoundError, PermissionError, IsADirectoryError):
        raise
    except pickle.UnpicklingError as error:
        # PyTorch's own remedies are left out: the first of them is to run the file.
        found = re.search(r"WeightsUnpickler error:\s*(.+?)(?:\. Please |\n|$)", str(error))
        what = found[1] if found else "a pickle"
        raise ValueError(
            f"{path} holds more than tensors, and is not run ({what}): "
            "ask its maker for a file of tensors alone, best as .safetensors"
        ) from error
    except Exception as error:  # each reader has errors of its own for a damaged file
        raise ValueError(f"{path} is damaged, cut short or no file of weights: {error}") from error


def _refuse_compressed(path: Path) -> None:
    """ValueError for a zip that would take more memory than it has bytes; torch.save makes none."""
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            if member.compress_type != zipfile.ZIP_STORED:
                raise ValueError(f"{member.filename} is compressed")
