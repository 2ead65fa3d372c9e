"""IF-GAN: identity-free facial expression recognition with a conditional GAN, in JAX and Flax.

Cai et al., ICIP 2021 (arXiv 1903.08051v2). Importing this package loads neither TensorFlow nor
PyTorch.
"""

__version__ = "0.1.0"
