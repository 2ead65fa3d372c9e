"""From prepared faces to numpy host batches: what reads with TensorFlow (`metric_log` writes)."""
