"""Synthetic faces: a CC0 parametric head, random people and expressions, a small renderer.

Numpy only, so that worker processes start fast; TensorFlow and JAX must not be imported here.
"""

from ifgan_jax.data.synthetic.face import Face as Face
from ifgan_jax.data.synthetic.face import face as face
from ifgan_jax.data.synthetic.head_model import HeadModel as HeadModel
