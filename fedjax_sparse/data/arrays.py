"""A data set as arrays, and what must hold of them."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from fedjax_sparse.errors import UsageError

Task = Literal["classification", "text", "regression"]


@dataclass(frozen=True, eq=False)
class Dataset:
    """Training and test examples, M of them in each (not the same M).

    Attributes:
        name: As given by the user; named in errors.
        x_train: Images uint8[M, H, W, C], features f32[M, ...] or text i32[M, T].
        y_train: Classes i32[M], targets f32[M], or for text the next characters i32[M, T], -1 where padded.
        x_test: Like `x_train`.
        y_test: Like `y_train`.
        task: What is predicted.
        classes: Outputs of a model: classes, the size of the vocabulary, or 1 for a regression.
        client_train: i32[M], the natural owner of each training example, 0..N-1, or None.
        mean: Of each channel of x / 255 for uint8 images; (0.,) where x is used as it is.
        std: Likewise; (1.,) where x is used as it is.
        augment: Whether training images are cropped and flipped at random whenever a client sees them.

    Raises:
        UsageError: Lengths, shapes, types or ranges are not as stated, or a value is not finite.
    """

    name: str
    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    task: Task
    classes: int
    client_train: np.ndarray | None = None
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    augment: bool = False

    def __post_init__(self):
        for split, x, y in (("train", self.x_train, self.y_train), ("test", self.x_test, self.y_test)):
            self._check_examples(split, x, y)
            self._check_targets(f"{self.name}: y_{split}", x, y)
        if self.x_train.shape[1:] != self.x_test.shape[1:] or self.x_train.dtype != self.x_test.dtype:
            train, test = (f"{x.dtype} examples of shape {x.shape[1:]}" for x in (self.x_train, self.x_test))
            raise UsageError(f"{self.name}: x_train holds {train}, x_test {test}")
        if self.client_train is not None:
            self._check_owners(self.client_train)
        if self.augment and self.x_train.ndim != 4:
            raise UsageError(
                f"--augment crops and flips images, and examples of {self.name} have the shape "
                f"{self.x_train.shape[1:]}; allowed: no --augment"
            )

    def _check_examples(self, split: str, x: np.ndarray, y: np.ndarray) -> None:
        where = f"{self.name}: x_{split}"
        if len(x) == 0 or len(x) != len(y):
            raise UsageError(
                f"{where} holds {len(x)} examples, y_{split} {len(y)}; equal numbers above 0 are needed"
            )
        if x.size == 0:
            raise UsageError(f"{where} has the shape {x.shape}; allowed: examples that hold something")
        if x.dtype.kind == "f" and (bad := x.size - int(np.count_nonzero(np.isfinite(x)))):
            raise UsageError(f"{where} has {bad} values that are NaN or infinite")
        if self.task == "text" and (x.min() < 0 or x.max() >= self.classes):
            raise UsageError(f"{where} has characters {x.min()}..{x.max()}; allowed: 0..{self.classes - 1}")

    def _check_targets(self, where: str, x: np.ndarray, y: np.ndarray) -> None:
        if self.task == "regression":
            if y.dtype.kind != "f" or y.ndim != 1 or not np.isfinite(y).all():
                raise UsageError(
                    f"{where}: a regression needs finite floating-point targets [M], not {y.dtype} {y.shape}"
                )
            return
        shape, low = (x.shape, -1) if self.task == "text" else (x.shape[:1], 0)
        if y.dtype != np.int32 or y.shape != shape:
            raise UsageError(f"{where} is {y.dtype} of shape {y.shape}; expected int32 {shape}")
        if y.min() < low or y.max() >= self.classes:
            raise UsageError(f"{where} has labels {y.min()}..{y.max()}; allowed: {low}..{self.classes - 1}")

    def _check_owners(self, owner: np.ndarray) -> None:
        where = f"{self.name}: client_train"
        if owner.dtype != np.int32 or owner.shape != self.x_train.shape[:1]:
            expected = f"int32 {self.x_train.shape[:1]}"
            raise UsageError(f"{where} is {owner.dtype} of shape {owner.shape}; expected {expected}")
        ids = np.unique(owner)
        if ids[0] < 0 or ids[-1] != len(ids) - 1:
            raise UsageError(
                f"{where} has ids {ids[0]}..{ids[-1]} for {len(ids)} clients; allowed: 0..N-1, none missing"
            )
