"""Reading a picture with libvips: any of its color spaces and depths -> upright gray or RGB, 8 or 16 bits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tessera.errors import PictureError
from tessera.images.codecs.header_fields import read_metadata
from tessera.images.icc import attach_usable_profile, read_profile_name
from tessera.images.libvips import open_image, vips
from tessera.images.metadata import Container, Density
from tessera.images.picture_format import OpenPicture, PictureInfo, ReadOptions
from tessera.images.pixels import Pixels

_LARGEST_COPY_IN_MEMORY_BYTES = 100 * 2**20
"""Above this size libvips puts a decoded copy on the disk (VIPS_DISC_THRESHOLD)."""
_SAMPLES = {
    **dict.fromkeys(("lab", "lch", "xyz", "yxy"), ("float",)),
    "labs": ("short",),
    "labq": ("uchar",),
}
"""Sample types in color spaces that are neither gray nor RGB nor CMYK; everywhere else 8 or 16 bits."""


def _hold_nothing(head: Any, frames: int) -> int:
    return 0


def _no_density(path: Path) -> Density | None:
    return None


def _no_container(path: Path) -> Container:
    return Container()


def _no_notes(path: Path) -> Iterable[str]:
    return ()


def _keep(image: Any) -> Any:
    return image


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which image of a file is read, and what its samples need before they are gray or RGB with straight alpha."""

    options: Mapping[str, int] = field(default_factory=dict[str, int])
    """Options of libvips' loader."""
    patches: Mapping[int, bytes] = field(default_factory=dict[int, bytes])
    """Bytes that libvips reads in place of those at an offset of the file."""
    pages: int | None = None
    """Number of pictures in the file; None takes libvips' count."""
    convert: Callable[[Any], Any] = _keep
    """libvips image -> libvips image, of the same size."""
    notes: tuple[str, ...] = ()


def _select_first(path: Path) -> Selection:
    return Selection()


@dataclass(frozen=True, kw_only=True)
class LibvipsLoader:
    """The `open` of a format that libvips decodes, and what differs from format to format."""

    format_name: str | None = None
    """None takes the name of libvips' loader."""
    select: Callable[[Path], Selection] = _select_first
    """Chooses the image; raises PictureError for a file that must not be read."""
    animated: bool = False
    """Whether further pages of a file are frames."""
    held_bytes: Callable[[Any, int], int] = _hold_nothing
    """(header, frames) -> what libvips and the codec hold in memory beyond rows; measured on 6 and 24 megapixels."""
    density: Callable[[Path], Density | None] = _no_density
    """For formats in which libvips does not report whether the file declares one."""
    loader: str = ""
    """The name of libvips' loader, where the one that it would choose reads less."""
    container: Callable[[Path], Container] = _no_container
    """Metadata that libvips does not read, or not to the byte."""
    notes_expansion: bool = False
    """Whether a note says that a palette or fewer than 8 bits were expanded."""
    color_notes: Callable[[Path], Iterable[str]] = _no_notes
    """Notes on color information that is not applied."""

    def __call__(self, path: Path, options: ReadOptions) -> OpenPicture:
        """Read the header and prepare the pixels. Raises PictureError, LimitError, OSError and libvips' error."""
        order = "random" if options.random else "sequential"
        selection = self.select(path)
        head = image = self._open(path, selection, access=order)
        options.limits.check_input(path, head.height, head.width)
        pages = selection.pages or (int(head.get("n-pages")) if head.get_typeof("n-pages") else 1)
        frames = pages if options.frames and self.animated else 1
        container = self.container(path)
        orientation = container.orientation or _read_orientation(head)
        upright = orientation == 1
        if frames > 1 or (not upright and not options.random):
            options.limits.check_input(path, head.height * frames, head.width)
            order = order if upright else "random"
            image = self._open(path, selection, access=order, **({"n": -1} if frames > 1 else {}))
        image = selection.convert(image).copy()
        image.set_type(vips().GValue.gint_type, "orientation", orientation)
        image, space, notes = _normalize(path, image if upright else _turn_upright(image, frames))
        coding = container.metadata.color_coding
        if coding is not None and not coding.is_like_srgb:
            has_profile = bool(head.get_typeof("icc-profile-data"))
            other = "its ICC profile is kept too" if has_profile else "not sRGB"
            notes.append(f"Its color coding (CICP) is {coding}; {other}.")
            space = space if has_profile else f"{coding} (kept)"
        if container.has_profile and not head.get_typeof("icc-profile-data"):
            notes.append("Its ICC profile is damaged and was ignored.")
        held = self.held_bytes(head, frames)
        if order == "random":  # libvips decodes into a copy, on the disk if it is large
            held += min(count_decoded_bytes(head) * frames, _LARGEST_COPY_IN_MEMORY_BYTES)
        info = PictureInfo(
            name=path.name,
            format_name=self.format_name or _name_loader(head),
            height=image.height // frames,
            width=image.width,
            channels=image.bands,
            depth=16 if image.format == "ushort" else 8,
            color_space=space,
            frames=frames,
            frames_in_file=pages,
            decoder_bytes=held,
            notes=(
                *self.color_notes(path),
                *self._describe(head, pages, frames),
                *selection.notes,
                *notes,
                *container.notes,
            ),
        )
        metadata = read_metadata(image, container, density=self.density(path))
        return OpenPicture(info=info, metadata=metadata, read_rows=_row_reader(image, info), rereads=order == "random")

    def _open(self, path: Path, selection: Selection, **options: Any) -> Any:
        return open_image(path, loader=self.loader, patches=selection.patches, **selection.options, **options)

    def _describe(self, head: Any, pages: int, frames: int) -> Iterable[str]:
        if pages > 1 and frames == 1:
            what, how = ("frames", "; `frames` takes all") if self.animated else ("pages", "")
            yield f"Only the first of its {pages} {what} was used{how}."
        bits = int(head.get("bits-per-sample")) if head.get_typeof("bits-per-sample") else 8
        if self.notes_expansion and head.get_typeof("palette"):
            yield f"Its palette was expanded to {'gray' if head.bands < 3 else 'RGB'}."
        elif self.notes_expansion and bits < 8:
            yield f"Its {bits}-bit pixels were expanded to 8 bits."


