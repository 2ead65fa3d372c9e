"""Where G's decoder looks from the points that Fig. 6 asks at: its maps, and their figure."""

from functools import partial

import jax
import numpy as np
from jaxtyping import Array, Float, Int
from matplotlib.figure import Figure

from ifgan_jax import visualize
from ifgan_jax.models.generator import ATTENTION_STAGE, AttentionUNet
from ifgan_jax.predict import Pixels
from ifgan_jax.state import Networks, Player
from ifgan_jax.step import variables

# Where Fig. 6 asks: (row, column) as shares of the aligned face's sides.
QUERY_POINTS = {"eye": (0.38, 0.34), "lip": (0.77, 0.5), "cheek": (0.58, 0.28)}


def attention_maps(
    networks: Networks, generator: Player, source: Pixels
) -> Float[np.ndarray, "n q h4 w4"]:
    """Maps of the decoder's attention at QUERY_POINTS, as in Fig. 6; none without attention."""
    assert networks.generator is not None
    if not networks.generator.attention:
        return np.zeros((len(source), 0, 1, 1), np.float32)
    height, width = (side // 2**ATTENTION_STAGE for side in source.shape[1:3])
    points = [int(r * height) * width + int(c * width) for r, c in QUERY_POINTS.values()]
    rows = _attention_rows(networks.generator, generator, source, np.array(points))
    return np.asarray(rows, np.float32).reshape(len(source), len(points), height, width)


@partial(jax.jit, static_argnums=0)
def _attention_rows(
    network: AttentionUNet, generator: Player, source: jax.Array, points: Int[Array, " q"]
) -> Float[Array, "n q hw4"]:
    """The rows of the decoder's attention at the points; what follows it in G is not computed."""
    _, sown = network.apply(
        variables(generator), source, train=False, points=points, mutable=["attention"]
    )
    (rows,) = sown["attention"]["decoder_attention"]["rows"]
    return rows


def draw_attention(
    source: Pixels, generated: Pixels, maps: Float[np.ndarray, "n q h4 w4"], names: list[str]
) -> Figure:
    """Fig. 6: a row a face, with what `attention_maps` gave; without maps only the two faces."""
    side, queries = source.shape[1], list(QUERY_POINTS)[: maps.shape[1]]
    points = np.array([[(r * side, c * side) for r, c in QUERY_POINTS.values()]], np.float32)
    points = np.repeat(points[:, : len(queries)], len(source), 0)
    return visualize.attention_maps(source, generated, maps, points, names, queries)
