"""The architecture, checked on the source: imports point one way, and what may import what."""

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "ifgan_jax"

# Each module may import those on the lines above it; modules of one line do not see each other.
LAYERS = [
    ["files"],
    [
        "arrays",
        "bootstrap",
        "published",
        "sharding",
        "data.protocol",
        "data.processes",
        "data.host_tensorflow",
        "web.connection",
    ],
    ["hosts", "picture_grid"],
    [
        "data.synthetic",
        "data.vendor",
        "data.warp",
        "page",
        "losses",
        "island",
        "metrics",
        "augment",
        "checkpoint",
        "workdir",
        "visualize",
    ],
    [
        "models.convolution",
        "limits",
        "objective",
        "optimizers",
        "results",
        "tables",
        "data.records",
        "metric_log",
    ],
    ["models.layers", "leak_report", "probe", "data.detector", "data.synthetic_faces"],
    [
        "models.attention",
        "models.discriminator",
        "models.classifier",
        "report",
        "study",
        "data.align",
    ],
    [
        "models.generator",
        "models.pretrained",
        "data.qa",
        "data.photographs",
        "probe_network",
        "paper_tables",
        "comparison",
    ],
    ["data.builder"],
    ["data.faces"],
    ["state", "data.averages", "data.pipeline", "data.audit"],
    ["step", "data.parts", "data.check"],
    ["build"],
    ["predict"],
    ["attention_maps", "loop"],
    ["evaluate", "export", "leak", "web.answers"],
    ["train", "web.app"],
]
PURE = (
    "arrays",
    "losses",
    "island",
    "augment",
    "models",
    "objective",
    "optimizers",
    "state",
    "step",
)
MODULES = sorted(PACKAGE.rglob("*.py"))


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


def layer_of(name: str) -> int | None:
    for number, names in enumerate(LAYERS):
        if any(name == known or name.startswith(known + ".") for known in names):
            return number
    return None


def imports(path: Path) -> Iterator[str]:
    """Every imported module, with each `from a import b` as a.b too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def is_module(name: str) -> bool:
    path = PACKAGE.joinpath(*name.split("."))
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_point_one_way(path: Path):
    name = name_of(path)
    assert not {i.partition(".")[0] for i in imports(path)} & {"configs", "scripts", "tests"}
    if name.endswith("__init__"):
        return
    mine = layer_of(name)
    assert mine is not None, f"{name} has no layer: give it one in LAYERS"
    for imported in imports(path):
        other = imported.removeprefix("ifgan_jax.")
        if imported == other or not is_module(other) or other == "models" or other == "data":
            continue
        theirs = layer_of(other)
        assert theirs is not None, other
        one_package = any(
            name.startswith(f"{package}.") and other.startswith(package)
            for package in ("data.synthetic", "data.vendor")
        )
        assert one_package or theirs < mine, f"{name} imports {other}"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_tensorflow_and_torch_stay_in_their_places(path: Path):
    name = name_of(path)
    roots = {imported.partition(".")[0] for imported in imports(path)}
    if not name.startswith("data."):
        assert not roots & {"tensorflow", "tensorflow_datasets"}, name
    if not name.startswith("data.") and name != "metric_log":  # TensorBoard's files are its, too
        assert "ifgan_jax.data.host_tensorflow" not in imports(path), name
    if name != "data.detector":
        assert not roots & {"torch", "torchvision", "facenet_pytorch"}, name


@pytest.mark.parametrize("path", [p for p in MODULES if name_of(p).startswith(PURE)], ids=name_of)
def test_models_and_step_see_no_config_mesh_or_file(path: Path):
    roots = {imported.partition(".")[0] for imported in imports(path)}
    assert not roots & {"ml_collections", "pathlib", "os", "orbax", "absl", "io"}
    names = {
        node.id for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Name)
    }
    assert not names & {"Mesh", "NamedSharding", "PartitionSpec", "open", "config"}


CONFIG_READERS = (
    *("build", "train", "loop", "evaluate", "export", "leak", "limits", "predict", "results"),
    *("web.answers", "web.app"),
)
NO_CONFIG = ("PEOPLE.get", "headers.get", "message.get")


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_no_hidden_defaults(path: Path):
    """No `config.get(key, default)`, under any name: every default lives in configs/default.py."""
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Call):
            continue
        called = node.func.attr if isinstance(node.func, ast.Attribute) else ""
        if called == "get":
            assert "config" not in ast.unparse(node.func), f"{path}:{node.lineno}"
        if name_of(path) in CONFIG_READERS:
            defaulted = called == "get" and len(node.args) + len(node.keywords) > 1
            assert not defaulted or ast.unparse(node.func) in NO_CONFIG, f"{path}:{node.lineno}"
            assert not (ast.unparse(node.func) == "getattr" and len(node.args) > 2)


def test_every_module_says_what_it_is_for():
    for path in [*MODULES, *(ROOT / "scripts").glob("*.py"), *(ROOT / "configs").glob("*.py")]:
        if path.name != "__init__.py":
            assert ast.get_docstring(ast.parse(path.read_text())), path


def test_importing_the_package_loads_neither_tensorflow_nor_torch():
    """The package and all that a training step needs."""
    pure = [name_of(p) for p in MODULES if name_of(p).startswith(PURE)]
    modules = ", ".join(f"ifgan_jax.{name}".removesuffix(".__init__") for name in pure)
    code = (
        f"import ifgan_jax, {modules}, ifgan_jax.sharding, ifgan_jax.checkpoint, ifgan_jax.build\n"
        "import ifgan_jax.data.protocol, ifgan_jax.data.averages\n"
        "import sys\n"
        "print(sorted(n for n in ('tensorflow', 'torch') if n in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == "[]", done.stderr


def test_tensorflow_sees_no_accelerator(monkeypatch: pytest.MonkeyPatch):
    """All TensorFlow is imported through one module, which hides GPU and TPU first."""
    for path in MODULES:
        if any(imported == "tensorflow" for imported in imports(path)):
            assert name_of(path) == "data.host_tensorflow"
    from ifgan_jax.data import host_tensorflow

    visible = {"CPU": ["cpu"], "GPU": ["gpu"], "TPU": ["tpu"]}
    monkeypatch.setattr(
        "tensorflow.config.set_visible_devices",
        lambda devices, kind: visible.__setitem__(kind, devices),
    )
    importlib.reload(host_tensorflow)
    assert visible == {"CPU": ["cpu"], "GPU": [], "TPU": []}


@pytest.mark.parametrize("given", [None, "0"])
def test_tensorflow_comes_without_keras(given: str | None, monkeypatch: pytest.MonkeyPatch):
    """Which another program finds in the same process all the same."""
    code = (
        "import os, sys\n"
        "from ifgan_jax.data.host_tensorflow import tf\n"
        "print('keras' in sys.modules, os.environ.get('TF_USE_LEGACY_KERAS'))\n"
        "print(tf.keras.layers.Dense.__module__.startswith('keras.'))"
    )
    monkeypatch.delenv("TF_USE_LEGACY_KERAS", raising=False)
    if given:
        monkeypatch.setenv("TF_USE_LEGACY_KERAS", given)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.split() == ["False", str(given), "True"], done.stderr
