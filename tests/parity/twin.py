"""The whole of IF-GAN a second time, in PyTorch and from the paper: what ours is compared with.

Modules of G and D carry our names, so that a state dict maps to our tree by a rule (`trees`); E is
made of torchvision's residual blocks and carries torchvision's. Plain operations throughout.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.resnet import conv1x1

from ifgan_jax.objective import Objective


def _convolutions(before: int, after: int, count: int) -> nn.Sequential:
    """conv 3×3, BN, ReLU, `count` times."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for i in range(count):
        layers[f"Conv_{i}"] = nn.Conv2d(after if i else before, after, 3, padding=1, bias=False)
        layers[f"BatchNorm_{i}"] = nn.BatchNorm2d(after)
        layers[f"relu_{i}"] = nn.ReLU()
    return nn.Sequential(layers)


class SelfAttention(nn.Module):
    """Fig. 4: s = fᵀg, softmax over each row, o = β·h, y = γ·o + x."""

    def __init__(self, channels: int, reduction: int):
        super().__init__()
        self.query = nn.Conv2d(channels, channels // reduction, 1)
        self.key = nn.Conv2d(channels, channels // reduction, 1)
        self.value = nn.Conv2d(channels, channels, 1)
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = (f(x).flatten(2) for f in (self.query, self.key, self.value))
        attention = torch.softmax(query.mT @ key, dim=-1)  # (b, n, n): a row for each query
        return self.gamma * (value @ attention.mT).view_as(x) + x


class UNet(nn.Module):
    """Fig. 3: attention after the third encoding stage, on its skip, after its decoding stage."""

    def __init__(self, widths: Sequence[int], convs: int, reduction: int):
        super().__init__()
        self.last = len(widths) - 1
        for stage, width in enumerate(widths):
            before = widths[stage - 1] if stage else 1
            self.add_module(f"encoder_{stage}", _convolutions(before, width, convs))
        for stage, width in enumerate(widths[:-1]):
            up = nn.Conv2d(widths[stage + 1], width, 3, padding=1, bias=False)
            self.add_module(f"up_{stage}", up)
            self.add_module(f"up_norm_{stage}", nn.BatchNorm2d(width))
            self.add_module(f"decoder_{stage}", _convolutions(2 * width, width, convs))
        for name in ("encoder_attention", "skip_attention", "decoder_attention"):
            self.add_module(name, SelfAttention(widths[2], reduction))
        self.output = nn.Conv2d(widths[0], 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        part = self.get_submodule
        skips = []
        for stage in range(self.last):
            x = part(f"encoder_{stage}")(x)
            skips.append(self.skip_attention(x) if stage == 2 else x)
            x = functional.max_pool2d(self.encoder_attention(x) if stage == 2 else x, 2)
        x = part(f"encoder_{self.last}")(x)
        for stage in reversed(range(self.last)):
            x = part(f"up_{stage}")(functional.interpolate(x, scale_factor=2, mode="nearest"))
            x = torch.relu(part(f"up_norm_{stage}")(x))
            x = part(f"decoder_{stage}")(torch.cat([skips[stage], x], 1))
            x = self.decoder_attention(x) if stage == 2 else x
        return torch.tanh(self.output(x))


class PatchGAN(nn.Module):
    """pix2pix's NLayerDiscriminator(input_nc=2, n_layers=3)."""

    def __init__(self, width: int):
        super().__init__()
        widths, strides = (2, width, 2 * width, 4 * width, 8 * width, 1), (2, 2, 2, 1, 1)
        for i, stride in enumerate(strides):
            bias = i in (0, 4)
            self.add_module(
                f"Conv_{i}", nn.Conv2d(widths[i], widths[i + 1], 4, stride, 1, bias=bias)
            )
            if not bias:
                self.add_module(f"BatchNorm_{i - 1}", nn.BatchNorm2d(widths[i + 1]))

    def forward(self, source: Tensor, face: Tensor) -> Tensor:
        part = self.get_submodule
        x = functional.leaky_relu(self.Conv_0(torch.cat([source, face], 1)), 0.2)
        for i in (1, 2, 3):
            x = functional.leaky_relu(part(f"BatchNorm_{i - 1}")(part(f"Conv_{i}")(x)), 0.2)
        return self.Conv_4(x)


class ResNet(nn.Module):
    """torchvision's ResNet from torchvision's blocks, of any width; logits and pooled features."""

    def __init__(
        self,
        block: Callable[..., nn.Module],
        stages: Sequence[int],
        width: int,
        num_classes: int,
        channels: int,
    ):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        before = width
        for stage, size in enumerate(stages):
            after, blocks = width * 2**stage, []
            for index in range(size):
                stride = 2 if stage and not index else 1
                shortcut = None
                if before != after * block.expansion or stride > 1:
                    shortcut = nn.Sequential(
                        conv1x1(before, after * block.expansion, stride),
                        nn.BatchNorm2d(after * block.expansion),
                    )
                blocks.append(block(before, after, stride, shortcut))
                before = after * block.expansion
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
        self.fc = nn.Linear(before, num_classes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = functional.max_pool2d(torch.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        for name, stage in self.named_children():
            x = stage(x) if name.startswith("layer") else x
        features = x.mean((2, 3))
        return self.fc(features), features


Named = dict[str, Tensor]


class Twin:
    """Three networks, their optimizers and the centres; `step` is Sec. 3's simultaneous update."""

    def __init__(
        self,
        networks: dict[str, nn.Module],
        centres: Tensor,
        weights: Objective,
        rates: Sequence[float],
        fused: bool = False,  # Adam's update as one kernel: for comparisons of speed
    ):
        self.networks, self.centres, self.weights = networks, centres, weights
        self.optimizers = {
            name: torch.optim.Adam(
                network.parameters(), lr=rate, betas=(0.9, 0.99), weight_decay=1e-4, fused=fused
            )
            for (name, network), rate in zip(networks.items(), rates, strict=True)
        }

    def step(self, source: Tensor, target: Tensor, label: Tensor) -> tuple[Named, dict[str, Named]]:
        """One forward pass of each network, every gradient, then every update: terms, gradients."""
        w = self.weights
        generate, judge, classify = self.networks.values()
        fake = generate(source)
        real_logits, fake_logits = judge(source, target), judge(source, fake)
        logits, features = classify(_both_pairs(source, target, fake))
        terms = {  # eq. 2 to 5, weighted by eq. 1
            "discriminator/real": w.adversarial_weight * _bce(real_logits, 1.0),
            "discriminator/fake": w.adversarial_weight * _bce(fake_logits, 0.0),
            "generator/adversarial": w.adversarial_weight * _bce(fake_logits, 1.0),
            "generator/l1": w.l1_weight * (target - fake).abs().mean(),
            **self._softmax(logits, label),
            **self._island(features, label),
        }
        from_discriminator = terms["discriminator/real"] + terms["discriminator/fake"]
        # Of E's loss G gets what is said of the fake pairs.
        from_fake = terms["classifier/softmax_fake"] + terms["island_fake"]
        to_classifier = terms["classifier/softmax_real"] + terms["island_real"] + from_fake
        to_generator = terms["generator/adversarial"] + terms["generator/l1"] + from_fake
        losses = (to_generator, from_discriminator, to_classifier)
        gradients = {
            name: dict(
                zip(
                    dict(network.named_parameters()),
                    torch.autograd.grad(loss, list(network.parameters()), retain_graph=True),
                    strict=True,
                )
            )
            for (name, network), loss in zip(self.networks.items(), losses, strict=True)
        }
        for name, optimizer in self.optimizers.items():
            for parameter, gradient in zip(
                self.networks[name].parameters(), gradients[name].values(), strict=True
            ):
                parameter.grad = gradient
            optimizer.step()
        self._move_centres(features.detach(), label.repeat_interleave(2))
        terms["classifier/island"] = terms.pop("island_real") + terms.pop("island_fake")
        return {name: term.detach() for name, term in terms.items()}, gradients

    def sequential_step(self, source: Tensor, target: Tensor, label: Tensor) -> None:
        """The same objective as pix2pix's code would train it: D, then E, then G against both.

        D and E see the fake face detached and, already updated, see it once more for G's loss: a
        pass of D over a batch and one of E that `step` does without. For comparisons of speed.
        """
        w = self.weights
        generate, judge, classify = self.networks.values()
        fake = generate(source)
        real_logits, fake_logits = judge(source, target), judge(source, fake.detach())
        self._descend(
            "discriminator",
            w.adversarial_weight * (_bce(real_logits, 1.0) + _bce(fake_logits, 0.0)),
        )
        logits, features = classify(_both_pairs(source, target, fake.detach()))
        terms = self._softmax(logits, label) | self._island(features, label)
        self._descend("classifier", torch.stack(list(terms.values())).sum())
        self._move_centres(features.detach(), label.repeat_interleave(2))
        logits, features = classify(torch.cat([source, fake], 1))
        self._descend(
            "generator",
            w.adversarial_weight * _bce(judge(source, fake), 1.0)
            + w.l1_weight * (target - fake).abs().mean()
            + w.softmax_weight * functional.cross_entropy(logits, label)
            + w.island_weight * (features - self.centres[label]).square().mean() / 2,
        )

    def _descend(self, name: str, loss: Tensor) -> None:
        self.optimizers[name].zero_grad()
        loss.backward(inputs=list(self.networks[name].parameters()))
        self.optimizers[name].step()

    def _softmax(self, logits: Tensor, label: Tensor) -> Named:
        """Eq. 4, for the real and the fake pairs."""
        return {
            f"classifier/softmax_{kind}": self.weights.softmax_weight
            * functional.cross_entropy(logits[first::2], label)
            for first, kind in enumerate(("real", "fake"))
        }

    def _island(self, features: Tensor, label: Tensor) -> Named:
        """First term of eq. 5, averaged over features and both kinds of pair; the centres held."""
        return {
            f"island_{kind}": self.weights.island_weight
            * (features[first::2] - self.centres[label]).square().sum()
            / features.numel()
            for first, kind in enumerate(("real", "fake"))
        }

    def _move_centres(self, features: Tensor, label: Tensor) -> None:
        """The delta rule of Wen et al. 2016 and, for the pair term, of Cai et al. 2018."""
        old, number = self.centres.clone(), len(self.centres)
        own = functional.one_hot(label, number).to(old)
        count = own.sum(0)[:, None]
        change = (count * old - own.T @ features) / (1 + count)
        norm = old.norm(dim=1, keepdim=True)
        others = (old / norm).sum(0) - old / norm  # Σ of c_k / |c_k| over k ≠ j
        along = (others * old).sum(1, keepdim=True) / norm**2 * old
        pairs = self.weights.island_alpha / (number - 1) * (others - along) / norm
        self.centres.copy_(old - self.weights.centre_step * (change + pairs))


def _both_pairs(source: Tensor, target: Tensor, fake: Tensor) -> Tensor:
    """{I_SE, I_AE} and {I_SE, G(I_SE)} of each image, neighbours in one batch."""
    pairs = [torch.cat([source, target], 1), torch.cat([source, fake], 1)]
    return torch.stack(pairs, 1).flatten(0, 1)


def _bce(logits: Tensor, is_real: float) -> Tensor:
    wanted = torch.full_like(logits, is_real)
    return functional.binary_cross_entropy_with_logits(logits, wanted)
