"""What users of PyTorch run today, as a program: a picture in, the whole of it through the network, a picture out.

`python pytorch_script.py WEIGHTS IN OUT`. Eager fp32 in NCHW under no_grad, weights by `torch.load`, as in the
published inference scripts; it imports less than they do, so it is a little faster. WEIGHTS is a dictionary of `kind`
(rrdbnet or compact), `numbers` (the sizes) and `state`.
"""

import sys

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F


class Dense(nn.Module):
    def __init__(self, features, growth):
        super().__init__()
        for i in range(5):
            out = growth if i < 4 else features
            setattr(self, f"conv{i + 1}", nn.Conv2d(features + i * growth, out, 3, 1, 1))

    def forward(self, x):
        parts = [x]
        for i in range(4):
            parts.append(F.leaky_relu(getattr(self, f"conv{i + 1}")(torch.cat(parts, 1)), 0.2, inplace=True))
        return self.conv5(torch.cat(parts, 1)) * 0.2 + x


class Block(nn.Module):
    def __init__(self, features, growth):
        super().__init__()
        self.rdb1, self.rdb2, self.rdb3 = (Dense(features, growth) for _ in range(3))

    def forward(self, x):
        return self.rdb3(self.rdb2(self.rdb1(x))) * 0.2 + x


class RRDBNet(nn.Module):
    def __init__(self, features, growth, blocks):
        super().__init__()
        self.conv_first = nn.Conv2d(3, features, 3, 1, 1)
        self.body = nn.Sequential(*(Block(features, growth) for _ in range(blocks)))
        for name in ("conv_body", "conv_up1", "conv_up2", "conv_hr"):
            setattr(self, name, nn.Conv2d(features, features, 3, 1, 1))
        self.conv_last = nn.Conv2d(features, 3, 3, 1, 1)

    def forward(self, x):
        x = self.conv_first(x)
        x = x + self.conv_body(self.body(x))
        x = F.leaky_relu(self.conv_up1(F.interpolate(x, scale_factor=2, mode="nearest")), 0.2, inplace=True)
        x = F.leaky_relu(self.conv_up2(F.interpolate(x, scale_factor=2, mode="nearest")), 0.2, inplace=True)
        return self.conv_last(F.leaky_relu(self.conv_hr(x), 0.2, inplace=True))


class Compact(nn.Module):
    def __init__(self, features, convolutions, scale):
        super().__init__()
        self.scale = scale
        layers = [nn.Conv2d(3, features, 3, 1, 1), nn.PReLU(features)]
        for _ in range(convolutions):
            layers += [nn.Conv2d(features, features, 3, 1, 1), nn.PReLU(features)]
        self.body = nn.Sequential(*layers, nn.Conv2d(features, 3 * scale**2, 3, 1, 1))

    def forward(self, x):
        return F.pixel_shuffle(self.body(x), self.scale) + F.interpolate(x, scale_factor=self.scale, mode="nearest")


def main():
    weights, source, target = sys.argv[1:]
    saved = torch.load(weights, map_location="cpu", weights_only=True)
    network = {"rrdbnet": RRDBNet, "compact": Compact}[saved["kind"]](*saved["numbers"])
    network.load_state_dict(saved["state"], strict=True)
    network.eval()
    pixels = np.asarray(Image.open(source).convert("RGB")).astype(np.float32) / 255
    with torch.no_grad():
        result = network(torch.from_numpy(np.transpose(pixels, (2, 0, 1))).float()[None])
    result = np.transpose(result.squeeze().float().clamp_(0, 1).numpy(), (1, 2, 0))
    Image.fromarray((result * 255.0).round().astype(np.uint8)).save(target)


if __name__ == "__main__":
    main()
