"""Parts of the embedded backbone's pre-training."""
