"""What a training run reads: pictures, pairs, crops, and how they are kept at hand."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, Field, model_validator


class DataConfig(BaseModel, frozen=True, extra="forbid"):
    """Pictures to learn from, and how crops are taken of them.

    `train`, `lq`, `val` and `val_lq` name folders, files, patterns, lists (.txt, as BasicSR's meta-info files) and
    stores (.lmdb). With `lq`, each of its entries belongs to the entry of `train` in the same place, and pictures are
    paired by name.
    """

    train: tuple[Path, ...] = Field(default=(), description="Pictures to learn from.")
    lq: tuple[Path, ...] | None = Field(default=None, description="Their inputs, when they are not made on the way.")
    val: tuple[Path, ...] = Field(default=(), description="Pictures to check progress on.")
    val_lq: tuple[Path, ...] | None = Field(default=None, description="Their inputs.")
    root: Path | None = Field(default=None, description="The folder that paths inside lists begin at.")
    recursive: bool = Field(default=True, description="Whether folders below the named ones count as well.")
    patch: int = Field(default=128, ge=8, le=4096, description="Side of a crop of the truth, in pixels.")
    batch: int = Field(default=16, ge=1, le=4096, description="Crops in a batch of one process.")
    workers: int = Field(default=2, ge=0, le=256, description="Processes that read; 0 reads in the training process.")
    flips: bool = Field(default=True, description="Mirror every second crop, left to right.")
    rotations: bool = Field(default=True, description="Also upside down and transposed, every second crop each.")
    cache: Literal["none", "memory", "disk"] = Field(default="none", description="Where decoded pictures are kept.")
    cache_gib: float = Field(default=8.0, gt=0, le=65536, description="What they may take, all workers together.")
    cache_folder: Path | None = Field(default=None, description="Where the disk cache lies.")

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        if self.cache == "disk" and self.cache_folder is None:
            raise ValueError("cache = disk needs cache_folder: a folder on a fast disk with room for cache_gib")
        for name, inputs, truths in (("lq", self.lq, self.train), ("val_lq", self.val_lq, self.val)):
            if inputs is not None and len(inputs) != len(truths):
                raise ValueError(
                    f"{name} names {len(inputs)} places for {len(truths)} places of truths: expected one for each"
                )
        return self
