"""Speed of degrading batches, in turn with a plain per-picture implementation of the same draws.

The plain implementation uses OpenCV if installed (with its own threads), else SciPy and Pillow, and NumPy's random
numbers. Its JPEG is the arithmetic of the published training in NumPy; with `files` (less work, other results),
pictures pass through an encoder and a decoder. Processor time is printed too, because other load on the machine affects
it less. `python benchmarks/degrade.py [DRAWS] [files]`.
"""

import io
import math
import os
import statistics
import sys
import time

os.environ.setdefault("OMP_NUM_THREADS", "2")

import numpy as np
import torch
from PIL import Image
from scipy import fft, ndimage

from tessera import degrade
from tessera.degrade.blur import KernelDraw, compute_kernel
from tessera.degrade.jpeg import compute_step_factor
from tessera.degrade.noise import NoiseDraw
from tessera.degrade.realesrgan import RealESRGANDraw
from tessera.degrade.tables import CHROMA_STEPS, LUMA_STEPS

try:
    import cv2
except ImportError:
    cv2 = None

BATCH, SIDE, SCALE = 12, 400, 4
THREADS = 2
ROUNDS = 3
TO_YCC = np.float32([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])


def gaussian_blur(image):
    if cv2 is not None:
        return cv2.GaussianBlur(image, (51, 51), 0)
    return ndimage.gaussian_filter(image, (8, 8, 0), radius=(25, 25, 0), mode="mirror")


