"""What every script does around its work: plain messages, errors without a traceback."""

import gc
import importlib
import io
import logging
import os
import re
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar

from absl import app, flags
from absl import logging as absl_logging
from ml_collections import ConfigDict

LESS_MEMORY = (
    "smaller batches take less (batch_size and evaluation.batch_size of the config), and so does "
    "remat=blocks in training"
)
MEASURED_JAXLIB = "0.10.2"
# Thresholds of Python's collector, in place of 700, 10 and 10: tracing makes millions of objects
# that stay, and looking through them time and again took a tenth of a start. The young ones are
# still looked at: each checkpoint leaves hundreds in cycles.
COLLECT = (10_000, 10, 1_000)
HUGE_PAGES = "glibc.malloc.hugetlb=1"
SILENT = re.compile(r"[/\\](orbax|tensorflow_datasets|jax2onnx|onnx_ir)[/\\]")
TOLD = (ValueError, OSError, FloatingPointError, ImportError)  # as one line; hosts.py does so, too
OWN_CACHE: list[Path] = []  # of compiled programs, where the user names none
T = TypeVar("T")
LOGGER = logging.getLogger("ifgan_jax")


def run(
    main: Callable[..., None], arguments: Sequence[str] | None = None, *, takes: str = ""
) -> None:
    """Parse flags, show our own messages on stderr, turn expected errors into one line.

    arguments: the script's name, then its flags; None: as the script was called. takes: what
    `main` is given a list of, of at least one: the arguments that are no flags.
    """
    use_huge_pages()

    def guarded(left: Sequence[str]) -> None:
        given = list(left[1:])
        if takes and not given:
            raise app.UsageError(f"no {takes}: name at least one")
        if given and not takes:
            raise app.UsageError(f"unknown argument {given[0]!r}: every option begins with --")
        _silence_libraries()
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(message)s"))
        LOGGER.addHandler(handler)
        LOGGER.setLevel(logging.INFO)
        LOGGER.propagate = False
        if isinstance(sys.stdout, io.TextIOWrapper):  # file names may be no UTF-8
            sys.stdout.reconfigure(errors="backslashreplace")
        gc.set_threshold(*COLLECT)
        choose_kernels()
        keep_compiled()
        try:
            main(*[given] * bool(takes))
        except TOLD as error:
            raise SystemExit(f"error: {error}") from error
        except (MemoryError, RuntimeError) as error:
            if not is_want_of_memory(error):
                raise
            first = (str(error) or "MemoryError").splitlines()[0]
            raise SystemExit(f"error: not enough memory ({first}): {LESS_MEMORY}") from error
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            raise SystemExit(130) from None  # 128 + SIGINT, as shells say it

    app.run(guarded, argv=list(arguments or sys.argv), flags_parser=parse)


def is_want_of_memory(error: Exception) -> bool:
    """The host's, or a device's, which JAX tells as a RuntimeError."""
    return isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error)


def _silence_libraries() -> None:
    """No notes of other libraries on themselves: on OpenCV, on names, on what cannot be converted.

    What fails in orbax is raised, and becomes one line: no tracebacks of its threads before it.
    They log each failed write; asyncio logs, at the end, those that orbax did not look at any more;
    and tensorstore, once one has closed orbax's event loop, hands all that follow it to the hook.
    """
    absl_logging.set_verbosity(absl_logging.WARNING)  # orbax tells every file it touches
    absl_logging.get_absl_handler().addFilter(lambda record: not SILENT.search(record.pathname))
    whole = logging.Formatter().format  # of a thread's failure only the traceback names orbax
    logging.getLogger("asyncio").addFilter(lambda record: not SILENT.search(whole(record)))
    show = sys.unraisablehook

    def hook(unraisable: "sys.UnraisableHookArgs") -> None:
        if str(unraisable.exc_value) != "Event loop is closed":
            show(unraisable)

    sys.unraisablehook = hook


def run_command(package: str, commands: Sequence[str]) -> None:
    """`run` the `main` of <package>.<command>, the script's first argument.

    Only that module is imported, so --help lists its flags alone, and what the others need (a TPU's
    compiler, PyTorch) is not asked for.
    """
    use_huge_pages()  # before the module's imports
    script, *rest = sys.argv
    if not rest or rest[0] not in commands:
        given = f"{rest[0]!r} is no command" if rest else "no command"
        choices = ", ".join(commands)
        raise SystemExit(f"error: {given}: the first argument is one of {choices}; then its flags")
    module = importlib.import_module(f"{package}.{rest[0]}")
    sys.modules["__main__"].__doc__ = module.__doc__  # what --help shows
    run(module.main, [script, *rest[1:]])


