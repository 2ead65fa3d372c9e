"""From prepared faces to numpy host batches: the only part of the package that uses TensorFlow."""
