"""TensorFlow that sees the CPU only: `from ifgan_jax.data.host_tensorflow import tf`, nowhere else.

Accelerators belong to JAX; TensorFlow would take all of their memory at its first operation, so the
devices are hidden here, when the module is imported. It takes seconds: only the modules that use
TensorFlow import this one, and `import ifgan_jax` does not.
"""

import os

# It only copies arrays here, so its notes on oneDNN and CPU features are noise; warnings stay.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")

# Keras, and with it Matplotlib and more, is a third of TensorFlow's import, and unused here: asked
# for the Keras of old, TensorFlow looks for that alone. Only meanwhile, so `tf.keras` works.
_keras = os.environ.get("TF_USE_LEGACY_KERAS")
os.environ["TF_USE_LEGACY_KERAS"] = "1"
import tensorflow as tf  # noqa: E402

del os.environ["TF_USE_LEGACY_KERAS"]
if _keras is not None:
    os.environ["TF_USE_LEGACY_KERAS"] = _keras

for _kind in ("GPU", "TPU"):
    tf.config.set_visible_devices([], _kind)
