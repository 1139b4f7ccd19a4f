"""Scores that papers published for a protocol and a test set, to print next to measured ones.

A-ESRGAN's are Table 1 of the paper (`Metric.png` in its repository): NIQE of the x4 results of the originals.
"""

from __future__ import annotations

from tessera.evaluate.scores import PublishedScore

_SOURCE = "A-ESRGAN, Table 1"
_METHODS = ("Bicubic", "ESRGAN", "BSRGAN", "RealESRGAN", "RealSR", "A-ESRGAN-Single", "A-ESRGAN-Multi")
_NIQE: dict[str, tuple[float, ...]] = {
    "Set5": (7.8524, 5.6712, 4.5806, 4.8629, 3.5064, 3.9125, 3.840),
    "Set14": (7.5593, 5.0363, 4.4096, 4.4978, 3.5413, 3.4983, 3.5168),
    "BSD100": (7.3413, 3.1544, 3.8172, 3.9826, 3.6916, 3.2948, 3.2474),
    "SunHays80": (7.6496, 3.6639, 3.5609, 2.9540, 3.3109, 2.6664, 2.5908),
    "Urban100": (7.1089, 3.1074, 4.1996, 4.0950, 3.929, 3.4728, 3.3993),
}


def find_published_scores(protocol: str, test_set: str, scale: int) -> tuple[PublishedScore, ...]:
    """Find the published scores of a protocol, unchanged, on a test set at a scale; empty if there are none."""
    if protocol != "a-esrgan" or scale != 4:
        return ()
    found = _NIQE.get(test_set.replace("-", ""), ())
    return tuple(
        PublishedScore(method=method, metric="niqe", score=score, source=_SOURCE)
        for method, score in zip(_METHODS if found else (), found, strict=True)
    )
