"""What a run says of one uploaded picture, ready for JSON. Nothing is kept or written to disk."""

import base64
import dataclasses
import io
import threading
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from PIL import Image

from ifgan_jax.data import align, photographs
from ifgan_jax.data.detector import SURE, Detector
from ifgan_jax.data.vendor.pictures import Picture, UnreadablePictureError, decode
from ifgan_jax.predict import Predictor
from ifgan_jax.state import Networks
from ifgan_jax.step import variables

MAX_BYTES = 16 * 2**20  # of an upload
MAX_FACES = 12  # of a picture, the largest
WAIT_SECONDS = 30.0  # for the pictures before this one


class RefusedError(Exception):
    """What cannot be answered: an HTTP status, and one line for people."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Answerer:
    """A run to be asked by any number of threads; it takes one picture at a time.

    alignment: how faces are warped once MTCNN has found them (extra `align`); "given" takes each
    picture as a face that is aligned already.
    Everything is compiled here, so that the first picture is answered as fast as the others.
    Raises ImportError where faces must be found and the extra is missing, ValueError for a run on
    colour images, which no photograph is read in.
    """

    def __init__(self, predictor: Predictor, alignment: str) -> None:
        config = predictor.config.copy_and_resolve_references()
        config.evaluation.batch_size = predictor.compiled.mesh.size  # no work for absent faces
        self.predictor = dataclasses.replace(predictor, config=config)
        self.alignment = alignment
        networks = predictor.compiled.networks
        self.has_generator = networks.generator is not None
        self.has_attention = networks.generator is not None and networks.generator.attention
        self._vectors = attention_vectors(networks)
        self._generator = predictor.compiled.whole(predictor.state.generator)
        self._turn = threading.Lock()
        self._detector = None if alignment == align.GIVEN else Detector(cache=None)
        blank = np.zeros((64, 64), np.uint8)
        self._faces(blank)
        self._told(align.scaled(blank, config.data.image_size).image)

    def close(self) -> None:
        """End the process that finds faces."""
        if self._detector:
            self._detector.close()

    def __call__(self, content: bytes) -> dict[str, Any]:
        """The faces of a picture file, the largest first, and a warning, "" when all is well.

        Of each face: `input` and `generated` as data URLs of PNG, `probabilities` by class name,
        `warning`, and `attention`: the `side` of the maps, and `query` and `key` behind the
        generated face (`attention_vectors`), in base64 of little-endian float32. `generated` and
        `attention` are None for a run without.
        Raises RefusedError for what is no picture or too large, when others are before it, and when
        it took the process that finds faces with it; FloatingPointError as the predictor does.
        """
        if not self._turn.acquire(timeout=WAIT_SECONDS):
            raise RefusedError(503, "busy with the pictures before this one: try again")
        try:
            found = self._faces(decode(content, "the file"))
            faces = [face for face in found if face.image is not None]
            told = [
                self._told(face.image) | {"warning": _warning(face)} for face in faces[:MAX_FACES]
            ]
        except UnreadablePictureError as error:
            raise RefusedError(400, str(error)) from error
        except OSError as error:  # the process that finds faces died
            raise RefusedError(503, str(error)) from error
        finally:
            self._turn.release()
        warning = "" if faces else found[0].reason
        if len(faces) > MAX_FACES:
            warning = f"{len(faces)} faces; the {MAX_FACES} largest are shown"
        return {"faces": told, "warning": warning}

    def _faces(self, picture: Picture) -> list[photographs.FoundFace]:
        shot, size = photographs.Shot("upload", None), self.predictor.config.data.image_size
        if self._detector is None:
            return list(photographs.find_faces(iter([(shot, picture)]), align.GIVEN, size))
        (detection,) = self._detector.detect([picture])
        return list(photographs.faces_of(shot, picture, detection, self.alignment, size))

    def _told(self, image: Any) -> dict[str, Any]:
        """All but the warning of one aligned face."""
        said = self.predictor(image[None, ..., None])
        shares = said.probabilities[0].tolist()
        told: dict[str, Any] = {
            "input": _png_url(said.source[0]),
            "generated": _png_url(said.generated[0]) if self.has_generator else None,
            "probabilities": dict(zip(self.predictor.class_names, shares, strict=True)),
            "attention": None,
        }
        if self.has_attention:
            query, key = map(np.asarray, self._vectors(self._generator, said.source))
            told["attention"] = {
                "side": query.shape[1],
                "query": _base64(query.astype("<f4").tobytes()),
                "key": _base64(key.astype("<f4").tobytes()),
            }
        return told


def attention_vectors(networks: Networks) -> Callable:
    """Jitted: G as a Player, faces (b, h, w, c) → queries and keys (b, h/4, w/4, e), float32.

    Of the decoder's attention: softmax(query · keys) is the map of one point, as in Fig. 6. The
    maps of all points at 224 px are 39 MB, these vectors 0.4 MB, and a page can do the product.
    """

    @jax.jit
    def vectors(generator: Any, source: jax.Array) -> tuple[jax.Array, jax.Array]:
        assert networks.generator is not None
        _, kept = networks.generator.apply(
            variables(generator),
            source,
            train=False,
            capture_intermediates=lambda module, _: module.name in ("query", "key"),
            mutable=["intermediates"],
        )
        attention: Any = kept["intermediates"]["decoder_attention"]
        query, key = (attention[name]["__call__"][0] for name in ("query", "key"))
        return query.astype(jnp.float32), key.astype(jnp.float32)

    return vectors


def _warning(face: photographs.FoundFace) -> str:
    """How the face was found, where that may spoil the answer."""
    unsure = face.score is not None and face.score < SURE
    doubt = f"the detector is unsure that this is a face ({face.score:.2f})" if unsure else ""
    return "; ".join(filter(None, (face.reason, doubt)))


def _png_url(image: Float[np.ndarray, "h w c"]) -> str:
    """A picture in [-1, 1] as a data URL."""
    buffer = io.BytesIO()
    pixels = np.round((image[..., 0].astype(np.float32) + 1) * 127.5).astype(np.uint8)
    Image.fromarray(pixels).save(buffer, "PNG")
    return "data:image/png;base64," + _base64(buffer.getvalue())


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")
