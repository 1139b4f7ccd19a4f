"""Data settings of a training run: pictures, pairs, crops, caches."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, Field, model_validator


class DataConfig(BaseModel, frozen=True, extra="forbid"):
    """Training pictures, and how crops are cut from them.

    `train`, `lq`, `val` and `val_lq` name folders, files, patterns, lists (.txt, as BasicSR's meta-info files) and
    stores (.lmdb). Each entry of `lq` belongs to the entry of `train` at the same position, and pictures are paired by
    name.
    """

    train: tuple[Path, ...] = Field(default=(), description="Training pictures.")
    lq: tuple[Path, ...] | None = Field(
        default=None, description="Inputs of the training pictures, instead of generated ones."
    )
    val: tuple[Path, ...] = Field(default=(), description="Validation pictures.")
    val_lq: tuple[Path, ...] | None = Field(default=None, description="Inputs of the validation pictures.")
    root: Path | None = Field(default=None, description="Base folder of the paths in lists.")
    recursive: bool = Field(default=True, description="Include subfolders.")
    patch: int = Field(default=128, ge=8, le=4096, description="Side of a ground-truth crop, in pixels.")
    batch: int = Field(default=16, ge=1, le=4096, description="Crops per batch and process.")
    workers: int = Field(default=2, ge=0, le=256, description="Reading processes; 0 reads in the training process.")
    flips: bool = Field(default=True, description="Flip every second crop horizontally.")
    rotations: bool = Field(
        default=True, description="Flip every second crop vertically, and transpose every second crop."
    )
    cache: Literal["none", "memory", "disk"] = Field(default="none", description="Cache of decoded pictures.")
    cache_gib: float = Field(
        default=8.0, gt=0, le=65536, description="Size limit of the cache for all workers together, in GiB."
    )
    cache_folder: Path | None = Field(default=None, description="Folder of the disk cache.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.cache == "disk" and self.cache_folder is None:
            raise ValueError("cache = disk needs cache_folder: a folder on a fast disk with cache_gib of free space")
        for name, inputs, truths in (("lq", self.lq, self.train), ("val_lq", self.val_lq, self.val)):
            if inputs is not None and len(inputs) != len(truths):
                raise ValueError(
                    f"{name}: expected one place for each of the {len(truths)} places of ground truth, found"
                    f" {len(inputs)}"
                )
        return self
