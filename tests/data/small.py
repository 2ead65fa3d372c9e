"""Small copies of the four deliveries: what writes one, and what finds its examples."""

from ifgan_jax.data.vendor import bu3dfe, ck_plus, mmi, raf_db
from tests.data import deliveries

SMALL = {
    "bu3dfe": (lambda root: deliveries.bu3dfe(root, females=2, males=1), bu3dfe.find),
    "ck_plus": (
        lambda root: deliveries.ck_plus(root, sequences=deliveries.ck_sequences()[:6]),
        ck_plus.find,
    ),
    "mmi": (lambda root: deliveries.mmi(root, sequences=6, subjects=3, others=2), mmi.find),
    "raf_db": (
        lambda root: deliveries.raf_db(root, counts={"train": (2,) * 7, "test": (1,) * 7}),
        raf_db.find,
    ),
}
