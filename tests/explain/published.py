"""Checkpoints with exactly the published keys, and A-ESRGAN's gates computed from their definition with functions only.

Nothing of Tessera's networks is used: weights are a dictionary, the spectral norm is u.T W v. In training mode, as the
published scripts run, the vectors take one step of the power method first, and batch normalization uses the picture's
own statistics.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

State = dict[str, Tensor]


def attention_state(features: int, seed: int, prefix: str = "") -> State:
    """The weights of one attention U-Net under the names of the published files, as training would leave them."""
    draw = torch.Generator().manual_seed(seed)
    state: State = {}

    def conv(name: str, inputs: int, outputs: int, kernel: int, *, bias: bool) -> None:
        state[f"{name}.weight"] = _normal(draw, outputs, inputs, kernel, kernel) / (inputs * kernel**2) ** 0.5
        if bias:
            state[f"{name}.bias"] = 0.1 * _normal(draw, outputs)

    def spectral(name: str, inputs: int, outputs: int, kernel: int) -> None:
        matrix = _normal(draw, outputs, inputs, kernel, kernel) / (inputs * kernel**2) ** 0.5
        left, _, right = torch.linalg.svd(matrix.flatten(1), full_matrices=False)
        # nearly the singular vectors, as a training run has them
        state[f"{name}.weight_orig"] = matrix
        state[f"{name}.weight_u"] = F.normalize(left[:, 0] + 0.05 * _normal(draw, outputs), dim=0)
        state[f"{name}.weight_v"] = F.normalize(right[0] + 0.05 * _normal(draw, inputs * kernel**2), dim=0)

    f = features
    conv("conv0", 3, f, 3, bias=True)
    for name, inputs, outputs in (("conv1", f, 2 * f), ("conv2", 2 * f, 4 * f), ("conv3", 4 * f, 8 * f)):
        spectral(name, inputs, outputs, 3)
    spectral("gating", 8 * f, 4 * f, 1)
    for number, width in ((1, 4 * f), (2, 2 * f), (3, f)):
        conv(f"attn_{number}.theta", width, width, 2, bias=False)
        conv(f"attn_{number}.phi", 4 * f, width, 1, bias=True)
        conv(f"attn_{number}.psi", width, 1, 1, bias=True)
        state[f"attn_{number}.psi.weight"] *= 8  # maps with some contrast
        conv(f"attn_{number}.W.0", width, width, 1, bias=True)
        for kind, value in (("weight", 1.0), ("bias", 0.0), ("running_mean", 0.1), ("running_var", 0.9)):
            state[f"attn_{number}.W.1.{kind}"] = torch.full((width,), value)
        state[f"attn_{number}.W.1.num_batches_tracked"] = torch.tensor(5000)
    for number, inputs, outputs in ((1, 8 * f, 4 * f), (2, 4 * f, 2 * f), (3, 2 * f, f)):
        spectral(f"cat_{number}.convU", inputs, outputs, 3)
    for number, inputs, outputs in ((4, 8 * f, 4 * f), (5, 4 * f, 2 * f), (6, 2 * f, f), (7, f, f), (8, f, f)):
        spectral(f"conv{number}", inputs, outputs, 3)
    conv("conv9", f, 1, 3, bias=True)
    return {prefix + name: tensor for name, tensor in state.items()}


def multi_state(features: int, seed: int) -> State:
    """The weights of two: layer0 sees the half, layer1 the whole."""
    return attention_state(features, seed, "layer0.") | attention_state(features, seed + 1, "layer1.")


def save_basicsr(path: Path, state: State) -> Path:
    """Write a checkpoint as BasicSR does."""
    torch.save({"params": state}, path)
    return path


def direct_maps(state: State, picture: Tensor, *, training: bool = False) -> list[Tensor]:
    """A1, A2, A3 of one network from the definition of its gates, for a picture of any size."""
    return _encode(state, picture, training)[1]


def direct_logits(state: State, picture: Tensor, *, training: bool = False) -> Tensor:
    """The logits of one network; the sides of the picture divide by 8."""
    features, maps = _encode(state, picture, training)
    below = features[3]
    for number, skip, attention in zip((1, 2, 3), (features[2], features[1], features[0]), maps, strict=True):
        name = f"attn_{number}.W"
        gated = F.conv2d(attention * skip, state[f"{name}.0.weight"], state[f"{name}.0.bias"])
        mean, variance = state[f"{name}.1.running_mean"], state[f"{name}.1.running_var"]
        if training:
            mean, variance = gated.mean((0, 2, 3)), gated.var((0, 2, 3), unbiased=False)
        gated = (gated - mean[:, None, None]) / (variance[:, None, None] + 1e-5).sqrt()
        gated = gated * state[f"{name}.1.weight"][:, None, None] + state[f"{name}.1.bias"][:, None, None]
        up = F.interpolate(below, scale_factor=2, mode="bilinear", align_corners=False)
        up = _leaky(F.conv2d(up, _spectral(state, f"cat_{number}.convU", training), padding=1))
        below = _leaky(F.conv2d(torch.cat((gated, up), 1), _spectral(state, f"conv{number + 3}", training), padding=1))
    for number in (7, 8):
        below = _leaky(F.conv2d(below, _spectral(state, f"conv{number}", training), padding=1))
    return F.conv2d(below, state["conv9.weight"], state["conv9.bias"], padding=1)


def split_multi(state: State, picture: Tensor) -> list[tuple[State, Tensor]]:
    """The networks of two and their pictures: layer1 and the whole, layer0 and the half by the mean of 4x4 pixels."""
    whole = {name.removeprefix("layer1."): tensor for name, tensor in state.items() if name.startswith("layer1.")}
    half = {name.removeprefix("layer0."): tensor for name, tensor in state.items() if name.startswith("layer0.")}
    padded = F.pad(picture, (1, 1, 1, 1))  # zeros, which are averaged in
    smaller = (
        sum(
            padded[..., y::2, x::2][..., : picture.shape[-2] // 2, : picture.shape[-1] // 2]
            for y in range(4)
            for x in range(4)
        )
        / 16
    )
    assert isinstance(smaller, Tensor)
    return [(whole, picture), (half, smaller)]


def direct_multi_maps(state: State, picture: Tensor, *, training: bool = False) -> list[Tensor]:
    """A1_D1 ... A3_D1, A1_D2 ... A3_D2, for a picture of any size."""
    return [each for part in split_multi(state, picture) for each in direct_maps(*part, training=training)]


def _encode(state: State, picture: Tensor, training: bool) -> tuple[list[Tensor], list[Tensor]]:
    x0 = _leaky(F.conv2d(picture, state["conv0.weight"], state["conv0.bias"], padding=1))
    x1 = _leaky(F.conv2d(x0, _spectral(state, "conv1", training), stride=2, padding=1))
    x2 = _leaky(F.conv2d(x1, _spectral(state, "conv2", training), stride=2, padding=1))
    x3 = _leaky(F.conv2d(x2, _spectral(state, "conv3", training), stride=2, padding=1))
    signal = _leaky(F.conv2d(x3, _spectral(state, "gating", training), padding=1))
    maps: list[Tensor] = []
    for number, x in ((1, x2), (2, x1), (3, x0)):
        gate = {
            name.removeprefix(f"attn_{number}."): tensor for name, tensor in state.items() if f"attn_{number}." in name
        }
        theta = F.conv2d(x, gate["theta.weight"], stride=2)
        phi = F.conv2d(signal, gate["phi.weight"], gate["phi.bias"])
        phi = F.interpolate(phi, size=theta.shape[-2:], mode="bilinear", align_corners=False)
        small = torch.sigmoid(F.conv2d((theta + phi).clamp(min=0), gate["psi.weight"], gate["psi.bias"]))
        maps.append(F.interpolate(small, size=x.shape[-2:], mode="bilinear", align_corners=False))
    return [x0, x1, x2, x3], maps


def _spectral(state: State, name: str, training: bool) -> Tensor:
    weight, u, v = (state[f"{name}.weight_{kind}"] for kind in ("orig", "u", "v"))
    matrix = weight.flatten(1)
    if training:
        v = F.normalize(matrix.t().mv(u), dim=0, eps=1e-12)
        u = F.normalize(matrix.mv(v), dim=0, eps=1e-12)
    return weight / u.dot(matrix.mv(v))


def _leaky(x: Tensor) -> Tensor:
    return torch.maximum(x, 0.2 * x)


def _normal(draw: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=draw)