def filtered(image, kernel: KernelDraw):
    weights = np.pad(compute_kernel(kernel), (21 - kernel.size) // 2).astype(np.float32)
    if cv2 is not None:
        return cv2.filter2D(image, -1, weights)
    return np.dstack([ndimage.correlate(image[..., channel], weights, mode="mirror") for channel in range(3)])


def resized(image, height, width, mode):
    if cv2 is not None:
        how = {"area": cv2.INTER_AREA, "bilinear": cv2.INTER_LINEAR, "bicubic": cv2.INTER_CUBIC}[mode]
        return cv2.resize(image, (width, height), interpolation=how)
    how = {"area": Image.Resampling.BOX, "bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
    planes = [
        np.asarray(Image.fromarray(image[..., channel]).resize((width, height), how[mode])) for channel in range(3)
    ]
    return np.dstack(planes)


def noisy(image, draw: NoiseDraw, number: int, rng):
    amount, gray = draw.amounts[number], draw.gray[number]
    if draw.kind == "gaussian":
        shape = (*image.shape[:2], 1) if gray else image.shape
        noise = np.float32(rng.standard_normal(shape)) * np.float32(amount / 255)
    else:
        seen = (image @ np.float32([0.2989, 0.587, 0.114]))[..., None] if gray else image
        seen = np.clip((seen * 255).round(), 0, 255) / 255
        photons = 2 ** math.ceil(math.log2(len(np.unique(seen))))
        noise = np.float32((rng.poisson(seen * photons) / photons - seen) * amount)
    return np.clip(image + noise, 0, 1)


def compressed(image, quality: float):
    return in_a_file(image, quality) if "files" in sys.argv else by_arithmetic(image, quality)


def by_arithmetic(image, quality: float):
    height, width = image.shape[:2]
    filled = np.pad(np.clip(image, 0, 1) * np.float32(255), ((0, -height % 16), (0, -width % 16), (0, 0)))
    planes = filled @ TO_YCC.T
    luma, chroma = planes[..., 0], planes[..., 1:]
    chroma = (chroma[::2, ::2] + chroma[1::2, ::2] + chroma[::2, 1::2] + chroma[1::2, 1::2]) / np.float32(4)
    luma = quantized(luma - 128, LUMA_STEPS, quality) + 128
    blue, red = (quantized(chroma[..., n], CHROMA_STEPS, quality).repeat(2, 0).repeat(2, 1) for n in (0, 1))
    rgb = np.dstack((luma + 1.402 * red, luma - 0.344136 * blue - 0.714136 * red, luma + 1.772 * blue))
    return (np.clip(rgb, 0, 255) / 255)[:height, :width].astype(np.float32)


def quantized(plane, table, quality: float):
    steps = np.reshape(np.float32(table), (8, 8)).T * np.float32(compute_step_factor(quality))
    height, width = plane.shape
    blocks = plane.reshape(height // 8, 8, width // 8, 8).transpose(0, 2, 1, 3)
    cosines = fft.dctn(blocks, axes=(2, 3), norm="ortho")
    blocks = fft.idctn(np.round(cosines / steps) * steps, axes=(2, 3), norm="ortho")
    return blocks.transpose(0, 2, 1, 3).reshape(height, width)


def in_a_file(image, quality: float):
    levels = (np.clip(image, 0, 1) * 255).round().astype(np.uint8)
    if cv2 is not None:
        _, file = cv2.imencode(".jpg", levels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, int(quality)])
        return np.float32(cv2.imdecode(file, cv2.IMREAD_COLOR)[..., ::-1]) / 255
    file = io.BytesIO()
    Image.fromarray(levels).save(file, "JPEG", quality=int(quality))
    return np.asarray(Image.open(file), np.float32) / 255


def sharpened(image):
    residual = image - gaussian_blur(image)
    share = gaussian_blur((np.abs(residual) * 255 > 10).astype(np.float32))
    return share * np.clip(image + np.float32(0.5) * residual, 0, 1) + (1 - share) * image


def plain(image, draw: RealESRGANDraw, number: int, rng):
    sharp = sharpened(image)
    out = filtered(sharp, draw.first.kernels[number])
    factor = draw.first.resize.factor
    if factor != 1:
        out = resized(out, int(draw.height * factor), int(draw.width * factor), draw.first.resize.mode)
    out = compressed(noisy(out, draw.first.noise, number, rng), draw.first.qualities[number])
    if draw.second.kernels is not None:
        out = filtered(out, draw.second.kernels[number])
    factor = draw.second.resize.factor / draw.scale
    out = resized(out, int(draw.height * factor), int(draw.width * factor), draw.second.resize.mode)
    out = noisy(out, draw.second.noise, number, rng)
    small, quality = (draw.height // draw.scale, draw.width // draw.scale), draw.second.qualities[number]
    if draw.final.before_jpeg:
        out = compressed(filtered(resized(out, *small, draw.final.mode), draw.final.kernels[number]), quality)
    else:
        out = filtered(resized(compressed(out, quality), *small, draw.final.mode), draw.final.kernels[number])
    return np.clip((out * 255).round(), 0, 255) / 255, sharp


def photographs() -> torch.Tensor:
    """Clouds of many sizes in color, as smooth and as rough as photographs are."""
    rng = np.random.default_rng(0)
    spectrum = np.fft.rfft2(rng.standard_normal((BATCH, 3, SIDE, SIDE)))
    radius = np.hypot(np.fft.fftfreq(SIDE)[:, None], np.fft.rfftfreq(SIDE)) + 1 / SIDE
    clouds = np.fft.irfft2(spectrum / radius**1.2, s=(SIDE, SIDE))
    low, high = clouds.min(axis=(1, 2, 3), keepdims=True), clouds.max(axis=(1, 2, 3), keepdims=True)
    return torch.from_numpy(((clouds - low) / (high - low)).astype(np.float32))


def main(draws: int) -> None:
    torch.set_num_threads(THREADS)
    if cv2 is not None:
        cv2.setNumThreads(THREADS)
    with_what = f"OpenCV {cv2.__version__}" if cv2 is not None else "SciPy and Pillow (OpenCV is not installed)"
    print(f"{BATCH} pictures of {SIDE}x{SIDE}, scale {SCALE}, {THREADS} threads; plain: NumPy and {with_what}\n")
    gt = photographs()
    pictures = [np.ascontiguousarray(picture.permute(1, 2, 0).numpy()) for picture in gt]
    ours, theirs, ours_cpu, theirs_cpu, apart = ([] for _ in range(5))
    config = degrade.RealESRGANDegradation()
    for seed in range(-1, draws):  # the first warms up
        chance = np.random.default_rng(seed + 1)
        draw = degrade.draw(config, pictures=BATCH, height=SIDE, width=SIDE, scale=SCALE, rng=chance)
        assert isinstance(draw, RealESRGANDraw)
        turns = []
        for _ in range(ROUNDS if seed >= 0 else 1):
            time.sleep(0.1)  # threads of the other one keep turning for a moment
            clocks = [(time.perf_counter(), time.process_time())]
            made = degrade.apply(gt, draw)
            clocks.append((time.perf_counter(), time.process_time()))
            expected = [plain(picture, draw, number, chance) for number, picture in enumerate(pictures)]
            clocks.append((time.perf_counter(), time.process_time()))
            turns.append(np.diff(clocks, axis=0).ravel())
        if seed < 0:
            continue
        for kept, value in zip((ours, ours_cpu, theirs, theirs_cpu), np.min(turns, axis=0), strict=True):
            kept.append(float(value))
        sharp = np.stack([each for _, each in expected]).transpose(0, 3, 1, 2)
        assert made.gt_sharp is not None
        apart.append(float(np.abs(made.gt_sharp.numpy() - sharp).max()))
    each = [slow / fast for slow, fast in zip(theirs, ours, strict=True)]
    print("| | median seconds a batch | sum over all draws | processor seconds |\n|---|---|---|---|")
    for name, wall, cpu in (("tessera", ours, ours_cpu), ("plain", theirs, theirs_cpu)):
        print(f"| {name} | {statistics.median(wall):.3f} | {sum(wall):.2f} | {sum(cpu):.2f} |")
    print(
        f"\n{sum(theirs) / sum(ours):.1f} times faster over all {draws} draws; per draw median"
        f" {statistics.median(each):.1f}, least {min(each):.1f}, most {max(each):.1f}."
        f" In processor time {sum(theirs_cpu) / sum(ours_cpu):.1f} times."
        f" Sharpened pictures differ by at most {max(apart):.1e}."
    )


if __name__ == "__main__":
    main(next((int(word) for word in sys.argv[1:] if word.isdigit()), 16))