def count_decoded_bytes(head: Any) -> int:
    """Size of the decoded pixels of one frame."""
    return head.height * head.width * head.bands * (2 if head.format == "ushort" else 1)


def make_alpha_straight(image: Any) -> Any:
    """Divide the colors of an image with premultiplied alpha by it; one without alpha stays as it is."""
    if image.bands not in (2, 4):
        return image
    kind, sample = image.interpretation, image.format
    straight = image.unpremultiply(max_alpha=65_535 if sample == "ushort" else 255)
    return straight.rint().cast(sample).copy(interpretation=kind)


def _row_reader(image: Any, info: PictureInfo) -> Callable[[int, int], Pixels]:
    import numpy as np

    region = vips().Region.new(image)
    held = (image, region)  # a source that calls Python lives as long as the image, which a region does not hold

    def read_rows(first: int, count: int) -> Pixels:
        data = held[1].fetch(0, first, info.width, count)
        return np.frombuffer(data, info.dtype).reshape(count, info.width, info.channels)

    return read_rows


def _name_loader(head: Any) -> str:
    return str(head.get("vips-loader")).removesuffix("load_source").removesuffix("load").upper()


def _read_orientation(head: Any) -> int:
    value = int(head.get("orientation")) if head.get_typeof("orientation") else 1
    return value if 1 <= value <= 8 else 1


def _turn_upright(image: Any, frames: int) -> Any:
    """Apply the orientation to each frame of a strip (frames*H, W, C); a turned strip would mix the frames up."""
    if frames == 1:
        return image.autorot()
    height = image.height // frames
    turned = [image.crop(0, height * frame, image.width, height).autorot() for frame in range(frames)]
    return vips().Image.arrayjoin(turned, across=1)


def _normalize(path: Path, image: Any) -> tuple[Any, str, list[str]]:
    """Convert an image to gray or RGB in 8 or 16 bits -> image, name of its color space, notes for the user."""
    kind, sample = image.interpretation, image.format
    if sample not in _SAMPLES.get(kind, ("uchar", "ushort")) or not 1 <= image.bands - (kind == "cmyk") <= 4:
        raise PictureError(
            f"{path}: holds {image.bands} channels of type {sample}, expected gray or RGB in 8 or 16 bits, with or"
            " without alpha. Convert it first."
        )
    image, profile, note = attach_usable_profile(image)
    notes = [note] if note else []
    if kind == "cmyk":
        depth = 16 if sample == "ushort" else 8
        image = image.icc_transform("srgb", embedded=True, input_profile="cmyk", depth=depth, intent="relative")
        through = f"its profile ({read_profile_name(profile)})" if profile else "a generic CMYK profile, as it has none"
        notes.append(f"CMYK was converted through {through} to sRGB.")
        return image, "sRGB (from CMYK)", notes
    if kind in _SAMPLES or kind == "hsv":
        deep = sample != "uchar"
        image = image.colourspace("rgb16" if deep else "srgb")
        notes.append(f"{kind.upper()} ({sample}) was converted to {16 if deep else 8}-bit sRGB.")
        return image.copy(), "sRGB (converted)", notes
    if image.get_typeof("heif-bitdepth") and sample == "ushort":
        # libheif's 10 and 12 bits arrive shifted up, so that white would be 65,472 or 65,520 of 65,535.
        bits = int(image.get("heif-bitdepth"))
        if 8 < bits < 16:
            image = (image * (65_535 / (65_535 - 2 ** (16 - bits) + 1))).rint().cast("ushort")
    if profile:
        return image, f"{read_profile_name(profile)} (kept)", notes
    return image, "gray" if image.bands < 3 else "sRGB (assumed: the file has no profile)", notes
