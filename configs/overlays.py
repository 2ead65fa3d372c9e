"""What the cells of Tables 1 and 2 differ in: the data set and the method, as changes of a config.

Center loss and island loss without a GAN (Table 1's first rows) are the baseline with α = 0 and
with the config's own α of eq. 5.
"""

from typing import Any

from ml_collections import ConfigDict

DATA_SETS = ("bu3dfe", "ck_plus", "mmi", "raf_db")
POSED = DATA_SETS[:3]
BASELINE: dict[str, Any] = {"method": "baseline", "classifier.inputs": "source"}
METHODS: dict[str, dict[str, Any]] = {
    "center_loss": {**BASELINE, "loss.island_alpha": 0.0},
    "resnet101": BASELINE,  # with island loss, "to make a fair comparison"
    "no_attention": {"generator.attention": False},
    "ifgan": {},
}


def with_method(config: ConfigDict, method: str) -> ConfigDict:
    """A copy of an IF-GAN config that runs another row of the tables.

    Raises ValueError for an unknown method, and for a config that is not IF-GAN's.
    """
    if method not in METHODS:
        raise ValueError(f"method {method!r} is unknown: choose from {', '.join(METHODS)}")
    if config.method != "ifgan" or not config.generator.attention:
        raise ValueError("the config must be IF-GAN's, with attention: the methods are made of it")
    config = config.copy_and_resolve_references()
    config.update_from_flattened_dict(METHODS[method])
    return config.lock()


def with_data(config: ConfigDict, name: str) -> ConfigDict:
    """A copy tested on `name`; the other sets of the config's pool are additional training data.

    The pool is the config's data set and its additional ones. With no additional ones each set is
    trained alone. What follows the "/" of a name (how it was prepared) stays with it.
    """
    if name not in DATA_SETS:
        raise ValueError(f"data set {name!r} is unknown: choose from {', '.join(DATA_SETS)}")
    config = config.copy_and_resolve_references()
    data = config.data
    pool = {known.partition("/")[0]: known for known in (data.name, *data.additional)}
    prepared = data.name.partition("/")[1:]
    names = {known: pool.get(known, "".join((known, *prepared))) for known in DATA_SETS}
    trained_together = len(pool) > 1
    data.name = names[name]
    data.additional = tuple(
        names[other] for other in DATA_SETS if trained_together and other in pool and other != name
    )
    if name == "raf_db":  # seven classes; averages "in the three posed datasets" (Sec. 4.3)
        data.num_classes = 7
        data.averages_from = tuple(names[posed] for posed in POSED)
    return config.lock()
