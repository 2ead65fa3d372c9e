"""What every script does around its work: plain messages, errors without a traceback."""

import logging
import sys
from collections.abc import Callable, Sequence

from absl import app, flags
from absl import logging as absl_logging


def run(main: Callable[[], None]) -> None:
    """Parse flags, show our own messages on stderr, turn expected errors into one line."""

    def guarded(arguments: Sequence[str]) -> None:
        if len(arguments) > 1:
            raise app.UsageError(f"unknown argument {arguments[1]!r}: every option begins with --")
        absl_logging.set_verbosity(absl_logging.WARNING)  # orbax tells every file it touches
        ours = logging.getLogger("ifgan_jax")
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(message)s"))
        ours.addHandler(handler)
        ours.setLevel(logging.INFO)
        ours.propagate = False
        try:
            main()
        except (ValueError, OSError, FloatingPointError, ImportError) as error:
            raise SystemExit(f"error: {error}") from error

    app.run(guarded, flags_parser=_parse)


def _parse(arguments: list[str]) -> list[str]:
    """absl's own parsing, but an unknown --config.key gives a line and no traceback."""
    try:
        return flags.FLAGS(arguments, known_only=False)
    except flags.Error as error:
        raise SystemExit(f"error: {error}") from error
    except (AttributeError, KeyError) as error:
        raise SystemExit(f"error: no such config key: {error}") from error
