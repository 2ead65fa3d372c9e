"""Tables 1 and 2 of the paper: test accuracy in percent, by method and data set."""

from typing import NamedTuple

DATA_SETS = {"bu3dfe": "BU-3DFE", "ck_plus": "CK+", "mmi": "MMI", "raf_db": "RAF-DB"}


class Row(NamedTuple):
    """A row of a table: what the paper prints, and which of our methods stands beside it.

    paper: percent in the table's columns, None where it prints "–".
    method: of configs/overlays.py; "" where there is nothing of ours.
    """

    name: str
    paper: tuple[float | None, ...]
    method: str = ""


class Published(NamedTuple):
    """A table of the paper: its caption, the data sets of its columns, and its rows in order."""

    caption: str
    data_sets: tuple[str, ...]
    rows: tuple[Row, ...]


# The two losses without a GAN: the paper prints other authors' networks, ours is the baseline's.
TABLE_1 = Published(
    "Table 1: three posed data sets",
    ("bu3dfe", "ck_plus", "mmi"),
    (
        Row("Center Loss", (None, 92.25, 73.40), "center_loss"),
        Row("Island Loss", (None, 94.39, 74.68), "resnet101"),
        Row("IACNN", (None, 95.37, 71.55)),
        Row("DLP-CNN", (None, 95.78, None)),
        Row("FN2EN", (None, 96.80, None)),
        Row("IA-gen", (76.83, 96.57, None)),
        Row("Lopes et al.", (72.89, 96.76, None)),
        Row("APM", (None, None, 74.04)),
        Row("PPDN", (None, 97.3, None)),
        Row("FERLrTc", (82.89, None, None)),
        Row("uGMM-MIK", (None, None, 73.2)),
        Row("DeRL", (84.17, 97.3, 73.23)),
        Row("ResNet-101", (82.5, 94.82, 71.15), "resnet101"),
        Row("IF-GAN w/o attention", (84.25, 95.79, 73.56), "no_attention"),
        Row("IF-GAN", (85.25, 97.52, 75.48), "ifgan"),
    ),
)
TABLE_2 = Published(
    "Table 2: RAF-DB",
    ("raf_db",),
    (
        Row("Island Loss", (83.64,), "resnet101"),
        Row("Center Loss", (83.68,), "center_loss"),
        Row("DLP-CNN", (84.13,)),
        Row("gACNN", (85.07,)),
        Row("APM", (85.17,)),
        Row("LDL-ALSG", (85.53,)),
        Row("IPA2LT (LTNet)", (86.77,)),
        Row("RAN", (86.90,)),
        Row("Covariance Pooling", (87.00,)),
        Row("SCN", (88.14,)),
        Row("ResNet-101", (86.31,), "resnet101"),
        Row("IF-GAN w/o attention", (87.32,), "no_attention"),
        Row("IF-GAN", (88.33,), "ifgan"),
    ),
)
METHODS = {
    "center_loss": "ResNet, center loss",
    "resnet101": "ResNet, island loss",
    "no_attention": "IF-GAN w/o attention",
    "ifgan": "IF-GAN",
}
