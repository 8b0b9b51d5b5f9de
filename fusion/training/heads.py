"""What all recipes need: a logistic regression, temperatures, and writing weights."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save_file

from extractors.errors import InputError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def deterministic(seed: int) -> None:
    """One thread and one seed for everything random in torch: equal seeds give equal weights."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)


def logistic_regression(x: Floats, y: Ints, classes: int, c: float) -> tuple[Floats, Floats]:
    """Multinomial logistic regression with even class weights on features standardised inside: weight (d, classes) and
    bias (classes,) for the features as they came.

    `c` is the inverse strength of the L2 penalty on the standardised weights, scaled as usual: loss = sum of weighted
    log losses + |W|² / (2c). Solved by L-BFGS in double precision.
    """
    mean, scale = x.mean(axis=0), x.std(axis=0) + 1e-8
    features, target = torch.tensor((x - mean) / scale), torch.tensor(y)
    per_class = len(y) / (classes * np.maximum(np.bincount(y, minlength=classes), 1))
    row_weight = torch.tensor(per_class[y])
    weight = torch.zeros(x.shape[1], classes, dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(classes, dtype=torch.float64, requires_grad=True)
    solver = torch.optim.LBFGS(
        [weight, bias], max_iter=300, history_size=20, tolerance_grad=1e-6, line_search_fn="strong_wolfe"
    )

    def loss() -> torch.Tensor:
        solver.zero_grad()
        errors = torch.nn.functional.cross_entropy(features @ weight + bias, target, reduction="none")
        value = (errors * row_weight).sum() / len(y) + (weight**2).sum() / (2 * c * len(y))
        value.backward()  # type: ignore[no-untyped-call]
        return value

    solver.step(loss)  # type: ignore[no-untyped-call]
    w, b = weight.detach().numpy(), bias.detach().numpy()
    return np.asarray(w / scale[:, None], np.float64), np.asarray(b - (mean / scale) @ w, np.float64)


def least(function: Callable[[float], float], low: float, high: float, steps: int = 60) -> float:
    """Argument of the minimum of a unimodal function on [low, high] (golden section)."""
    ratio = (5**0.5 - 1) / 2
    a, b = low, high
    for _ in range(steps):
        c, d = b - ratio * (b - a), a + ratio * (b - a)
        if function(c) < function(d):
            b = d
        else:
            a = c
    return (a + b) / 2


def log_softmax(scores: Floats) -> Floats:
    shifted = scores - scores.max(axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)), np.float64)


def save(file: Path, tensors: Mapping[str, Floats], head: Mapping[str, Any]) -> None:
    """Write float32 tensors and the description of the head; equal input gives equal bytes."""
    arrays = {name: np.ascontiguousarray(value, np.float32) for name, value in sorted(tensors.items())}
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        save_file(arrays, file, metadata={"head": json.dumps(head, sort_keys=True, ensure_ascii=False)})
        file.chmod(0o644)
    except OSError as error:
        raise InputError(
            f"cannot write the weights ({error.strerror})", where=str(file), cure="choose another --out"
        ) from error
