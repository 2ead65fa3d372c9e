"""Eq. 1: the elementwise terms of eq. 2 to 5, averaged and weighted, by who descends them.

Functions of the networks' outputs, not of their parameters: `step` pulls their gradients back.
"""

import dataclasses

from jaxtyping import Array, Float

from ifgan_jax import island, losses
from ifgan_jax.arrays import Features, Image, Labels, Logits, Metrics, PatchLogits

Scalar = Float[Array, ""]


@dataclasses.dataclass(frozen=True)
class Objective:
    """The weights of eq. 1 and the open points of eq. 5; see docs/decisions.md."""

    adversarial_weight: float  # λ1
    l1_weight: float  # λ2
    softmax_weight: float  # λ3
    island_weight: float  # λ4
    island_alpha: float  # α
    island_reduction: str  # one of island.REDUCTIONS
    centre_step: float
    classifier_to_generator: bool  # whether E's loss on the fake pair reaches G

    def discriminator_terms(self, real: PatchLogits, fake: PatchLogits) -> Metrics:
        """λ1 · eq. 2 as D descends it, for the real and the fake pair."""
        return {
            "discriminator/real": self.adversarial_weight
            * losses.adversarial(real, real=True).mean(),
            "discriminator/fake": self.adversarial_weight
            * losses.adversarial(fake, real=False).mean(),
        }

    def adversarial(self, fake: PatchLogits) -> Scalar:
        """λ1 · eq. 2 as G descends it."""
        return self.adversarial_weight * losses.adversarial(fake, real=True).mean()

    def l1(self, generated: Image, target: Image) -> Scalar:
        """λ2 · eq. 3."""
        return self.l1_weight * losses.l1(generated, target).mean()

    def baseline_terms(
        self, logits: Logits, features: Features, label: Labels, centres: island.Centres
    ) -> Metrics:
        """λ3 · eq. 4 and λ4 · eq. 5 of one kind of input: the baseline's E descends them."""
        entropy = losses.softmax_cross_entropy(logits, label)
        return {
            "classifier/softmax": self.softmax_weight * entropy.mean(),
            "classifier/island": self._intra_class(features, label, centres),
        }

    def classifier_terms(
        self, logits: Logits, features: Features, label: Labels, centres: island.Centres
    ) -> Metrics:
        """λ3 · eq. 4 and λ4 · eq. 5 of real and fake pairs, each image's two being neighbours."""
        entropy = losses.softmax_cross_entropy(logits, label).reshape(-1, 2)
        return {
            "classifier/softmax_real": self.softmax_weight * entropy[:, 0].mean(),
            "classifier/softmax_fake": self.softmax_weight * entropy[:, 1].mean(),
            "classifier/island": self._intra_class(features, label, centres),
        }

    def _intra_class(self, features: Features, label: Labels, centres: island.Centres) -> Scalar:
        """First term of eq. 5."""
        squares = island.distances(features, label, centres)
        return self.island_weight * island.REDUCTIONS[self.island_reduction](squares)

    def pair_term(self, centres: island.Centres) -> Scalar:
        """Second term of eq. 5: constant in every parameter, it moves the centres only."""
        return self.island_weight * self.island_alpha * island.pair_term(centres).sum()

    def update_centres(
        self, centres: island.Centres, features: Features, label: Labels
    ) -> island.Centres:
        """The delta rule that stands in for the centres' descent of eq. 5."""
        return island.update_centres(
            centres, features, label, step=self.centre_step, alpha=self.island_alpha
        )
