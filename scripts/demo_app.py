"""A page in the browser: a photograph or the webcam → generated face, probabilities, attention.

    make install EXTRAS=app,align
    python scripts/demo_app.py --workdir=runs/demo

Then open the address that it prints. Faces are found and aligned as the run's data were (extra
`align`), or pictures taken as faces with --aligned, which needs `app` only. Only this machine can
reach the page, unless --host says otherwise; no picture is kept or sent anywhere.
"""

import contextlib
import signal
import socket
import sys

from absl import flags

from scripts import command_line

WORKDIR = flags.DEFINE_string("workdir", None, "Folder of a run that was trained.")
ALIGNED = flags.DEFINE_bool("aligned", False, "The pictures are aligned faces already.")
ALIGNMENT = flags.DEFINE_enum(
    "alignment", None, ["similarity", "affine"], "Which map; by default that of the run's data."
)
HOST = flags.DEFINE_string("host", "127.0.0.1", "Address to serve at: by default this machine's.")
PORT = flags.DEFINE_integer("port", 8000, "Port; 0 for a free one.", 0, 65535)


def main() -> None:
    try:
        import uvicorn
    except ImportError as error:
        raise ImportError("the page needs uvicorn: make install EXTRAS=app") from error
    from ifgan_jax.data import align
    from ifgan_jax.predict import Predictor
    from ifgan_jax.web.answers import Answerer
    from ifgan_jax.web.app import App, is_loopback
    from ifgan_jax.web.connection import PromptConnection

    local = is_loopback(HOST.value)
    family = socket.AF_INET6 if ":" in HOST.value else socket.AF_INET
    listener = socket.create_server((HOST.value, PORT.value), family=family)
    predictor = Predictor.load(WORKDIR.value)
    alignment = align.alignment_for(predictor.config.data.name, ALIGNMENT.value, ALIGNED.value)
    with contextlib.closing(Answerer(predictor, alignment)) as answer:
        if not local:
            print(f"warning: --host={HOST.value}: others on the network can use this page, and "
                  "their pictures come over it without encryption", file=sys.stderr)  # fmt: skip
        shown = f"[{HOST.value}]" if ":" in HOST.value else HOST.value
        print(f"http://{shown}:{listener.getsockname()[1]} (Ctrl-C ends it)", flush=True)
        server = uvicorn.Server(
            uvicorn.Config(
                App(answer, any_host=not local),
                http=PromptConnection,  # h11: strict, and without compiled code
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                limit_concurrency=64,  # connections; more are told to come again
                timeout_graceful_shutdown=5,
            )
        )
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # after uvicorn has ended
        with contextlib.suppress(KeyboardInterrupt):
            server.run(sockets=[listener])


if __name__ == "__main__":
    flags.mark_flags_as_required(["workdir"])
    command_line.run(main)
