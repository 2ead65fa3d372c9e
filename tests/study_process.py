"""scripts/study.py as a process of seconds: the study's methods on patterns in place of faces."""

from ml_collections import ConfigDict

from configs import study as plan
from ifgan_jax.data import faces
from ifgan_jax.data.pipeline import fake_faces
from scripts import command_line, study
from tests import tiny_config


def run_config(part: ConfigDict, setting: str, method: str, seed: int) -> ConfigDict:
    """The tests' tiny run of a method."""
    config = tiny_config.get_config().unlock()
    config.seed, config.epochs = seed, 1
    config.update_from_flattened_dict(plan.METHODS[method])
    return config.lock()


if __name__ == "__main__":
    plan.run_config = run_config
    tested = fake_faces(60, 36, 10, seed=1, num_classes=6)
    faces.load_prepared = lambda *_: faces.Prepared({"faces": tested}, [])
    command_line.run(study.main)
