"""Sub-commands by name, and compiled programs kept between starts."""

import contextlib
import os
import signal
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from scripts import command_line
from scripts.benchmark import COMMANDS
from scripts.campaigns.faults import NotRunError, small_disk

ROOT = Path(__file__).parent.parent
# A program that compiles: kept, because the test keeps whatever takes no time, too.
PROGRAM = """
from scripts import command_line
def main():
    import gc
    import jax
    assert gc.get_threshold() == command_line.COLLECT
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    print(float(jax.jit(lambda x: (x @ x).sum())(jax.numpy.ones((50, 50)))))
    print("at", jax.config.jax_compilation_cache_dir)
    jax.process_count = lambda: 2
    command_line.keep_shared_programs_only()
    jax.jit(lambda x: (x + x).sum())(jax.numpy.ones((50, 50)))
command_line.run(main, ["program"])
"""


# Saves 16 MB where there are three.
FULL = """
import sys
from pathlib import Path
from scripts import command_line
def main():
    import jax
    from ifgan_jax.checkpoint import Checkpoints
    checkpoints = Checkpoints(Path(sys.argv[1]))
    state = {str(i): jax.random.normal(jax.random.key(i), 400_000) for i in range(10)}
    checkpoints.save(state, {}, step=1, best_step=1)
    checkpoints.wait()
command_line.run(main, ["program"])
"""

# Writes of orbax that failed, and of somebody else, and nobody asks for any: tasks, and in threads,
# where only the traceback tells whose they are.
ABANDONED = """
import asyncio
from scripts import command_line
async def main():
    loop = asyncio.get_running_loop()
    for path in ("theirs.py", "/lib/orbax/serialization.py"):
        names = {}
        write = "def write(): raise ValueError('full')\\nasync def task(): write()"
        exec(compile(write, path, "exec"), names)
        pending = [loop.create_task(names["task"]()), loop.run_in_executor(None, names["write"])]
        while not all(future.done() for future in pending):
            await asyncio.sleep(0.01)
command_line.run(lambda: asyncio.run(main()), ["program"])
"""

RENDERED = """
import sys
from scripts import command_line
def main():
    from ifgan_jax.data import synthetic_faces
    print(len(list(synthetic_faces.read(synthetic_faces.prepare(sys.argv[1], "72_1")))))
command_line.run(main, ["program"])
"""


def start(**changes: str) -> subprocess.CompletedProcess[str]:
    """PROGRAM with no folder named for what it compiles, but by `changes`."""
    kept = {k: v for k, v in os.environ.items() if k not in ("JAX_COMPILATION_CACHE_DIR", "HOME")}
    command = [sys.executable, "-c", PROGRAM]
    environment = {**kept, "PYTHONPATH": str(ROOT), **changes}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)


def test_names_that_are_no_text_are_printed_all_the_same():
    program = r"from scripts import command_line; command_line.run(lambda: print('\udcff'), ['p'])"
    strict = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8:strict"}
    command = [sys.executable, "-c", program]
    ended = subprocess.run(command, env=strict, capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stdout) == (0, "\\udcff\n"), ended.stderr


@pytest.mark.skipif("CS_GNU_LIBC_VERSION" not in os.confstr_names, reason="another C library")
def test_a_script_has_huge_pages_unless_the_user_has_tuned_glibc(tmp_path: Path):
    """It begins twice then, as one process, with what it was given; nobody else does."""
    script = tmp_path / "script.py"
    script.write_text(
        "import os, sys\nfrom scripts import command_line\n"
        "print(os.getpid(), os.environ.get('GLIBC_TUNABLES'), *sys.argv[1:], flush=True)\n"
        "command_line.run(lambda: print('main'), ['script'])"
    )
    environment = {k: v for k, v in os.environ.items() if k != "GLIBC_TUNABLES"}
    environment |= {"PYTHONPATH": str(ROOT)}

    def said(*how: str, given: str = "", **changes: str) -> list[str]:
        """With the process's number as P."""
        process = subprocess.Popen(
            [sys.executable, *how],
            env=environment | changes,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        output, _ = process.communicate(given, timeout=60)
        return output.replace(str(process.pid), "P").splitlines()

    once, own = ["P None one", "main"], ["P  one", "main"]
    assert said(str(script), "one") == ["P None one", f"P {command_line.HUGE_PAGES} one", "main"]
    assert said(str(script), "one", GLIBC_TUNABLES="") == own
    by_runpy = f"import runpy, sys\nrunpy.run_path({str(script)!r}, run_name='__main__')"
    assert said("-", "one", given=script.read_text()) == once
    assert said("-", "one", given=by_runpy) == once
    assert said("-c", by_runpy, "one") == once
    assert said("-m", "pdb", "-c", "continue", "-c", "quit", str(script), "one")[:2] == once
    (tmp_path / "sitecustomize.py").write_text("import os\nos.environ.pop('GLIBC_TUNABLES', 0)")
    assert said(str(script), "one", PYTHONPATH=f"{ROOT}:{tmp_path}") == [once[0], *once]


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def flipped(content: bytes) -> bytes:
    """In the middle, where zlib's data are."""
    damaged = bytearray(content)
    damaged[len(content) // 2] ^= 1
    return bytes(damaged)


@pytest.mark.parametrize("damage", [cut, flipped])
def test_compiled_programs_are_kept_and_a_damaged_one_is_compiled_anew(
    damage: Callable[[bytes], bytes], tmp_path: Path
):
    (tmp_path / "zstandard.py").write_text("raise OSError('it has no checksum')")
    done = start(XDG_CACHE_HOME=str(tmp_path), PYTHONPATH=f"{ROOT}:{tmp_path}")
    folder = tmp_path / "ifgan_jax" / "compiled"
    assert done.stdout == f"125000.0\nat {folder}\n", done.stderr
    kept = {path: path.read_bytes() for path in folder.glob("*-cache")}
    assert kept
    assert all(zlib.decompress(content) for content in kept.values())
    for path, content in kept.items():
        path.write_bytes(damage(content))
    done = start(XDG_CACHE_HOME=str(tmp_path))
    assert done.stdout == f"125000.0\nat {folder}\n"
    assert "Error reading persistent compilation cache" in done.stderr


def test_a_full_disk_is_one_line(tmp_path: Path):
    """Without the tracebacks of the threads that met it."""
    with contextlib.ExitStack() as stack:
        try:
            disk = stack.enter_context(small_disk(tmp_path / "disk", 3))
        except NotRunError as error:
            pytest.skip(str(error))
        command = [sys.executable, "-c", FULL, str(disk / "checkpoints")]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert "could not be written" in done.stderr
    assert "start the same command again" in done.stderr
    assert "Traceback" not in done.stderr


def test_ctrl_c_is_one_line():
    program = (  # which may have been started to ignore it: by nohup, or by a shell behind a "&"
        "import signal, time\nfrom scripts import command_line\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "command_line.run(lambda: (print('ready', flush=True), time.sleep(60)), ['program'])"
    )
    command = [sys.executable, "-c", program]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=ROOT, **pipes) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=60) == ("", "interrupted\n")
    assert process.returncode == 130


