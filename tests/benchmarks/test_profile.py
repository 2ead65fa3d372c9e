"""Where a step's time goes: what operations belong to, by the names in a real compiled step."""

import jax
import pytest

from scripts.benchmarks import ours, profile, report, sizes
from tests import tiny_config

UNCHECKED = True  # as its users run it

G, D, E = "AttentionUNet", "PatchGAN", "ResNet"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (f"jvp({G})/down_1/conv_general_dilated", ("G", "forward", "convolutions")),
        (f"jvp({G})/skip_attention/dot_general", ("G's attention", "forward", "matrix products")),
        (f"transpose(jvp({D}))/BatchNorm_0/mul", ("D", "backward", "all else")),
        (f"transpose(jvp({E}))/stem/conv_general_dilated", ("E", "backward", "convolutions")),
        ("mul", ("losses, centres, optimizers", "", "")),
    ],
)
def test_part(source: str, expected: tuple[str, str, str]):
    assert profile.part(f"jit(f)/{source}") == expected


def test_a_compiled_step_names_all_parts():
    config = tiny_config.get_config()
    config.devices = 1  # compiles in half the time of eight
    compiled = ours.compiled_steps(config)
    given = ours.arguments(config, compiled, config.data.image_size)
    known = profile.sources(compiled.train_step.lower(*given).compile().as_text())
    parts = {profile.part(source) for source in known.values()}
    both = [(who, way) for who in ("G", "D", "E") for way in ("forward", "backward")]
    assert {(who, way, "convolutions") for who, way in both} <= parts
    assert {("G's attention", way, "matrix products") for way in ("forward", "backward")} <= parts
    assert profile.part("jit(f)/mul") in parts


def test_tables_and_summary():
    def operation(name: str, source: str, seconds: float) -> report.Result:
        return {"name": name, "source": source, "seconds": seconds}

    content = {
        "operations": [
            operation("convolution.2", f"jit(f)/jvp({G})/down_1/conv_general_dilated", 0.002),
            operation("fusion.1", f"jit(f)/jvp({G})/norm/mul", 0.001),
            operation("convolution.3", f"jit(f)/jvp({G})/down_2/conv_general_dilated", 0.001),
        ],
        "unknown_s": 0.0,
        "idle_share_in_trace": 0.25,
        "step": {"median_s": 0.005},
    }
    summary = profile.summary(content)
    assert summary["operations_s"] == pytest.approx(0.004)
    assert summary["convolutions_share"] == pytest.approx(0.75)
    assert summary["matrix_products_share"] == 0
    config = {"data.crop": 64, "batch_size": 8, "classifier.depth": 18, "dtype": "float32"}
    result = content | {"summary": summary, "size": "demo", "config": config}
    parts, dearest = profile.tables(result)
    assert parts.rows == (
        ("G", "forward", "convolutions", "3 ms", "75.0%"),
        ("G", "forward", "all else", "1 ms", "25.0%"),
    )
    assert dearest.rows[0] == (f"jvp({G})/down_1/conv_general_dilated", "2 ms", "50.0%")


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="there is an accelerator")
def test_on_a_cpu_it_says_what_to_use():
    with pytest.raises(ValueError, match="use `operations`"):
        profile.profiled(sizes.get_config("demo"))