def shard(runs: list[T], text: str) -> list[T]:
    """Every n-th run from the i-th on, whatever is done already; `text` is i/n."""
    index, _, count = text.partition("/")
    if not count.isdecimal() or not int(count):
        raise ValueError(f"--shard={text}: i/n is expected, such as 0/4 to 3/4")
    return runs[number("--shard", index, int(count)) :: int(count)]


def number(flag: str, text: str, below: int) -> int:
    """The number from 0 to below - 1 that a flag says; ValueError naming it otherwise."""
    if not text.isdecimal() or int(text) >= below:
        raise ValueError(f"{flag}: {text!r} is not a number from 0 to {below - 1}")
    return int(text)


def use_huge_pages() -> None:
    """Begin `python SCRIPT …` anew, in this very process, with huge pages for large arrays.

    On a CPU XLA takes the memory of a step's temporaries anew each time, and the kernel hands it
    out and clears it page by page, 50,000 of them in the demo: with huge ones its step took 0.87
    of the time (docs/benchmarks). Only a process that begins can tell glibc so; another library, or
    a kernel without, takes no notice. Where the user has set GLIBC_TUNABLES, to whatever, it holds.
    """
    glibc = "CS_GNU_LIBC_VERSION" in os.confstr_names
    # Not by stdin, by runpy or in a debugger. Once begun anew there is an option before the script.
    as_script = sys.orig_argv[1:] == sys.argv and Path(sys.argv[0]).is_file()
    if as_script and glibc and "GLIBC_TUNABLES" not in os.environ:
        os.environ["GLIBC_TUNABLES"] = HUGE_PAGES
        os.execv(sys.executable, [sys.orig_argv[0], "-X", "huge_pages", *sys.argv])


def choose_kernels() -> None:
    """XLA's own convolutions and products on a CPU, where jaxlib's default is another library's.

    Measured on two cores: a step at 96 px took 2.9 s in place of 3.3 s (docs/benchmarks).
    Only for the jaxlib that was measured: another one may not know the flag and would abort. The
    last of equal flags counts, so what the user sets holds.
    """
    if version("jaxlib") == MEASURED_JAXLIB:
        given = os.environ.get("XLA_FLAGS", "")
        os.environ["XLA_FLAGS"] = f"--xla_cpu_experimental_ynn_fusion_type=reduce {given}"


def keep_compiled() -> None:
    """Keep compiled programs on disk, so that the next start of the same run need not compile.

    In JAX_COMPILATION_CACHE_DIR if that is set ("" for nowhere), else below XDG_CACHE_HOME or
    ~/.cache. Programs are found by their code, the libraries' versions, flags and device; what
    compiles in less than a second is not kept. A damaged entry is told and compiled anew, at each
    start until somebody deletes the folder: JAX leaves it there.

    JAX would compress by zstandard where that is installed, without a checksum: one flipped bit
    ended the process. zlib has one.
    """
    sys.modules.setdefault("zstandard", None)  # type: ignore[arg-type]
    if "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    try:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        folder = cache / "ifgan_jax" / "compiled"
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(f"{folder} is read-only")
    except (OSError, RuntimeError) as error:  # RuntimeError: there is no home
        LOGGER.warning("each start will compile anew: no folder for compiled programs (%s)", error)
        return
    OWN_CACHE.append(folder)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(folder)
    if jax := sys.modules.get("jax"):  # it has read its environment already
        jax.config.update("jax_compilation_cache_dir", str(folder))


def keep_shared_programs_only() -> None:
    """One of several processes keeps none, but in a folder that JAX_COMPILATION_CACHE_DIR names.

    Only the first process writes them. In folders of their own the others would find none at the
    next start, compile, and on GPUs, where they share the search for the fastest kernels, wait a
    day for the first one's part of it, which has found its programs and does not search.
    """
    import jax
    from jax.experimental.compilation_cache import compilation_cache

    if jax.process_count() > 1 and OWN_CACHE:
        jax.config.update("jax_enable_compilation_cache", False)
        compilation_cache.reset_cache()  # it has been asked for a small program by now


def forget_run() -> None:
    """Between two runs of a process: programs of the one before would add up, as do its cycles."""
    import jax

    jax.clear_caches()
    gc.collect()


def parse(arguments: list[str], known: flags.FlagValues = flags.FLAGS) -> list[str]:
    """absl's own parsing, but a wrong --config.key or its value gives a line and no traceback."""
    try:
        rest = known(arguments, known_only=False)
    except flags.Error as error:
        raise SystemExit(f"error: {error}") from error
    except (AttributeError, KeyError) as error:
        raise SystemExit(f"error: no such config key: {error}") from error
    except (OSError, TypeError, ValueError) as error:  # of ml_collections, or of the config's file
        raise SystemExit(f"error: --config: {error}") from error
    for name in known:
        if name.startswith("config.") and isinstance(known[name].value, ConfigDict):
            raise SystemExit(f"error: --{name} is a group: set its keys, --{name}.KEY=VALUE")
    return rest
