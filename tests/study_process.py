"""scripts/study.py as a process of seconds: the study's methods on patterns in place of faces."""

from ml_collections import ConfigDict

from configs import study as plan
from ifgan_jax import leak, probe_network
from ifgan_jax.data import faces
from ifgan_jax.data.pipeline import fake_faces
from scripts import command_line, study
from tests import host_process, tiny_config


def run_config(part: ConfigDict, setting: str, method: str, seed: int) -> ConfigDict:
    """The tests' tiny run of a method."""
    config = tiny_config.get_config().unlock()
    config.seed, config.epochs = seed, 1
    config.update_from_flattened_dict(plan.METHODS[method])
    return config.lock()


def load_prepared(data_dir: str, name: str) -> faces.Prepared:
    """So many people as the probe and the test here need, whatever is asked for."""
    people = 20 if "_300_" in name else 10
    return faces.Prepared({"faces": fake_faces(6 * people, 36, people, seed=1, num_classes=6)}, [])


if __name__ == "__main__":
    host_process.shorten()
    plan.run_config, plan.GALLERY, probe_network.EPOCHS = run_config, 8, 1
    faces.load_prepared = leak.load_prepared = load_prepared
    leak.rendered_attributes = lambda *_: {}
    command_line.run(study.main)