@pytest.mark.parametrize(
    ("error", "told"),
    [
        ("MemoryError()", "not enough memory (MemoryError): smaller batches"),
        ("jax.errors.JaxRuntimeError('RESOURCE_EXHAUSTED: a\\nb')", "RESOURCE_EXHAUSTED: a): s"),
        ("RuntimeError('of ours')", "RuntimeError: of ours"),
    ],
)
def test_a_lack_of_memory_is_one_line(error: str, told: str):
    program = (
        "import jax\nfrom scripts import command_line\n"
        f"def main(): raise {error}\ncommand_line.run(main, ['program'])"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert told in done.stderr
    assert ("Traceback" in done.stderr) == error.startswith("Runtime")


def test_of_abandoned_writes_those_of_orbax_are_not_told():
    command = [sys.executable, "-c", ABANDONED]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.stderr.count("exception was never retrieved") == 2, done.stderr
    assert "defined at theirs.py" in done.stderr
    assert "orbax" not in done.stderr


def test_rendered_faces_come_without_the_library_s_words(tmp_path: Path):
    command = [sys.executable, "-c", RENDERED, str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.stdout == "13\n", done.stderr  # TFDS would say that it downloads
    assert not [x for x in done.stderr.splitlines() if x and "rendering faces" not in x]


def test_the_folder_is_where_the_user_says_or_nowhere(tmp_path: Path):
    home = tmp_path / "home"
    assert f"at {home}/.cache/ifgan_jax/compiled\n" in start(HOME=str(home)).stdout
    given = start(HOME=str(home), JAX_COMPILATION_CACHE_DIR=str(tmp_path / "given"))
    assert f"at {tmp_path}/given\n" in given.stdout
    # Then as one of two processes: kept where the user said, as all of them may share that.
    kept = [
        len(list(path.glob("jit__lambda*-cache")))
        for path in (home / ".cache/ifgan_jax/compiled", tmp_path / "given")
    ]
    assert kept == [1, 2]
    (tmp_path / "file").touch()
    done = start(XDG_CACHE_HOME=str(tmp_path / "file"))  # no folder can be made there
    assert done.stdout == "125000.0\nat None\n"
    assert "each start will compile anew" in done.stderr


def test_kernels_are_chosen_for_the_measured_jaxlib_and_the_user_wins(
    monkeypatch: pytest.MonkeyPatch,
):
    flag = "--xla_cpu_experimental_ynn_fusion_type="
    monkeypatch.setenv("XLA_FLAGS", flag)
    monkeypatch.setattr(command_line, "version", lambda name: "0.0.1")
    command_line.choose_kernels()
    assert os.environ["XLA_FLAGS"] == flag
    monkeypatch.setattr(command_line, "version", lambda name: command_line.MEASURED_JAXLIB)
    command_line.choose_kernels()
    assert os.environ["XLA_FLAGS"].split() == [flag + "reduce", flag]


def test_a_command_is_asked_for_by_name(monkeypatch: pytest.MonkeyPatch):
    for arguments, message in (
        ([], r"no command: the first argument is one of step, operations"),
        (["--size=demo"], r"'--size=demo' is no command"),
        (["plans"], r"'plans' is no command"),
    ):
        monkeypatch.setattr(sys, "argv", ["benchmark.py", *arguments])
        with pytest.raises(SystemExit, match=message):
            command_line.run_command("scripts.benchmarks", COMMANDS)
